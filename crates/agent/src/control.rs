//! What is wanted of this agent: told by the gate in answers to beats, by signals, by clocks. Wishes only add up; what
//! a job makes of them is decided in one place, [`Wishes::ending`].

use std::time::Duration;

use tidegate_core::ids::AttemptId;
use tidegate_core::wire::gate::CancelReason;
use tokio::sync::watch;
use tokio::time::Instant;

/// Everything that was wished so far.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Wishes {
    /// End this attempt, for this reason. The first one counts.
    pub(crate) cancel: Option<(AttemptId, CancelReason)>,
    /// End what is held, then leave.
    pub(crate) stop: bool,
    /// Take no more work.
    pub(crate) doomed: bool,
    /// The control plane holds this attempt for ended: its work is for nothing.
    pub(crate) ended: Option<AttemptId>,
    /// Kill what runs and leave at once, reporting nothing.
    pub(crate) abandon: Option<&'static str>,
}

/// Why a job that still runs is to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// Cancelled or out of time: signal, grace, kill, report.
    Cancel(CancelReason),
    /// The agent leaves: the same, with another cause.
    Stop,
    /// Nobody waits for this attempt any more: kill at once, report for the record only.
    Ended,
    /// Kill at once, report nothing.
    Abandon,
}

impl Wishes {
    /// What the wishes mean for this attempt.
    pub(crate) fn ending(&self, attempt: &AttemptId) -> Option<Ending> {
        if self.abandon.is_some() {
            Some(Ending::Abandon)
        } else if self.ended.as_ref() == Some(attempt) {
            Some(Ending::Ended)
        } else if let Some((cancelled, reason)) = &self.cancel
            && cancelled == attempt
        {
            Some(Ending::Cancel(*reason))
        } else if self.stop {
            Some(Ending::Stop)
        } else {
            None
        }
    }
}

/// The side that wishes.
#[derive(Clone, Debug)]
pub(crate) struct Control(watch::Sender<Wishes>);

impl Control {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Wishes::default()))
    }

    pub(crate) fn wish(&self, add: impl FnOnce(&mut Wishes)) {
        self.0.send_modify(add);
    }

    pub(crate) fn cancel(&self, attempt: &AttemptId, reason: CancelReason) {
        self.wish(|wishes| {
            let same = wishes.cancel.as_ref().is_some_and(|(a, _)| a == attempt);
            if !same {
                wishes.cancel = Some((attempt.clone(), reason));
            }
        });
    }

    pub(crate) fn current(&self) -> Wishes {
        self.0.borrow().clone()
    }

    /// Waits until something of the wishes holds.
    pub(crate) async fn until(&self, holds: impl FnMut(&Wishes) -> bool) {
        // The sender lives in `self`.
        let _ = self.0.subscribe().wait_for(holds).await;
    }

    /// What ends this attempt; `limit` is the time from now on after which it ends by time-out.
    pub(crate) fn watch(&self, attempt: &AttemptId, limit: Option<Duration>) -> Watch {
        let started = Instant::now();
        let deadline = limit.and_then(|limit| started.checked_add(limit));
        Watch { control: self.clone(), attempt: attempt.clone(), started, deadline: watch::Sender::new(deadline) }
    }
}

/// The wishes as one job sees them, its time limit among them.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    control: Control,
    attempt: AttemptId,
    started: Instant,
    deadline: watch::Sender<Option<Instant>>,
}

impl Watch {
    /// Gives the job this much time, from its start on.
    pub(crate) fn limit(&self, limit: Duration) {
        self.deadline.send_replace(self.started.checked_add(limit));
    }

    /// Why the job is to end, if it is.
    pub(crate) fn now(&self) -> Option<Ending> {
        if self.deadline.borrow().is_some_and(|at| Instant::now() >= at) {
            self.control.cancel(&self.attempt, CancelReason::Timeout);
        }
        self.control.0.borrow().ending(&self.attempt)
    }

    /// Waits until the job is to end.
    pub(crate) async fn ending(&self) -> Ending {
        loop {
            if let Some(ending) = self.now() {
                return ending;
            }
            let mut moved = self.deadline.subscribe();
            let deadline = *moved.borrow_and_update();
            let over = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.control.until(|wishes| wishes.ending(&self.attempt).is_some()) => {}
                () = over => {}
                // The sender lives in `self`.
                _ = moved.changed() => {}
            }
        }
    }

    /// Waits until what runs must be killed at once.
    pub(crate) async fn hopeless(&self) -> Ending {
        self.control
            .until(|wishes| matches!(wishes.ending(&self.attempt), Some(Ending::Abandon | Ending::Ended)))
            .await;
        self.now().unwrap_or(Ending::Abandon)
    }

    /// Waits until not even a report is wanted.
    pub(crate) async fn abandoned(&self) {
        self.control.until(|wishes| wishes.abandon.is_some()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: u32) -> AttemptId {
        format!("0197a7c0-0000-7000-8000-000000000001/0/{number}").parse().unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn a_cancel_is_for_its_attempt_only() {
        let control = Control::new();
        control.cancel(&attempt(1), CancelReason::Canceled);
        control.cancel(&attempt(1), CancelReason::Timeout);
        let wishes = control.current();
        assert_eq!(wishes.ending(&attempt(1)), Some(Ending::Cancel(CancelReason::Canceled)));
        assert_eq!(wishes.ending(&attempt(2)), None);
    }

    #[test]
    fn giving_up_beats_every_gentler_end() {
        let control = Control::new();
        control.cancel(&attempt(1), CancelReason::Canceled);
        control.wish(|w| w.stop = true);
        assert_eq!(control.current().ending(&attempt(2)), Some(Ending::Stop));
        control.wish(|w| w.ended = Some(attempt(1)));
        assert_eq!(control.current().ending(&attempt(1)), Some(Ending::Ended));
        control.wish(|w| w.abandon = Some("gone"));
        assert_eq!(control.current().ending(&attempt(1)), Some(Ending::Abandon));
    }
}
