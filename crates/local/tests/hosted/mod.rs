//! The engine over the embedded adapters, with repositories of real git, and a GitHub that knows what people may do. Events come
//! in as the webhook would pass them on. No machine is launched: a test takes jobs itself.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, clippy::allow_attributes, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::build::{BuildState, Limits};
use tidegate_core::event::{
    Event, EventKind, GitRef, HeadCommit, Person, PullAction, PullHead, PullRequest, Push, Repository,
};
use tidegate_core::fleet::{Isolation, Policy, PoolPolicy};
use tidegate_core::ids::{BuildId, CommitSha, DeliveryId, InstanceId, PoolName, RepositoryId, RepositoryName};
use tidegate_core::report::Check;
use tidegate_core::secret::{SecretName, SecretValue};
use tidegate_core::time::Timestamp;
use tidegate_core::trust::Trust;
use tidegate_engine::api::{BuildAnswer, BuildName};
use tidegate_engine::ports::{
    self, CommitStatus, DeliveryPage, Fleet, Forge, InstanceView, KnownCheck, LaunchRequest, Launched, ListedRef,
    NoCredentials, Permission, PortError, PullRequestSide, PullRequestState, RepositorySource, Shows,
};
use tidegate_engine::{
    Actor, DeliveryRecord, Engine, ForgeSettings, JobChecks, NotifySettings, Pace, PipelineSettings, Ports, Settings,
    UntrustedSettings,
};
use tidegate_git::testing::HttpGit;
use tidegate_local::{
    Database, DirBlobs, GitRepositories, KeptSecret, QueueSettings, SecretFile, SqliteQueue, SqliteStore, StateDir,
    SystemClock, SystemIds,
};

pub(crate) const WEB: u64 = 4242;
pub(crate) const FORK: u64 = 777;
pub(crate) const ZERO: &str = "0000000000000000000000000000000000000000";
pub(crate) const STRANGER: u64 = 66;
pub(crate) const APP: u64 = 9;

/// What GitHub says of people and pull requests.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    pub(crate) writers: Mutex<Vec<String>>,
    pub(crate) pulls: Mutex<BTreeMap<u64, ports::PullRequest>>,
}

fn not_asked<T>() -> Result<T, PortError> {
    Err(PortError::reject("not part of these tests"))
}

#[async_trait]
impl Forge for Hub {
    async fn set_status(&self, _: &RepositorySource, _: &CommitSha, _: &CommitStatus) -> Result<(), PortError> {
        Ok(())
    }

    async fn permission(&self, _: &RepositorySource, login: &str) -> Result<Permission, PortError> {
        let writes = self.writers.lock().unwrap().iter().any(|writer| writer == login);
        Ok(if writes { Permission::Write } else { Permission::Read })
    }

    async fn pull_request(&self, _: &RepositorySource, number: u64) -> Result<Option<ports::PullRequest>, PortError> {
        Ok(self.pulls.lock().unwrap().get(&number).cloned())
    }

    fn shows(&self) -> Shows {
        Shows::Statuses
    }

    async fn lane(&self, _: &RepositorySource) -> Result<String, PortError> {
        Ok("token".to_owned())
    }

    async fn find_check(
        &self,
        _: &RepositorySource,
        _: &CommitSha,
        _: &Check,
    ) -> Result<Option<KnownCheck>, PortError> {
        not_asked()
    }

    async fn create_check(&self, _: &RepositorySource, _: &CommitSha, _: &Check) -> Result<KnownCheck, PortError> {
        not_asked()
    }

    async fn update_check(
        &self,
        _: &RepositorySource,
        _: KnownCheck,
        _: &Check,
    ) -> Result<Option<KnownCheck>, PortError> {
        not_asked()
    }

    async fn refs(&self, _: &RepositorySource) -> Result<Vec<ListedRef>, PortError> {
        not_asked()
    }

    async fn head_commit(&self, _: &RepositorySource, _: &GitRef) -> Result<Option<HeadCommit>, PortError> {
        not_asked()
    }

    async fn deliveries(&self, _: Option<&str>) -> Result<DeliveryPage, PortError> {
        not_asked()
    }

