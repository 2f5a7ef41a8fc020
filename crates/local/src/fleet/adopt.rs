//! Finding instances again after the server was started again.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::sync::Arc;

use tidegate_core::ids::InstanceId;
use tidegate_engine::ports::PortError;
use tokio::sync::watch;

use super::process_fleet::{Entry, Inner};
use super::procs::{self, Identity};
use super::records::{self, Launch, Places, Started, Tombstone};
use super::supervise::{self, Watched};
use crate::files;

/// What the last server left of an instance.
#[derive(Debug, Eq, PartialEq)]
enum Found {
    /// It was never started: a launch that is asked for again starts it.
    NotStarted,
    Alive(Identity),
    /// Its process has ended; others may live.
    Ended(Option<Identity>),
    Gone(Tombstone),
}

/// Takes over all instances of the state directory. Blocks; within a runtime.
pub(super) fn adopt(inner: &Arc<Inner>) -> Result<(), PortError> {
    let failed = |error: io::Error| files::port_error("read", &inner.places.instances, &error);
    let launches = inner.places.all_launches().map_err(failed)?;
    let tagged = tagged_processes().map_err(failed)?;
    for launch in &launches {
        for instance in &launch.instances {
            let roots = tagged.get(instance.as_str()).map(Vec::as_slice).unwrap_or_default();
            let found = find(&inner.places, &inner.boot, instance, roots).map_err(failed)?;
            take_over(inner, launch, instance, found);
        }
    }
    let known: BTreeSet<&InstanceId> = launches.iter().flat_map(|launch| &launch.instances).collect();
    remove_strays(inner, &known).map_err(failed)
}

/// The tagged processes of all instances, the oldest first.
fn tagged_processes() -> io::Result<BTreeMap<String, Vec<Identity>>> {
    let mut tagged: BTreeMap<String, Vec<Identity>> = BTreeMap::new();
    for (process, instance) in procs::look_around()? {
        if let Some(instance) = instance {
            tagged.entry(instance).or_default().push(process.identity);
        }
    }
    for processes in tagged.values_mut() {
        processes.sort_by_key(|process| (process.start, process.pid));
    }
    Ok(tagged)
}

fn find(places: &Places, boot: &str, instance: &InstanceId, tagged: &[Identity]) -> io::Result<Found> {
    if let Some(tombstone) = records::read(&places.tombstone(instance))? {
        return Ok(Found::Gone(tombstone));
    }
    let started: Option<Started> = records::read(&places.started(instance))?;
    Ok(match (started, tagged) {
        (Some(started), _) if started.boot == boot && procs::is_alive(started.process) => Found::Alive(started.process),
        (Some(started), _) => Found::Ended(Some(started.process)),
        // The server died between starting it and noting which process it is. It is the oldest of those with the tag,
        // because the others descend from it.
        (None, [oldest, ..]) => Found::Alive(*oldest),
        (None, []) => Found::NotStarted,
    })
}

fn take_over(inner: &Arc<Inner>, launch: &Launch, instance: &InstanceId, found: Found) {
    let directory = inner.places.directory(instance);
    let remove = || {
        if let Err(error) = files::remove_tree(&directory) {
            tracing::warn!(path = %directory.display(), error = %error, "cannot remove the directory of an instance");
        }
    };
    let file = inner.places.read_instance(instance).ok().flatten();
    let mut entry = Entry {
        pool: launch.pool.clone(),
        launch: launch.token.clone(),
        launched: launch.at,
        token: file.map(|file| file.token),
        process: None,
        gone: None,
        ending: watch::Sender::new(inner.places.ending(instance).exists()),
    };
    let watched = match found {
        Found::NotStarted => return remove(),
        Found::Gone(tombstone) => {
            remove();
            entry.token = None;
            entry.gone = Some(tombstone);
            inner.entries().insert(instance.clone(), entry);
            return;
        }
        Found::Alive(process) => {
            tracing::info!(instance.id = %instance, instance.pid = process.pid, "found an instance again");
            entry.process = Some(process);
            Watched::Adopted(process)
        }
        Found::Ended(process) => {
            entry.process = process;
            Watched::Ended
        }
    };
    inner.entries().insert(instance.clone(), entry);
    supervise::begin(inner, instance, watched);
}

/// Removes directories of instances that no launch knows, and kills what runs in their name.
fn remove_strays(inner: &Inner, known: &BTreeSet<&InstanceId>) -> io::Result<()> {
    for entry in fs::read_dir(&inner.places.instances)? {
        let path = entry?.path();
        let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
        let instance = stem.and_then(OsStr::to_str).and_then(|name| InstanceId::new(name).ok());
        let Some(instance) = instance.filter(|instance| !known.contains(instance)) else {
            continue;
        };
        tracing::warn!(instance.id = %instance, "removing an instance that no launch knows");
        while procs::kill_members(instance.as_str())? > 0 {}
        if path.is_dir() {
            files::remove_tree(&path)?;
        } else {
            files::remove_if_there(&path)?;
        }
    }
    Ok(())
}
