//! One SQLite database with the records and the queues of a server.

mod database;
mod queue;
mod queue_sql;
mod readers;
mod store;
mod writer;

pub use database::Database;
pub use queue::{QueueSettings, SqliteQueue};
pub use store::SqliteStore;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use tidegate_engine::ports::{Expect, Key, Outgoing, PortError, Put, Queue, Store, Version};

    use super::writer::Lasting;
    use super::*;

    fn put(sk: &str, bytes: usize) -> Put {
        Put {
            key: Key::new("p", sk),
            body: Bytes::from(vec![b'x'; bytes]),
            expect: Expect::Absent,
            version: Version(1),
        }
    }

    /// Makes the disk of this database end after so many pages; 0 takes the limit away.
    async fn limit_pages(database: &Database, pages: u32) {
        let limit = move |connection: &rusqlite::Connection| {
            let used: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            let limit = if pages == 0 { 1_000_000 } else { used + pages };
            connection.pragma_update_and_check(None, "max_page_count", limit, |_| Ok(()))?;
            Ok(())
        };
        database.writer().unwrap().write(Lasting::Process, limit).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_disk_is_said_and_harms_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("db")).unwrap();
        let store = SqliteStore::new(Arc::clone(&database));
        let queue = SqliteQueue::open(Arc::clone(&database), QueueSettings::default()).await.unwrap();
        store.put_if(put("before", 10_000)).await.unwrap();
        queue.send("q", Outgoing { body: "before".to_owned(), ..Outgoing::default() }).await.unwrap();
        limit_pages(&database, 8).await;
        // At a time with others, which must not suffer.
        let large = (0..4).map(|n| store.put_if(put(&format!("large{n}"), 300_000)));
        let small = (0..4).map(|n| store.put_if(put(&format!("small{n}"), 10)));
        let (large, small) = tokio::join!(futures_util::future::join_all(large), futures_util::future::join_all(small));
        for answer in large {
            let error = answer.unwrap_err();
            assert!(matches!(&error, PortError::Fatal { why } if why.contains("the disk is full")), "{error}");
        }
        assert_eq!(small, [Ok(()), Ok(()), Ok(()), Ok(())]);
        let received = queue.receive("q", 1, Duration::ZERO).await.unwrap();
        assert_eq!(received[0].body, "before");
        limit_pages(&database, 0).await;
        store.put_if(put("large0", 300_000)).await.unwrap();
        drop((store, queue, database));
        let database = Database::open(&directory.path().join("db")).unwrap();
        let sound: String = database
            .readers()
            .read(|connection| connection.pragma_query_value(None, "integrity_check", |row| row.get(0)))
            .await
            .unwrap();
        assert_eq!(sound, "ok");
        let store = SqliteStore::new(database);
        for (sk, there) in [("before", true), ("small3", true), ("large0", true), ("large1", false)] {
            assert_eq!(store.get(&Key::new("p", sk)).await.unwrap().is_some(), there, "{sk}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_asked_for_is_written_before_the_database_closes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let database = Database::open(&path).unwrap();
        let store = SqliteStore::new(Arc::clone(&database));
        // Asked for by somebody who does not wait.
        let writes: Vec<_> = (0..50)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { store.put_if(put(&format!("{n:02}"), 100)).await })
            })
            .collect();
        for write in writes {
            write.await.unwrap().unwrap();
        }
        drop((store, database));
        let reader = SqliteStore::new(Database::open_read_only(&path).unwrap());
        assert_eq!(reader.query("p", "", None, 100).await.unwrap().records.len(), 50);
        let error = reader.put_if(put("more", 1)).await.unwrap_err();
        assert!(matches!(&error, PortError::Reject { why } if why.contains("reading only")), "{error}");
    }
}