    async fn redeliver(&self, _: u64) -> Result<(), PortError> {
        not_asked()
    }
}

#[derive(Debug)]
struct NoMachines;

#[async_trait]
impl Fleet for NoMachines {
    async fn launch(&self, _: &LaunchRequest) -> Result<Launched, PortError> {
        Ok(Launched::NoCapacity { why: "tests take jobs themselves".to_owned() })
    }

    async fn describe(&self) -> Result<Vec<InstanceView>, PortError> {
        Ok(Vec::new())
    }

    async fn terminate(&self, _: &[InstanceId]) -> Result<(), PortError> {
        Ok(())
    }
}

pub(crate) struct Hosted {
    directory: tempfile::TempDir,
    pub(crate) engine: Arc<Engine>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) git: HttpGit,
    deliveries: AtomicU64,
}

fn pool(name: &str, trust: Trust, isolation: Isolation) -> PoolPolicy {
    PoolPolicy {
        name: PoolName::new(name).unwrap(),
        width: 2,
        idle: Duration::from_secs(60),
        hard_stop: Duration::from_secs(3600),
        tags: vec![("queue".to_owned(), name.to_owned())],
        trust,
        isolation,
    }
}

pub(crate) fn trusted_pool() -> PoolPolicy {
    pool("default", Trust::Trusted, Isolation::Missing("child processes".to_owned()))
}

pub(crate) fn pool_of_strangers(isolation: Isolation) -> PoolPolicy {
    pool("forks", Trust::Untrusted, isolation)
}

/// A pipeline of one job.
pub(crate) const ONE: &str = "steps:\n  - command: make test\n    key: test\n";

impl Hosted {
    /// A repository with this pipeline file on `main`, and a pool for strangers with everything that it needs.
    pub(crate) async fn new(pipeline: &str) -> Self {
        Self::with(pipeline, |_| {}).await
    }

    /// The same, with other settings.
    pub(crate) async fn with(pipeline: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("git");
        let work = root.join("story/web.git");
        std::fs::create_dir_all(&work).unwrap();
        let git = HttpGit::start(&root);
        let id = RepositoryId(WEB);
        let source = RepositorySource {
            id,
            full_name: RepositoryName::new("story/web").unwrap(),
            clone_url: work.display().to_string(),
        };
        let mut settings = Settings {
            repositories: vec![source],
            pipelines: Vec::new(),
            policy: Policy {
                pools: vec![trusted_pool(), pool_of_strangers(Isolation::InForce)],
                boot: Duration::from_secs(60),
                silence: Duration::from_secs(60),
                no_capacity: Duration::from_secs(5),
                ticket_patience: Duration::from_secs(60),
            },
            limits: Limits::default(),
            pipeline: tidegate_pipeline::Limits::default(),
            grace: Duration::from_secs(1),
            log_limit: 1 << 20,
            organization: "story".to_owned(),
            base_url: String::new(),
            delivery_memory: Duration::from_secs(14 * 24 * 3600),
            retention: Duration::from_secs(90 * 24 * 3600),
            notify: NotifySettings::default(),
            look_every: Duration::ZERO,
            job_checks: JobChecks::default(),
            pace: Pace::default(),
            forge: ForgeSettings { app: Some(APP.to_string()), web_url: git.url("").trim_end_matches('/').to_owned() },
            untrusted: UntrustedSettings::default(),
        };
        change(&mut settings);
        let state = StateDir::serve(directory.path().join("state")).unwrap();
        let database = Database::open(&state.database()).unwrap();
        let queue = SqliteQueue::open(Arc::clone(&database), QueueSettings::default()).await.unwrap();
        let blobs = DirBlobs::open(&state).unwrap();
        blobs.set_base_url("http://127.0.0.1:9");
        let secrets = SecretFile::at(state.secrets());
        secrets
            .set(KeptSecret {
                name: SecretName::new("DEPLOY_KEY").unwrap(),
                pipeline: None,
                trusted_only: false,
                value: SecretValue::new("hush-hush").unwrap(),
                set_at: Timestamp(1),
            })
            .unwrap();
        let hub = Arc::new(Hub::default());
        hub.writers.lock().unwrap().push("teller".to_owned());
        let engine = Engine::new(
            Ports {
                store: Arc::new(SqliteStore::new(database)),
                queue: Arc::new(queue),
                blobs: Arc::new(blobs),
                fleet: Arc::new(NoMachines),
                repositories: Arc::new(GitRepositories::open(&state, 1 << 20, Arc::new(NoCredentials))),
                forge: Some(Arc::clone(&hub) as _),
                outbound: None,
                credentials: Arc::new(NoCredentials),
                secrets: Arc::new(secrets),
                clock: Arc::new(SystemClock),
                ids: Arc::new(SystemIds),
            },
            settings,
        );
        // The lock of the state directory lives as long as the process.
        std::mem::forget(state);
        let hosted = Self { directory, engine: Arc::new(engine), hub, git, deliveries: AtomicU64::new(0) };
        hosted.git(&["init", "--quiet", "--initial-branch=main"]);
        hosted.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
        hosted.commit(&[(".tidegate/pipeline.yml", pipeline)], "first");
        hosted
    }

