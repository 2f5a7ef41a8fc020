//! Other processes.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Sends a signal; a process that is gone is none to send to.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = known(pid) {
        let _gone = kill(pid, signal);
    }
}

/// Whether there is a process of this id.
pub(crate) fn is_alive(pid: u32) -> bool {
    known(pid).is_some_and(|pid| kill(pid, None) != Err(Errno::ESRCH))
}

/// 0 and below mean groups of processes, never one of them.
fn known(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().filter(|pid| *pid > 0).map(Pid::from_raw)
}
