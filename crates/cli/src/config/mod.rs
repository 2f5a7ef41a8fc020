//! `tidegate.toml`.
//!
//! Every key is known: an unknown one is an error that names its line and the key that was probably meant. Everything that
//! can be wrong is found before anything starts.

mod duration;
mod example;
mod file;
mod github;
mod limits;
pub(crate) mod suggest;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use tidegate_core::build::Limits;
use tidegate_core::fleet::{Isolation, Policy, PoolPolicy};
use tidegate_core::ids::{PipelineSlug, PoolName, RepositoryId};
use tidegate_core::trust::Trust;
use tidegate_core::wire::instance::Forbidden;
use tidegate_engine::ports::RepositorySource;
use tidegate_engine::{ForgeSettings, JobChecks, NotifySettings, Pace, PipelineSettings, Settings, UntrustedSettings};
use tidegate_local::Token;

use crate::hook_secret::SecretFiles;

pub(crate) use example::EXAMPLE;

/// A configuration that cannot be used. Ends with exit status 2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What happened.
        why: String,
    },
    /// Something in it is wrong.
    #[error("{}{}", Place(path, *line, *column), message)]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Line from 1, or 0 when the finding has no place.
        line: usize,
        /// Column from 1.
        column: usize,
        /// What, and what to write.
        message: String,
    },
}

struct Place<'a>(&'a Path, usize, usize);

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.1 {
            0 => write!(f, "{}: ", self.0.display()),
            line => write!(f, "{}:{line}:{}: ", self.0.display(), self.2),
        }
    }
}

/// Secrets that deliveries may be signed with.
#[derive(Clone, Debug)]
pub(crate) struct WebhookSecrets {
    pub(crate) current: SecretString,
    pub(crate) previous: Option<SecretString>,
    /// Where they are, if they are in files: changes there are noticed.
    pub(crate) files: Option<SecretFiles>,
}

/// `[github]`: where results are posted to, and by whom.
#[derive(Clone, Debug)]
pub(crate) struct GitHubApi {
    pub(crate) api_url: String,
    pub(crate) identity: GitHubIdentity,
    /// Which jobs have a check of their own.
    pub(crate) job_checks: JobChecks,
    /// Between two looks for webhooks that were lost.
    pub(crate) look_every: Duration,
}

/// Who asks GitHub.
#[derive(Clone, Debug)]
pub(crate) enum GitHubIdentity {
    /// Whoever made a token.
    Token(SecretString),
    /// A GitHub App.
    App {
        /// Its id, or its client id.
        id: String,
        /// The file of its private key.
        key_file: PathBuf,
    },
}

/// `[notify]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct NotifyConfig {
    pub(crate) webhook_secret: Option<SecretString>,
    pub(crate) slack_url: Option<SecretString>,
    /// Requests may go to private networks.
    pub(crate) allow_private: bool,
}

/// A configuration that was checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) api_listen: SocketAddr,
    /// `None`: no delivery can be verified, so none is accepted.
    pub(crate) webhook: Option<WebhookSecrets>,
    pub(crate) github: Option<GitHubApi>,
    pub(crate) repositories: Vec<RepositorySource>,
    /// How git reads those that not everybody may read.
    pub(crate) tokens: Vec<(RepositoryId, Token)>,
    pub(crate) pipelines: Vec<PipelineSettings>,
    pub(crate) pools: Vec<PoolPolicy>,
    pub(crate) limits: LimitSettings,
    pub(crate) base_url: String,
    pub(crate) organization: String,
    pub(crate) retention: Duration,
    pub(crate) notify: NotifyConfig,
    pub(crate) hooks_dir: Option<PathBuf>,
    pub(crate) plugin_mirrors: Option<PathBuf>,
    /// What jobs of each pool may not do.
    pub(crate) forbidden: BTreeMap<PoolName, Forbidden>,
    /// The file of secrets; that of the state directory when not given. Not in the configuration file.
    pub(crate) secrets: Option<PathBuf>,
}

/// What of a configuration a run without a server uses.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Local {
    pub(crate) limits: LimitSettings,
    pub(crate) hooks_dir: Option<PathBuf>,
    pub(crate) plugin_mirrors: Option<PathBuf>,
}

/// `[limits]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct LimitSettings {
    pub(crate) wait: Duration,
    pub(crate) grace: Duration,
    pub(crate) silence: Duration,
    pub(crate) boot: Duration,
    pub(crate) beat: Duration,
    pub(crate) log_bytes: u64,
    /// Caps on pipeline texts.
    pub(crate) pipeline: tidegate_pipeline::Limits,
    /// Jobs of one build.
    pub(crate) build_jobs: usize,
    /// Uploads of one build.
    pub(crate) build_uploads: usize,
    /// Of work that is not trusted.
    pub(crate) untrusted: UntrustedSettings,
}