    fn work(&self) -> PathBuf {
        self.directory.path().join("git/story/web.git")
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"])
            .args(args)
            .current_dir(self.work())
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Writes files and commits them where the repository stands; returns the commit.
    pub(crate) fn commit(&self, files: &[(&str, &str)], message: &str) -> String {
        for (path, content) in files {
            let path = self.work().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// A commit that only a pull request leads to, as those of forks are.
    pub(crate) fn commit_of_fork(&self, number: u64, files: &[(&str, &str)]) -> String {
        self.git(&["checkout", "--quiet", "--detach"]);
        let sha = self.commit(files, "from a fork");
        self.git(&["update-ref", &format!("refs/pull/{number}/head"), &sha]);
        self.git(&["checkout", "--quiet", "--force", "main"]);
        sha
    }

    /// A copy under another name, as GitHub would serve it.
    pub(crate) fn serve_as(&self, name: &str) {
        let target = self.directory.path().join("git").join(format!("{name}.git"));
        let target = target.display().to_string();
        self.git(&["clone", "--quiet", "--bare", ".", &target]);
    }

    /// Ingests an event, and looks at what it made as the loops would.
    pub(crate) async fn tell(&self, kind: EventKind) -> DeliveryRecord {
        let number = self.deliveries.fetch_add(1, Ordering::Relaxed);
        let event =
            Event { delivery: DeliveryId::new(format!("delivery-{number}")).unwrap(), received_at: Timestamp(1), kind };
        let record = self.engine.ingest(&event).await.unwrap();
        assert_eq!(self.engine.ingest(&event).await.unwrap(), record, "a doubled delivery changes nothing");
        self.settle().await;
        record
    }

    /// Every build takes its steps until nothing changes.
    pub(crate) async fn settle(&self) {
        loop {
            let bells = self.engine.ports().queue.receive(tidegate_engine::DOORBELL, 10, Duration::ZERO).await.unwrap();
            if bells.is_empty() {
                return;
            }
            for bell in bells {
                self.engine.handle(tidegate_engine::DOORBELL, &bell).await;
            }
        }
    }

    pub(crate) async fn builds(&self) -> Vec<BuildAnswer> {
        let mut all = Vec::new();
        for line in self.engine.list_builds(None, 100).await.unwrap().builds {
            all.push(self.engine.show_build(&BuildName::Id(line.id)).await.unwrap());
        }
        all.reverse();
        all
    }

    pub(crate) async fn build(&self, id: &BuildId) -> BuildAnswer {
        self.engine.step(&Actor::Build(id.clone())).await.unwrap();
        self.engine.show_build(&BuildName::Id(id.clone())).await.unwrap()
    }

    pub(crate) async fn state(&self, id: &BuildId) -> BuildState {
        self.build(id).await.build.state
    }

    /// What a push to a branch says.
    pub(crate) fn push(&self, branch: &str, before: &str, after: &str) -> Push {
        let deleted = after == ZERO;
        Push {
            repository: web(),
            git_ref: GitRef::Branch(branch.to_owned()),
            before: sha(before),
            after: sha(after),
            created: before == ZERO,
            deleted,
            forced: false,
            head: (!deleted).then(|| HeadCommit {
                id: sha(after),
                message: "a change".to_owned(),
                author_name: "Ada".to_owned(),
                author_email: "ada@example.com".to_owned(),
                skip: None,
            }),
            pusher: "teller".to_owned(),
            sender: Some(7),
            installation: None,
        }
    }

    pub(crate) async fn pushed(&self, branch: &str, before: &str, after: &str) -> DeliveryRecord {
        self.tell(EventKind::Push(Box::new(self.push(branch, before, after)))).await
    }

    /// What GitHub says of a pull request when somebody asks.
    pub(crate) fn is_now(&self, pull: &PullRequest) {
        let side = |sha: &CommitSha, branch: &str, repository: Option<RepositoryId>| PullRequestSide {
            sha: sha.clone(),
            branch: branch.to_owned(),
            repository,
            repository_name: None,
        };
        let now = ports::PullRequest {
            number: pull.number,
            state: PullRequestState::Open,
            draft: pull.draft,
            title: pull.title.clone(),
            labels: pull.labels.clone(),
            head: side(&pull.head.commit, &pull.head.branch, pull.head.repository),
            base: side(&pull.base, &pull.base_branch, Some(pull.repository.id)),
        };
        self.hub.pulls.lock().unwrap().insert(pull.number, now);
    }

    pub(crate) async fn pulled(&self, pull: &PullRequest) -> DeliveryRecord {
        self.tell(EventKind::PullRequest(Box::new(pull.clone()))).await
    }
}

pub(crate) fn sha(text: &str) -> CommitSha {
    CommitSha::new(text).unwrap()
}

pub(crate) fn web() -> Repository {
    Repository {
        id: RepositoryId(WEB),
        full_name: RepositoryName::new("story/web").unwrap(),
        default_branch: "main".to_owned(),
        private: Some(true),
    }
}

/// A pull request from a branch of the repository itself.
pub(crate) fn pull(number: u64, branch: &str, head: &str) -> PullRequest {
    let teller = Person { id: 7, login: "teller".to_owned() };
    PullRequest {
        action: PullAction::Opened,
        repository: web(),
        number,
        head: PullHead {
            commit: sha(head),
            branch: branch.to_owned(),
            owner: "story".to_owned(),
            repository: Some(RepositoryId(WEB)),
            full_name: None,
        },
        base_branch: "main".to_owned(),
        base: sha(&"b".repeat(40)),
        draft: false,
        open: true,
        labels: Vec::new(),
        title: "A change".to_owned(),
        author: teller.clone(),
        sender: teller,
        updated_at: "2026-11-23T01:00:00Z".to_owned(),
        installation: None,
    }
}

/// A pull request from the branch `main` of a fork of the same name.
pub(crate) fn fork(number: u64, head: &str) -> PullRequest {
    let stranger = Person { id: STRANGER, login: "stranger".to_owned() };
    let own = pull(number, "main", head);
    PullRequest {
        head: PullHead {
            owner: "stranger".to_owned(),
            repository: Some(RepositoryId(FORK)),
            full_name: RepositoryName::new("stranger/web").ok(),
            ..own.head
        },
        author: stranger.clone(),
        sender: stranger,
        ..own
    }
}

/// The next thing that happens to a pull request.
pub(crate) fn then(pull: &PullRequest, action: PullAction, minute: u8) -> PullRequest {
    PullRequest { action, updated_at: format!("2026-11-23T01:{minute:02}:00Z"), ..pull.clone() }
}

/// A pipeline of the repository, changed.
pub(crate) fn pipeline(change: impl FnOnce(&mut PipelineSettings)) -> PipelineSettings {
    let slug = tidegate_core::ids::PipelineSlug::new("web").unwrap();
    let mut pipeline = PipelineSettings::new(slug, RepositoryId(WEB));
    change(&mut pipeline);
    pipeline
}
