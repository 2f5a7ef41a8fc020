//! Uploads of large artifacts that break, and of files that do not hold still.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use support::*;
use tidegate_core::attempt::Cause;
use tidegate_core::wire::gate::artifact_key;

const MIB: usize = 1 << 20;

/// Stands between an agent and a store: counts what is sent there, and cuts every connection once.
struct Line {
    base: String,
    sent: Arc<AtomicU64>,
}

impl Line {
    fn to(base: &str, cut_after: u64) -> Self {
        let store = base.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let sent = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&sent);
        std::thread::spawn(move || {
            for agent in listener.incoming() {
                let (agent, store) = (agent.unwrap(), TcpStream::connect(&store).unwrap());
                let (mut back, mut to) = (store.try_clone().unwrap(), agent.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut back, &mut to));
                let count = Arc::clone(&count);
                std::thread::spawn(move || forward(agent, store, &count, cut_after));
            }
        });
        Self { base, sent }
    }
}

/// The connection that is the first over the mark ends, and so does each that was made before it.
fn forward(mut agent: TcpStream, mut store: TcpStream, count: &AtomicU64, cut_after: u64) {
    let mut buffer = vec![0; 16 * 1024];
    let early = count.load(Ordering::SeqCst) < cut_after;
    while let Ok(read @ 1..) = agent.read(&mut buffer) {
        let sum = count.fetch_add(read as u64, Ordering::SeqCst) + read as u64;
        if (early && sum >= cut_after) || store.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    for stream in [agent, store] {
        let _gone_already = stream.shutdown(Shutdown::Both);
    }
}

fn content(length: usize) -> Vec<u8> {
    (0..=250_u8).cycle().take(length).collect()
}

/// A job that keeps `big.bin`, and where the file waits for it to be copied.
fn keeps_big(world: &World, content: &[u8]) -> tidegate_core::wire::gate::Assignment {
    let source = world.path("source");
    std::fs::write(&source, content).unwrap();
    let mut assignment = job(&format!("cp {} big.bin", source.display()));
    assignment.artifact_paths = vec!["big.bin".to_owned()];
    assignment
}

#[test]
fn an_upload_that_breaks_goes_on_where_it_broke() {
    let world = World::new();
    let parts = 12;
    let content = content(parts * MIB - 5);
    let cut_after = 10 * MIB + MIB / 2;
    let line = Line::to(&world.gate.with(|m| m.base.clone()), cut_after as u64);
    world.gate.with(|m| (m.base, m.part_bytes) = (line.base.clone(), Some(MIB as u64)));
    let outcome = world.run(keeps_big(&world, &content)).outcome;
    assert_eq!((outcome.cause, outcome.exit_status), (Cause::Exit, Some(0)), "{:?}", outcome.detail);
    world.gate.with(|m| {
        assert!(m.listed);
        assert!(m.objects[&artifact_key(&attempt(1), 0)] == content, "what was put together is not the file");
        assert_eq!(m.in_parts, (1, 0, 1), "begun, dropped, completed");
        let mut put: Vec<&String> = m.put.iter().filter(|key| key.starts_with("parts/")).collect();
        put.sort();
        let once = put.len();
        put.dedup();
        assert_eq!((once, put.len()), (parts, parts), "a part that was there was sent again: {put:?}");
    });
    // Four parts were on their way at most; from the start it would be twelve.
    let sent = usize::try_from(line.sent.load(Ordering::SeqCst)).unwrap();
    assert!(sent > cut_after && sent < (parts + 4) * MIB + MIB / 2, "{sent} bytes were sent");
}

#[test]
fn an_upload_that_is_given_up_is_dropped() {
    let world = World::new();
    let path = world.path("work");
    world.gate.with(|m| {
        m.part_bytes = Some(MIB as u64);
        m.meanwhile = Some(Box::new(move || std::fs::remove_file(find(&path)).unwrap()));
    });
    let outcome = world.run(keeps_big(&world, &content(3 * MIB))).outcome;
    assert_eq!((outcome.cause, outcome.exit_status), (Cause::Exit, Some(1)));
    assert!(outcome.detail.unwrap().contains("cannot read `big.bin`"));
    world.gate.with(|m| assert_eq!((m.in_parts, m.listed), ((1, 1, 0), false)));
}

#[test]
fn a_file_that_changes_while_it_is_uploaded_is_an_error() {
    type Change = fn(&Path);
    let rewritten: Change = |path| {
        let length = std::fs::metadata(path).unwrap().len();
        std::fs::write(path, vec![b'x'; usize::try_from(length).unwrap()]).unwrap();
    };
    let shorter: Change = |path| std::fs::write(path, "x").unwrap();
    for change in [rewritten, shorter] {
        for (size, begun) in [(3 * MIB, 1), (1000, 0)] {
            let world = World::new();
            let path = world.path("work");
            world.gate.with(|m| {
                m.part_bytes = Some(MIB as u64);
                m.meanwhile = Some(Box::new(move || change(&find(&path))));
            });
            let outcome = world.run(keeps_big(&world, &content(size))).outcome;
            assert_eq!((outcome.cause, outcome.exit_status), (Cause::Exit, Some(1)));
            let why = outcome.detail.unwrap();
            assert!(why.contains("the artifact `big.bin` has changed while it was uploaded"), "{why}");
            world.gate.with(|m| assert_eq!((m.in_parts, m.listed), ((begun, begun, 0), false)));
        }
    }
}

#[test]
fn what_is_added_to_a_file_while_it_is_uploaded_is_left_out() {
    for size in [3 * MIB, 1000] {
        let world = World::new();
        let path = world.path("work");
        world.gate.with(|m| {
            m.part_bytes = Some(MIB as u64);
            m.meanwhile = Some(Box::new(move || {
                std::fs::OpenOptions::new().append(true).open(find(&path)).unwrap().write_all(b"more").unwrap();
            }));
        });
        let content = content(size);
        let outcome = world.run(keeps_big(&world, &content)).outcome;
        assert_eq!(outcome.exit_status, Some(0), "{:?}", outcome.detail);
        world.gate.with(|m| assert!(m.objects[&artifact_key(&attempt(1), 0)] == content));
    }
}

/// Where the job's file is.
fn find(directory: &Path) -> PathBuf {
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            if entry.file_name() == "big.bin" {
                return entry.path();
            }
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    panic!("there is no `big.bin`")
}
