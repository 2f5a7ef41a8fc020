//! One try at a job: the record that says who runs it, and the transitions of that record.
//!
//! Claim, start, cancel, expiry, loss and result are compare-and-set on this one record, so exactly one of them wins,
//! and it is the record that says which. Every function here takes the record as it was read and returns the record to
//! write; the shell writes it under the condition that nobody wrote in between, and on a conflict reads and asks again.
//!
//! ```text
//! queued ── claim ──> held ── finish (its owner) ──> ended
//!   │                  ├── lose (machine gone) ────> ended
//!   │                  └── cancel: marked; the owner ends it
//!   └── cancel, expire ─────────────────────────────> ended
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{AttemptId, InstanceId, PoolName};
use crate::time::Timestamp;
use crate::trust::Trust;
use crate::wire::gate::{CancelReason, LogExtent, Outcome};

/// Why an attempt ended. The closed list of `contract.md`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The command ended by itself.
    Exit,
    /// A signal that was not ours ended the command.
    Signal,
    /// Its time was over.
    Timeout,
    /// Canceled by a person, by a newer build, or because the build was failing.
    Canceled,
    /// The cloud announced that it takes the machine.
    Interrupted,
    /// The machine fell silent or was ended from outside.
    Lost,
    /// The machine never came up.
    BootFailed,
    /// The repository could not be checked out.
    CheckoutFailed,
    /// The agent was told to stop, or could not start the command.
    AgentStopped,
    /// The machine's disk was full.
    OutOfDisk,
    /// The kernel ended the job for want of memory.
    OutOfMemory,
    /// No machine took it until its deadline.
    Expired,
}

impl Cause {
    /// Whether this end says something of the infrastructure and nothing of the job (design, principle 5).
    pub fn is_infrastructure(self) -> bool {
        match self {
            Cause::Interrupted
            | Cause::Lost
            | Cause::BootFailed
            | Cause::CheckoutFailed
            | Cause::AgentStopped
            | Cause::OutOfDisk => true,
            Cause::Exit | Cause::Signal | Cause::Timeout | Cause::Canceled | Cause::OutOfMemory | Cause::Expired => {
                false
            }
        }
    }

    /// The name in JSON and for people.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Exit => "exit",
            Cause::Signal => "signal",
            Cause::Timeout => "timeout",
            Cause::Canceled => "canceled",
            Cause::Interrupted => "interrupted",
            Cause::Lost => "lost",
            Cause::BootFailed => "boot_failed",
            Cause::CheckoutFailed => "checkout_failed",
            Cause::AgentStopped => "agent_stopped",
            Cause::OutOfDisk => "out_of_disk",
            Cause::OutOfMemory => "out_of_memory",
            Cause::Expired => "expired",
        }
    }
}

/// The record of one attempt. The build makes it, `queued`, before any ticket names it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which.
    pub id: AttemptId,
    /// Copied from the build, checked at every claim (`spec/hazards.md` L5).
    pub trust: Trust,
    /// What a machine must offer, see [`crate::fleet::Requirement`].
    pub requirement: crate::fleet::Requirement,
    /// `BUILDKITE_RETRY_COUNT`: retries by the user's rules or by hand. Our own do not count.
    pub retry_count: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it expires if no machine takes it.
    pub deadline: Timestamp,
    /// Where it is.
    pub phase: Phase,
}

/// Where an attempt is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Phase {
    /// Waiting for a machine.
    Queued,
    /// A machine has it.
    Held(Held),
    /// Over.
    Ended(Box<End>),
}

/// Who holds an attempt.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The machine.
    pub owner: InstanceId,
    /// The agent process on it: a restarted agent is not the owner (`spec/hazards.md` M4).
    pub boot: String,
    /// The machine's pool.
    pub pool: PoolName,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// When the command began, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// It is to end for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<CancelReason>,
    /// Ids of the pipeline uploads recorded so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uploads: Vec<String>,
}

/// How an attempt ended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// The class of the end.
    pub cause: Cause,
    /// When it was recorded.
    pub at: Timestamp,
    /// Who held it, if anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Exit status of the job, if it ran to an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// The signal that ended it, upper case without `SIG`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Trying again cannot help.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub permanent: bool,
    /// When the first byte of output came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_output_at: Option<Timestamp>,
    /// The log, if the agent said how much there is of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogExtent>,
    /// The last lines.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tail: String,
    /// How many pipeline uploads were recorded.
    #[serde(default)]
    pub uploads: u32,
    /// A result that came after the end: kept for reading, never accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<Box<Outcome>>,
}

