//! Running git, never through a shell, and never so that it asks anybody anything.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tidegate_engine::ports::PortError;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

/// How much of what git says is kept.
const WORDS: usize = 16 * 1_024;
/// How much of an answer is read: a list of refs or of changed files may be long.
const ANSWER: usize = 64 << 20;

/// How git failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    /// It was not run, or not to its end.
    Port(PortError),
    /// It says so, in these words.
    Git(String),
}

/// `git` with these arguments, on a mirror if one is given.
pub(super) fn git(mirror: Option<&Path>, args: &[impl AsRef<OsStr>]) -> Command {
    let mut command = tidegate_git::git();
    if let Some(mirror) = mirror {
        command.arg("--git-dir").arg(mirror);
    }
    command.args(args);
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    own_session(&mut command);
    command
}

/// Without a terminal ssh has nobody to ask, and Ctrl-C in the server's terminal is for the server alone.
#[expect(unsafe_code, reason = "the standard library has no safe way to start a process in a session of its own")]
fn own_session(command: &mut Command) {
    // SAFETY: between fork and exec only `setsid` is called, which is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from));
    }
}

/// A running git with its helpers (`git-remote-https`, `ssh`); dropped, all of them are killed.
struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // It may have ended meanwhile.
            let _ended = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs a command to its end and returns what it printed.
pub(super) async fn run(mut command: Command, limit: Duration) -> Result<Vec<u8>, Failure> {
    let child = command.spawn().map_err(|error| Failure::Port(not_run(&error)))?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let mut running = Running { child, group };
    let (words, answer) = (running.child.stderr.take(), running.child.stdout.take());
    let all = async {
        let (words, answer) = tokio::join!(read_up_to(words, WORDS), read_up_to(answer, ANSWER));
        let status = running.child.wait().await?;
        // Reaped: its id may belong to another one now.
        running.group = None;
        Ok::<_, io::Error>((words?, answer?, status))
    };
    let (words, answer, status) = match tokio::time::timeout(limit, all).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => return Err(Failure::Port(PortError::retry(format!("cannot read from git: {error}")))),
        Err(_) => return Err(Failure::Port(PortError::retry(format!("git did not end within {limit:?}")))),
    };
    if status.success() {
        return Ok(answer);
    }
    let words = String::from_utf8_lossy(&words).into_owned();
    Err(Failure::Git(if words.trim().is_empty() { format!("git ended with {status}") } else { words }))
}

pub(super) fn not_run(error: &io::Error) -> PortError {
    match error.kind() {
        io::ErrorKind::NotFound => PortError::fatal("git is not installed, or not in the PATH of this server"),
        _ => PortError::retry(format!("cannot run git: {error}")),
    }
}

/// Reads to the end, keeping the first `most` bytes.
async fn read_up_to(pipe: Option<impl AsyncRead + Unpin>, most: usize) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else {
        return Ok(kept);
    };
    let mut buffer = vec![0; 16 * 1_024];
    loop {
        let count = pipe.read(&mut buffer).await?;
        if count == 0 {
            return Ok(kept);
        }
        let room = most.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
    }
}
