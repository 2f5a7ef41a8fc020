//! Watching over instances until nothing of them is left.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::process::Signal;
use tidegate_core::ids::InstanceId;
use tidegate_core::time::Timestamp;
use tidegate_engine::ports::Clock;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;

use super::process_fleet::Inner;
use super::procs::{self, Identity};
use super::records::{self, Tombstone};
use crate::clock::SystemClock;
use crate::files;

/// A log is cut when it has this many bytes, to so many.
const LOG_LIMIT: u64 = 1 << 20;
const LOG_KEPT: u64 = 256 << 10;
/// So much of a log outlives its instance.
const LOG_REMEMBERED: u64 = 2_000;
/// How often logs are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(2);
/// Launches whose instances are gone are forgotten after this long: their tokens are not used again.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// The process of an instance.
#[derive(Debug)]
pub(super) enum Watched {
    /// A child of this process.
    Child(Child),
    /// A child of a server before this one.
    Adopted(Identity),
    /// It has ended while nobody watched.
    Ended,
}

/// Watches over an instance from now on. Within a runtime.
pub(super) fn begin(inner: &Arc<Inner>, instance: &InstanceId, watched: Watched) {
    tokio::spawn(supervise(Arc::clone(inner), instance.clone(), watched));
}

async fn supervise(inner: Arc<Inner>, instance: InstanceId, mut watched: Watched) {
    let mut why = until_ended(&inner, &instance, &mut watched).await;
    // First everything that is left of it, then the word that it is gone: whoever tries its work again must not meet it.
    kill_rest(&inner, &instance).await;
    if let Watched::Child(child) = &mut watched {
        // Killed, or ended before: only to be noticed, so that it does not stay as a zombie.
        let _status = child.wait().await;
    }
    let (log, directory) = (inner.places.log(&instance), inner.places.directory(&instance));
    let log = blocking_or(String::new(), move || end_of_log(&log)).await;
    if let Some(last) = log.lines().next_back().filter(|_| why.unexpected) {
        why.text = format!("{}; it last said: {last}", why.text);
    }
    let pid = inner.entries().get(&instance).and_then(|entry| entry.process).map(|process| process.pid);
    let tombstone = Tombstone { at: SystemClock.now(), pid, why: why.text.clone(), log };
    let (path, written) = (inner.places.tombstone(&instance), tombstone.clone());
    blocking_or((), move || {
        if let Err(error) = records::write(&path, &written) {
            // The next server finds no process of it either.
            tracing::warn!(path = %path.display(), error = %error, "cannot note the end of an instance");
        }
    })
    .await;
    tracing::info!(instance.id = %instance, instance.pid = pid, why = why.text, "an instance is gone");
    inner.change(&instance, |entry| {
        entry.gone = Some(tombstone);
        entry.token = None;
    });
    blocking_or((), move || {
        if let Err(error) = files::remove_tree(&directory) {
            tracing::warn!(path = %directory.display(), error = %error, "cannot remove the directory of an instance");
        }
    })
    .await;
}

/// Why an instance ended.
struct Why {
    text: String,
    /// Nobody asked for it, and it was no success either.
    unexpected: bool,
}

impl Why {
    fn expected(text: &str) -> Self {
        Self { text: text.to_owned(), unexpected: false }
    }

    fn of(status: Option<ExitStatus>) -> Self {
        match status {
            None => Self::expected("it ended while no server watched"),
            Some(status) if status.success() => Self::expected("it left"),
            // Ended from outside: what it logged before says nothing about that.
            Some(status) if status.signal().is_some() => {
                let signal = status.to_string().replacen("signal: ", "signal ", 1);
                Self { text: format!("its process was ended by {signal}"), unexpected: false }
            }
            Some(status) => {
                let status = status.to_string().replacen("exit status: ", "exit status ", 1);
                Self { text: format!("its process ended with {status}"), unexpected: true }
            }
        }
    }
}

