//! What happens to the table of messages, each function within one transaction of the writer.
//!
//! `visible_at` alone says whether a message can be handed out. Of a group only the first message has a time; the others
//! wait at [`BLOCKED`] until they are the first. So finding work is one look into one index, however long the queue is
//! and however it is mixed of hidden, delayed and waiting messages.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use tidegate_core::time::Timestamp;
use tidegate_engine::ports::Outgoing;

/// Not before an earlier message of its group is gone.
const BLOCKED: i64 = i64::MAX;

/// A message that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Found {
    pub(super) id: i64,
    pub(super) body: String,
    /// This time included.
    pub(super) receives: u32,
    pub(super) receipt: i64,
}

/// What a look into a queue gave.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) found: Vec<Found>,
    /// When nothing was found: the time at which something that is hidden or delayed now comes.
    pub(super) next: Option<Timestamp>,
    /// Messages were moved to the queue of dead letters.
    pub(super) moved: bool,
}

/// How messages are handed out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) visibility: Duration,
    pub(super) max_receives: u32,
}

/// Name of the queue of the messages of `queue` that nobody could handle.
pub(super) fn dead_letters(queue: &str) -> String {
    format!("{queue}-dead")
}

fn millis(at: Timestamp) -> i64 {
    // `BLOCKED` is kept apart from every time.
    i64::try_from(at.0).unwrap_or(BLOCKED - 1).min(BLOCKED - 1)
}

/// Makes visible what the process before had handed out, and cuts times that the wall clock cannot have meant (it was
/// set back since).
pub(super) fn reopen(connection: &Connection, now: Timestamp, longest: Duration) -> rusqlite::Result<usize> {
    connection
        .execute("UPDATE messages SET visible_at = ?1, receipt = NULL WHERE receipt IS NOT NULL", [millis(now)])?;
    connection.execute(
        "UPDATE messages SET visible_at = ?1 WHERE visible_at > ?1 AND visible_at <> ?2",
        [millis(now + longest), BLOCKED],
    )
}

pub(super) fn send(connection: &Connection, queue: &str, message: &Outgoing, now: Timestamp) -> rusqlite::Result<()> {
    let waits = match &message.group {
        Some(group) => connection
            .prepare_cached("SELECT 1 FROM messages WHERE queue = ?1 AND grp = ?2 LIMIT 1")?
            .exists([queue, group])?,
        None => false,
    };
    // `now` has lost the part of a millisecond that has passed of it: a delay must not be shorter for that.
    let rest = if message.delay.is_zero() { Duration::ZERO } else { Duration::from_millis(1) };
    let visible_at = if waits { BLOCKED } else { millis(now + message.delay + rest) };
    connection
        .prepare_cached("INSERT INTO messages (queue, grp, body, visible_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![queue, message.group, message.body, visible_at])?;
    Ok(())
}

pub(super) fn look(
    connection: &Connection,
    queue: &str,
    max: usize,
    rules: Rules,
    now: Timestamp,
    mut next_receipt: impl FnMut() -> i64,
) -> rusqlite::Result<Look> {
    let mut look = Look::default();
    while look.found.len() < max {
        // One at a time: handing out or moving a message may let the next of its group come up.
        let candidate = connection
            .prepare_cached(
                "SELECT id, body, receives, grp FROM messages WHERE queue = ?1 AND visible_at <= ?2 \
                 ORDER BY visible_at, id LIMIT 1",
            )?
            .query_row(params![queue, millis(now)], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, u32>(2)?,
                    row.get::<_, Option<String>>(3)?,
                ))
            })
            .optional()?;
        let Some((id, body, receives, group)) = candidate else {
            break;
        };
        if receives >= rules.max_receives && !queue.ends_with("-dead") {
            bury(connection, queue, id, group.as_deref(), now)?;
            look.moved = true;
            continue;
        }
        let receipt = next_receipt();
        connection
            .prepare_cached("UPDATE messages SET visible_at = ?2, receives = receives + 1, receipt = ?3 WHERE id = ?1")?
            .execute(params![id, millis(now + rules.visibility), receipt])?;
        look.found.push(Found { id, body, receives: receives.saturating_add(1), receipt });
    }
    if look.found.is_empty() {
        let next: Option<i64> = connection
            .prepare_cached("SELECT min(visible_at) FROM messages WHERE queue = ?1")?
            .query_row([queue], |row| row.get(0))?;
        look.next = next.filter(|at| *at != BLOCKED).map(|at| Timestamp(u64::try_from(at).unwrap_or(0)));
    }
    Ok(look)
}

/// Moves a message to the dead letters, where nothing waits for its group.
fn bury(connection: &Connection, queue: &str, id: i64, group: Option<&str>, now: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE messages SET queue = ?2, grp = NULL, visible_at = ?3, receives = 0, receipt = NULL WHERE id = ?1",
        )?
        .execute(params![id, dead_letters(queue), millis(now)])?;
    match group {
        Some(group) => unblock(connection, queue, group, now),
        None => Ok(()),
    }
}

/// Lets the first message of a group come up.
fn unblock(connection: &Connection, queue: &str, group: &str, now: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE messages SET visible_at = ?3 WHERE visible_at = ?4 AND id = \
             (SELECT min(id) FROM messages WHERE queue = ?1 AND grp = ?2)",
        )?
        .execute(params![queue, group, millis(now), BLOCKED])?;
    Ok(())
}

/// Removes a message that is handed out under this receipt. Returns whether another one may have come up.
pub(super) fn delete(
    connection: &Connection,
    queue: &str,
    id: i64,
    receipt: i64,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let group: Option<Option<String>> = connection
        .prepare_cached("DELETE FROM messages WHERE id = ?1 AND receipt = ?2 AND queue = ?3 RETURNING grp")?
        .query_row(params![id, receipt, queue], |row| row.get(0))
        .optional()?;
    match group.flatten() {
        Some(group) => {
            unblock(connection, queue, &group, now)?;
            Ok(true)
        }
        None => Ok(false),
    }
}

/// Sets when a message that is handed out comes again. Returns whether there was one.
pub(super) fn extend(
    connection: &Connection,
    queue: &str,
    id: i64,
    receipt: i64,
    until: Timestamp,
) -> rusqlite::Result<bool> {
    let changed = connection
        .prepare_cached("UPDATE messages SET visible_at = ?4 WHERE id = ?1 AND receipt = ?2 AND queue = ?3")?
        .execute(params![id, receipt, queue, millis(until)])?;
    Ok(changed > 0)
}

/// Takes back a message whose receiver went away before he had it: as if it had not been handed out.
pub(super) fn take_back(connection: &Connection, id: i64, receipt: i64, now: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE messages SET visible_at = ?3, receives = receives - 1, receipt = NULL \
             WHERE id = ?1 AND receipt = ?2",
        )?
        .execute(params![id, receipt, millis(now)])?;
    Ok(())
}

pub(super) fn depth(connection: &Connection, queue: &str) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT count(*) FROM messages WHERE queue = ?1")?
        .query_row([queue], |row| row.get::<_, i64>(0))
        .map(|count| u64::try_from(count).unwrap_or(0))
}
