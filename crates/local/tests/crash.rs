//! What was answered survives `kill -9`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tidegate_engine::ports::{Blobs, Expect, Key, Outgoing, Put, Queue, Store, Version, Write as Change};
use tidegate_local::{Database, DirBlobs, QueueSettings, SqliteQueue, SqliteStore, StateDir, StateError};

const STATE: &str = "TIDEGATE_TEST_STATE";
const WRITERS: u32 = 6;

struct Server {
    store: SqliteStore,
    queue: SqliteQueue,
    blobs: DirBlobs,
    _state: StateDir,
}

impl Server {
    async fn open(path: &Path) -> Self {
        let state = StateDir::serve(path).unwrap();
        let database = Database::open(&state.database()).unwrap();
        Self {
            store: SqliteStore::new(database.clone()),
            queue: SqliteQueue::open(database, QueueSettings::default()).await.unwrap(),
            blobs: DirBlobs::open(&state).unwrap(),
            _state: state,
        }
    }
}

fn body(writer: u32, n: u32) -> Bytes {
    // Some over a page of the database.
    format!("{writer}/{n}/").repeat(1 + usize::try_from(n % 7).unwrap() * 200).into()
}

fn put(writer: u32, n: u32, place: &str) -> Put {
    Put {
        key: Key::new(format!("{place}/{writer}"), format!("{n:06}")),
        body: body(writer, n),
        expect: Expect::Absent,
        version: Version(u128::from(n) + 1),
    }
}

/// Runs as the process that is killed: several writers at a time, each saying what was answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is a process of the test below"]
async fn writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(STATE) else { return };
    let server = Server::open(Path::new(&path)).await;
    let writers = (0..WRITERS).map(|writer| {
        let server = &server;
        async move {
            for n in 0.. {
                server.store.put_if(put(writer, n, "alone")).await.unwrap();
                let both = vec![Change::Put(put(writer, n, "left")), Change::Put(put(writer, n, "right"))];
                server.store.transact(both).await.unwrap();
                let message = Outgoing { body: format!("{writer}/{n}"), ..Outgoing::default() };
                server.queue.send("ingest", message).await.unwrap();
                if n % 5 == 0 {
                    server.blobs.put(&format!("b/{writer}/{n}"), body(writer, n)).await.unwrap();
                    // In hand when the end comes.
                    server.queue.receive("ingest", 2, Duration::ZERO).await.unwrap();
                }
                let mut out = std::io::stdout().lock();
                writeln!(out, "answered {writer} {n}").unwrap();
                out.flush().unwrap();
            }
        }
    });
    futures_util::future::join_all(writers).await;
}

fn start(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writes_until_it_is_killed", "--ignored", "--nocapture"])
        .env(STATE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the server after so many answers. Returns the last answered number of each writer.
fn kill_after(path: &Path, answers: usize) -> Vec<Option<u32>> {
    let mut child = start(path);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = vec![None; usize::try_from(WRITERS).unwrap()];
    let mut count = 0;
    let mut note = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["answered", writer, n] = words[..] {
            last[writer.parse::<usize>().unwrap()] = Some(n.parse().unwrap());
            count += 1;
        }
        count
    };
    while note(&lines.next().unwrap().unwrap()) < answers {}
    child.kill().unwrap();
    // What was answered and not read yet; the last line may be cut.
    for line in lines.map_while(Result::ok) {
        note(&line);
    }
    child.wait().unwrap();
    last
}

async fn check_records(store: &SqliteStore, answered: &[Option<u32>]) {
    for (writer, last) in (0..).zip(answered) {
        for n in 0..last.map_or(0, |last| last + 1) {
            for place in ["alone", "left", "right"] {
                let put = put(writer, n, place);
                let record = store.get(&put.key).await.unwrap();
                assert_eq!(record.map(|record| record.body), Some(put.body), "{} was lost", put.key);
            }
        }
        // What was not answered is there as a whole or not at all.
        let next = last.map_or(0, |last| last + 1);
        let [left, right] = ["left", "right"].map(|place| put(writer, next, place).key);
        let (left, right) = (store.get(&left).await.unwrap(), store.get(&right).await.unwrap());
        assert_eq!(left.is_some(), right.is_some(), "half of a transaction was written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("state");
    for answers in [1, 60, 400] {
        // Each round starts anew: the writers begin at 0.
        let _nothing_there = std::fs::remove_dir_all(&path);
        let answered = kill_after(&path, answers);
        // A client reads what the dead server left, before another server has recovered it.
        let state = StateDir::read(&path).unwrap();
        assert_eq!(state.server(), None);
        let reader = Database::open_read_only(&state.database()).unwrap();
        check_records(&SqliteStore::new(reader), &answered).await;

        let server = Server::open(&path).await;
        check_records(&server.store, &answered).await;
        let mut missing: std::collections::BTreeSet<String> = (0..WRITERS)
            .zip(&answered)
            .flat_map(|(writer, last)| (0..last.map_or(0, |last| last + 1)).map(move |n| format!("{writer}/{n}")))
            .collect();
        // All at once: also those that the dead server had in hand.
        loop {
            let received = server.queue.receive("ingest", 10, Duration::ZERO).await.unwrap();
            if received.is_empty() {
                break;
            }
            for message in received {
                missing.remove(&message.body);
                server.queue.delete("ingest", &message.receipt).await.unwrap();
            }
        }
        assert!(missing.is_empty(), "messages were lost: {missing:?}");
        for (writer, last) in (0..).zip(&answered) {
            for n in (0..last.map_or(0, |last| last + 1)).step_by(5) {
                let found = server.blobs.get(&format!("b/{writer}/{n}"), None).await.unwrap();
                assert_eq!(found, Some(body(writer, n)), "blob b/{writer}/{n}");
            }
        }
        assert_eq!(std::fs::read_dir(path.join("blobs/tmp")).unwrap().count(), 0);
    }
}

#[test]
fn the_lock_of_a_living_process_holds_and_that_of_a_dead_one_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = start(directory.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("answered") {}
    let error = StateDir::serve(directory.path()).unwrap_err();
    let StateError::InUse { holder, .. } = &error else { panic!("{error}") };
    assert_eq!(*holder, Some(child.id()));
    assert_eq!(StateDir::read(directory.path()).unwrap().server(), Some(Some(child.id())));
    child.kill().unwrap();
    child.wait().unwrap();
    StateDir::serve(directory.path()).unwrap();
}
