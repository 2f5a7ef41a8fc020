//! The embedded adapters keep what the ports promise.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use tidegate_engine::conformance::{self, Report, Trial};
use tidegate_local::{
    Database, DirBlobs, QueueSettings, SqliteQueue, SqliteStore, StateDir, SystemClock, SystemIds, blob_routes,
};
use tower::ServiceExt;

const PATIENCE: Duration = Duration::from_secs(30);

fn trial() -> Trial<'static> {
    Trial::new(&SystemClock, "t", PATIENCE)
}

#[expect(clippy::print_stdout, reason = "the counts are part of the answer")]
fn show(port: &str, report: &Report) {
    println!("{port}: {report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::new(Database::open(&directory.path().join("db")).unwrap());
    let report = conformance::store::suite(&trial(), &store).await.unwrap();
    show("store", &report);
    assert_eq!(report.count("retries"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_conforms_and_is_better_than_it_must_be() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("db")).unwrap();
    let queue = SqliteQueue::open(database, QueueSettings::default()).await.unwrap();
    let subject = conformance::queue::Subject { queue: &queue, name: "doorbell", other: "tickets-a.b_c" };
    let report = conformance::queue::suite(&trial(), subject).await.unwrap();
    show("queue", &report);
    assert!(report.counts.is_empty(), "{report}");
}

#[derive(Debug)]
struct Loopback(Router);

impl Loopback {
    async fn call(&self, request: Request<Body>) -> (u16, Bytes) {
        let response = self.0.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status.as_u16(), if status == StatusCode::OK { body } else { Bytes::new() })
    }
}

#[async_trait::async_trait]
impl conformance::blobs::Visitor for Loopback {
    async fn get(&self, url: &str) -> (u16, Bytes) {
        self.call(Request::get(url).body(Body::empty()).unwrap()).await
    }

    async fn put(&self, url: &str, body: Bytes) -> u16 {
        self.call(Request::put(url).body(Body::from(body)).unwrap()).await.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_blobs_conform() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::serve(directory.path()).unwrap();
    let blobs = DirBlobs::open(&state).unwrap();
    blobs.set_base_url("http://127.0.0.1:1");
    let trial = trial();
    show("blobs", &conformance::blobs::suite(&trial, &blobs).await.unwrap());
    let visitor = Loopback(blob_routes(blobs.clone()));
    show("blobs", &conformance::blobs::url_suite(&trial, &blobs, &visitor).await.unwrap());
}

#[tokio::test]
async fn clock_and_ids_conform() {
    show("clock", &conformance::clock::suite(&trial(), &SystemClock).await.unwrap());
    show("ids", &conformance::clock::id_suite(&trial(), &SystemIds).await.unwrap());
}
