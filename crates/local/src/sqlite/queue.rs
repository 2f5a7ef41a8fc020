use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::time::Timestamp;
use tidegate_engine::ports::{Outgoing, PortError, Queue, Received};
use tokio::sync::Notify;

use super::database::Database;
use super::queue_sql::{self as sql, Found, Look, Rules};
use super::writer::Lasting;
use crate::clock::SteadyClock;

const MAX_BODY: usize = 256 * 1_024;
const MAX_DELAY: Duration = Duration::from_secs(15 * 60);
const MAX_WAIT: Duration = Duration::from_secs(20);
/// As SQS.
const MAX_VISIBILITY: Duration = Duration::from_secs(12 * 60 * 60);

/// How a queue hands out messages. The defaults are those of the port; tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct QueueSettings {
    /// After this long a message that was handed out comes again.
    pub visibility: Duration,
    /// After this many receipts a message moves to the dead letters.
    pub max_receives: u32,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { visibility: Duration::from_secs(30), max_receives: 20 }
    }
}

/// Queues in SQLite, for one process.
///
/// Messages that a process had in hand when it died are visible again at once when the next one opens the database. That
/// is safe: every consumer lives in the process that holds the lock of the state directory, so nobody of the time before
/// can still be at work on them; a receipt names the process that it belongs to, so that a receipt of before removes
/// nothing now; and whoever handles a message is prepared to see it twice anyway.
///
/// For the same reason only sending is flushed to disk. After a power failure a message may come again that was deleted
/// just before; what its handling has written was on disk by then.
#[derive(Clone, Debug)]
pub struct SqliteQueue {
    database: Arc<Database>,
    shared: Arc<Shared>,
}

/// What the work that is given to the writer refers to. Not the database itself: its last handle must not be dropped by
/// the thread that its drop waits for.
#[derive(Debug)]
struct Shared {
    rules: Rules,
    clock: SteadyClock,
    /// Names this process in receipts.
    epoch: u64,
    receipts: AtomicI64,
    /// Wakes those who wait at a queue.
    bells: Mutex<HashMap<String, Arc<Notify>>>,
}

impl SqliteQueue {
    /// The queues of this database.
    pub async fn open(database: Arc<Database>, settings: QueueSettings) -> Result<Self, PortError> {
        let clock = SteadyClock::start();
        database
            .writer()?
            .write(Lasting::Process, move |connection| Ok(sql::reopen(connection, clock.now(), MAX_DELAY).map(drop)?))
            .await?;
        Ok(Self {
            database,
            shared: Arc::new(Shared {
                rules: Rules { visibility: settings.visibility, max_receives: settings.max_receives },
                clock,
                epoch: rand::random(),
                receipts: AtomicI64::new(1),
                bells: Mutex::default(),
            }),
        })
    }
}

impl Shared {
    fn bell(&self, queue: &str) -> Arc<Notify> {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        match bells.get(queue) {
            Some(bell) => Arc::clone(bell),
            None => Arc::clone(bells.entry(queue.to_owned()).or_default()),
        }
    }

    fn ring(&self, queue: &str) {
        self.bell(queue).notify_waiters();
    }

    fn receipt(&self, found: &Found) -> String {
        format!("{:016x}.{}.{}", self.epoch, found.id, found.receipt)
    }

    /// The message and the receipt that a receipt of this process names.
    fn parse_receipt(&self, text: &str) -> Option<(i64, i64)> {
        let mut parts = text.split('.');
        let epoch = u64::from_str_radix(parts.next()?, 16).ok()?;
        let id = parts.next()?.parse().ok()?;
        let receipt = parts.next()?.parse().ok()?;
        (epoch == self.epoch && parts.next().is_none()).then_some((id, receipt))
    }
}

/// Messages on their way to a receiver. If he is gone when they arrive (a client that hung up in its long poll), they
/// are handed back rather than hidden until their visibility timeout.
#[derive(Debug)]
struct InHand {
    database: Weak<Database>,
    shared: Arc<Shared>,
    queue: String,
    found: Vec<Found>,
}

impl InHand {
    fn take(mut self) -> Vec<Found> {
        std::mem::take(&mut self.found)
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        if self.found.is_empty() {
            return;
        }
        let found = std::mem::take(&mut self.found);
        let (shared, queue) = (Arc::clone(&self.shared), self.queue.clone());
        // Without a database the process is about to end, and the next one hands everything out again.
        let Some(database) = self.database.upgrade() else {
            return;
        };
        if let Ok(writer) = database.writer() {
            writer.write_later(move |connection| {
                for message in &found {
                    sql::take_back(connection, message.id, message.receipt, shared.clock.now())?;
                }
                // Before the commit, but whoever looks now looks in a later transaction of the same thread.
                shared.ring(&queue);
                Ok(())
            });
        }
    }
}

#[async_trait]
impl Queue for SqliteQueue {
    async fn send(&self, queue: &str, message: Outgoing) -> Result<(), PortError> {
        check_queue(queue)?;
        check_message(&message)?;
        let shared = Arc::clone(&self.shared);
        let name = queue.to_owned();
        self.database
            .writer()?
            .write(Lasting::Power, move |connection| Ok(sql::send(connection, &name, &message, shared.clock.now())?))
            .await?;
        self.shared.ring(queue);
        Ok(())
    }

