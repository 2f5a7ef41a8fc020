//! A GitHub in memory with one App, and an adapter that talks to it.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
#![allow(dead_code, clippy::allow_attributes, reason = "each test uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::json;
use tidegate_core::ids::{CommitSha, RepositoryId, RepositoryName};
use tidegate_core::time::Timestamp;
use tidegate_engine::ports::{Clock, Ids, RepositorySource};
use tidegate_github::app::{App, AppKey};
use tidegate_github::client::GitHub;
use tidegate_github_memory::{AppCredentials, Server};

/// The wall clock, and so many seconds.
#[derive(Debug, Default)]
pub(crate) struct Ahead(pub(crate) AtomicI64);

#[async_trait]
impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let ahead = self.0.load(Ordering::Relaxed) * 1_000;
        Timestamp((i64::try_from(since.as_millis()).unwrap() + ahead).unsigned_abs())
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counted(AtomicU64);

impl Ids for Counted {
    fn random(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

pub(crate) const WEB: u64 = 7;

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) app: AppCredentials,
    pub(crate) clock: Arc<Ahead>,
    pub(crate) installation: u64,
}

pub(crate) fn sha(digit: char) -> CommitSha {
    CommitSha::new(digit.to_string().repeat(40)).unwrap()
}

pub(crate) fn web() -> RepositorySource {
    RepositorySource {
        id: RepositoryId(WEB),
        full_name: RepositoryName::new("octo/web").unwrap(),
        clone_url: "https://github.com/octo/web.git".to_owned(),
    }
}

impl World {
    /// A repository with a commit `aaaa…` on `main`, and an App that is installed on it.
    pub(crate) async fn new() -> Self {
        let server = Server::start().await.unwrap();
        let wanted = json!({
            "default_permissions": { "checks": "write", "statuses": "write", "contents": "read", "pull_requests": "read" },
            "default_events": ["push"],
        });
        let (app, installation) = server.with(|hub, now| {
            hub.make_repository(WEB, "octo/web");
            let app = hub.make_app("octo", "Tide", "http://127.0.0.1:1/webhook", &wanted);
            let installation = hub.install(now, app.id, "octo", Some(&[WEB]));
            hub.push(now, "octo", WEB, "refs/heads/main", sha('a').as_str(), "first");
            (app, installation)
        });
        Self { server, app, clock: Arc::default(), installation }
    }

    pub(crate) fn app(&self) -> Arc<App> {
        let key = AppKey::from_pem(&SecretString::from(self.app.private_key.clone())).unwrap();
        let base = self.server.url().parse().unwrap();
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Arc::new(App::new(base, self.app.id.to_string(), key, clock, Arc::new(Counted::default())).unwrap())
    }

    pub(crate) fn github(&self) -> GitHub {
        GitHub::with_app(self.app())
    }

    /// How often an address was asked for, by the end of its path.
    pub(crate) fn asked(&self, method: &str, end: &str) -> usize {
        self.server.with(|hub, _| hub.seen.iter().filter(|s| s.method == method && s.path.ends_with(end)).count())
    }
}
