//! What a job may ask of its agent: a socket in the job's private directory, and a token that only the job has.
//!
//! It speaks HTTP, at the address and under the names of the reference (`BUILDKITE_AGENT_JOB_API_SOCKET`,
//! `BUILDKITE_AGENT_JOB_API_TOKEN`), so that hooks in any language can use it. The token of the instance never leaves
//! the agent: what a job may do is what is served here, for its own attempt.

mod routes;
pub(crate) mod socket;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_core::ids::AttemptId;
use tokio::task::AbortHandle;

use super::dirs::JobDir;
use super::env::JobEnv;
use super::locks::Locks;
use super::run::Host;
use crate::control::Watch;
use crate::output::{Log, Redactions};

/// Where the socket is.
pub(crate) const SOCKET_VARIABLE: &str = "BUILDKITE_AGENT_JOB_API_SOCKET";
/// What a caller presents.
pub(crate) const TOKEN_VARIABLE: &str = "BUILDKITE_AGENT_JOB_API_TOKEN";
/// The names under which a job calls its agent.
pub(crate) const NAMES: [&str; 2] = ["tidegate-agent", "buildkite-agent"];

/// The open socket of a job. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct JobApi {
    shared: Arc<Shared>,
    server: AbortHandle,
    socket: PathBuf,
    bin: PathBuf,
}

/// What those who answer share.
#[derive(Debug)]
struct Shared {
    host: Host,
    attempt: AttemptId,
    token: String,
    /// Ids of the pipeline uploads that were accepted.
    uploads: Mutex<BTreeSet<String>>,
    /// Counts the artifacts.
    artifacts: AtomicU32,
    redactions: Redactions,
    locks: Locks,
    watch: Watch,
    env: Mutex<Published>,
}

/// The environment as the process that runs now was given it, and what it changed since.
#[derive(Default)]
struct Published {
    env: JobEnv,
    changes: BTreeMap<String, Option<String>>,
}

/// Names only: values may be secrets.
impl std::fmt::Debug for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Published").field("env", &self.env).field("changes", &self.changes.keys()).finish()
    }
}

impl JobApi {
    /// Listens, and makes the commands that call it.
    pub(crate) fn open(host: &Host, attempt: &AttemptId, dir: &JobDir, log: &Log, watch: &Watch) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        for name in NAMES {
            symlink(&program, dir.bin.join(name))?;
        }
        let socket = dir.root.join("agent.sock");
        let listener = socket::listen(&socket)?;
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let shared = Arc::new(Shared {
            host: host.clone(),
            attempt: attempt.clone(),
            token: hex::encode(rand::random::<[u8; 24]>()),
            uploads: Mutex::default(),
            artifacts: AtomicU32::new(0),
            redactions: log.redactions(),
            locks: Locks::new(host.instance.mirrors_dir.join("locks")),
            watch: watch.clone(),
            env: Mutex::default(),
        });
        let router = routes::router(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            // It has no end of its own.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { shared, server: server.abort_handle(), socket, bin: dir.bin.clone() })
    }

    /// Tells the job how to reach us.
    pub(crate) fn offer(&self, env: &mut JobEnv) {
        let bin = self.bin.to_string_lossy();
        let path = match env.get("PATH") {
            Some(path) if !path.is_empty() => format!("{bin}:{path}"),
            _ => bin.clone().into_owned(),
        };
        env.set("PATH", path);
        env.set("BUILDKITE_BIN_PATH", bin);
        for (name, value) in self.reach() {
            env.set(name, value);
        }
    }

    /// The variables by which our command line finds us.
    pub(crate) fn reach(&self) -> [(&'static str, String); 2] {
        [(SOCKET_VARIABLE, self.socket.to_string_lossy().into_owned()), (TOKEN_VARIABLE, self.shared.token.clone())]
    }

    /// The command that calls us.
    pub(crate) fn program(&self) -> PathBuf {
        self.bin.join(NAMES[0])
    }

    /// Counts the artifacts of the attempt.
    pub(crate) fn artifacts(&self) -> &AtomicU32 {
        &self.shared.artifacts
    }

    /// A process starts with this environment.
    pub(crate) fn publish(&self, env: &JobEnv) {
        self.shared.env.lock().unwrap_or_else(PoisonError::into_inner).env = env.clone();
    }

    /// What was changed since this was called last: a value, or `None` for a variable that is to go.
    pub(crate) fn take_changes(&self) -> BTreeMap<String, Option<String>> {
        std::mem::take(&mut self.shared.env.lock().unwrap_or_else(PoisonError::into_inner).changes)
    }

    /// Answers nobody any more. How many pipeline uploads were accepted.
    pub(crate) fn close(self) -> u32 {
        self.shared.locks.close();
        let uploads = self.shared.uploads.lock().unwrap_or_else(PoisonError::into_inner).len();
        u32::try_from(uploads).unwrap_or(u32::MAX)
    }
}

impl Drop for JobApi {
    fn drop(&mut self) {
        // Whoever still waits for a lock must not get it.
        self.shared.locks.close();
        self.server.abort();
    }
}