/// Most that `build_jobs` and `build_uploads` may be: more does not fit the record of a build.
const MOST_BUILD_JOBS: usize = tidegate_pipeline::Limits::CEILING.jobs;
const MOST_BUILD_UPLOADS: usize = 1_000;

impl Default for LimitSettings {
    fn default() -> Self {
        let build = Limits::default();
        Self {
            wait: build.wait,
            grace: Duration::from_secs(10),
            silence: Duration::from_secs(600),
            boot: Duration::from_secs(60),
            beat: Duration::from_secs(1),
            log_bytes: 1 << 30,
            pipeline: tidegate_pipeline::Limits::default(),
            build_jobs: build.jobs,
            build_uploads: build.uploads,
            untrusted: UntrustedSettings::default(),
        }
    }
}

/// Local ports that are usually free.
const LISTEN: &str = "127.0.0.1:8920";
const API_LISTEN: &str = "127.0.0.1:8921";

impl Default for Config {
    fn default() -> Self {
        let local = |text: &str, port| text.parse().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], port)));
        Self {
            listen: local(LISTEN, 8920),
            api_listen: local(API_LISTEN, 8921),
            webhook: None,
            github: None,
            repositories: Vec::new(),
            tokens: Vec::new(),
            pipelines: Vec::new(),
            pools: vec![default_pool()],
            limits: LimitSettings::default(),
            base_url: String::new(),
            organization: "tidegate".to_owned(),
            retention: Duration::from_secs(90 * 24 * 3600),
            notify: NotifyConfig::default(),
            hooks_dir: None,
            plugin_mirrors: None,
            forbidden: BTreeMap::new(),
            secrets: None,
        }
    }
}

/// The pool of a configuration that names none: as wide as the machine, at least two.
pub(crate) fn default_pool() -> PoolPolicy {
    let cores = std::thread::available_parallelism().map_or(2, |n| u32::try_from(n.get()).unwrap_or(2));
    pool("default", cores.max(2)).unwrap_or_else(|_| unreachable!("`default` is a pool name"))
}

fn pool(name: &str, width: u32) -> Result<PoolPolicy, tidegate_core::ids::InvalidId> {
    Ok(PoolPolicy {
        name: PoolName::new(name)?,
        width,
        idle: Duration::from_secs(60),
        hard_stop: Duration::from_secs(4 * 3600),
        tags: vec![("queue".to_owned(), name.to_owned())],
        trust: Trust::Trusted,
        isolation: Isolation::Missing(String::new()),
    })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), why: error.to_string() })
}

impl Config {
    /// Reads and checks a file.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(path, &read(path)?)
    }

    /// Checks a text; files that it names are looked for beside `path`.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        file::parse(path, text)
    }

    /// What of a file concerns whoever runs no server: secrets are not read.
    pub(crate) fn local_of(path: &Path) -> Result<Local, ConfigError> {
        file::local_of(path, &read(path)?)
    }

    /// What the engine must know.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            repositories: self.repositories.clone(),
            pipelines: self.pipelines.clone(),
            policy: Policy {
                pools: self.pools.clone(),
                boot: self.limits.boot,
                silence: self.limits.silence,
                no_capacity: Duration::from_secs(5),
                ticket_patience: Duration::from_secs(60),
            },
            limits: Limits {
                wait: self.limits.wait,
                jobs: self.limits.build_jobs,
                upload_jobs: self.limits.pipeline.jobs,
                uploads: self.limits.build_uploads,
                ..Limits::default()
            },
            pipeline: self.limits.pipeline,
            grace: self.limits.grace,
            log_limit: self.limits.log_bytes,
            organization: self.organization.clone(),
            base_url: self.base_url.clone(),
            delivery_memory: Duration::from_secs(14 * 24 * 3600),
            retention: self.retention,
            look_every: self.github.as_ref().map_or(tidegate_core::lost::EVERY, |github| github.look_every),
            job_checks: self.github.as_ref().map(|github| github.job_checks).unwrap_or_default(),
            notify: NotifySettings {
                webhook_secret: self.notify.webhook_secret.clone(),
                slack_url: self.notify.slack_url.clone(),
            },
            pace: Pace::default(),
            forge: self.github.as_ref().map_or_else(ForgeSettings::default, |github| ForgeSettings {
                app: github.app(),
                web_url: github.web_url(),
            }),
            untrusted: self.limits.untrusted,
        }
    }

    /// Slugs of every pipeline, configured or implied.
    pub(crate) fn slugs(&self) -> Vec<PipelineSlug> {
        self.pipelines.iter().map(|p| p.slug.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
