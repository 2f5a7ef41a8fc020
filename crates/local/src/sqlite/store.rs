use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use tidegate_engine::ports::{Expect, Key, Page, PortError, Put, Record, Store, Version, Write};

use super::database::Database;
use super::writer::{Lasting, Refused};

/// Largest key part and largest record, in bytes (`Key`, `Record`).
const KEY_LIMIT: usize = 1_024;
const RECORD_LIMIT: usize = 400 * 1_024;
/// A page of a listing ends after this many bytes of bodies: what a caller holds in memory is bounded, and callers learn
/// early that pages may be short, as they are on DynamoDB.
const PAGE_BYTES: usize = 1 << 20;

/// Records in SQLite.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    database: Arc<Database>,
}

impl SqliteStore {
    /// The records of this database.
    pub fn new(database: Arc<Database>) -> Self {
        Self { database }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, key: &Key) -> Result<Option<Record>, PortError> {
        check_key(key)?;
        let key = key.clone();
        self.database
            .readers()
            .read(move |connection| {
                connection
                    .prepare_cached("SELECT version, body FROM records WHERE pk = ?1 AND sk = ?2")?
                    .query_row([&key.pk, &key.sk], |row| {
                        Ok(Record {
                            key: key.clone(),
                            version: version(row.get(0)?),
                            body: Bytes::from(row.get::<_, Vec<u8>>(1)?),
                        })
                    })
                    .optional()
            })
            .await
    }

    async fn put_if(&self, put: Put) -> Result<(), PortError> {
        check_put(&put)?;
        self.database
            .writer()?
            .write(Lasting::Power, move |connection| {
                let found = stored(connection, &put.key)?;
                match judge_put(put.expect, put.version, found) {
                    Judgement::Stands => Ok(()),
                    Judgement::Holds => Ok(write(connection, &put)?),
                    Judgement::Fails => Err(Refused::Port(PortError::Conflict)),
                }
            })
            .await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), PortError> {
        check_transaction(&writes)?;
        self.database.writer()?.write(Lasting::Power, move |connection| transact(connection, &writes)).await
    }

    async fn query(&self, pk: &str, sk_prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, PortError> {
        if !(1..=1_000).contains(&limit) {
            return Err(PortError::reject(format!("a listing has 1 to 1,000 records, not {limit}")));
        }
        check_part("pk", pk)?;
        let (pk, prefix) = (pk.to_owned(), sk_prefix.to_owned());
        let after = after.map(str::to_owned);
        self.database.readers().read(move |connection| query(connection, &pk, &prefix, after.as_deref(), limit)).await
    }

    async fn delete_if(&self, key: &Key, expect: Expect) -> Result<(), PortError> {
        self.transact(vec![Write::Delete { key: key.clone(), expect }]).await
    }
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Judgement {
    /// The put has happened before: nothing to do.
    Stands,
    /// It holds.
    Holds,
    /// It does not.
    Fails,
}

fn judge_put(expect: Expect, new: Version, found: Option<Version>) -> Judgement {
    if found == Some(new) {
        return Judgement::Stands;
    }
    judge(expect, found)
}

fn judge(expect: Expect, found: Option<Version>) -> Judgement {
    let holds = match expect {
        Expect::Absent => found.is_none(),
        Expect::Version(wanted) => found == Some(wanted),
        Expect::Any => true,
    };
    if holds { Judgement::Holds } else { Judgement::Fails }
}

/// Removing what is not there succeeds, unless a version was expected and another is there.
fn judge_delete(expect: Expect, found: Option<Version>) -> Judgement {
    match found {
        None => Judgement::Stands,
        Some(_) => judge(expect, found),
    }
}

fn transact(connection: &Connection, writes: &[Write]) -> Result<(), Refused> {
    // All conditions before any write: a conflict then leaves nothing to roll back, and the other jobs of the commit go on.
    let mut judgements = Vec::with_capacity(writes.len());
    for write in writes {
        judgements.push(match write {
            Write::Put(put) => judge_put(put.expect, put.version, stored(connection, &put.key)?),
            Write::Delete { key, expect } => judge_delete(*expect, stored(connection, key)?),
            Write::Check { key, expect } => judge(*expect, stored(connection, key)?),
        });
    }
    match judge_transaction(writes, &judgements) {
        Judgement::Stands => return Ok(()),
        Judgement::Fails => return Err(Refused::Port(PortError::Conflict)),
        Judgement::Holds => {}
    }
    for each in writes {
        match each {
            Write::Put(put) => write(connection, put)?,
            Write::Delete { key, .. } => {
                connection
                    .prepare_cached("DELETE FROM records WHERE pk = ?1 AND sk = ?2")?
                    .execute([&key.pk, &key.sk])?;
            }
            Write::Check { .. } => {}
        }
    }
    Ok(())
}

/// A version belongs to one write. So if all puts stand, the transaction has happened and this is its repetition,
/// whatever became of what it checked; if only some do, it has happened and was overwritten in part.
fn judge_transaction(writes: &[Write], judgements: &[Judgement]) -> Judgement {
    let puts = || {
        writes
            .iter()
            .zip(judgements)
            .filter(|(write, _)| matches!(write, Write::Put(_)))
            .map(|(_, judgement)| *judgement == Judgement::Stands)
    };
    if puts().any(|stands| stands) {
        return if puts().all(|stands| stands) { Judgement::Stands } else { Judgement::Fails };
    }
    if judgements.contains(&Judgement::Fails) { Judgement::Fails } else { Judgement::Holds }
}

fn stored(connection: &Connection, key: &Key) -> rusqlite::Result<Option<Version>> {
    connection
        .prepare_cached("SELECT version FROM records WHERE pk = ?1 AND sk = ?2")?
        .query_row([&key.pk, &key.sk], |row| Ok(version(row.get(0)?)))
        .optional()
}

fn write(connection: &Connection, put: &Put) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO records (pk, sk, version, body) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (pk, sk) DO UPDATE SET version = excluded.version, body = excluded.body",
        )?
        .execute(params![put.key.pk, put.key.sk, put.version.0.to_be_bytes(), &put.body[..],])?;
    Ok(())
}

