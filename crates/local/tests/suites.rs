//! The conformance suites themselves: adapters that do everything that a port allows pass them, and adapters with one
//! planted defect each do not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use tidegate_engine::conformance::{self, Trial, Violation};
use tidegate_engine::ports::{
    BlobMeta, Blobs, Expect, InParts, Key, Method, Outgoing, Page, PortError, Presigned, Put, Queue, Received, Record,
    Store, Write,
};
use tidegate_local::{Database, DirBlobs, QueueSettings, SqliteQueue, SqliteStore, StateDir, SystemClock};

/// What is wrong with an adapter, or only unpleasant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// Every third answer is lost after the call had its effect, and every fourth call is refused for now.
    LosesAnswers,
    /// Messages come twice, out of order, late, and again after they were deleted.
    IsNasty,
    // Defects of stores.
    IgnoresConditions,
    ConflictsWithItself,
    WritesHalfTransactions,
    IgnoresChecks,
    ListsPartitionsByPrefix,
    ForgetsTheLastRecord,
    AcceptsEverySize,
    ReadsLate,
    // Defects of queues.
    DropsMessages,
    DeletesWhenReceived,
    IgnoresDelays,
    MixesQueues,
    NeverGivesUp,
    BringsBackForEver,
    AcceptsEveryCharacter,
    // Defects of blobs.
    ReplacesWhatIsThere,
    IgnoresRanges,
    ListsWithoutOrder,
    AcceptsEveryKey,
    RefusesToDeleteTwice,
}

#[derive(Debug)]
struct Odd<T> {
    inner: T,
    way: Way,
    calls: AtomicU64,
    /// What the last read of a record saw.
    seen: Mutex<HashMap<Key, Option<Record>>>,
}

impl<T> Odd<T> {
    fn new(inner: T, way: Way) -> Self {
        Self { inner, way, calls: AtomicU64::new(0), seen: Mutex::default() }
    }

    fn is(&self, way: Way) -> bool {
        self.way == way
    }

    fn call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes a call, unless it is refused, and loses its answer now and then.
    async fn through<R>(&self, call: impl Future<Output = Result<R, PortError>>) -> Result<R, PortError> {
        let count = self.call();
        if !self.is(Way::LosesAnswers) {
            return call.await;
        }
        if count % 4 == 3 {
            return Err(PortError::Retry { after: Some(Duration::from_millis(1)), why: "busy".to_owned() });
        }
        let answer = call.await;
        if count % 3 == 2 {
            return Err(PortError::Retry { after: Some(Duration::from_millis(1)), why: "lost".to_owned() });
        }
        answer
    }
}

#[async_trait]
impl Store for Odd<SqliteStore> {
    async fn get(&self, key: &Key) -> Result<Option<Record>, PortError> {
        let found = self.through(self.inner.get(key)).await?;
        if !self.is(Way::ReadsLate) {
            return Ok(found);
        }
        let before = self.seen.lock().unwrap().insert(key.clone(), found.clone());
        Ok(before.unwrap_or(found))
    }

    async fn put_if(&self, mut put: Put) -> Result<(), PortError> {
        match self.way {
            Way::IgnoresConditions => put.expect = Expect::Any,
            Way::AcceptsEverySize if put.key.sk.is_empty() => return Ok(()),
            Way::ConflictsWithItself => {
                let there = self.inner.get(&put.key).await?;
                if there.is_some_and(|record| record.version == put.version) {
                    return Err(PortError::Conflict);
                }
            }
            _ => {}
        }
        self.through(self.inner.put_if(put)).await
    }

    async fn transact(&self, mut writes: Vec<Write>) -> Result<(), PortError> {
        match self.way {
            Way::WritesHalfTransactions if writes.len() > 1 => {
                for write in writes {
                    self.inner.transact(vec![write]).await?;
                }
                return Ok(());
            }
            Way::IgnoresChecks => {
                writes.retain(|write| !matches!(write, Write::Check { .. }));
                if writes.is_empty() {
                    return Ok(());
                }
            }
            _ => {}
        }
        self.through(self.inner.transact(writes)).await
    }

