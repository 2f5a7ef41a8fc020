//! Measures the embedded adapters on a directory: `cargo run --release -p tidegate-local --example latency -- DIR`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures_util::future::try_join_all;
use tidegate_engine::ports::{Blobs, Expect, Key, Outgoing, Put, Queue, Store, Version};
use tidegate_local::{Database, DirBlobs, QueueSettings, SqliteQueue, SqliteStore, StateDir};

fn main() -> anyhow::Result<()> {
    let path: PathBuf = std::env::args_os().nth(1).context("name a new directory")?.into();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(path))
}

fn show(what: &str, mut spans: Vec<Duration>) {
    spans.sort();
    let at = |part: usize| spans.get(spans.len() * part / 100).copied().unwrap_or_default();
    let line = format!("{what:<44} n {:>6}  median {:>9.1?}  p99 {:>9.1?}", spans.len(), at(50), at(99));
    let _closed = std::io::Write::write_all(&mut std::io::stdout(), format!("{line}\n").as_bytes());
}

async fn timed<T>(spans: &mut Vec<Duration>, work: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let value = work.await;
    spans.push(start.elapsed());
    value
}

fn put(pk: &str, n: usize, bytes: usize) -> Put {
    Put {
        key: Key::new(pk, format!("{n:08}")),
        body: vec![b'x'; bytes].into(),
        expect: Expect::Absent,
        version: Version(1),
    }
}

async fn measure(path: PathBuf) -> anyhow::Result<()> {
    let state = StateDir::serve(path)?;
    let mut spans = Vec::new();
    for _ in 0..500 {
        let start = Instant::now();
        state.write_private("probe", b"x")?;
        spans.push(start.elapsed());
    }
    show("file: write, fsync, rename, fsync", spans);

    let database = Database::open(&state.database())?;
    let store = SqliteStore::new(database.clone());
    let queue = SqliteQueue::open(database, QueueSettings::default()).await?;
    let mut spans = Vec::new();
    for n in 0..2_000 {
        timed(&mut spans, store.put_if(put("one", n, 500))).await?;
    }
    show("store: lone put of 500 B", spans);

    let mut spans = Vec::new();
    for n in 0..2_000 {
        timed(&mut spans, store.get(&Key::new("one", format!("{n:08}")))).await?;
    }
    show("store: get", spans);

    let start = Instant::now();
    let writers = (0..32).map(|writer| {
        let store = &store;
        async move {
            let mut spans = Vec::new();
            for n in 0..300 {
                timed(&mut spans, store.put_if(put(&format!("w{writer}"), n, 500))).await?;
            }
            anyhow::Ok(spans)
        }
    });
    let spans: Vec<Duration> = try_join_all(writers).await?.into_iter().flatten().collect();
    let rate = spans.len() as f64 / start.elapsed().as_secs_f64();
    show(&format!("store: put by 32 writers ({rate:.0}/s)"), spans);

    let (mut sends, mut receives, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..1_000 {
        let message = Outgoing { body: format!("{n}"), group: Some("g".to_owned()), ..Outgoing::default() };
        timed(&mut sends, queue.send("doorbell", message)).await?;
        let received = timed(&mut receives, queue.receive("doorbell", 10, Duration::from_secs(1))).await?;
        for message in received {
            timed(&mut deletes, queue.delete("doorbell", &message.receipt)).await?;
        }
    }
    show("queue: send", sends);
    show("queue: receive", receives);
    show("queue: delete", deletes);

    let mut spans = Vec::new();
    for n in 0..500 {
        let message = Outgoing { body: format!("{n}"), ..Outgoing::default() };
        let receive = async {
            let received = queue.receive("ring", 1, Duration::from_secs(5)).await?;
            for message in received {
                queue.delete("ring", &message.receipt).await?;
            }
            anyhow::Ok(())
        };
        let send = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            queue.send("ring", message).await?;
            anyhow::Ok(Instant::now())
        };
        let (received, sent) = tokio::join!(async { receive.await.map(|()| Instant::now()) }, send);
        spans.push(received?.saturating_duration_since(sent?));
    }
    show("queue: sent to a waiting receiver to deleted", spans);

    let blobs = DirBlobs::open(&state)?;
    for size in [4_096, 65_536, 1 << 20] {
        let body = Bytes::from(vec![b'x'; size]);
        let mut spans = Vec::new();
        for n in 0..300 {
            timed(&mut spans, blobs.put(&format!("logs/{size}/{n:06}"), body.clone())).await?;
        }
        show(&format!("blobs: put of {size} B"), spans);
    }
    Ok(())
}
