//! Launching.
//!
//! The launch is on disk before anything is started, and the ids of its instances follow from its token. So a launch that
//! is asked for again starts exactly what is missing: nothing after it was done, everything after a crash right behind
//! the record.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::process::Stdio;
use std::sync::{Arc, PoisonError};

use tidegate_core::ids::InstanceId;
use tidegate_core::wire::instance::{InstanceFile, InstanceToken};
use tidegate_engine::ports::{Clock, LaunchRequest, Launched, PortError};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::process_fleet::{Entry, Inner};
use super::procs::{self, INSTANCE_VARIABLE};
use super::records::{self, Launch, Started};
use super::supervise::{self, Watched};
use crate::clock::SystemClock;
use crate::files;

/// Most instances of one launch.
const MOST: u32 = 1_000;

/// Why an instance was not started.
enum NotStarted {
    /// The machine has no room for another process.
    NoRoom(String),
    Failed(PortError),
}

impl From<PortError> for NotStarted {
    fn from(error: PortError) -> Self {
        NotStarted::Failed(error)
    }
}

/// Launches what this request asks for and has not launched yet. Blocks; within a runtime.
pub(super) fn launch(inner: &Arc<Inner>, request: &LaunchRequest) -> Result<Launched, PortError> {
    check(request)?;
    let _one_at_a_time = inner.launching.lock().unwrap_or_else(PoisonError::into_inner);
    let mut launch = Launch::new(request, &inner.state, SystemClock.now())?;
    let path = inner.places.launch(&launch.token);
    let failed = |doing: &'static str| move |error: io::Error| files::port_error(doing, &path, &error);
    match records::read::<Launch>(&inner.places.launch(&launch.token)).map_err(failed.clone()("read"))? {
        Some(found) if found.same_request(&launch) => launch = found,
        Some(_) => {
            return Err(PortError::reject(format!(
                "the launch `{}` was asked for before with other content",
                launch.token
            )));
        }
        None => {
            records::write(&inner.places.launch(&launch.token), &launch).map_err(failed.clone()("write"))?;
        }
    }
    let mut started = Vec::new();
    for instance in &launch.instances {
        if !is_known(inner, instance)
            && let Err(reason) = start(inner, &launch, instance)
        {
            return cut_short(inner, &launch, started, reason);
        }
        started.push(instance.clone());
    }
    Ok(Launched::Instances(started))
}

fn check(request: &LaunchRequest) -> Result<(), PortError> {
    let token = &request.token;
    let valid = (1..=64).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !valid {
        return Err(PortError::reject(format!("`{token}` is no launch token: 1 to 64 letters, digits and `-`")));
    }
    if !(1..=MOST).contains(&request.count) {
        return Err(PortError::reject(format!("a launch is of 1 to {MOST} instances, not {}", request.count)));
    }
    Ok(())
}

/// It lives, or has lived.
fn is_known(inner: &Inner, instance: &InstanceId) -> bool {
    inner.entries().contains_key(instance) || inner.places.tombstone(instance).exists()
}

/// Makes of a launch that could not go on what was started until then.
fn cut_short(
    inner: &Inner,
    launch: &Launch,
    started: Vec<InstanceId>,
    reason: NotStarted,
) -> Result<Launched, PortError> {
    let path = inner.places.launch(&launch.token);
    let why = match &reason {
        NotStarted::NoRoom(why) => why.clone(),
        NotStarted::Failed(error) => error.to_string(),
    };
    tracing::warn!(launch.token = launch.token, launch.started = started.len(), why, "a launch was cut short");
    if started.is_empty() {
        files::remove_if_there(&path).map_err(|error| files::port_error("remove", &path, &error))?;
        return match reason {
            NotStarted::NoRoom(why) => Ok(Launched::NoCapacity { why }),
            NotStarted::Failed(error) => Err(error),
        };
    }
    // Fewer than asked for is final: a repetition must not start the others.
    let partial = Launch { instances: started.clone(), ..launch.clone() };
    records::write(&path, &partial).map_err(|error| files::port_error("write", &path, &error))?;
    Ok(Launched::Instances(started))
}