fn query(connection: &Connection, pk: &str, prefix: &str, after: Option<&str>, limit: usize) -> rusqlite::Result<Page> {
    // Texts are compared by their bytes, so everything with the prefix lies together, from the prefix itself on.
    let (sql, from) = match after {
        Some(after) if after >= prefix => {
            ("SELECT sk, version, body FROM records WHERE pk = ?1 AND sk > ?2 ORDER BY sk", after)
        }
        _ => ("SELECT sk, version, body FROM records WHERE pk = ?1 AND sk >= ?2 ORDER BY sk", prefix),
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([pk, from])?;
    let mut page = Page::default();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let sk: String = row.get(0)?;
        if !sk.starts_with(prefix) {
            break;
        }
        if page.records.len() == limit || bytes >= PAGE_BYTES {
            page.more = true;
            page.last = page.records.last().map(|record| record.key.sk.clone());
            break;
        }
        let body = Bytes::from(row.get::<_, Vec<u8>>(2)?);
        bytes += body.len();
        page.records.push(Record { key: Key::new(pk, sk), version: version(row.get(1)?), body });
    }
    Ok(page)
}

fn version(bytes: [u8; 16]) -> Version {
    Version(u128::from_be_bytes(bytes))
}

fn check_part(name: &str, text: &str) -> Result<(), PortError> {
    if (1..=KEY_LIMIT).contains(&text.len()) {
        Ok(())
    } else {
        Err(PortError::reject(format!("the {name} of a record has 1 to {KEY_LIMIT} bytes, not {}", text.len())))
    }
}

fn check_key(key: &Key) -> Result<(), PortError> {
    check_part("pk", &key.pk)?;
    check_part("sk", &key.sk)
}

fn check_put(put: &Put) -> Result<(), PortError> {
    check_key(&put.key)?;
    let size = put.key.pk.len() + put.key.sk.len() + put.body.len();
    if size > RECORD_LIMIT {
        return Err(PortError::reject(format!(
            "the record `{}` would have {size} bytes, over the limit of {RECORD_LIMIT}",
            put.key
        )));
    }
    Ok(())
}

fn check_transaction(writes: &[Write]) -> Result<(), PortError> {
    if !(1..=100).contains(&writes.len()) {
        return Err(PortError::reject(format!("a transaction has 1 to 100 writes, not {}", writes.len())));
    }
    let mut keys = BTreeSet::new();
    for write in writes {
        let key = match write {
            Write::Put(put) => {
                check_put(put)?;
                &put.key
            }
            Write::Delete { key, expect } => {
                if *expect == Expect::Absent {
                    return Err(PortError::reject(format!("removing `{key}` cannot expect that it is absent")));
                }
                key
            }
            Write::Check { key, .. } => key,
        };
        check_key(key)?;
        if !keys.insert(key) {
            return Err(PortError::reject(format!("a transaction names `{key}` twice")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        use Judgement::{Fails, Holds, Stands};
        let (old, new, other) = (Version(1), Version(2), Version(3));
        for (expect, found, expected) in [
            (Expect::Absent, None, Holds),
            (Expect::Absent, Some(old), Fails),
            (Expect::Absent, Some(new), Stands),
            (Expect::Version(old), None, Fails),
            (Expect::Version(old), Some(old), Holds),
            (Expect::Version(old), Some(other), Fails),
            (Expect::Version(old), Some(new), Stands),
            (Expect::Any, None, Holds),
            (Expect::Any, Some(other), Holds),
            (Expect::Any, Some(new), Stands),
        ] {
            assert_eq!(judge_put(expect, new, found), expected, "{expect:?} {found:?}");
        }
        assert_eq!(judge_delete(Expect::Version(old), None), Stands);
        assert_eq!(judge_delete(Expect::Version(old), Some(other)), Fails);
        assert_eq!(judge_delete(Expect::Any, Some(other)), Holds);
    }

    #[test]
    fn a_transaction_that_was_overwritten_in_part_is_not_written_again() {
        use Judgement::{Fails, Holds, Stands};
        let key = |name: &str| Key::new("p", name);
        let put = |name: &str| {
            Write::Put(Put { key: key(name), body: Bytes::new(), expect: Expect::Any, version: Version(1) })
        };
        let check = Write::Check { key: key("c"), expect: Expect::Absent };
        let writes = [put("a"), put("b"), check];
        for (judgements, expected) in [
            ([Holds, Holds, Holds], Holds),
            ([Holds, Holds, Fails], Fails),
            ([Stands, Stands, Fails], Stands),
            ([Stands, Holds, Holds], Fails),
        ] {
            assert_eq!(judge_transaction(&writes, &judgements), expected, "{judgements:?}");
        }
    }
}
