//! The process that works: beats, asks for work, runs one attempt at a time, and leaves.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::getppid;
use tidegate_core::wire::gate::{AgentState, Assignment, Next, NextAnswer};
use tidegate_core::wire::instance::InstanceFile;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::beat::Pulse;
use crate::control::Control;
use crate::gate::{Gate, Refused};
use crate::job::{self, Host};
use crate::process::Children;
use crate::process::cgroup::Cgroup;

/// In the environment of every process of an instance: the watchdog and the fleet find by it what belongs together.
pub(crate) const INSTANCE_VARIABLE: &str = "TIDEGATE_INSTANCE";
/// Tells the worker who is to watch over it, so that it notices a watchdog that died before it could look.
pub(crate) const WATCHDOG_VARIABLE: &str = "TIDEGATE_WATCHDOG";
/// The longest single wait for work.
const LONG_POLL: Duration = Duration::from_secs(20);
/// The last look for work, after `closing` was acknowledged (`spec/hazards.md` H9).
const LAST_POLL: Duration = Duration::from_secs(2);
/// Between two looks for work when the gate refuses.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);
/// How long leaving may wait for a gate that does not answer.
const FAREWELL: Duration = Duration::from_secs(3);

/// Works as the instance that `file` describes until there is nothing to do, or it is told to stop. Success when it
/// left in peace.
///
/// Must be called on the main thread and outside of any runtime: it builds a small one of its own, and the kernel
/// ties the life of a job's process to the thread that started it.
pub fn agent_main(file: &Path) -> ExitCode {
    let outcome = prepare(file).and_then(|instance| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(4)
            .build()
            .context("cannot start the runtime")?;
        let outcome = runtime.block_on(work(instance));
        // A file that is being read somewhere in the background holds nobody up.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the agent ends");
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn read_instance(file: &Path) -> anyhow::Result<InstanceFile> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read the instance file `{}`", file.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("`{}` does not describe an instance", file.display()))
}

fn prepare(file: &Path) -> anyhow::Result<InstanceFile> {
    // The watchdog blocks signals for its own use, and a child starts with them blocked.
    SigSet::empty().thread_set_mask().context("cannot unblock signals")?;
    let watchdog = std::env::var(WATCHDOG_VARIABLE).ok();
    if let Some(watchdog) = watchdog.and_then(|pid| pid.parse::<i32>().ok()) {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("cannot tie life to the watchdog")?;
        anyhow::ensure!(getppid().as_raw() == watchdog, "the watchdog (process {watchdog}) is gone already");
    }
    // What a job leaves behind by forking twice becomes ours and is found.
    nix::sys::prctl::set_child_subreaper(true).context("cannot become a subreaper")?;
    read_instance(file)
}

async fn work(instance: InstanceFile) -> anyhow::Result<()> {
    let instance = Arc::new(instance);
    let control = Control::new();
    let gate = Gate::new(Arc::clone(&instance)).context("cannot make an HTTP client")?;
    let boot = hex::encode(rand::random::<[u8; 16]>());
    let pulse = Pulse::start(
        gate.clone(),
        boot.clone(),
        Duration::from_millis(instance.beat_ms.max(10)),
        Duration::from_millis(instance.self_kill_ms.max(10)),
        control.clone(),
    );
    stop_on_signals(&control)?;
    let cgroup = if instance.cgroup { Cgroup::create(instance.instance.as_str()) } else { None };
    let host = Host {
        children: Children::start(cgroup).context("cannot watch child processes")?,
        gate,
        boot,
        instance,
        control,
        base_env: crate::job::env::base(std::env::vars_os()),
    };
    let mut worker = Worker { idle: Duration::from_millis(host.instance.idle_ms), host, pulse, cut_short: false };
    worker.run().await
}

fn stop_on_signals(control: &Control) -> anyhow::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut asked = signal(kind).context("cannot listen for signals")?;
        let control = control.clone();
        tokio::spawn(async move {
            while asked.recv().await.is_some() {
                tracing::info!("asked to stop by a signal");
                control.wish(|w| w.stop = true);
            }
        });
    }
    Ok(())
}