fn start(inner: &Arc<Inner>, launch: &Launch, instance: &InstanceId) -> Result<(), NotStarted> {
    let places = &inner.places;
    let directory = places.directory(instance);
    let failed = |error: io::Error| files::port_error("write", &directory, &error);
    // What a start that was cut short left.
    files::remove_tree(&directory).map_err(failed)?;
    let prepared = (|| {
        DirBuilder::new().recursive(true).mode(0o700).create(places.work(instance))?;
        let token = InstanceToken::new(format!("{instance}.{}", hex::encode(rand::random::<[u8; 32]>())));
        records::write(&places.instance_file(instance), &describe(inner, launch, instance, token.clone()))?;
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(places.log(instance))?;
        Ok((token, log))
    })();
    let (token, log) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            forget(inner, instance);
            return Err(failed(error).into());
        }
    };
    // Before the process, which may be at the gate before anybody looks at it here.
    let entry = Entry {
        pool: launch.pool.clone(),
        launch: launch.token.clone(),
        launched: SystemClock.now(),
        token: Some(token),
        process: None,
        gone: None,
        ending: watch::Sender::new(false),
    };
    inner.entries().insert(instance.clone(), entry);
    let child = match spawn(inner, instance, log) {
        Ok(child) => child,
        Err(error) => {
            forget(inner, instance);
            return Err(not_spawned(inner, &error));
        }
    };
    // Nobody has waited for it yet, so that its id is its own even if it has ended.
    let process = child.id().and_then(procs::identity_of_child);
    if let Some(process) = process {
        let started = Started { process, boot: inner.boot.clone(), at: SystemClock.now() };
        if let Err(error) = records::write(&places.started(instance), &started) {
            tracing::warn!(instance.id = %instance, error = %error, "cannot note the process of an instance");
        }
    }
    inner.change(instance, |entry| entry.process = process);
    tracing::info!(
        instance.id = %instance,
        instance.pid = process.map(|process| process.pid),
        pool = %launch.pool,
        launch.token = launch.token,
        "launched an instance"
    );
    supervise::begin(inner, instance, Watched::Child(child));
    Ok(())
}

fn describe(inner: &Inner, launch: &Launch, instance: &InstanceId, token: InstanceToken) -> InstanceFile {
    let settings = &inner.settings;
    let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    InstanceFile {
        instance: instance.clone(),
        pool: launch.pool.clone(),
        tags: launch.tags.clone(),
        token,
        endpoint_file: inner.endpoint.clone(),
        idle_ms: launch.idle_ms,
        hard_stop_ms: launch.hard_stop_ms,
        work_dir: inner.places.work(instance),
        mirrors_dir: inner.mirrors.clone(),
        beat_ms: millis(settings.beat),
        self_kill_ms: millis(settings.self_kill),
        stop_ms: millis(settings.stop),
        hooks_dir: settings.hooks_dir.clone(),
        plugins_dir: settings.plugins_dir.clone(),
        cgroup: true,
        plugin_mirrors: settings.plugin_mirrors.clone(),
        forbidden: settings.forbidden.get(&launch.pool).copied().unwrap_or_default(),
    }
}

fn spawn(inner: &Inner, instance: &InstanceId, log: File) -> io::Result<Child> {
    let errors = log.try_clone()?;
    let mut command = Command::new(&inner.settings.program);
    command
        .args(&inner.settings.args)
        .arg("--file")
        .arg(inner.places.instance_file(instance))
        .current_dir(inner.places.work(instance))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| inner.settings.withholds(name)) {
            command.env_remove(name);
        }
    }
    command.env(INSTANCE_VARIABLE, instance.as_str());
    own_session(&mut command);
    command.spawn()
}

/// Away from the server's terminal and its process group: Ctrl-C there is for the server alone.
#[expect(unsafe_code, reason = "the standard library has no safe way to start a process in a session of its own")]
fn own_session(command: &mut Command) {
    // SAFETY: between fork and exec only `setsid` is called, which is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from));
    }
}

fn not_spawned(inner: &Inner, error: &io::Error) -> NotStarted {
    let program = inner.settings.program.display();
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::OutOfMemory => {
            NotStarted::NoRoom(format!("this machine has no room for another process: {error}"))
        }
        ErrorKind::NotFound | ErrorKind::PermissionDenied => {
            NotStarted::Failed(PortError::fatal(format!("cannot start instances: `{program}`: {error}")))
        }
        _ => NotStarted::Failed(PortError::retry(format!("cannot start an instance: `{program}`: {error}"))),
    }
}

/// As if it had never been tried.
fn forget(inner: &Inner, instance: &InstanceId) {
    inner.entries().remove(instance);
    let directory = inner.places.directory(instance);
    if let Err(error) = files::remove_tree(&directory) {
        tracing::warn!(path = %directory.display(), error = %error, "cannot remove the directory of an instance");
    }
}
