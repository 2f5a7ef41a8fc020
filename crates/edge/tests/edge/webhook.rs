//! The webhook route: what is answered, and what is in the queue by then.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Mood, TestClock, TestQueue};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use bytes::Bytes;
use futures_util::stream;
use tidegate_core::event::{Event, EventKind};
use tidegate_edge::webhook::{Deps, router};
use tidegate_github::webhook::{Secrets, sign};
use tower::ServiceExt as _;

const PUSH: &[u8] = include_bytes!("../../../../events/push.json");
const STAR: &[u8] = include_bytes!("../../../../events/star.created.json");
const PING: &[u8] = include_bytes!("../../../../events/ping.json");
const GUID: &str = "72d3162e-cc78-11e3-81ab-4c9367dc0958";
const LIMIT: usize = 100_000;

fn edge() -> (Router, Arc<TestQueue>) {
    let queue = Arc::new(TestQueue::default());
    let deps = Deps {
        secrets: Secrets::new("current".into(), Some("previous".into())).unwrap(),
        limit: LIMIT,
        queue: Arc::clone(&queue) as _,
        clock: Arc::new(TestClock),
    };
    (router(deps), queue)
}

fn delivery(secret: &str, event: &str, body: &[u8]) -> Request<Body> {
    Request::post("/webhook")
        .header("Content-Type", "application/json")
        .header("X-GitHub-Event", event)
        .header("X-GitHub-Delivery", GUID)
        .header("X-Hub-Signature-256", sign(&secret.into(), body))
        .body(Body::from(body.to_vec()))
        .unwrap()
}