    async fn receive(&self, queue: &str, max: usize, wait: Duration) -> Result<Vec<Received>, PortError> {
        check_queue(queue)?;
        if !(1..=10).contains(&max) || wait > MAX_WAIT {
            return Err(PortError::reject(format!(
                "a receipt is for 1 to 10 messages and waits up to 20 s, not {max} and {wait:?}"
            )));
        }
        let deadline = tokio::time::Instant::now() + wait;
        let bell = self.shared.bell(queue);
        loop {
            // Listen before looking: a message that comes between the look and the wait rings then, too.
            let rung = bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            let (found, next) = self.look(queue, max).await?;
            if !found.is_empty() {
                return Ok(found);
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok(Vec::new());
            }
            let until = match next {
                Some(at) => deadline.min(tokio::time::Instant::now() + at.since(self.shared.clock.now())),
                None => deadline,
            };
            tokio::select! {
                () = rung => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    async fn delete(&self, queue: &str, receipt: &str) -> Result<(), PortError> {
        check_queue(queue)?;
        let Some((id, receipt)) = self.shared.parse_receipt(receipt) else {
            return Ok(());
        };
        let (shared, name) = (Arc::clone(&self.shared), queue.to_owned());
        let another = self
            .database
            .writer()?
            .write(Lasting::Process, move |connection| {
                Ok(sql::delete(connection, &name, id, receipt, shared.clock.now())?)
            })
            .await?;
        if another {
            self.shared.ring(queue);
        }
        Ok(())
    }

    async fn extend(&self, queue: &str, receipt: &str, visibility: Duration) -> Result<(), PortError> {
        check_queue(queue)?;
        if visibility > MAX_VISIBILITY {
            return Err(PortError::reject(format!("a message can be hidden for up to 12 h, not {visibility:?}")));
        }
        let Some((id, receipt)) = self.shared.parse_receipt(receipt) else {
            return Ok(());
        };
        let (shared, name) = (Arc::clone(&self.shared), queue.to_owned());
        let there = self
            .database
            .writer()?
            .write(Lasting::Process, move |connection| {
                let until = shared.clock.now() + visibility;
                Ok(sql::extend(connection, &name, id, receipt, until)?)
            })
            .await?;
        if there {
            // It may come sooner than those expect who wait now.
            self.shared.ring(queue);
        }
        Ok(())
    }

    async fn depth(&self, queue: &str) -> Result<u64, PortError> {
        check_queue(queue)?;
        let queue = queue.to_owned();
        self.database.readers().read(move |connection| sql::depth(connection, &queue)).await
    }
}

impl SqliteQueue {
    /// What can be handed out now, or else when to look again.
    async fn look(&self, queue: &str, max: usize) -> Result<(Vec<Received>, Option<Timestamp>), PortError> {
        let (shared, name) = (Arc::clone(&self.shared), queue.to_owned());
        let database = Arc::downgrade(&self.database);
        let (in_hand, next, moved) = self
            .database
            .writer()?
            .write(Lasting::Process, move |connection| {
                let Look { found, next, moved } =
                    sql::look(connection, &name, max, shared.rules, shared.clock.now(), || {
                        shared.receipts.fetch_add(1, Ordering::Relaxed)
                    })?;
                let in_hand = InHand {
                    database: Weak::clone(&database),
                    shared: Arc::clone(&shared),
                    queue: name.clone(),
                    found,
                };
                Ok((in_hand, next, moved))
            })
            .await?;
        if moved {
            self.shared.ring(&sql::dead_letters(queue));
        }
        let received = in_hand
            .take()
            .into_iter()
            .map(|found| Received {
                receipt: self.shared.receipt(&found),
                receive_count: found.receives,
                body: found.body,
            })
            .collect();
        Ok((received, next))
    }
}

fn check_queue(queue: &str) -> Result<(), PortError> {
    let valid = (1..=100).contains(&queue.len())
        && queue.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if valid { Ok(()) } else { Err(PortError::reject(format!("`{queue}` is no name of a queue"))) }
}

fn check_message(message: &Outgoing) -> Result<(), PortError> {
    let reject = |why: String| Err(PortError::reject(why));
    if message.body.is_empty() || message.body.len() > MAX_BODY {
        return reject(format!("a message has 1 to {MAX_BODY} bytes, not {}", message.body.len()));
    }
    // The characters of XML 1.0, as SQS has it: what works here works there.
    if let Some(bad) = message
        .body
        .chars()
        .find(|c| !matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..))
    {
        return reject(format!("a message cannot hold the character {}", bad.escape_unicode()));
    }
    if message.delay > MAX_DELAY {
        return reject(format!("a message can be delayed for up to 15 minutes, not {:?}", message.delay));
    }
    if message.group.is_some() && !message.delay.is_zero() {
        return reject("a message of a group cannot be delayed".to_owned());
    }
    if message.group.as_ref().is_some_and(|group| !(1..=128).contains(&group.len())) {
        return reject("the name of a group has 1 to 128 bytes".to_owned());
    }
    Ok(())
}