struct Worker {
    host: Host,
    pulse: Pulse,
    idle: Duration,
    /// A look for work was given up before its answer came.
    cut_short: bool,
}

/// What a look for work led to.
enum Found {
    Work(Box<Assignment>),
    Nothing,
    Leave,
}

impl Worker {
    async fn run(&mut self) -> anyhow::Result<()> {
        let mut idle_since = Instant::now();
        loop {
            let wishes = self.host.control.current();
            if let Some(why) = wishes.abandon {
                anyhow::bail!(why);
            }
            if wishes.stop || wishes.doomed {
                return self.leave().await;
            }
            let left = self.idle.saturating_sub(idle_since.elapsed());
            let found = if left.is_zero() { self.last_look().await } else { self.look(left.min(LONG_POLL)).await };
            match found {
                Found::Work(assignment) => {
                    self.run_job(*assignment).await;
                    idle_since = Instant::now();
                }
                Found::Nothing if left.is_zero() => return Ok(()),
                Found::Nothing => {}
                Found::Leave => return self.leave().await,
            }
        }
    }

    async fn run_job(&self, assignment: Assignment) {
        self.pulse.say(AgentState::Busy, Some(assignment.attempt.clone()));
        job::run(&self.host, assignment).await;
        self.pulse.say(AgentState::Idle, None);
    }

    /// One long poll, cut short when the agent is to leave.
    async fn look(&mut self, wait: Duration) -> Found {
        let leaving = self.host.control.until(|w| w.stop || w.doomed || w.abandon.is_some());
        tokio::select! {
            answer = self.ask(wait) => self.judge(answer).await,
            () = leaving => {
                self.cut_short = true;
                // The loop sees to it.
                Found::Nothing
            }
        }
    }

    /// Says `closing`, waits until that is known, and looks once more: work that was sent before cannot be missed,
    /// and none is sent after (`spec/hazards.md` H9).
    async fn last_look(&self) -> Found {
        self.pulse.say(AgentState::Closing, None);
        let gone = self.host.control.until(|w| w.abandon.is_some());
        tokio::select! {
            answer = async {
                self.pulse.acknowledged().await;
                self.ask(LAST_POLL).await
            } => self.judge(answer).await,
            () = gone => Found::Nothing,
        }
    }

    /// Leaves although the time to idle is not over. A poll that was cut short may have claimed an attempt whose
    /// assignment never arrived: the gate gives it again, and it is ended properly rather than lost.
    async fn leave(&self) -> anyhow::Result<()> {
        self.pulse.say(AgentState::Closing, None);
        if !self.cut_short {
            let _ = tokio::time::timeout(FAREWELL, self.pulse.acknowledged()).await;
            return Ok(());
        }
        let farewell = async {
            self.pulse.acknowledged().await;
            self.ask(Duration::ZERO).await
        };
        if let Ok(Ok(NextAnswer { assignment: Some(assignment), .. })) = tokio::time::timeout(FAREWELL, farewell).await
        {
            self.host.control.wish(|w| w.stop = true);
            self.run_job(*assignment).await;
        }
        Ok(())
    }

    async fn ask(&self, wait: Duration) -> Result<NextAnswer, Refused> {
        let next = Next { boot: self.host.boot.clone(), wait_ms: u64::try_from(wait.as_millis()).unwrap_or(0) };
        self.host.gate.call_waiting("next", &next, wait).await
    }

    async fn judge(&self, answer: Result<NextAnswer, Refused>) -> Found {
        match answer {
            Ok(NextAnswer { assignment: Some(assignment), .. }) => Found::Work(assignment),
            Ok(NextAnswer { leave: true, .. }) => Found::Leave,
            Ok(_) => Found::Nothing,
            Err(refused) => {
                // Whether the agent is known at all is for the beats to find out.
                tracing::warn!(error = %refused, "no work for this agent");
                tokio::time::sleep(AFTER_REFUSAL).await;
                Found::Nothing
            }
        }
    }
}
