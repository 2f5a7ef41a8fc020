//! The blob routes as strangers and broken clients see them, and blobs under contention.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tidegate_engine::ports::{Blobs, Method, PortError};
use tidegate_local::{DirBlobs, StateDir, blob_routes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MINUTE: Duration = Duration::from_secs(60);

struct World {
    directory: tempfile::TempDir,
    blobs: DirBlobs,
    address: SocketAddr,
    _state: StateDir,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::serve(directory.path()).unwrap();
        let blobs = DirBlobs::open(&state).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        blobs.set_base_url(format!("http://{address}"));
        let routes = blob_routes(blobs.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { directory, blobs, address, _state: state }
    }

    /// Path and query of a URL.
    async fn target(&self, method: Method, key: &str) -> String {
        let url = self.blobs.presign(method, key, MINUTE).await.unwrap().0;
        url.strip_prefix(&format!("http://{}", self.address)).unwrap().to_owned()
    }

    /// Sends these bytes and returns the whole answer.
    async fn say(&self, request: &[u8]) -> String {
        self.say_and(request, false).await
    }

    /// As `say`, and hangs up, so that what was announced does not come.
    async fn say_and_hang_up(&self, request: &[u8]) -> String {
        self.say_and(request, true).await
    }

    async fn say_and(&self, request: &[u8], hang_up: bool) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may answer and hang up in the middle.
        let _cut_off = stream.write_all(request).await;
        if hang_up {
            let _cut_off = stream.shutdown().await;
        }
        let mut answer = Vec::new();
        let _cut_off = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn request(&self, head: &str) -> String {
        self.say(format!("{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await
    }

    fn temporary(&self) -> usize {
        std::fs::read_dir(self.directory.path().join("blobs/tmp")).unwrap().count()
    }
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_paths_read_and_write_nothing() {
    let world = World::new().await;
    std::fs::write(world.directory.path().join("secret"), "secret").unwrap();
    world.blobs.put("a/b", Bytes::from_static(b"mine")).await.unwrap();
    let good = world.target(Method::Get, "a/b").await;
    let query = good.split_once('?').unwrap().1;
    for path in [
        "/blobs/../secret",
        "/blobs/%2e%2e/secret",
        "/blobs/a/../../secret",
        "/blobs/a%2f..%2f..%2fsecret",
        "/blobs/a/b%00",
        "/blobs//etc/passwd",
        "/blobs/%2fetc%2fpasswd",
        "/blobs/a/b=",
        "/blobs/",
        "/blobs/a",
        "/blobs/a/b/",
        "/blobs/A/b",
        "/blobs/a//b",
        "/blobs/\u{e4}",
    ] {
        for method in ["GET", "PUT", "HEAD", "POST", "DELETE"] {
            let answer = world.request(&format!("{method} {path}?{query}")).await;
            let status = status(&answer);
            assert!((400..500).contains(&status), "{method} {path}: {answer}");
            assert!(!answer.contains("secret") && !answer.contains("mine"), "{method} {path}: {answer}");
        }
    }
    for wrong in [
        String::new(),
        query.replace("expires=", "expires=9"),
        query.replace("signature=", "signature=00"),
        query.replace("expires=", "expires=-"),
        format!("{query}&max_bytes=100000"),
        "expires=99999999999999&signature=".to_owned(),
    ] {
        let answer = world.request(&format!("GET /blobs/a/b?{wrong}")).await;
        assert_eq!(status(&answer), 403, "{wrong}: {answer}");
    }
    assert!(world.request(&format!("GET {good}")).await.ends_with("\r\n\r\nmine"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_wrote_is_never_a_page() {
    let world = World::new().await;
    world.blobs.put("a", Bytes::from_static(b"<script>alert(1)</script>")).await.unwrap();
    let target = world.target(Method::Get, "a").await;
    let answer = world.request(&format!("GET {target}")).await.to_ascii_lowercase();
    for header in [
        "content-type: application/octet-stream",
        "content-disposition: attachment",
        "x-content-type-options: nosniff",
        "content-security-policy: sandbox; default-src 'none'",
    ] {
        assert!(answer.contains(header), "{header}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_answered() {
    let world = World::new().await;
    world.blobs.put("a", Bytes::from_static(b"0123456789")).await.unwrap();
    let target = world.target(Method::Get, "a").await;
    for (range, expected, part, body) in [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=-3", 206, "bytes 7-9/10", "789"),
        ("bytes=10-", 416, "bytes */10", "the blob is shorter\n"),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: {range}\r\n\r\n");
        let answer = world.say(head.as_bytes()).await;
        assert_eq!(status(&answer), expected, "{answer}");
        assert!(answer.contains(&format!("content-range: {part}\r\n")), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{answer}");
    }
    let head = world.request(&format!("HEAD {target}")).await;
    assert!(status(&head) == 200 && head.contains("content-length: 10\r\n") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_leaves_nothing() {
    let world = World::new().await;
    let target = world.target(Method::Put { max_bytes: 10 << 20 }, "a").await;
    let head = format!("PUT {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    let body = "x".repeat(1 << 20);
    for request in [
        format!("{head}Content-Length: 5000000\r\n\r\n{body}"),
        format!("{head}Content-Length: 100\r\n\r\nshort"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n100000\r\n{body}\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n100000\r\n{body}\r\nnonsense"),
    ] {
        let answer = world.say_and_hang_up(request.as_bytes()).await;
        assert!(!(200..300).contains(&status(&answer)), "{answer}");
    }
    // A body whose length is not announced is measured on the way.
    let small = world.target(Method::Put { max_bytes: 1_000 }, "a").await;
    let request = format!(
        "PUT {small} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n{body}\r\n0\r\n\r\n"
    );
    let answer = world.say(request.as_bytes()).await;
    assert!(answer.is_empty() || status(&answer) == 413, "{answer}");
    assert_eq!(world.blobs.get("a", None).await.unwrap(), None);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while world.temporary() > 0 {
        assert!(std::time::Instant::now() < deadline, "a part of an upload is left");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let whole = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(status(&world.say(whole.as_bytes()).await), 201);
    assert_eq!(world.blobs.get("a", None).await.unwrap().unwrap(), body);
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_and_removing_at_a_time_harm_nobody() {
    let world = World::new().await;
    // Each removal takes the directories along that another writer is about to use.
    let workers = (0..8).map(|worker| {
        let blobs = &world.blobs;
        async move {
            for n in 0..30 {
                let key = format!("deep/er/{}/{worker}", n % 2);
                blobs.put(&key, Bytes::from(format!("{n}"))).await?;
                assert_eq!(blobs.get(&key, None).await?.unwrap(), format!("{n}"));
                blobs.delete(&key).await?;
            }
            Ok::<_, PortError>(())
        }
    });
    futures_util::future::try_join_all(workers).await.unwrap();
    assert_eq!(world.blobs.list("", None, 10).await.unwrap(), []);
    let data: PathBuf = world.directory.path().join("blobs/data");
    assert_eq!(std::fs::read_dir(data).unwrap().count(), 0, "empty directories are left");
}

#[tokio::test]
async fn urls_outlive_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let presigned = |blobs: &DirBlobs| {
        blobs.set_base_url("http://h");
        let blobs = blobs.clone();
        async move { blobs.presign(Method::Get, "a", MINUTE).await.unwrap().0 }
    };
    let state = StateDir::serve(directory.path()).unwrap();
    let blobs = DirBlobs::open(&state).unwrap();
    let error = blobs.presign(Method::Get, "a", MINUTE).await.unwrap_err();
    assert!(matches!(error, PortError::Fatal { .. }), "{error}");
    blobs.put("a", Bytes::from_static(b"x")).await.unwrap();
    let url = presigned(&blobs).await;
    drop((blobs, state));
    let state = StateDir::serve(directory.path()).unwrap();
    let routes = blob_routes(DirBlobs::open(&state).unwrap());
    let request = axum::http::Request::get(url).body(axum::body::Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(routes, request).await.unwrap();
    assert_eq!(response.status(), 200);
    // Clients of a running server read only.
    let reader = DirBlobs::read_only(&StateDir::read(directory.path()).unwrap());
    assert_eq!(reader.get("a", None).await.unwrap().unwrap(), "x");
    assert!(matches!(reader.put("a", Bytes::new()).await, Err(PortError::Reject { .. })));
}