/// Waits until the process has ended, or should be killed.
async fn until_ended(inner: &Inner, instance: &InstanceId, watched: &mut Watched) -> Why {
    let (mut ending, launched) = {
        let entries = inner.entries();
        let Some(entry) = entries.get(instance) else {
            return Why::expected("it was forgotten");
        };
        (entry.ending.subscribe(), entry.launched)
    };
    let life = inner.places.read_instance(instance).ok().flatten().map(|file| Duration::from_millis(file.hard_stop_ms));
    let overdue = async {
        match life {
            Some(life) => tokio::time::sleep(time_left(launched, life.saturating_add(inner.settings.overdue))).await,
            None => std::future::pending().await,
        }
    };
    let asked = async {
        // The sender lives as long as the entry.
        let _asked = ending.wait_for(|ending| *ending).await;
    };
    tokio::select! {
        status = ended(watched) => return Why::of(status),
        () = overdue => return Why { text: "it was killed after its hard stop".to_owned(), unexpected: true },
        () = asked => {}
    }
    let process = inner.entries().get(instance).and_then(|entry| entry.process);
    if let Some(process) = process
        && let Err(error) = procs::signal(process, Signal::TERM)
    {
        tracing::warn!(instance.id = %instance, error = %error, "cannot ask an instance to end");
    }
    let patience = inner.settings.stop.saturating_add(inner.settings.grace);
    match tokio::time::timeout(patience, ended(watched)).await {
        Ok(_) => Why::expected("it was asked to end"),
        Err(_) => Why::expected("it was asked to end, and was killed because it did not"),
    }
}

fn time_left(since: Timestamp, span: Duration) -> Duration {
    span.saturating_sub(SystemClock.now().since(since))
}

/// Waits for the end of the process; its status is known only of a child.
async fn ended(watched: &mut Watched) -> Option<ExitStatus> {
    match watched {
        Watched::Child(child) => match child.wait().await {
            Ok(status) => Some(status),
            Err(error) => {
                tracing::warn!(error = %error, "cannot wait for an instance");
                None
            }
        },
        Watched::Adopted(process) => {
            adopted_ended(*process).await;
            None
        }
        Watched::Ended => None,
    }
}

