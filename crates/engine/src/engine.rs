//! The engine over its ports.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;
use serde::{Serialize, de::DeserializeOwned};
use tidegate_core::build::{self, Build, Graph};
use tidegate_core::fleet::Policy;
use tidegate_core::ids::{PipelineSlug, RepositoryId};
use tidegate_core::plan::{Env, Segment};
use tidegate_core::schedule::Schedule;
use tidegate_core::time::Timestamp;
use tidegate_core::trust::{Forks, Trust};
use tidegate_core::wire::envelope;

use crate::actors::{JobChecks, Pace};
use crate::error::Error;
use crate::ports::{
    Blobs, Clock, Expect, Fleet, Forge, GitCredentials, Ids, Key, Outbound, PortError, Put, Queue, Record,
    Repositories, RepositorySource, Secrets, Store, Version,
};

/// What an owner has configured, as far as the engine must know it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Repositories that are built.
    pub repositories: Vec<RepositorySource>,
    /// Their pipelines. A repository without one has a pipeline of its own name.
    pub pipelines: Vec<PipelineSettings>,
    /// Pools and limits of the fleet.
    pub policy: Policy,
    /// Limits of builds.
    pub limits: build::Limits,
    /// Caps on pipeline texts.
    pub pipeline: tidegate_pipeline::Limits,
    /// Between SIGTERM and SIGKILL of a job.
    pub grace: Duration,
    /// How many bytes of a job's log are kept.
    pub log_limit: u64,
    /// `BUILDKITE_ORGANIZATION_SLUG`.
    pub organization: String,
    /// Where people see builds, without a slash at the end; empty when there is no such place.
    pub base_url: String,
    /// How long verified deliveries are remembered.
    pub delivery_memory: Duration,
    /// How long builds are kept after their end.
    pub retention: Duration,
    /// Notifications.
    pub notify: NotifySettings,
    /// Between two looks for webhooks that were lost.
    pub look_every: Duration,
    /// Which jobs have a check of their own.
    pub job_checks: JobChecks,
    /// How much may be written of large records.
    pub pace: Pace,
    /// What must be known of GitHub.
    pub forge: ForgeSettings,
    /// Limits of work that is not trusted.
    pub untrusted: UntrustedSettings,
}

impl Settings {
    /// Limits of builds of this trust.
    pub(crate) fn limits_of(&self, trust: Trust) -> build::Limits {
        match trust {
            Trust::Trusted => self.limits,
            Trust::Untrusted => build::Limits {
                jobs: self.limits.jobs.min(self.untrusted.jobs),
                upload_jobs: self.limits.upload_jobs.min(self.untrusted.jobs),
                ..self.limits
            },
        }
    }
}

/// What must be known of GitHub to tell which events are about what is ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ForgeSettings {
    /// The id, or the client id, of the GitHub App that deliveries come from: repositories that are given to it are built, if they have a
    /// pipeline file, and its checks have buttons. `None` where there is none.
    pub app: Option<String>,
    /// Where its pages are, without a slash at the end: repositories that are not configured are cloned from there.
    pub web_url: String,
}

impl ForgeSettings {
    /// Whether an App is the one that is configured.
    pub(crate) fn is_ours(&self, id: u64, client_id: &str) -> bool {
        self.app.as_ref().is_some_and(|ours| *ours == id.to_string() || ours == client_id)
    }
}

impl Default for ForgeSettings {
    fn default() -> Self {
        Self { app: None, web_url: "https://github.com".to_owned() }
    }
}

/// Limits of work that is not trusted, below those of all work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UntrustedSettings {
    /// How long one job may run.
    pub timeout: Duration,
    /// Most jobs of one build.
    pub jobs: usize,
}

impl Default for UntrustedSettings {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(3_600), jobs: 100 }
    }
}

/// What notifications need beyond what pipelines say.
#[derive(Clone, Debug, Default)]
pub struct NotifySettings {
    /// What outgoing webhooks are signed with; without it none is sent.
    pub webhook_secret: Option<SecretString>,
    /// Slack's incoming webhook; without it Slack is told nothing.
    pub slack_url: Option<SecretString>,
}

