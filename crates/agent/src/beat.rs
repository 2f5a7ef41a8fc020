//! Signs of life, and what they bring back. The control plane measures silence by its own clock; this side ends its
//! work before that, by its monotonic clock, counted from the *start* of the last call that succeeded: the control
//! plane cannot have seen that beat before then (`spec/hazards.md` C9).

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::ids::AttemptId;
use tidegate_core::wire::gate::{AgentState, Beat, BeatAnswer};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::control::Control;
use crate::gate::{CallError, Gate, jitter};

/// How long one beat may take beyond what a call may take anyway.
const NO_WAIT: Duration = Duration::ZERO;
/// After a failed beat the next one follows sooner.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// So many refusals in a row are believed. One may come from whoever took over the port of a server that moved, or from
/// a server that has only just begun to read its records.
const BELIEVED: u32 = 5;

/// What the next beat says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Saying {
    pub(crate) state: AgentState,
    pub(crate) attempt: Option<AttemptId>,
}

/// Beats in the background, and says something new at once.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    saying: Arc<watch::Sender<Saying>>,
    /// What the last successful beat said.
    heard: watch::Receiver<Option<Saying>>,
    now: Arc<Notify>,
}

impl Pulse {
    /// Starts beating.
    pub(crate) fn start(gate: Gate, boot: String, every: Duration, self_kill: Duration, control: Control) -> Self {
        let saying = Arc::new(watch::Sender::new(Saying { state: AgentState::Idle, attempt: None }));
        let (hear, heard) = watch::channel(None);
        let now = Arc::new(Notify::new());
        let pulse = Self { saying: Arc::clone(&saying), heard, now: Arc::clone(&now) };
        tokio::spawn(async move {
            let beats = Beats { gate, boot, every, saying, hear, now, control: control.clone() };
            beats.run(self_kill).await;
            control.wish(|w| w.abandon = Some("no beat reached the gate for too long"));
        });
        pulse
    }

    /// Says something else from now on, and soon.
    pub(crate) fn say(&self, state: AgentState, attempt: Option<AttemptId>) {
        self.saying.send_replace(Saying { state, attempt });
        self.now.notify_one();
    }

    /// Waits until the gate has heard what is being said.
    pub(crate) async fn acknowledged(&self) {
        let wanted = self.saying.borrow().clone();
        // An error means that beating has ended, and then the control is told to abandon.
        let _ = self.heard.clone().wait_for(|heard| heard.as_ref() == Some(&wanted)).await;
    }
}

/// What became of a beat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Heard {
    Yes,
    No,
    Refused,
}

struct Beats {
    gate: Gate,
    boot: String,
    every: Duration,
    saying: Arc<watch::Sender<Saying>>,
    hear: watch::Sender<Option<Saying>>,
    now: Arc<Notify>,
    control: Control,
}

impl Beats {
    /// Returns when no beat succeeded for `self_kill`.
    async fn run(self, self_kill: Duration) {
        let mut last_success = Instant::now();
        let mut counter = 0;
        let mut refusals = 0;
        loop {
            counter += 1;
            let started = Instant::now();
            let deadline = last_success + self_kill;
            let Ok(heard) = tokio::time::timeout_at(deadline, self.beat(counter)).await else {
                return;
            };
            refusals = if heard == Heard::Refused { refusals + 1 } else { 0 };
            if refusals >= BELIEVED {
                self.control.wish(|w| w.abandon = Some("the gate does not know this instance"));
            }
            let heard = heard == Heard::Yes;
            if heard {
                last_success = started;
            }
            let pause = if heard { jitter(self.every) } else { jitter(self.every.min(AFTER_FAILURE)) };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.now.notified() => {}
            }
        }
    }

    /// One beat.
    async fn beat(&self, counter: u64) -> Heard {
        let saying = self.saying.borrow().clone();
        let beat = Beat { boot: self.boot.clone(), counter, state: saying.state, attempt: saying.attempt.clone() };
        match self.gate.once::<_, BeatAnswer>("beat", &beat, NO_WAIT).await {
            Ok(answer) => {
                self.act(&answer, saying.attempt.as_ref());
                self.hear.send_replace(Some(saying));
                Heard::Yes
            }
            Err(CallError::Refused(refused)) if refused.status == 409 => {
                tracing::warn!(error = %refused, "the attempt has ended elsewhere");
                match saying.attempt {
                    Some(attempt) => self.control.wish(|w| w.ended = Some(attempt)),
                    None => self.control.wish(|w| w.stop = true),
                }
                Heard::Yes
            }
            Err(CallError::Refused(refused)) => {
                tracing::error!(error = %refused, "the gate does not know this instance");
                Heard::Refused
            }
            Err(CallError::Weather(why)) => {
                tracing::warn!(error = why, "a beat did not reach the gate");
                Heard::No
            }
        }
    }

    fn act(&self, answer: &BeatAnswer, attempt: Option<&AttemptId>) {
        if let (Some(reason), Some(attempt)) = (answer.cancel, attempt) {
            self.control.cancel(attempt, reason);
        }
        if answer.doomed && !self.control.current().doomed {
            tracing::info!("this machine is to be gone soon: taking no more work");
            self.control.wish(|w| w.doomed = true);
        }
        if answer.stop && !self.control.current().stop {
            tracing::info!("told to stop");
            self.control.wish(|w| w.stop = true);
        }
    }
}