async fn adopted_ended(process: Identity) {
    match procs::open(process).and_then(|descriptor| descriptor.map(watch_descriptor).transpose()) {
        Ok(None) => {}
        Ok(Some(descriptor)) => {
            if let Err(error) = descriptor.readable().await {
                tracing::warn!(error = %error, "cannot wait for an instance");
            }
        }
        Err(error) => {
            tracing::warn!(error = %error, "cannot watch an instance, looking at it now and then instead");
            while procs::is_alive(process) {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
    }
}

#[expect(unsafe_code, reason = "tokio's safe way is deprecated in favour of this")]
fn watch_descriptor(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open and the same until it is dropped, which the `AsyncFd` that owns it does.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}

/// Kills everything of an instance until a look finds nothing. Does not give up: what cannot be killed (a process that
/// waits for a dead network disk) still is there.
async fn kill_rest(inner: &Inner, instance: &InstanceId) {
    let process = inner.entries().get(instance).and_then(|entry| entry.process);
    let mut pause = Duration::from_millis(2);
    let mut clean = false;
    for round in 0_u32.. {
        let name = instance.as_str().to_owned();
        let left = blocking_or(Ok(1), move || {
            // By its identity too: it may have overwritten its environment.
            let main = process.filter(|process| procs::is_alive(*process));
            if let Some(main) = main {
                procs::signal(main, Signal::KILL)?;
            }
            Ok::<_, io::Error>(procs::kill_members(&name)? + usize::from(main.is_some()))
        })
        .await;
        match left {
            // Twice in a row: a process can be missed that was started during the look by one that ended during it.
            Ok(0) if clean => return,
            Ok(0) => {
                clean = true;
                continue;
            }
            Ok(left) if round == 20 => {
                tracing::warn!(instance.id = %instance, processes = left, "processes of an instance do not end");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(instance.id = %instance, error = %error, "cannot look for processes"),
        }
        clean = false;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// The end of a log, without what could act on a terminal.
fn end_of_log(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(LOG_REMEMBERED)))?;
        let mut end = Vec::new();
        file.take(LOG_REMEMBERED).read_to_end(&mut end)?;
        Ok(end)
    };
    let end = read().unwrap_or_default();
    String::from_utf8_lossy(&end)
        .chars()
        .filter(|c| *c == '\n' || !c.is_control())
        .collect::<String>()
        .trim()
        .to_owned()
}

/// Keeps logs small and forgets old launches, until the fleet is dropped.
pub(super) async fn keep_house(fleet: Weak<Inner>) {
    for round in 0_u64.. {
        tokio::time::sleep(HOUSEKEEPING).await;
        let Some(inner) = fleet.upgrade() else {
            return;
        };
        blocking_or((), move || {
            let alive: Vec<InstanceId> = {
                let entries = inner.entries();
                entries.iter().filter(|(_, entry)| entry.gone.is_none()).map(|(id, _)| id.clone()).collect()
            };
            for instance in alive {
                let path = inner.places.log(&instance);
                if let Err(error) = cut_log(&path) {
                    tracing::debug!(path = %path.display(), error = %error, "cannot cut a log");
                }
            }
            if round % 150 == 0
                && let Err(error) = forget_old(&inner)
            {
                tracing::warn!(error = %error, "cannot forget old launches");
            }
        })
        .await;
    }
}

/// Keeps the end of a log that has grown too large. Its writers append, so that they go on after what is kept; what they
/// write in the moment in between may be lost.
fn cut_log(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > LOG_LIMIT => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let mut file = OpenOptions::new().read(true).append(true).open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(LOG_KEPT)))?;
    let mut kept = b"[the beginning was dropped]\n".to_vec();
    (&file).take(LOG_KEPT).read_to_end(&mut kept)?;
    file.set_len(0)?;
    file.write_all(&kept)
}

/// Forgets launches whose instances have all been gone for a while.
fn forget_old(inner: &Inner) -> io::Result<()> {
    let now = SystemClock.now();
    for launch in inner.places.all_launches()? {
        let _not_while_launching = inner.launching.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let over = {
            let entries = inner.entries();
            now.since(launch.at) > REMEMBERED
                && launch.instances.iter().all(|id| {
                    let gone = entries.get(id).map(|entry| entry.gone.as_ref().map(|gone| gone.at));
                    gone.is_none_or(|at| at.is_some_and(|at| now.since(at) > REMEMBERED))
                })
        };
        if over {
            for instance in &launch.instances {
                files::remove_if_there(&inner.places.tombstone(instance))?;
                inner.entries().remove(instance);
            }
            files::remove_if_there(&inner.places.launch(&launch.token))?;
        }
    }
    Ok(())
}

async fn blocking_or<T, F>(otherwise: T, work: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => {
            tracing::error!(error = %error, "work in the background failed");
            otherwise
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn logs_are_cut_at_their_beginning() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut writer = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        for n in 0..200_000 {
            writeln!(writer, "line {n}").unwrap();
        }
        cut_log(&path).unwrap();
        writeln!(writer, "\x1b[31mlast\x07").unwrap();
        let size = fs::metadata(&path).unwrap().len();
        assert!(size < LOG_KEPT + 100, "{size}");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("[the beginning was dropped]\n"));
        assert!(text.ends_with("line 199999\n\x1b[31mlast\x07\n"));
        assert!(end_of_log(&path).ends_with("line 199999\n[31mlast"));
        cut_log(&path).unwrap();
        cut_log(&directory.path().join("none")).unwrap();
    }
}