    async fn query(&self, pk: &str, sk_prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, PortError> {
        let mut page = self.through(self.inner.query(pk, sk_prefix, after, limit)).await?;
        if self.is(Way::ForgetsTheLastRecord) && !page.more {
            page.records.pop();
        }
        if self.is(Way::ListsPartitionsByPrefix) {
            page.records.extend(self.inner.query(&format!("{pk}0"), sk_prefix, after, limit).await?.records);
        }
        Ok(page)
    }

    async fn delete_if(&self, key: &Key, expect: Expect) -> Result<(), PortError> {
        self.through(self.inner.delete_if(key, expect)).await
    }
}

#[async_trait]
impl Queue for Odd<SqliteQueue> {
    async fn send(&self, queue: &str, mut message: Outgoing) -> Result<(), PortError> {
        let count = self.call();
        match self.way {
            Way::IsNasty => {
                if count.is_multiple_of(5) {
                    self.inner.send(queue, message.clone()).await?;
                }
                if message.delay.is_zero() {
                    message.group = None;
                    message.delay = Duration::from_millis(count * 37 % 200);
                }
            }
            Way::DropsMessages if count % 50 == 49 => return Ok(()),
            Way::IgnoresDelays => message.delay = Duration::ZERO,
            Way::AcceptsEveryCharacter => message.body = message.body.replace(['\0', '\u{1b}', '\u{FFFF}'], "?"),
            _ => {}
        }
        let queue = if self.is(Way::MixesQueues) { "q" } else { queue };
        self.through(self.inner.send(queue, message)).await
    }

    async fn receive(&self, queue: &str, max: usize, wait: Duration) -> Result<Vec<Received>, PortError> {
        let queue = if self.is(Way::MixesQueues) { "q" } else { queue };
        let received = self.through(self.inner.receive(queue, max, wait)).await?;
        if self.is(Way::DeletesWhenReceived) {
            for message in &received {
                self.inner.delete(queue, &message.receipt).await?;
            }
        }
        Ok(received)
    }

    async fn delete(&self, queue: &str, receipt: &str) -> Result<(), PortError> {
        let queue = if self.is(Way::MixesQueues) { "q" } else { queue };
        let forgotten = self.call() % 7 == 6;
        if self.is(Way::BringsBackForEver) || (self.is(Way::IsNasty) && forgotten) {
            return self.inner.extend(queue, receipt, Duration::from_millis(100)).await;
        }
        self.through(self.inner.delete(queue, receipt)).await
    }

    async fn extend(&self, queue: &str, receipt: &str, visibility: Duration) -> Result<(), PortError> {
        let queue = if self.is(Way::MixesQueues) { "q" } else { queue };
        self.through(self.inner.extend(queue, receipt, visibility)).await
    }

    async fn depth(&self, queue: &str) -> Result<u64, PortError> {
        self.through(self.inner.depth(queue)).await
    }
}

#[async_trait]
impl Blobs for Odd<DirBlobs> {
    async fn put(&self, key: &str, body: Bytes) -> Result<(), PortError> {
        if self.is(Way::AcceptsEveryKey) && key.contains(' ') {
            return Ok(());
        }
        self.through(self.inner.put(key, body)).await
    }

    async fn put_if_absent(&self, key: &str, body: Bytes) -> Result<bool, PortError> {
        if self.is(Way::ReplacesWhatIsThere) {
            let there = self.inner.get(key, None).await?.is_some();
            self.inner.put(key, body).await?;
            return Ok(!there);
        }
        self.through(self.inner.put_if_absent(key, body)).await
    }

    async fn get(&self, key: &str, range: Option<std::ops::Range<u64>>) -> Result<Option<Bytes>, PortError> {
        let range = if self.is(Way::IgnoresRanges) { None } else { range };
        self.through(self.inner.get(key, range)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<BlobMeta>, PortError> {
        let mut page = self.through(self.inner.list(prefix, after, limit)).await?;
        if self.is(Way::ListsWithoutOrder) {
            page.reverse();
        }
        Ok(page)
    }

    async fn delete(&self, key: &str) -> Result<(), PortError> {
        if self.is(Way::RefusesToDeleteTwice) && self.inner.get(key, None).await?.is_none() {
            return Err(PortError::reject("not there"));
        }
        self.through(self.inner.delete(key)).await
    }

    async fn presign(&self, method: Method, key: &str, lifetime: Duration) -> Result<Presigned, PortError> {
        self.through(self.inner.presign(method, key, lifetime)).await
    }

    async fn begin_parts(&self, key: &str) -> Result<String, PortError> {
        self.through(self.inner.begin_parts(key)).await
    }

    async fn presign_part(
        &self,
        upload: InParts<'_>,
        number: u32,
        from: u64,
        max_bytes: u64,
        lifetime: Duration,
    ) -> Result<Presigned, PortError> {
        self.through(self.inner.presign_part(upload, number, from, max_bytes, lifetime)).await
    }

    async fn complete_parts(&self, upload: InParts<'_>, tags: &[String]) -> Result<bool, PortError> {
        self.through(self.inner.complete_parts(upload, tags)).await
    }

    async fn abort_parts(&self, upload: InParts<'_>) -> Result<(), PortError> {
        self.through(self.inner.abort_parts(upload)).await
    }
}

type Outcome = Result<conformance::Report, Violation>;

fn database(directory: &tempfile::TempDir) -> Arc<Database> {
    Database::open(&directory.path().join("db")).unwrap()
}

async fn try_store(way: Way) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let store = Odd::new(SqliteStore::new(database(&directory)), way);
    conformance::store::suite(&Trial::new(&SystemClock, "t", Duration::from_secs(20)), &store).await
}

async fn try_queue(way: Way, patience: Duration) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let visibility = Duration::from_millis(300);
    let max_receives = if matches!(way, Way::NeverGivesUp | Way::BringsBackForEver) { u32::MAX } else { 20 };
    let settings = QueueSettings { visibility, max_receives };
    let queue = Odd::new(SqliteQueue::open(database(&directory), settings).await.unwrap(), way);
    let subject = conformance::queue::Subject { queue: &queue, name: "q", other: "r" };
    conformance::queue::suite(&Trial::new(&SystemClock, "t", patience), subject).await
}

async fn try_blobs(way: Way) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::serve(directory.path()).unwrap();
    let blobs = DirBlobs::open(&state).unwrap();
    blobs.set_base_url("http://127.0.0.1:1");
    let trial = Trial::new(&SystemClock, "t", Duration::from_secs(20));
    conformance::blobs::suite(&trial, &Odd::new(blobs, way)).await
}

