//! Ending everything that a job started. All of it descends from this process, which is a subreaper: leaving the
//! process group, the session, or the parent does not help.
//!
//! A look at the process table is not one moment: a process whose parent ends during the look descends from nobody in it,
//! and one that starts another and ends at once is gone before its signal. So nothing is believed to be over because a
//! look found nothing, but because the kernel says that we have no children, living or dead: then nothing descends from
//! us, and nothing is left that could start anything.

use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpid};
use tokio::time::{Instant, sleep};

use super::Children;
use super::table::{self, Process};

/// Between two looks.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(50);
/// How often children are killed in a row without a look at the whole table.
const ROUNDS: u32 = 64;

/// Asks everything to end: the group, and whoever has left it. Then kills what is left after `grace`.
pub(crate) async fn end_all(children: &Children, group: Option<i32>, grace: Duration) {
    if let Some(group) = group {
        let group = Pid::from_raw(group);
        // A stopped process takes its SIGTERM only once it is continued. Both fail when the group is gone.
        let _ = killpg(group, Signal::SIGTERM);
        let _ = killpg(group, Signal::SIGCONT);
    }
    for process in alive().iter().filter(|p| Some(p.group) != group) {
        table::signal(process, Signal::SIGTERM);
        table::signal(process, Signal::SIGCONT);
    }
    if !gone_within(grace).await {
        kill_all(children).await;
    }
}

/// Kills everything, and returns when it is gone.
pub(crate) async fn kill_all(children: &Children) {
    let mut pause = FIRST_LOOK;
    while !table::is_childless() {
        if let Some(group) = children.cgroup() {
            group.kill();
        }
        kill_children();
        let left = alive();
        for process in &left {
            table::signal(process, Signal::SIGSTOP);
        }
        for process in &left {
            table::signal(process, Signal::SIGKILL);
        }
        // The reaper works meanwhile.
        sleep(pause).await;
        pause = (pause * 2).min(LAST_LOOK);
    }
}

/// Kills our own children, and theirs as they become ours: faster than a process that only starts the next one and ends.
/// Nothing is reaped meanwhile, so that every number still means the process that was seen.
pub(crate) fn kill_children() {
    for _ in 0..ROUNDS {
        let mut any = false;
        for pid in table::children(getpid().as_raw()).unwrap_or_default() {
            any |= !table::has_ended(pid);
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if !any {
            return;
        }
    }
}

/// Waits until nothing that we started is left, at most `time`; whether that came.
pub(crate) async fn gone_within(time: Duration) -> bool {
    let deadline = Instant::now() + time;
    let mut pause = FIRST_LOOK;
    while !table::is_childless() {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_LOOK);
    }
    true
}

/// What descends from this process and has not ended, as one look shows it.
pub(crate) fn alive() -> Vec<Process> {
    if table::is_childless() {
        return Vec::new();
    }
    let mut found = table::snapshot().map(|all| table::descendants(getpid().as_raw(), &all)).unwrap_or_default();
    found.retain(|process| !process.zombie);
    found
}
