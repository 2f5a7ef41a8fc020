//! No log line, at any level, holds a signature that would be right, or a secret.

use std::io;
use std::sync::{Arc, Mutex};

use crate::common::{Mood, TestClock, TestQueue};
use tidegate_edge::serve::{Limits, serve};
use tidegate_edge::webhook::{Deps, router};
use tidegate_github::webhook::{Secrets, sign};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tracing_subscriber::fmt::MakeWriter;

const PUSH: &str = include_str!("../../../../events/push.json");

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Captured {
    type Writer = Captured;

    fn make_writer(&self) -> Captured {
        self.clone()
    }
}

/// Posts over a connection of its own and gives the status line.
async fn post(address: std::net::SocketAddr, guid: &str, signature: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /webhook HTTP/1.1\r\nHost: edge\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         X-GitHub-Event: push\r\nX-GitHub-Delivery: {guid}\r\nX-Hub-Signature-256: {signature}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

// One thread, so that the subscriber of this thread sees the server's tasks too.
#[tokio::test]
async fn no_log_line_holds_a_right_signature_or_a_secret() {
    let (current, previous, wrong) = ("current-5ec3e7", "previous-5ec3e7", "wrong-5ec3e7");
    let captured = Captured::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(captured.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let queue = Arc::new(TestQueue::default());
    let deps = Deps {
        secrets: Secrets::new(current.into(), Some(previous.into())).unwrap(),
        limit: 1 << 20,
        queue: Arc::clone(&queue) as _,
        clock: Arc::new(TestClock),
    };
    tracing::trace!(?deps, "the start");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = serve(listener, router(deps), Limits::default(), std::future::pending());
    let server = tokio::spawn(server);

    let good = sign(&current.into(), PUSH.as_bytes());
    let old = sign(&previous.into(), PUSH.as_bytes());
    let bad = sign(&wrong.into(), PUSH.as_bytes());
    let not_json = "{\"cut\":";
    let cut = sign(&current.into(), not_json.as_bytes());
    for (guid, signature, body, status) in [
        ("good", &*good, PUSH, "202"),
        ("old", &*old, PUSH, "202"),
        ("bad", &*bad, PUSH, "401"),
        ("truncated", &good[..good.len() - 1], PUSH, "401"),
        ("bare", &good["sha256=".len()..], PUSH, "401"),
        ("other-body", &*good, not_json, "401"),
        ("not-json", &*cut, not_json, "400"),
    ] {
        let line = post(address, guid, signature, body).await;
        assert!(line.starts_with(&format!("HTTP/1.1 {status}")), "{guid}: {line}");
    }
    queue.set(Mood::Failing);
    assert!(post(address, "unqueued", &good, PUSH).await.starts_with("HTTP/1.1 503"));
    server.abort();

    let log = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    for seen in [
        "the start",
        "good",
        "old",
        "bad",
        "truncated",
        "bare",
        "other-body",
        "not-json",
        "unqueued",
        "signature_mismatch",
        "signature_malformed",
    ] {
        assert!(log.contains(seen), "{seen} was not captured:\n{log}");
    }
    let others = sign(&current.into(), not_json.as_bytes());
    let older = sign(&previous.into(), not_json.as_bytes());
    for signature in [&good, &old, &others, &older] {
        let digits = &signature["sha256=".len()..];
        // Any part of it that would help: 8 digits are no accident.
        for at in 0..=digits.len() - 8 {
            let part = &digits[at..at + 8];
            assert!(!log.to_lowercase().contains(part), "a part of a signature is logged:\n{log}");
        }
    }
    for secret in [current, previous, wrong, "5ec3e7"] {
        assert!(!log.contains(secret), "a secret is logged:\n{log}");
    }
    assert!(!log.contains("Test the greeting"), "a body is logged:\n{log}");
}