/// A pipeline.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PipelineSettings {
    /// Its name.
    pub slug: PipelineSlug,
    /// Its repository.
    pub repository: RepositoryId,
    /// Path of its file; the usual places when not given.
    pub file: Option<String>,
    /// Patterns of the branches and tags that are built (`spec/pipeline.md` 1.8, branches); empty is all.
    pub branches: Vec<String>,
    /// On which branches a newer build skips those that have not begun; `None` is nowhere, empty is everywhere.
    pub skip_intermediate: Option<Vec<String>>,
    /// On which branches a newer build cancels those that are not over.
    pub cancel_intermediate: Option<Vec<String>>,
    /// Builds at times.
    pub schedules: Vec<ScheduleSettings>,
    /// Into which branches pull requests are built; `None` is nowhere, empty is everywhere.
    pub pull_requests: Option<Vec<String>>,
    /// What becomes of pull requests from forks; `None` leaves it to the policy of the repository.
    pub forks: Option<Forks>,
    /// Whether builds of a branch that was deleted are canceled.
    pub cancel_deleted_branches: bool,
}

impl PipelineSettings {
    /// A pipeline that builds every branch and nothing else.
    pub fn new(slug: PipelineSlug, repository: RepositoryId) -> Self {
        Self {
            slug,
            repository,
            file: None,
            branches: Vec::new(),
            skip_intermediate: None,
            cancel_intermediate: None,
            schedules: Vec::new(),
            pull_requests: Some(Vec::new()),
            forks: None,
            cancel_deleted_branches: true,
        }
    }

    /// Whether pull requests into this branch are built.
    pub(crate) fn builds_pull_requests(&self, base: &str) -> bool {
        self.pull_requests.as_ref().is_some_and(|patterns| tidegate_pipeline::branches_match(patterns, base))
    }
}

/// Builds at times.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScheduleSettings {
    /// When.
    pub cron: Schedule,
    /// Which branch; the default branch when not given.
    pub branch: Option<String>,
    /// Environment of the builds.
    pub env: Env,
    /// What to show as the message.
    pub message: Option<String>,
}

/// The ports, put together.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Records.
    pub store: Arc<dyn Store>,
    /// Messages.
    pub queue: Arc<dyn Queue>,
    /// Plans, logs, artifacts.
    pub blobs: Arc<dyn Blobs>,
    /// Machines.
    pub fleet: Arc<dyn Fleet>,
    /// Files of commits.
    pub repositories: Arc<dyn Repositories>,
    /// Where results are shown; `None` when nobody is told.
    pub forge: Option<Arc<dyn Forge>>,
    /// Who is notified; `None` when nothing is sent.
    pub outbound: Option<Arc<dyn Outbound>>,
    /// How git reads repositories.
    pub credentials: Arc<dyn GitCredentials>,
    /// What jobs may know and logs may not show.
    pub secrets: Arc<dyn Secrets>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub ids: Arc<dyn Ids>,
}

/// How many plan segments are kept in memory.
const SEGMENT_CACHE: usize = 64;

type SegmentCache = Mutex<VecDeque<(String, Arc<Segment>)>>;

/// The engine. All of its state is in the ports; it may run in any number of processes at once.
#[derive(Debug)]
pub struct Engine {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    segments: SegmentCache,
    sequence: AtomicU64,
}

/// A record with its version.
#[derive(Clone, Debug)]
pub(crate) struct Loaded<T> {
    pub(crate) body: T,
    pub(crate) version: Version,
}

impl Engine {
    /// An engine over these ports.
    pub fn new(ports: Ports, settings: Settings) -> Self {
        Self { ports, settings, segments: Mutex::default(), sequence: AtomicU64::new(0) }
    }

