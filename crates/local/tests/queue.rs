//! What the embedded queue does beyond the port, and what callers see at its edges.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::{Duration, Instant};

use tidegate_engine::ports::{Outgoing, Queue, Received};
use tidegate_local::{Database, QueueSettings, SqliteQueue};

const LONG: Duration = Duration::from_secs(20);

async fn open(path: &Path, settings: QueueSettings) -> SqliteQueue {
    SqliteQueue::open(Database::open(&path.join("db")).unwrap(), settings).await.unwrap()
}

fn short_visibility() -> QueueSettings {
    QueueSettings { visibility: Duration::from_millis(100), ..QueueSettings::default() }
}

fn in_group(body: &str, group: &str) -> Outgoing {
    Outgoing { body: body.to_owned(), group: Some(group.to_owned()), ..Outgoing::default() }
}

fn alone(body: &str) -> Outgoing {
    Outgoing { body: body.to_owned(), ..Outgoing::default() }
}

async fn now(queue: &SqliteQueue) -> Vec<Received> {
    queue.receive("q", 10, Duration::ZERO).await.unwrap()
}

fn bodies(received: &[Received]) -> Vec<&str> {
    received.iter().map(|message| message.body.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_come_in_order_one_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path(), QueueSettings::default()).await;
    for (body, group) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a"), ("b2", "b")] {
        queue.send("q", in_group(body, group)).await.unwrap();
    }
    queue.send("q", alone("x")).await.unwrap();
    let first = now(&queue).await;
    assert_eq!(bodies(&first), ["a1", "b1", "x"]);
    assert_eq!(bodies(&now(&queue).await), [""; 0]);
    queue.delete("q", &first[1].receipt).await.unwrap();
    let second = now(&queue).await;
    assert_eq!(bodies(&second), ["b2"]);
    // Handed back, it is again before the others of its group.
    queue.extend("q", &first[0].receipt, Duration::ZERO).await.unwrap();
    let again = now(&queue).await;
    assert_eq!(bodies(&again), ["a1"]);
    assert_eq!(again[0].receive_count, 2);
    // The receipt of before is worth nothing any more.
    queue.delete("q", &first[0].receipt).await.unwrap();
    assert_eq!(bodies(&now(&queue).await), [""; 0]);
    queue.delete("q", &again[0].receipt).await.unwrap();
    assert_eq!(bodies(&now(&queue).await), ["a2"]);
    assert_eq!(queue.depth("q").await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_wakes_those_who_wait_for_the_group() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path(), QueueSettings::default()).await;
    for body in ["1", "2"] {
        queue.send("q", in_group(body, "g")).await.unwrap();
    }
    let first = now(&queue).await;
    let (waited, ()) = tokio::join!(queue.receive("q", 1, LONG), async {
        tokio::task::yield_now().await;
        queue.delete("q", &first[0].receipt).await.unwrap();
    });
    assert_eq!(bodies(&waited.unwrap()), ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_time_is_over_wakes_those_who_wait() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path(), short_visibility()).await;
    queue.send("q", alone("1")).await.unwrap();
    let first = now(&queue).await;
    let start = Instant::now();
    let again = queue.receive("q", 1, LONG).await.unwrap();
    assert_eq!(bodies(&again), ["1"]);
    assert_eq!(again[0].receive_count, 2);
    assert!(start.elapsed() < LONG);
    queue.delete("q", &first[0].receipt).await.unwrap();
    queue.extend("q", &again[0].receipt, Duration::from_secs(600)).await.unwrap();
    assert_eq!(queue.depth("q").await.unwrap(), 1, "a stale receipt removed it");
    assert_eq!(bodies(&queue.receive("q", 1, Duration::from_millis(300)).await.unwrap()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path(), QueueSettings::default()).await;
    // In every moment between the look and the answer.
    for round in 0..200_u64 {
        queue.send("q", alone(&round.to_string())).await.unwrap();
        let hung_up = tokio::time::timeout(Duration::from_micros(round * 3), queue.receive("q", 1, LONG)).await;
        let message = match hung_up {
            Ok(received) => received.unwrap().remove(0),
            Err(_) => queue.receive("q", 1, LONG).await.unwrap().remove(0),
        };
        assert_eq!(message.body, round.to_string());
        assert_eq!(message.receive_count, 1);
        queue.delete("q", &message.receipt).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_everything_is_visible_and_old_receipts_are_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path(), QueueSettings::default()).await;
    queue.send("q", alone("in hand")).await.unwrap();
    queue.send("q", in_group("g1", "g")).await.unwrap();
    queue.send("q", in_group("g2", "g")).await.unwrap();
    let delayed = Outgoing { delay: Duration::from_secs(600), ..alone("delayed") };
    queue.send("q", delayed).await.unwrap();
    let before = now(&queue).await;
    assert_eq!(bodies(&before), ["in hand", "g1"]);
    drop(queue);
    let queue = open(directory.path(), QueueSettings::default()).await;
    for message in &before {
        queue.delete("q", &message.receipt).await.unwrap();
    }
    let after = now(&queue).await;
    assert_eq!(bodies(&after), ["in hand", "g1"]);
    assert_eq!(after[0].receive_count, 2);
    for message in &after {
        queue.delete("q", &message.receipt).await.unwrap();
    }
    assert_eq!(bodies(&now(&queue).await), ["g2"]);
    assert_eq!(queue.depth("q").await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_let_the_next_of_their_group_come_up() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path(), QueueSettings { max_receives: 3, ..short_visibility() }).await;
    for body in ["poison", "next"] {
        queue.send("q", in_group(body, "g")).await.unwrap();
    }
    for count in 1..=3 {
        let received = queue.receive("q", 10, LONG).await.unwrap();
        assert_eq!((bodies(&received), received[0].receive_count), (vec!["poison"], count));
    }
    let (next, dead) = tokio::join!(queue.receive("q", 10, LONG), queue.receive("q-dead", 10, LONG));
    assert_eq!(bodies(&next.unwrap()), ["next"]);
    let dead = dead.unwrap();
    assert_eq!((bodies(&dead), dead[0].receive_count), (vec!["poison"], 1));
    // There it stays, however often it is looked at.
    for _ in 0..5 {
        assert_eq!(bodies(&queue.receive("q-dead", 10, LONG).await.unwrap()), ["poison"]);
    }
    assert_eq!(queue.depth("q-dead-dead").await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_of_others_and_nonsense_are_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path(), QueueSettings::default()).await;
    queue.send("q", alone("1")).await.unwrap();
    let receipt = now(&queue).await.remove(0).receipt;
    for wrong in ["", "x", "..", "0.1.1", &format!("{receipt}.1"), &receipt.replace('.', ".9")] {
        queue.delete("q", wrong).await.unwrap();
        queue.extend("q", wrong, Duration::ZERO).await.unwrap();
    }
    // The right one, in another queue.
    queue.delete("other", &receipt).await.unwrap();
    assert_eq!(queue.depth("q").await.unwrap(), 1);
    queue.delete("q", &receipt).await.unwrap();
    assert_eq!(queue.depth("q").await.unwrap(), 0);
}