async fn answer(app: &Router, request: Request<Body>) -> (u16, String) {
    let answer = app.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await;
    (status, String::from_utf8(body.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn a_signed_push_is_queued_and_then_accepted() {
    let (app, queue) = edge();
    for secret in ["current", "previous"] {
        let accepted = answer(&app, delivery(secret, "push", PUSH)).await;
        assert_eq!(accepted, (202, format!(r#"{{"delivery":"{GUID}"}}"#)));
    }
    let sent = queue.sent.lock().unwrap();
    assert_eq!(sent.len(), 2, "ingest tells doubles apart, the edge does not");
    for (name, body) in sent.iter() {
        assert_eq!(name, "ingest");
        assert!(body.is_ascii());
        let event: Event = serde_json::from_str(body).unwrap();
        assert_eq!(event.delivery.as_str(), GUID);
        assert_eq!(event.received_at.0, 1_795_398_000_123);
        assert!(matches!(event.kind, EventKind::Push(_)));
    }
}

#[tokio::test]
async fn pings_are_queued_and_what_is_ignored_is_not() {
    let (app, queue) = edge();
    assert_eq!(answer(&app, delivery("current", "ping", PING)).await.0, 202);
    assert_eq!(queue.bodies().len(), 1);
    let (status, body) = answer(&app, delivery("current", "star", STAR)).await;
    assert_eq!(status, 202);
    assert!(body.contains(GUID) && body.contains("no use for the action `created`"), "{body}");
    assert_eq!(queue.bodies().len(), 1);
}

#[tokio::test]
async fn unverified_requests_leave_nothing_and_learn_nothing() {
    let (app, queue) = edge();
    let mut unsigned = delivery("current", "push", PUSH);
    unsigned.headers_mut().remove("x-hub-signature-256");
    let mut odd = delivery("current", "push", PUSH);
    odd.headers_mut().insert("x-hub-signature-256", header::HeaderValue::from_bytes(b"sha256=\xff").unwrap());
    for request in [delivery("wrong", "push", PUSH), unsigned, odd] {
        assert_eq!(answer(&app, request).await, (401, String::new()));
    }
    assert_eq!(queue.bodies(), Vec::<String>::new());
}

#[tokio::test]
async fn a_queue_that_fails_or_hangs_makes_github_record_a_failure() {
    let (app, queue) = edge();
    for mood in [Mood::Failing, Mood::Silent] {
        queue.set(mood);
        let (status, body) = answer(&app, delivery("current", "push", PUSH)).await;
        assert_eq!(status, 503, "{mood:?}");
        assert!(!body.contains("disk"), "{body}");
        assert_eq!(queue.bodies(), Vec::<String>::new());
        // What needs no queue is answered all the same.
        assert_eq!(answer(&app, delivery("current", "star", STAR)).await.0, 202);
    }
    queue.set(Mood::Well);
    assert_eq!(answer(&app, delivery("current", "push", PUSH)).await.0, 202);
    assert_eq!(queue.bodies().len(), 1);
}

/// A body of chunks of 10,000 bytes that counts how many were asked for, and is broken at the end.
fn endless(asked: &Arc<AtomicUsize>) -> Body {
    let asked = Arc::clone(asked);
    Body::from_stream(stream::unfold(0, move |n| {
        asked.fetch_add(1, Ordering::SeqCst);
        async move { (n < 1000).then(|| (Ok::<_, io::Error>(Bytes::from(vec![b' '; 10_000])), n + 1)) }
    }))
}

#[tokio::test]
async fn a_body_over_the_limit_is_not_read_to_its_end() {
    let (app, queue) = edge();
    let asked = Arc::new(AtomicUsize::new(0));
    let announced = Request::post("/webhook").header("Content-Length", LIMIT + 1).body(endless(&asked)).unwrap();
    let (status, body) = answer(&app, announced).await;
    assert_eq!(status, 413);
    assert_eq!(body, r#"{"error":"the body is larger than 100000 bytes"}"#);
    assert_eq!(asked.load(Ordering::SeqCst), 0);

    let unannounced = Request::post("/webhook").body(endless(&asked)).unwrap();
    assert_eq!(answer(&app, unannounced).await.0, 413);
    assert_eq!(asked.load(Ordering::SeqCst), 11);

    let exact = vec![b' '; LIMIT];
    assert_eq!(answer(&app, delivery("current", "push", &exact)).await.0, 400);
    assert_eq!(queue.bodies(), Vec::<String>::new());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_delivery() {
    let (app, queue) = edge();
    let chunks = [Ok(Bytes::from_static(b"{")), Err(io::Error::other("connection reset"))];
    let broken = Request::post("/webhook").body(Body::from_stream(stream::iter(chunks))).unwrap();
    assert_eq!(answer(&app, broken).await, (408, String::new()));
    assert_eq!(queue.bodies(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let (app, _) = edge();
    let silent = Request::post("/webhook").body(Body::from_stream(stream::pending::<io::Result<Bytes>>())).unwrap();
    assert_eq!(answer(&app, silent).await, (408, String::new()));
}

#[tokio::test(start_paused = true)]
async fn bodies_that_stall_take_their_room_only_for_a_while() {
    let (app, queue) = edge();
    // Each holds nearly the largest size and goes no further: there is room for two of them.
    let stalled = || {
        let chunk = stream::iter([Ok::<_, io::Error>(Bytes::from(vec![b' '; LIMIT - 10]))]);
        let body = Body::from_stream(futures_util::StreamExt::chain(chunk, stream::pending()));
        Request::post("/webhook").body(body).unwrap()
    };
    let patient = async {
        // Time stands still but for waits: this one comes second, finds no room, and has it when the others are given up.
        tokio::time::sleep(Duration::from_secs(5)).await;
        answer(&app, delivery("current", "push", PUSH)).await
    };
    let (first, second, third) = tokio::join!(answer(&app, stalled()), answer(&app, stalled()), patient,);
    assert_eq!((first.0, second.0, third.0), (408, 408, 202));
    assert_eq!(queue.bodies().len(), 1);
}

#[tokio::test]
async fn there_is_nothing_else() {
    let (app, _) = edge();
    let ask = |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path);
        answer(&app, request.body(Body::empty()).unwrap())
    };
    assert_eq!(ask("GET", "/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(ask("POST", "/healthz").await.0, 405);
    assert_eq!(ask("GET", "/webhook").await.0, 405);
    assert_eq!(ask("PUT", "/webhook").await.0, 405);
    assert_eq!(ask("POST", "/webhook").await.0, 401);
    for path in ["/", "/webhook/", "/gate/beat", "/api/builds"] {
        assert_eq!(ask("GET", path).await.0, 404, "{path}");
        assert_eq!(ask("POST", path).await.0, 404, "{path}");
    }
}
