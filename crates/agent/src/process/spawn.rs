//! Starting a process of a job.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal.
    Signaled(Signal),
    /// By a signal without a name, or unseen.
    Unknown,
}

impl End {
    /// The exit status as a shell gives it: 128 + n for signal n (`spec/agent.md`, exit codes).
    pub(crate) fn status(self) -> i32 {
        match self {
            End::Exited(code) => code,
            End::Signaled(signal) => 128 + signal as i32,
            End::Unknown => 255,
        }
    }

    /// The name of the signal, upper case without `SIG`.
    pub(crate) fn signal(self) -> Option<String> {
        match self {
            End::Signaled(signal) => Some(signal.as_str().trim_start_matches("SIG").to_owned()),
            End::Exited(_) | End::Unknown => None,
        }
    }
}

/// What to start. Not to be printed: the environment may hold secrets.
pub(crate) struct JobCommand {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: PathBuf,
    /// Takes both standard output and standard error: one pipe keeps their order.
    pub(crate) output: OwnedFd,
}

impl JobCommand {
    /// The process in a group of its own, with exactly this environment, killed by the kernel when the agent dies.
    pub(crate) fn build(self) -> std::io::Result<Command> {
        let mut command = Command::new(self.program);
        command
            .args(self.args)
            .env_clear()
            .envs(self.env)
            .current_dir(self.cwd)
            .stdin(Stdio::null())
            .stdout(Stdio::from(self.output.try_clone()?))
            .stderr(Stdio::from(self.output));
        own_group(&mut command);
        Ok(command)
    }
}

/// Puts the child into a process group of its own and ties its life to ours.
pub(crate) fn own_group(command: &mut Command) {
    command.process_group(0);
    die_with_parent(command);
}

/// Lets the child enter the control group to which this is the door, before it becomes its program. Where that fails it
/// stays in ours: the group only makes it simpler to end everything.
#[expect(unsafe_code, reason = "the only way to do something between fork and exec")]
pub(super) fn enter(command: &mut Command, door: &File) {
    let door = door.as_raw_fd();
    // SAFETY: `write` is async-signal-safe, and the closure neither allocates nor takes a lock. The caller keeps the
    // descriptor open until the child was started, and uses the command once.
    unsafe {
        command.pre_exec(move || {
            let _ = nix::libc::write(door, b"0".as_ptr().cast(), 1);
            Ok(())
        });
    }
}

/// Asks the kernel to kill the child when the thread that starts it ends: the agent's main thread.
#[expect(unsafe_code, reason = "the only way to run `prctl` between fork and exec")]
fn die_with_parent(command: &mut Command) {
    // SAFETY: `prctl` and `sigprocmask` are async-signal-safe, and the closure neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            nix::sys::signal::SigSet::empty().thread_set_mask()?;
            Ok(())
        });
    }
}