/// Why a transition was refused. None of them changed anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Somebody else holds it.
    #[error("the attempt is held by another machine")]
    NotYours,
    /// It is over.
    #[error("the attempt has ended")]
    Ended,
    /// Nobody has claimed it.
    #[error("the attempt is not claimed")]
    NotClaimed,
    /// The machine's pool is trusted differently than the work (invariant I4).
    #[error("the machine's pool is not for work of this trust")]
    Trust,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    /// The machine, as the gate authenticated it.
    pub instance: &'a InstanceId,
    /// Its agent process.
    pub boot: &'a str,
    /// Its pool.
    pub pool: &'a PoolName,
    /// What the pool is trusted with.
    pub trust: Trust,
}

impl Held {
    fn is(&self, instance: &InstanceId, boot: &str) -> bool {
        self.owner == *instance && self.boot == boot
    }
}

impl Attempt {
    fn with(&self, phase: Phase) -> Attempt {
        Attempt { phase, ..self.clone() }
    }

    fn end(&self, cause: Cause, held: Option<Held>, detail: Option<String>, now: Timestamp) -> Attempt {
        let uploads = held.as_ref().map_or(0, |h| u32::try_from(h.uploads.len()).unwrap_or(u32::MAX));
        self.with(Phase::Ended(Box::new(End {
            cause,
            at: now,
            held,
            exit_status: None,
            signal: None,
            detail,
            permanent: false,
            first_output_at: None,
            log: None,
            tail: String::new(),
            uploads,
            late: None,
        })))
    }

    /// A machine takes it. `Ok(None)`: it has it already (its first answer was lost).
    ///
    /// # Errors
    /// Refused when it is not queued, held by another, or of other trust than the pool.
    pub fn claim(&self, by: Claimant<'_>, now: Timestamp) -> Result<Option<Attempt>, Refused> {
        match &self.phase {
            Phase::Queued if self.trust != by.trust => Err(Refused::Trust),
            Phase::Queued => Ok(Some(self.with(Phase::Held(Held {
                owner: by.instance.clone(),
                boot: by.boot.to_owned(),
                pool: by.pool.clone(),
                claimed_at: now,
                started_at: None,
                cancel: None,
                uploads: Vec::new(),
            })))),
            Phase::Held(held) if held.is(by.instance, by.boot) => Ok(None),
            Phase::Held(_) => Err(Refused::NotYours),
            Phase::Ended(_) => Err(Refused::Ended),
        }
    }

    /// What its owner holds.
    ///
    /// # Errors
    /// Refused when anybody else, or nobody, holds it.
    pub fn held_by(&self, instance: &InstanceId, boot: &str) -> Result<&Held, Refused> {
        match &self.phase {
            Phase::Held(held) if held.is(instance, boot) => Ok(held),
            Phase::Held(_) => Err(Refused::NotYours),
            Phase::Queued => Err(Refused::NotClaimed),
            Phase::Ended(_) => Err(Refused::Ended),
        }
    }

    /// The command is about to run. Returns the record to write, if anything changes, and whether the command must not
    /// run because the attempt is to end.
    ///
    /// # Errors
    /// As [`Attempt::held_by`].
    pub fn start(
        &self,
        instance: &InstanceId,
        boot: &str,
        now: Timestamp,
    ) -> Result<(Option<Attempt>, Option<CancelReason>), Refused> {
        let held = self.held_by(instance, boot)?;
        if held.cancel.is_some() || held.started_at.is_some() {
            return Ok((None, held.cancel));
        }
        Ok((Some(self.with(Phase::Held(Held { started_at: Some(now), ..held.clone() }))), None))
    }

    /// It is to end. A queued attempt ends here and now, so that no machine can take it any more (invariant I10); a held
    /// one is marked, and its owner ends it. `None` when nothing changes.
    pub fn cancel(&self, reason: CancelReason, now: Timestamp) -> Option<Attempt> {
        match &self.phase {
            Phase::Queued => Some(self.end(Cause::Canceled, None, None, now)),
            Phase::Held(held) if held.cancel.is_none() => {
                Some(self.with(Phase::Held(Held { cancel: Some(reason), ..held.clone() })))
            }
            Phase::Held(_) | Phase::Ended(_) => None,
        }
    }