#[expect(clippy::print_stdout, reason = "the counts are part of the answer")]
fn passes(outcome: Outcome, counts: &[&str]) {
    let report = outcome.unwrap_or_else(|violation| panic!("{violation}"));
    println!("{report}");
    for count in counts {
        assert!(report.count(count) > 0, "no `{count}` was seen: {report}");
    }
}

fn fails(way: Way, outcome: &Outcome, property: &str) {
    match outcome {
        Err(violation) => assert_eq!(violation.property, property, "{way:?}: {violation}"),
        Ok(_) => panic!("an adapter that {way:?} passes"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn adapters_that_lose_answers_pass() {
    let patience = Duration::from_secs(60);
    let (store, queue, blobs) = tokio::join!(
        try_store(Way::LosesAnswers),
        try_queue(Way::LosesAnswers, patience),
        try_blobs(Way::LosesAnswers)
    );
    passes(store, &["retries", "conflicts"]);
    passes(queue, &["retries", "duplicates"]);
    passes(blobs, &["retries"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_the_worst_legal_behaviour_passes() {
    let seen = ["duplicates", "received after delete", "out of order", "out of order in a group"];
    passes(try_queue(Way::IsNasty, Duration::from_secs(60)).await, &seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn defects_of_stores_are_found() {
    let defects = [
        (Way::IgnoresConditions, "absent_holds_once"),
        (Way::ConflictsWithItself, "a_repeated_put_succeeds"),
        (Way::WritesHalfTransactions, "transactions_are_whole"),
        (Way::IgnoresChecks, "transactions_are_whole"),
        (Way::ListsPartitionsByPrefix, "listings_stay_in_their_partition"),
        (Way::ForgetsTheLastRecord, "listings_are_complete_and_ordered"),
        (Way::AcceptsEverySize, "sizes_are_bounded"),
        (Way::ReadsLate, "what_was_written_is_read"),
    ];
    let outcomes = join_all(defects.iter().map(|(way, _)| try_store(*way))).await;
    for ((way, property), outcome) in defects.iter().zip(&outcomes) {
        fails(*way, outcome, property);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defects_of_queues_are_found() {
    // Long enough for what is slow, short enough to wait for what never comes.
    let patience = Duration::from_secs(6);
    let defects = [
        (Way::DropsMessages, "what_was_deleted_ends"),
        (Way::DeletesWhenReceived, "what_is_not_deleted_comes_again"),
        (Way::IgnoresDelays, "delays_are_kept"),
        (Way::MixesQueues, "queues_do_not_mix"),
        (Way::NeverGivesUp, "what_nobody_can_handle_moves_to_the_dead_letters"),
        (Way::BringsBackForEver, "what_was_deleted_ends"),
        (Way::AcceptsEveryCharacter, "bounds_are_kept"),
    ];
    let outcomes = join_all(defects.iter().map(|(way, _)| try_queue(*way, patience))).await;
    for ((way, property), outcome) in defects.iter().zip(&outcomes) {
        fails(*way, outcome, property);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defects_of_blobs_are_found() {
    let defects = [
        (Way::ReplacesWhatIsThere, "put_if_absent_writes_once"),
        (Way::IgnoresRanges, "ranges_are_cut"),
        (Way::ListsWithoutOrder, "listings_are_complete_and_ordered"),
        (Way::AcceptsEveryKey, "only_keys_are_accepted"),
        (Way::RefusesToDeleteTwice, "deleting_is_repeatable"),
    ];
    let outcomes = join_all(defects.iter().map(|(way, _)| try_blobs(*way))).await;
    for ((way, property), outcome) in defects.iter().zip(&outcomes) {
        fails(*way, outcome, property);
    }
}
