//! Running git, never as a shell would and never asking anybody anything.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

use crate::job::{Host, JobDir};
use crate::output::Log;
use crate::process::{End, own_group};

/// How much of what git prints is kept.
const WORDS: usize = 16 * 1024;
/// How much of an answer is read: a list of refs may be long.
const ANSWER: usize = 64 * 1024 * 1024;

/// What of the machine's environment git sees: where things are, how to reach the network, and the owner's own
/// configuration, which may hold a credential helper.
const INHERITED: [&str; 25] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "XDG_CONFIG_HOME",
    "SSH_AUTH_SOCK",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSL_CAINFO",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "CURL_CA_BUNDLE",
    "TIDEGATE_INSTANCE",
    "NIX_SSL_CERT_FILE",
];

/// Settings that no repository and no owner may change.
const SETTINGS: [&str; 8] = [
    "protocol.ext.allow=never",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    // A transfer that makes no progress for a minute is over.
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
];

/// Git for one attempt.
#[derive(Debug)]
pub(crate) struct Git<'a> {
    host: &'a Host,
    pub(crate) log: &'a Log,
    pub(crate) dir: &'a JobDir,
}

impl<'a> Git<'a> {
    pub(crate) fn new(host: &'a Host, log: &'a Log, dir: &'a JobDir) -> Self {
        Self { host, log, dir }
    }

    /// Runs git in a directory and gives what it printed; the error is git's own words.
    pub(crate) async fn run(&self, directory: &Path, args: &[impl AsRef<OsStr>]) -> Result<Vec<u8>, String> {
        let mut command = Command::new("git");
        for setting in SETTINGS {
            command.arg("-c").arg(setting);
        }
        command
            .args(args)
            .current_dir(directory)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(|name| INHERITED.contains(&name))))
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "")
            .env("SSH_ASKPASS", "")
            .env("LC_ALL", "C")
            .env("TMPDIR", &self.dir.tmp)
            // Where a job's directory lies within somebody's repository, that one is none of our business.
            .env("GIT_CEILING_DIRECTORIES", &self.dir.root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if std::env::var_os("GIT_SSH_COMMAND").is_none() && std::env::var_os("GIT_SSH").is_none() {
            command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15");
        }
        own_group(&mut command);
        let mut running = self.host.children.spawn(&mut command).map_err(|e| format!("cannot run git: {e}"))?;
        let words = read_up_to(running.child.stderr.take().map(OwnedFd::from), WORDS);
        let answer = read_up_to(running.child.stdout.take().map(OwnedFd::from), ANSWER);
        let (words, answer) = tokio::join!(words, answer);
        let end = running.ended().await;
        if end == End::Exited(0) {
            return answer.map_err(|e| format!("cannot read git's answer: {e}"));
        }
        let words = String::from_utf8_lossy(&words.unwrap_or_default()).trim().to_owned();
        Err(match (words.is_empty(), end.signal()) {
            (true, None) => format!("git ended with status {}", end.status()),
            (true, Some(signal)) => format!("git was ended by signal {signal}"),
            (false, _) => words,
        })
    }
}

/// Reads to the end, keeping at most the first `most` bytes.
async fn read_up_to(pipe: Option<OwnedFd>, most: usize) -> io::Result<Vec<u8>> {
    let Some(pipe) = pipe else {
        return Ok(Vec::new());
    };
    let mut pipe = Receiver::from_owned_fd(pipe)?;
    let mut kept = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = pipe.read(&mut buffer).await?;
        if count == 0 {
            return Ok(kept);
        }
        let room = most.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
    }
}
