//! Processes as `/proc` shows them.
//!
//! A process is known by its id and the time of its start, never by the id alone: ids are used again. Signals go through
//! a descriptor of the process, taken and then compared, so that none ever reaches a stranger.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

/// The variable that every process of an instance inherits.
pub(super) const INSTANCE_VARIABLE: &str = "TIDEGATE_INSTANCE";

/// Which process, since the machine was started.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) pid: u32,
    /// In clock ticks after the start of the machine.
    pub(super) start: u64,
}

/// A process at the time of a look. One that has ended and waits for its parent to notice counts as none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Process {
    pub(super) identity: Identity,
    pub(super) parent: u32,
    /// Whether it is just becoming another program (`execve`) and has no environment at the moment.
    becoming: bool,
}

/// The id of this run of the machine: process ids and start times mean something only within it.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// All living processes, and of each the instance to which it belongs, if to any.
///
/// A process that is just becoming another program looks as if it belonged to none: such are waited for.
pub(super) fn look_around() -> io::Result<Vec<(Process, Option<String>)>> {
    // Longer than a loaded machine takes for it; one that takes longer must not hold up everything.
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let all = snapshot()?;
        let found: Vec<_> = all.iter().map(|process| (*process, instance_of(process.identity.pid))).collect();
        let in_between = found.iter().any(|(process, instance)| instance.is_none() && is_becoming(*process));
        if !in_between || Instant::now() >= deadline {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a process was becoming another program before its environment was read, or is after it was.
fn is_becoming(process: Process) -> bool {
    let now = read_stat(process.identity.pid).filter(|(now, ended)| now.identity == process.identity && !ended);
    now.is_some_and(|(now, _)| process.becoming || now.becoming)
}

fn snapshot() -> io::Result<Vec<Process>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        processes.extend(pid.and_then(look));
    }
    Ok(processes)
}

/// The living process that has this id now.
fn look(pid: u32) -> Option<Process> {
    read_stat(pid).filter(|(_, ended)| !ended).map(|(process, _)| process)
}

/// The identity of a child that was not waited for: also of one that has ended already.
pub(super) fn identity_of_child(pid: u32) -> Option<Identity> {
    read_stat(pid).map(|(process, _)| process.identity)
}

fn read_stat(pid: u32) -> Option<(Process, bool)> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(pid, &String::from_utf8_lossy(&stat))
}

/// Reads a line of `/proc/<pid>/stat` (proc_pid_stat(5)), and whether the process has ended. The name in parentheses may
/// hold anything, parentheses too.
fn parse_stat(pid: u32, stat: &str) -> Option<(Process, bool)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X" | "x");
    let parent = fields.next()?.parse().ok()?;
    // Field 22, where the parent is field 4.
    let start = fields.nth(17)?.parse().ok()?;
    // Field 23, the size of its memory: none for processes of the kernel and those that are about to have ended.
    let has_memory = fields.next()? != "0";
    // Field 26, where its code begins: 1 where the kernel keeps that to itself, and the environment too.
    let withheld = fields.nth(2)? == "1";
    // Field 51, where its environment ends.
    let has_environment = fields.nth(24)? != "0";
    let becoming = has_memory && !withheld && !has_environment;
    Some((Process { identity: Identity { pid, start }, parent, becoming }, ended))
}

/// Whether this very process lives.
pub(super) fn is_alive(identity: Identity) -> bool {
    look(identity.pid).is_some_and(|process| process.identity == identity)
}

/// The instance to which a process says that it belongs. It said so when it was started, and cannot have known better
/// since; what changed its user cannot be asked.
pub(super) fn instance_of(pid: u32) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environment.split(|byte| *byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(INSTANCE_VARIABLE.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}

/// The processes of an instance: those that carry its tag, and whatever descends from them (a child may have cleared its
/// environment).
pub(super) fn members(instance: &str) -> io::Result<Vec<Process>> {
    let found = look_around()?;
    let all: Vec<Process> = found.iter().map(|(process, _)| *process).collect();
    let tagged = found.iter().filter(|(_, of)| of.as_deref() == Some(instance)).map(|(process, _)| *process);
    Ok(with_descendants(tagged.collect(), &all))
}

fn with_descendants(roots: Vec<Process>, all: &[Process]) -> Vec<Process> {
    let mut children: HashMap<u32, Vec<Process>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(*process);
    }
    let mut seen: HashSet<u32> = roots.iter().map(|process| process.identity.pid).collect();
    let mut waiting = roots.clone();
    let mut found = roots;
    while let Some(parent) = waiting.pop() {
        for child in children.get(&parent.identity.pid).into_iter().flatten() {
            // Younger than its parent, or the parent's id was given to another one during the look.
            if child.identity.start >= parent.identity.start && seen.insert(child.identity.pid) {
                waiting.push(*child);
                found.push(*child);
            }
        }
    }
    found
}