    /// What was configured.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The ports.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    pub(crate) fn fresh_version(&self) -> Version {
        Version(self.ports.ids.random())
    }

    /// An id that sorts after every id made here before. Of two processes, clocks decide: nothing relies on that order.
    pub(crate) fn ordered_id(&self) -> String {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        format!("{:015}-{sequence:010}-{:08x}", self.now().0, self.ports.ids.random() as u32)
    }

    pub(crate) async fn load<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<Loaded<T>>, Error> {
        match self.ports.store.get(key).await? {
            None => Ok(None),
            Some(record) => Ok(Some(Loaded { body: open(key, &record.body)?, version: record.version })),
        }
    }

    /// Makes a conditional write of a record under a fresh version.
    pub(crate) fn put<T: Serialize>(&self, key: Key, body: &T, expect: Expect) -> Result<Put, Error> {
        let kind = key.pk.split('/').next().unwrap_or_default();
        tracing::trace!(target: "tidegate_engine::records", { record.kind = kind, record.key = %key }, "write");
        Ok(Put { key, body: Bytes::from(envelope::seal(body)?), expect, version: self.fresh_version() })
    }

    /// Writes a record. A write whose answer was lost is repeated: the version tells whether it happened.
    pub(crate) async fn save<T: Serialize>(&self, key: Key, body: &T, expect: Expect) -> Result<Version, Error> {
        self.save_sized(key, body, expect).await.map(|saved| saved.0)
    }

    /// As [`Engine::save`], with the size of what was written, in bytes.
    pub(crate) async fn save_sized<T: Serialize>(
        &self,
        key: Key,
        body: &T,
        expect: Expect,
    ) -> Result<(Version, usize), Error> {
        let put = self.put(key, body, expect)?;
        let mut tries = 0;
        loop {
            match self.ports.store.put_if(put.clone()).await {
                Ok(()) => return Ok((put.version, put.body.len())),
                Err(PortError::Retry { after, .. }) if tries < 3 => {
                    tries += 1;
                    self.ports.clock.sleep(after.unwrap_or_else(|| Duration::from_millis(20 << tries))).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The first `limit` records of a partition, and whether there are more. A page of the store may be short, or empty,
    /// although there is more: what is there is not missed because of that.
    pub(crate) async fn list(&self, pk: &str, limit: usize) -> Result<(Vec<Record>, bool), Error> {
        let mut records = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let left = (limit - records.len()).min(1_000);
            let page = self.ports.store.query(pk, "", after.as_deref(), left).await?;
            records.extend(page.records);
            match page.last {
                Some(last) if records.len() < limit => after = Some(last),
                more => return Ok((records, more.is_some())),
            }
        }
    }

    /// The plan of a build, put together.
    pub(crate) async fn graph(&self, build: &Build) -> Result<Graph, Error> {
        let mut segments = Vec::with_capacity(build.segments.len());
        for reference in &build.segments {
            segments.push(self.segment(&reference.blob).await?);
        }
        let mut graph = Graph::new(&build.segments, segments);
        graph.rename(&build.changes);
        Ok(graph)
    }

    /// A stored segment, from memory if it was used lately: segments never change.
    pub(crate) async fn segment(&self, blob: &str) -> Result<Arc<Segment>, Error> {
        let cached = |cache: &mut VecDeque<(String, Arc<Segment>)>| {
            let place = cache.iter().position(|(key, _)| key == blob)?;
            let entry = cache.remove(place)?;
            let segment = Arc::clone(&entry.1);
            cache.push_back(entry);
            Some(segment)
        };
        if let Some(segment) = self.segments.lock().ok().and_then(|mut c| cached(&mut c)) {
            return Ok(segment);
        }
        let bytes = self.ports.blobs.get(blob, None).await?.ok_or_else(|| {
            // Written before the record that names it: a store that reads its own writes has it.
            PortError::retry(format!("the plan `{blob}` is not there"))
        })?;
        let segment: Segment =
            envelope::open(&bytes).map_err(|source| Error::Parked { record: blob.to_owned(), source })?;
        let segment = Arc::new(segment);
        if let Ok(mut cache) = self.segments.lock() {
            if cache.len() >= SEGMENT_CACHE {
                cache.pop_front();
            }
            cache.push_back((blob.to_owned(), Arc::clone(&segment)));
        }
        Ok(segment)
    }
}

pub(crate) fn open<T: DeserializeOwned>(key: &Key, bytes: &[u8]) -> Result<T, Error> {
    envelope::open(bytes).map_err(|source| Error::Parked { record: key.to_string(), source })
}
