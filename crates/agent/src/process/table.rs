//! The process table as `/proc` shows it, and the two ways by which a process is known to be a job's: it descends from
//! the agent, which is a subreaper, so that a double fork does not escape; or its environment carries the agent's tag.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// One process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    /// In clock ticks since the machine started: tells a process from a later one with the same number.
    pub(crate) started: u64,
    /// Has ended, waits for its parent to notice.
    pub(crate) zombie: bool,
    /// Is just becoming another program (`execve`), and has no environment at the moment.
    pub(crate) becoming: bool,
    pub(crate) name: String,
}

/// All processes of the machine that we may see.
pub(crate) fn snapshot() -> io::Result<Vec<Process>> {
    let mut processes = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<i32>().ok()) else {
            continue;
        };
        // A process may end between the listing and this; then it is none of our business any more.
        if let Some(process) = read(pid) {
            processes.push(process);
        }
    }
    Ok(processes)
}

fn read(pid: i32) -> Option<Process> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&String::from_utf8_lossy(&stat))
}

/// Reads a line of `/proc/<pid>/stat`. The name stands in parentheses and may itself hold parentheses and spaces.
fn parse_stat(line: &str) -> Option<Process> {
    let open = line.find('(')?;
    let close = line.rfind(')')?;
    let pid = line.get(..open)?.trim().parse().ok()?;
    let name = line.get(open + 1..close)?.to_owned();
    let mut rest = line.get(close + 1..)?.split_ascii_whitespace();
    let state = rest.next()?;
    let parent = rest.next()?.parse().ok()?;
    let group = rest.next()?.parse().ok()?;
    // Field 22 of the line; four fields are read, the first after the name is number 3.
    let started = rest.nth(16)?.parse().ok()?;
    // Field 23, the size of its memory: none for processes of the kernel and those that are about to have ended.
    let has_memory = rest.next().is_some_and(|size| size != "0");
    // Field 26, where its code begins: 1 where the kernel keeps that to itself, and the environment too.
    let withheld = rest.nth(2) == Some("1");
    // Field 51, where its environment ends.
    let no_environment = rest.nth(24) == Some("0");
    let becoming = has_memory && !withheld && no_environment;
    Some(Process { pid, parent, group, started, zombie: matches!(state, "Z" | "X"), becoming, name })
}

/// The processes that descend from `ancestor`, which is not among them.
pub(crate) fn descendants(ancestor: i32, all: &[Process]) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<&Process>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut seen = HashSet::from([ancestor]);
    let mut queue = vec![ancestor];
    while let Some(pid) = queue.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if seen.insert(child.pid) {
                queue.push(child.pid);
                found.push((*child).clone());
            }
        }
    }
    found
}

/// The processes whose environment, as it was when they were started, holds `name=value`.
pub(crate) fn tagged(name: &str, value: &str, all: &[Process]) -> Vec<Process> {
    let wanted = format!("{name}={value}");
    all.iter()
        .filter(|process| {
            std::fs::read(format!("/proc/{}/environ", process.pid))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
        })
        .cloned()
        .collect()
}

/// Whether this process has no children, neither living ones nor such as wait to be reaped. Atomic, unlike any look at the
/// table: with a subreaper it means that nothing descends from us.
pub(crate) fn is_childless() -> bool {
    let any = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        match waitid(Id::All, any) {
            Err(Errno::EINTR) => {}
            result => return result == Err(Errno::ECHILD),
        }
    }
}

/// The children of a process. Much faster than a look at the whole table, and as little one moment.
pub(crate) fn children(parent: i32) -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{parent}/task"))? {
        match std::fs::read_to_string(thread?.path().join("children")) {
            Ok(children) => found.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok())),
            // The thread has ended; or a kernel without this file.
            Err(_) if Path::new(&format!("/proc/{parent}/task/{parent}/children")).exists() => {}
            Err(_) => return Ok(snapshot()?.iter().filter(|p| p.parent == parent).map(|p| p.pid).collect()),
        }
    }
    Ok(found)
}

/// Whether a process has ended, reaped or not.
pub(crate) fn has_ended(pid: i32) -> bool {
    read(pid).is_none_or(|process| process.zombie)
}

/// Sends a signal, if the process is still the one that was seen.
pub(crate) fn signal(process: &Process, signal: Signal) {
    if process.pid > 1 && read(process.pid).is_some_and(|now| now.started == process.started) {
        // It may have ended since: nothing to do then.
        let _ = kill(Pid::from_raw(process.pid), signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32) -> Process {
        Process { pid, parent, group: pid, started: 0, zombie: false, becoming: false, name: String::new() }
    }

    #[test]
    fn names_may_hold_anything() {
        let line = "42 (a) (b c) S 7 40 40 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 9001 5 6 7";
        let name = "a) (b c".to_owned();
        let found = Process { pid: 42, parent: 7, group: 40, started: 9001, zombie: false, becoming: false, name };
        assert_eq!(parse_stat(line), Some(found.clone()));
        let whole = |memory: u64, code: u64, environment_end: u64| {
            format!(
                "42 (a) (b c) S 7 40 42 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 9001 {memory} 50 18446744073709551615 {code} 2 3 0 0 0 \
                 0 4096 0 0 0 0 17 1 0 0 0 0 0 5 6 7 8 9 10 {environment_end} 0"
            )
        };
        // As usual; before its end; of somebody who keeps it to himself; between two programs.
        for (memory, code, environment_end, becoming) in
            [(1_000, 99, 11, false), (0, 0, 0, false), (1_000, 1, 0, false), (1_000, 0, 0, true)]
        {
            let line = whole(memory, code, environment_end);
            assert_eq!(parse_stat(&line), Some(Process { becoming, ..found.clone() }), "{line}");
        }
        assert_eq!(parse_stat("42 (x"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn descendants_are_found_over_generations_and_loops_end() {
        let all = [
            process(2, 1),
            process(3, 2),
            process(4, 3),
            process(5, 1),
            // Cannot happen, must not hang.
            process(6, 7),
            process(7, 6),
        ];
        let mut found: Vec<i32> = descendants(2, &all).iter().map(|p| p.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [3, 4]);
        assert_eq!(descendants(6, &all).len(), 1);
    }

    #[test]
    fn this_process_is_in_the_table() {
        let me = i32::try_from(std::process::id()).unwrap_or(0);
        let all = snapshot().unwrap_or_default();
        assert!(all.iter().any(|p| p.pid == me && !p.zombie));
    }
}
