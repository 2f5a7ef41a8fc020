//! Running git, never as a shell would and never asking anybody anything.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use tidegate_git::credential;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

use crate::job::api::JobApi;
use crate::job::{Host, JobDir};
use crate::output::Log;
use crate::process::{End, own_group};
use crate::worker::INSTANCE_VARIABLE;

/// How much of what git prints is kept.
const WORDS: usize = 16 * 1024;
/// How much of an answer is read: a list of refs may be long.
const ANSWER: usize = 64 * 1024 * 1024;

/// How git asks the agent for the credential of the job's repository: by the command line inside a job, over its socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    settings: Vec<(String, String)>,
    reach: Vec<(&'static str, String)>,
}

impl Access {
    /// For the repository of a URL.
    pub(crate) fn to(url: &str, api: &JobApi) -> Self {
        if !credential::is_http(url) {
            return Self::default();
        }
        let program = credential::quote(&api.program().to_string_lossy());
        let helper = format!("!{program} {}", crate::job_cli::CREDENTIALS);
        Self { settings: credential::settings(url, &helper).into(), reach: api.reach().into() }
    }
}

/// Git for one attempt.
#[derive(Debug)]
pub(crate) struct Git<'a> {
    host: &'a Host,
    pub(crate) log: &'a Log,
    pub(crate) dir: &'a JobDir,
    access: Access,
    variables: Vec<(&'static str, &'static str)>,
}

impl<'a> Git<'a> {
    pub(crate) fn new(host: &'a Host, log: &'a Log, dir: &'a JobDir) -> Self {
        Self { host, log, dir, access: Access::default(), variables: Vec::new() }
    }

    /// With a way to a credential.
    pub(crate) fn with_access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// With a variable for git and its helpers.
    pub(crate) fn with_variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    /// Runs git in a directory and gives what it printed; the error is git's own words.
    pub(crate) async fn run(&self, directory: &Path, args: &[impl AsRef<OsStr>]) -> Result<Vec<u8>, String> {
        let mut command = tidegate_git::git();
        credential::configure(&mut command, &self.access.settings);
        command
            .args(args)
            .current_dir(directory)
            .envs(self.access.reach.iter().map(|(name, value)| (name, value)))
            .envs(self.variables.iter().copied())
            .env(INSTANCE_VARIABLE, self.host.instance.instance.as_str())
            .env("TMPDIR", &self.dir.tmp)
            // Where a job's directory lies within somebody's repository, that one is none of our business.
            .env("GIT_CEILING_DIRECTORIES", &self.dir.root);
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
