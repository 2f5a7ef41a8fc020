//! The embedded adapters keep what the ports promise.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use tidegate_core::ids::PipelineSlug;
use tidegate_core::secret::{SecretName, SecretScope, SecretValue};
use tidegate_core::time::Timestamp;
use tidegate_core::trust::Trust;
use tidegate_engine::conformance::secrets::Owner as _;
use tidegate_engine::conformance::{self, Report, Trial};
use tidegate_engine::ports::{PortError, Secrets as _};
use tidegate_local::{
    Database, DirBlobs, KeptSecret, QueueSettings, SecretFile, SqliteQueue, SqliteStore, StateDir, SystemClock,
    SystemIds, blob_routes,
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

struct SecretOwner(SecretFile);

#[async_trait::async_trait]
impl conformance::secrets::Owner for SecretOwner {
    async fn keep(&self, name: &SecretName, pipeline: Option<&PipelineSlug>, trusted_only: bool, value: &SecretValue) {
        let secret = KeptSecret {
            name: name.clone(),
            pipeline: pipeline.cloned(),
            trusted_only,
            set_at: Timestamp(0),
            value: value.clone(),
        };
        self.0.set(secret).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secrets_conform() {
    let directory = tempfile::tempdir().unwrap();
    let file = SecretFile::at(directory.path().join("secrets.json"));
    let report = conformance::secrets::suite(&trial(), &file, &SecretOwner(file.clone())).await.unwrap();
    assert!(report.counts.is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_others_can_read_are_not_used() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secrets.json");
    let owner = SecretOwner(SecretFile::at(&path));
    let name = SecretName::new("KEY").unwrap();
    owner.keep(&name, None, false, &SecretValue::new("hush-hush").unwrap()).await;
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let scope = SecretScope { pipeline: PipelineSlug::new("web").unwrap(), trust: Trust::Trusted };
    let error = owner.0.get(&name, &scope).await.unwrap_err();
    assert!(matches!(error, PortError::Fatal { .. }) && error.to_string().contains("chmod 600"), "{error}");
    std::fs::write(&path, r#"{"format":1,"secrets":[{"name":"KEY","value":"hush-hush","set_at":"x"}]}"#).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let error = owner.0.get(&name, &scope).await.unwrap_err();
    assert!(error.to_string().contains("line 1") && !error.to_string().contains("hush"), "{error}");
}

#[derive(Debug)]
struct Loopback(Router);

impl Loopback {
    async fn call(&self, request: Request<Body>) -> (u16, Bytes, Option<String>) {
        let response = self.0.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let tag = response.headers().get("etag").map(|tag| tag.to_str().unwrap().trim_matches('"').to_owned());
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status.as_u16(), if status == StatusCode::OK { body } else { Bytes::new() }, tag)
    }
}

#[async_trait::async_trait]
impl conformance::blobs::Visitor for Loopback {
    async fn get(&self, url: &str) -> (u16, Bytes) {
        let (status, body, _) = self.call(Request::get(url).body(Body::empty()).unwrap()).await;
        (status, body)
    }

    async fn put(&self, url: &str, body: Bytes) -> u16 {
        self.call(Request::put(url).body(Body::from(body)).unwrap()).await.0
    }

    async fn put_part(&self, url: &str, body: Bytes) -> (u16, Option<String>) {
        let (status, _, tag) = self.call(Request::put(url).body(Body::from(body)).unwrap()).await;
        (status, tag)
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
    show("blobs", &conformance::parts::suite(&trial, &blobs, &visitor).await.unwrap());
    let left = |name: &str| std::fs::read_dir(directory.path().join("blobs").join(name)).unwrap().count();
    assert_eq!((left("tmp"), left("parts")), (0, 0), "uploads leave something");
}

#[tokio::test]
async fn clock_and_ids_conform() {
    show("clock", &conformance::clock::suite(&trial(), &SystemClock).await.unwrap());
    show("ids", &conformance::clock::id_suite(&trial(), &SystemIds).await.unwrap());
}
