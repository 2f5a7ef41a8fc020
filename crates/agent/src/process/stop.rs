//! Ending everything that a job started. All of it descends from this process, which is a subreaper: leaving the
//! process group, the session, or the parent does not help.

use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpid};
use tokio::time::{Instant, sleep};

use super::table::{self, Process};

/// Between two looks.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(50);

/// Asks everything to end: the group, and whoever has left it. Then kills what is left after `grace`.
pub(crate) async fn end_all(group: Option<i32>, grace: Duration) {
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
        kill_all().await;
    }
}

/// Kills everything, and returns when it is gone.
pub(crate) async fn kill_all() {
    let mut pause = FIRST_LOOK;
    loop {
        let left = alive();
        if left.is_empty() {
            return;
        }
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

/// Waits until nothing that we started is left, at most `time`; whether that came.
pub(crate) async fn gone_within(time: Duration) -> bool {
    let deadline = Instant::now() + time;
    let me = getpid().as_raw();
    let mut pause = FIRST_LOOK;
    while table::has_children(me) {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_LOOK);
    }
    true
}

/// Everything that descends from this process and has not ended.
pub(crate) fn alive() -> Vec<Process> {
    if !table::has_children(getpid().as_raw()) {
        return Vec::new();
    }
    let mut found = table::snapshot().map(|all| table::descendants(getpid().as_raw(), &all)).unwrap_or_default();
    found.retain(|process| !process.zombie);
    found
}
