//! `instance.json`: what a fleet tells the process that stands for a machine. The fleet writes it with mode 0600,
//! because it holds the token by which the gate knows the process.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, PoolName};

/// The configuration of one instance.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct InstanceFile {
    /// The machine.
    pub instance: InstanceId,
    /// The pool it works for.
    pub pool: PoolName,
    /// The pool's tags; a job sees them as `BUILDKITE_AGENT_META_DATA_<TAG>`.
    #[serde(default)]
    pub tags: Vec<(String, String)>,
    /// How the gate knows this process.
    pub token: InstanceToken,
    /// A file that holds the base URL of the gate. Read again whenever a call fails: the server may have been started
    /// again on another port.
    pub endpoint_file: PathBuf,
    /// How long the agent waits for work before it leaves, in milliseconds.
    pub idle_ms: u64,
    /// The longest life of the instance, in milliseconds, whatever happens.
    pub hard_stop_ms: u64,
    /// Directories of attempts are made in here, and removed.
    pub work_dir: PathBuf,
    /// Mirrors of repositories, shared by the instances of one machine.
    pub mirrors_dir: PathBuf,
    /// Between two beats, in milliseconds.
    #[serde(default = "default_beat_ms")]
    pub beat_ms: u64,
    /// After this long without a successful beat the agent ends its job and leaves, in milliseconds. Shorter than the
    /// time after which the control plane gives the attempt up (`spec/hazards.md` C9).
    #[serde(default = "default_self_kill_ms")]
    pub self_kill_ms: u64,
    /// How long the worker may take to end after it was asked to, in milliseconds, before it is killed.
    #[serde(default = "default_stop_ms")]
    pub stop_ms: u64,
    /// What jobs start is put into a control group, where the machine allows that.
    #[serde(default = "yes")]
    pub cgroup: bool,
    /// Hooks of the machine's owner (`spec/pipeline.md` 1.15).
    #[serde(default)]
    pub hooks_dir: Option<PathBuf>,
    /// Fetched plugins, shared by the instances of one machine; beside the mirrors where not given.
    #[serde(default)]
    pub plugins_dir: Option<PathBuf>,
    /// Directories that stand for remote plugin repositories: `<dir>/<host>/<owner>/<name>` is used instead of the
    /// network, for closed networks and tests.
    #[serde(default)]
    pub plugin_mirrors: Option<PathBuf>,
    /// What jobs may not do here.
    #[serde(default, skip_serializing_if = "Forbidden::is_nothing")]
    pub forbidden: Forbidden,
}

/// What the owner of a machine does not let pipelines and repositories do, as the reference's `no-command-eval`,
/// `no-local-hooks` and `no-plugins`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Forbidden {
    /// Commands other than a script of the repository.
    #[serde(default)]
    pub command_eval: bool,
    /// Hooks of the repository.
    #[serde(default)]
    pub local_hooks: bool,
    /// Plugins.
    #[serde(default)]
    pub plugins: bool,
}

impl Forbidden {
    /// Everything is allowed.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

fn default_beat_ms() -> u64 {
    5_000
}

fn default_self_kill_ms() -> u64 {
    120_000
}

fn yes() -> bool {
    true
}

fn default_stop_ms() -> u64 {
    30_000
}

/// The secret by which the gate knows an agent process. Never printed.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceToken(String);

impl InstanceToken {
    /// Wraps a token.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The secret itself: for the `Authorization` header and for comparing.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for InstanceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstanceToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_fleet_writes_and_prints_no_token() {
        let text = r#"{"instance":"i-00000000000000001","pool":"default","tags":[["queue","default"]],
            "token":"hush","endpoint_file":"/s/endpoint","idle_ms":30000,"hard_stop_ms":14400000,
            "work_dir":"/w","mirrors_dir":"/m","beat_ms":1000,"self_kill_ms":120000}"#;
        let file: InstanceFile = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(file.stop_ms, 30_000);
        assert_eq!(file.token.expose(), "hush");
        assert!(!format!("{file:?}").contains("hush"));
    }
}
