//! Waits for children, our own and those that a subreaper inherits. Inherited ones must be reaped too, or a job that
//! double-forks a thousand times would leave a thousand zombies. `tokio::process` knows only its own children, and
//! two waiters for one child steal each other's answer, so everything the worker starts goes through here.
//!
//! Starting and registering happen without an await between them on the one thread of the runtime, so that the reaper
//! cannot see an end before its registration.

use std::collections::HashMap;
use std::io;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::cgroup::Cgroup;
use super::spawn::{End, enter};

type Waiting = HashMap<i32, oneshot::Sender<End>>;

/// The children of this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Children {
    waiting: Arc<Mutex<Waiting>>,
    cgroup: Option<Arc<Cgroup>>,
}

/// A child that was started.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pid: i32,
    /// Its pipes; never waited for through this.
    pub(crate) child: Child,
    end: oneshot::Receiver<End>,
}

impl Running {
    /// Waits until it ends. May be dropped and called again.
    pub(crate) async fn ended(&mut self) -> End {
        // The sender is only dropped with the reaper, when the whole worker ends.
        (&mut self.end).await.unwrap_or(End::Unknown)
    }
}

impl Children {
    /// Starts reaping. Must be called within the runtime, once. What is started goes into this group, if there is one.
    pub(crate) fn start(cgroup: Option<Cgroup>) -> io::Result<Self> {
        let children = Self { cgroup: cgroup.map(Arc::new), ..Self::default() };
        let mut ends = signal(SignalKind::child())?;
        let reaper = children.clone();
        tokio::spawn(async move {
            while ends.recv().await.is_some() {
                reaper.reap();
            }
        });
        Ok(children)
    }

    /// Starts a process.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Running> {
        let door = self.cgroup.as_ref().and_then(|group| group.door().ok());
        if let Some(door) = &door {
            enter(command, door);
        }
        let mut waiting = self.lock();
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
        let (tell, end) = oneshot::channel();
        waiting.insert(pid, tell);
        Ok(Running { pid, child, end })
    }

    /// The group in which everything is that was started.
    pub(crate) fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_deref()
    }

    fn reap(&self) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        loop {
            match waitid(Id::All, flags) {
                Ok(WaitStatus::Exited(pid, code)) => self.tell(pid, End::Exited(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => self.tell(pid, End::Signaled(signal)),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(_) | Err(Errno::EINTR) => {}
                // Ended by a signal without a name (a real-time signal): reaped, but we were not told who. Others may have
                // ended with it, and one signal may be all that told of them.
                Err(Errno::EINVAL) => self.tell_missing(),
                Err(_) => return,
            }
        }
    }

    fn tell(&self, pid: Pid, end: End) {
        if let Some(tell) = self.lock().remove(&pid.as_raw()) {
            // Nobody waits for a process whose job was given up.
            let _ = tell.send(end);
        }
    }

    fn tell_missing(&self) {
        let mut waiting = self.lock();
        let gone: Vec<i32> =
            waiting.keys().copied().filter(|pid| kill(Pid::from_raw(*pid), None) == Err(Errno::ESRCH)).collect();
        for pid in gone {
            if let Some(tell) = waiting.remove(&pid) {
                let _ = tell.send(End::Unknown);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it is held, and the map is whole at every point.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