    /// Its deadline has passed. `None` unless it is still queued then.
    pub fn expire(&self, now: Timestamp, why: &str) -> Option<Attempt> {
        match self.phase {
            Phase::Queued if now >= self.deadline => Some(self.end(Cause::Expired, None, Some(why.to_owned()), now)),
            Phase::Queued | Phase::Held(_) | Phase::Ended(_) => None,
        }
    }

    /// Its machine should have ended it for want of time, and did not: the agent enforces the timeout of a job, and this
    /// is for an agent that does not (`spec/hazards.md` M12). `room` is what the agent may need to end it. `None` unless
    /// it is held, not cancelled, and beyond both.
    pub fn overdue(&self, timeout: Duration, room: Duration, now: Timestamp) -> Option<Attempt> {
        match &self.phase {
            Phase::Held(held) if held.cancel.is_none() && now.since(held.claimed_at) > timeout + room => {
                self.cancel(CancelReason::Timeout, now)
            }
            Phase::Queued | Phase::Held(_) | Phase::Ended(_) => None,
        }
    }

    /// Its machine is gone. `None` unless that machine holds it.
    pub fn lose(&self, owner: &InstanceId, cause: Cause, why: &str, now: Timestamp) -> Option<Attempt> {
        match &self.phase {
            Phase::Held(held) if held.owner == *owner => {
                // A machine that was ending the job anyway: the end that was asked for is the one to record.
                let cause = match held.cancel {
                    Some(CancelReason::Canceled) => Cause::Canceled,
                    Some(CancelReason::Timeout) => Cause::Timeout,
                    None => cause,
                };
                Some(self.end(cause, Some(held.clone()), Some(why.to_owned()), now))
            }
            Phase::Queued | Phase::Held(_) | Phase::Ended(_) => None,
        }
    }

    /// Records a pipeline upload. `Ok(None)`: it is recorded already.
    ///
    /// # Errors
    /// As [`Attempt::held_by`].
    pub fn upload(&self, instance: &InstanceId, boot: &str, uuid: &str) -> Result<Option<Attempt>, Refused> {
        let held = self.held_by(instance, boot)?;
        if held.uploads.iter().any(|known| known == uuid) {
            return Ok(None);
        }
        let mut held = held.clone();
        held.uploads.push(uuid.to_owned());
        Ok(Some(self.with(Phase::Held(held))))
    }

    /// Its owner reports the end.
    ///
    /// # Errors
    /// Refused when nobody or another machine holds it.
    pub fn finish(
        &self,
        instance: &InstanceId,
        boot: &str,
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<Finish, Refused> {
        match &self.phase {
            Phase::Queued => Err(Refused::NotClaimed),
            Phase::Held(held) if held.is(instance, boot) => {
                let first_output_at = held
                    .started_at
                    .zip(outcome.first_output_ms)
                    .map(|(at, ms)| at + std::time::Duration::from_millis(ms));
                let uploads = u32::try_from(held.uploads.len()).unwrap_or(u32::MAX);
                Ok(Finish::Accepted(Box::new(self.with(Phase::Ended(Box::new(End {
                    cause: outcome.cause,
                    at: now,
                    held: Some(held.clone()),
                    exit_status: outcome.exit_status,
                    signal: outcome.signal,
                    detail: outcome.detail,
                    permanent: outcome.permanent,
                    first_output_at,
                    log: Some(outcome.log),
                    tail: outcome.tail,
                    uploads,
                    late: None,
                }))))))
            }
            Phase::Held(_) => Err(Refused::NotYours),
            Phase::Ended(end) => match &end.held {
                Some(held) if held.is(instance, boot) => {
                    let same = end.cause == outcome.cause
                        && end.exit_status == outcome.exit_status
                        && end.log == Some(outcome.log);
                    if same {
                        Ok(Finish::Repeated)
                    } else if end.late.is_some() {
                        Ok(Finish::Late(None))
                    } else {
                        let end = End { late: Some(Box::new(outcome)), ..(**end).clone() };
                        Ok(Finish::Late(Some(Box::new(self.with(Phase::Ended(Box::new(end)))))))
                    }
                }
                Some(_) | None => Err(Refused::NotYours),
            },
        }
    }
}

/// What became of a reported result.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Finish {
    /// It decides the attempt: write this.
    Accepted(Box<Attempt>),
    /// It was accepted before.
    Repeated,
    /// The attempt had ended otherwise. The result may be kept for reading: write this, if anything.
    Late(Option<Box<Attempt>>),
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
