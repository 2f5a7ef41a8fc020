//! The server of a demo, as a process of its own.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use tidegate_local::StateDir;

use crate::client::{Access, Backend, find_server};
use crate::process::signal;
use crate::server::ApiFile;

/// How long the server may take to be ready, and to stop.
const PATIENCE: Duration = Duration::from_secs(20);
const LOG: &str = "server.log";

/// The process; ended when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Server {
    child: Option<Child>,
    /// Processes of the instances that were seen last.
    instances: Vec<u32>,
}

impl Server {
    /// Starts `tidegate up`, this same program.
    pub(super) fn start(&mut self, directory: &Path, config: &Path, state: &Path) -> anyhow::Result<u32> {
        let log = File::create(directory.join(LOG)).context("cannot write the server's log")?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command.arg("up").arg("--config").arg(config).arg("--state").arg(state);
        for name in ["TIDEGATE_CONFIG", "TIDEGATE_STATE", "TIDEGATE_URL", "TIDEGATE_TOKEN"] {
            command.env_remove(name);
        }
        // In a group of its own: Ctrl-C is for the demo, which then stops the server as one should.
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0).spawn();
        let child = child.context("cannot start `tidegate up`")?;
        let pid = child.id();
        self.child = Some(child);
        Ok(pid)
    }

    /// Waits until the server says where it is.
    pub(super) async fn ready(&mut self, state: &Path) -> anyhow::Result<ApiFile> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                self.child = None;
                bail!("`tidegate up` ended at once: {status}");
            }
            if let Ok(state) = StateDir::read(state)
                && let Some(file) = find_server(&state).await
            {
                return Ok(file);
            }
            if Instant::now() >= deadline {
                bail!("`tidegate up` is not ready after {} s", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A client of it.
    pub(super) async fn client(state: PathBuf) -> anyhow::Result<Backend> {
        let global = crate::args::Global { state: Some(state), ..Default::default() };
        Backend::open(&global, Access::Server).await
    }

    /// Notes what would have to be ended if the server could not.
    pub(super) fn note_instances(&mut self, pids: impl Iterator<Item = u32>) {
        self.instances = pids.collect();
    }

    /// Stops it as one should: running jobs are ended, nothing of the instances is left.
    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        signal(child.id(), Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                if status.success() {
                    return Ok(());
                }
                bail!("it ended with {status}");
            }
            if Instant::now() >= deadline {
                self.kill();
                bail!("it did not stop in {} s and was killed", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends everything at once.
    pub(super) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // A second signal ends an instance's patience: it kills everything that it started.
        for _ in 0..2 {
            for pid in &self.instances {
                signal(*pid, Signal::SIGTERM);
            }
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    /// The last lines of its log.
    pub(super) fn log_tail(&self, directory: &Path) -> String {
        let text = std::fs::read_to_string(directory.join(LOG)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
