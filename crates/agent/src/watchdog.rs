//! The process that outlives everything else on an instance and ends it all.
//!
//! It is started by the fleet, leads a session of its own, and is a subreaper: whatever the worker and its jobs leave
//! behind becomes its child. It knows nothing of gates and jobs; it has three reasons to act, and no other process
//! needs to be alive for any of them:
//!
//! - the worker has ended, however it came to that;
//! - the hard stop has passed, by a clock that also runs while the machine sleeps;
//! - somebody asks with SIGTERM: the worker gets the signal and a bounded time, a second signal ends its patience.
//!
//! Then it kills every process of the instance until none is left, and exits. If it is killed itself, the kernel
//! kills the worker, and with it the process that the worker started; what is left then carries
//! `TIDEGATE_INSTANCE`, by which the fleet finds it.

use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpid, setsid};

use crate::process::cgroup::Cgroup;
use crate::process::{stop, table};
use crate::worker::{INSTANCE_VARIABLE, WATCHDOG_VARIABLE, read_instance};

/// How long killing may take: a process in an uninterruptible wait may never end, and the machine should go anyway.
const KILL_TIME: Duration = Duration::from_secs(30);
/// How long a process of somebody may take to become another program before we stop waiting for it to be known.
const BECOMING_TIME: Duration = Duration::from_secs(2);

/// Runs the instance that `file` describes: starts this same program again as `instance --file <file> --worker` and
/// watches over it. Returns when nothing of the instance is left. Success when the worker left in peace.
///
/// Must be called on the main thread of a process without other threads.
pub fn watchdog_main(file: &Path) -> ExitCode {
    match watch(file) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the watchdog failed");
            ExitCode::FAILURE
        }
    }
}

/// What the watchdog saw.
enum Event {
    WorkerEnded(bool),
    AskedToStop,
    HardStop,
    Nothing,
}

fn watch(file: &Path) -> anyhow::Result<ExitCode> {
    let instance = read_instance(file)?;
    // Fails only for a process that leads a group already, such as one that a fleet put into a session.
    let _ = setsid();
    nix::sys::prctl::set_child_subreaper(true).context("cannot become a subreaper")?;
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().context("cannot block signals")?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .context("cannot make a signal descriptor")?;
    // Armed before anything runs.
    let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)
        .context("cannot make a timer")?;
    let life = Duration::from_millis(instance.hard_stop_ms.max(1));
    timer.set(Expiration::OneShot(life.into()), TimerSetTimeFlags::empty()).context("cannot arm the hard stop")?;

    let worker = Command::new("/proc/self/exe")
        .arg0("tidegate-agent")
        .arg("instance")
        .arg("--file")
        .arg(file)
        .arg("--worker")
        .env(INSTANCE_VARIABLE, instance.instance.as_str())
        .env(WATCHDOG_VARIABLE, std::process::id().to_string())
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start the worker")?;
    let worker = Pid::from_raw(i32::try_from(worker.id()).context("no such process id")?);
    tracing::info!(
        instance.id = %instance.instance,
        worker.pid = worker.as_raw(),
        "watching"
    );

    let mut patience: Option<Instant> = None;
    let peaceful = loop {
        let wait = patience.map(|until| until.saturating_duration_since(Instant::now()));
        if wait == Some(Duration::ZERO) {
            tracing::warn!("the worker did not end in time");
            break false;
        }
        match next_event(&signals, &timer, worker, wait)? {
            Event::WorkerEnded(peaceful) => break peaceful,
            Event::HardStop => {
                tracing::warn!("the hard stop has passed");
                break false;
            }
            Event::AskedToStop if patience.is_some() => break false,
            Event::AskedToStop => {
                // It may have ended just now.
                let _ = kill(worker, Signal::SIGTERM);
                patience = Some(Instant::now() + Duration::from_millis(instance.stop_ms));
            }
            Event::Nothing => {}
        }
    };
    let clean = kill_all(instance.instance.as_str());
    Ok(if peaceful && clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits for something to happen, at most `wait`.
fn next_event(signals: &SignalFd, timer: &TimerFd, worker: Pid, wait: Option<Duration>) -> anyhow::Result<Event> {
    let timeout = wait.map_or(PollTimeout::NONE, |wait| {
        PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
    });
    let mut ready = [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(timer.as_fd(), PollFlags::POLLIN)];
    match poll(&mut ready, timeout) {
        Ok(0) | Err(Errno::EINTR) => return Ok(Event::Nothing),
        Ok(_) => {}
        Err(error) => return Err(error).context("cannot wait for events"),
    }
    let [_, timer_ready] = ready;
    if timer_ready.any().unwrap_or(false) {
        return Ok(Event::HardStop);
    }
    let mut asked = false;
    while let Ok(Some(signal)) = signals.read_signal() {
        asked |= i32::try_from(signal.ssi_signo) != Ok(Signal::SIGCHLD as i32);
    }
    if let Some(peaceful) = reap(Some(worker)) {
        return Ok(Event::WorkerEnded(peaceful));
    }
    Ok(if asked { Event::AskedToStop } else { Event::Nothing })
}

/// Reaps whatever has ended; whether `worker` was among it, and if so, whether it ended in peace.
fn reap(worker: Option<Pid>) -> Option<bool> {
    let mut ended = None;
    loop {
        match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
            Ok(WaitStatus::Exited(pid, code)) if Some(pid) == worker => ended = Some(code == 0),
            Ok(WaitStatus::Signaled(pid, ..)) if Some(pid) == worker => ended = Some(false),
            Ok(WaitStatus::StillAlive) => return ended,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return ended,
        }
    }
}

/// Kills every process of the instance until none is left; whether that was reached.
///
/// What descends from us is gone when the kernel says that we have no children. Others are known by their environment, which
/// a process does not have while it becomes another program: such are looked at again.
fn kill_all(instance: &str) -> bool {
    let me = getpid().as_raw();
    let deadline = Instant::now() + KILL_TIME;
    let certain = Instant::now() + BECOMING_TIME;
    let group = Cgroup::find(instance);
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(group) = &group {
            group.kill();
        }
        stop::kill_children();
        reap(None);
        let Ok(all) = table::snapshot() else {
            return false;
        };
        let mut left = table::descendants(me, &all);
        left.extend(table::tagged(INSTANCE_VARIABLE, instance, &all));
        left.retain(|process| process.pid != me && !process.zombie);
        let unknown = Instant::now() < certain && all.iter().any(|process| process.becoming);
        if left.is_empty() && !unknown && table::is_childless() {
            if let Some(group) = group {
                group.remove();
            }
            return true;
        }
        // Stopped first, all of them: one that forks faster than we look has nobody left to do it.
        for process in &left {
            table::signal(process, Signal::SIGSTOP);
        }
        for process in &left {
            table::signal(process, Signal::SIGKILL);
        }
        if Instant::now() >= deadline {
            for process in &left {
                tracing::error!(pid = process.pid, name = process.name, "cannot be killed");
            }
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