/// A descriptor of this very process; `None` when it has ended. It becomes readable when the process ends.
pub(super) fn open(identity: Identity) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(identity.pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let descriptor = match rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(descriptor) => descriptor,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // After it was opened it cannot come to mean another process; before, it may have.
    Ok(is_alive(identity).then_some(descriptor))
}

/// Sends a signal to this very process; nothing happens when it has ended.
pub(super) fn signal(identity: Identity, signal: Signal) -> io::Result<()> {
    let Some(descriptor) = open(identity)? else {
        return Ok(());
    };
    match rustix::process::pidfd_send_signal(descriptor, signal) {
        Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Kills what there is of an instance now. Returns how many processes there were: none are left only after a look that
/// found none.
pub(super) fn kill_members(instance: &str) -> io::Result<usize> {
    let own = std::process::id();
    let mut stopped: HashSet<Identity> = HashSet::new();
    // All are stopped before the first is killed: none can start another one, and a child that has cleared its
    // environment is known as long as its parents live. One that forks all the time is caught within a few looks.
    for _ in 0..100 {
        let mut new = members(instance)?;
        new.retain(|process| process.identity.pid != own && !stopped.contains(&process.identity));
        if new.is_empty() {
            break;
        }
        for process in new {
            send(process.identity, Signal::STOP);
            stopped.insert(process.identity);
        }
    }
    for identity in &stopped {
        send(*identity, Signal::KILL);
    }
    Ok(stopped.len())
}

fn send(identity: Identity, kind: Signal) {
    if let Err(error) = signal(identity, kind) {
        tracing::warn!(pid = identity.pid, error = %error, "cannot signal a process");
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn process(pid: u32, parent: u32, start: u64) -> Process {
        Process { identity: Identity { pid, start }, parent, becoming: false }
    }

    #[test]
    fn reads_stat_lines() {
        let line = |name: &str, state: &str, memory: u64, code: u64, environment_end: u64| {
            format!(
                "42 ({name}) {state} 7 42 42 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 98765 {memory} 50 \
                 18446744073709551615 {code} 2 3 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0 5 6 7 8 9 10 {environment_end} 0"
            )
        };
        let found = process(42, 7, 98_765);
        let becoming = Process { becoming: true, ..found };
        for (line, expected) in [
            (line("sh", "S", 1_000, 99, 11), Some((found, false))),
            (line("a) Z 1 (b", "R", 1_000, 99, 11), Some((found, false))),
            (line("sh", "Z", 0, 0, 0), Some((found, true))),
            // Just before its end; of the kernel; of somebody who keeps it to himself.
            (line("sh", "R", 0, 0, 0), Some((found, false))),
            (line("kworker/0:1", "I", 0, 0, 0), Some((found, false))),
            (line("init", "S", 1_000, 1, 0), Some((found, false))),
            (line("sh", "R", 1_000, 0, 0), Some((becoming, false))),
            ("42 (sh) S 7".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(parse_stat(42, &line), expected, "{line}");
        }
    }

    #[test]
    fn this_process_is_found() {
        let own = look(std::process::id()).unwrap();
        assert!(is_alive(own.identity));
        assert!(snapshot().unwrap().contains(&own));
        assert!(!is_alive(Identity { start: own.identity.start + 1, ..own.identity }));
        assert!(open(Identity { start: own.identity.start + 1, ..own.identity }).unwrap().is_none());
    }

    #[test]
    fn descendants_are_found_and_strangers_are_not() {
        let all = [
            process(1, 0, 1),
            process(10, 1, 100),
            process(11, 10, 110),
            process(12, 11, 120),
            process(20, 1, 100),
            // Its parent's id is that of a process that is younger than it.
            process(30, 12, 50),
        ];
        let found = with_descendants(vec![all[1]], &all);
        assert_eq!(found, [all[1], all[2], all[3]]);
    }
}
