//! What a build is told, and what that changes by itself. What follows from it is `settle`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::retry::counts_as_silent;
use super::upload::Upload;
use super::{
    Build, Cancel, Did, Graph, JobState, Limits, Planned, PullRequestFacts, StepChange, TriggerEnd, Verdict, after_end,
};
use crate::attempt::{Attempt, Cause, Phase};
use crate::ids::JobIndex;
use crate::plan::{Retry, SoftFail};
use crate::time::Timestamp;

/// What a build is told: the contents of its inbox records.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Input {
    /// A first job was claimed.
    Started {
        /// When.
        at: Timestamp,
    },
    /// An attempt has ended.
    Ended(Ended),
    /// What became of the build that a trigger step wanted.
    Triggered {
        /// The step's job.
        job: JobIndex,
        /// Which try of the job.
        number: u32,
        /// What.
        end: TriggerEnd,
    },
    /// A job uploaded steps, stored under this key.
    Uploaded {
        /// The uploading job.
        by: JobIndex,
        /// The uploading attempt.
        number: u32,
        /// Where the segment is.
        blob: String,
        /// Drop what has not started after the uploading step.
        replace: bool,
    },
    /// Cancel everything.
    Cancel {
        /// Who asks.
        by: String,
    },
    /// A newer build of the same branch was made (`spec/pipeline.md` 1.20).
    Superseded {
        /// Which, for people.
        by: String,
        /// End the build if it has not begun.
        skip: bool,
        /// End it in any case.
        cancel: bool,
    },
    /// Somebody approved the commit of a build that was held: it has a plan now.
    Approved {
        /// Who.
        by: String,
        /// What came of the plan.
        plan: Planned,
    },
    /// A pull request has the commit as its head, or looks different now.
    PullRequest(Box<PullRequestFacts>),
    /// Run a failed job again, or all that failed.
    Retry {
        /// Which; `None` for all that failed.
        job: Option<JobIndex>,
        /// Who asks.
        by: String,
        /// Names the wish: folding it twice changes nothing. Empty in letters of before it was named.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        wish: String,
    },
    /// Open a block or input step.
    Unblock {
        /// Which.
        job: JobIndex,
        /// Who opened it.
        by: String,
        /// The stored form with the values of its fields, checked; none if it has no fields.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        form: Option<String>,
    },
    /// A job changed a step.
    ChangeStep {
        /// Any job of the step.
        job: JobIndex,
        /// Names the wish: folding it twice changes nothing.
        uuid: String,
        /// What.
        change: StepChange,
    },
    /// A job cancelled a step.
    CancelStep {
        /// Any job of the step.
        job: JobIndex,
    },
    /// The concurrency group gave the job a slot.
    Granted {
        /// Which.
        job: JobIndex,
        /// The time that it joined for.
        round: u32,
    },
}

/// The end of an attempt, as far as a build must know it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// The job.
    pub job: JobIndex,
    /// The attempt's number.
    pub number: u32,
    /// The class of the end.
    pub cause: Cause,
    /// Exit status, if the job ran to an end.
    #[serde(default)]
    pub exit_status: Option<i32>,
    /// The signal that ended it.
    #[serde(default)]
    pub signal: Option<String>,
    /// Trying again cannot help.
    #[serde(default)]
    pub permanent: bool,
    /// Its command had started.
    #[serde(default)]
    pub started: bool,
    /// How many uploads it made.
    #[serde(default)]
    pub uploads: u32,
}

impl Ended {
    /// What the build must know of this attempt, if it has ended.
    pub fn of(attempt: &Attempt) -> Option<Self> {
        match &attempt.phase {
            Phase::Queued | Phase::Held(_) => None,
            Phase::Ended(end) => Some(Self {
                job: attempt.id.job,
                number: attempt.id.number,
                cause: end.cause,
                exit_status: end.exit_status,
                signal: end.signal.clone(),
                permanent: end.permanent,
                started: end.held.as_ref().is_some_and(|h| h.started_at.is_some()),
                uploads: end.uploads,
            }),
        }
    }
}

/// What became of an input.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Folded {
    /// It is in the record now, or it says nothing new.
    Done,
    /// It must wait for another input (a result for its uploads): leave it in the inbox.
    Later,
}

impl Build {
    /// Folds one input in. `segment` is the plan of an [`Input::Uploaded`] or [`Input::Approved`], loaded by the shell;
    /// without it the input waits. After such a one `graph` lacks its steps: make a new one before the next input that may
    /// need them and before [`Build::settle`]. Doing so twice changes nothing more: a step that slept may fold a letter that
    /// another has folded and forgotten long ago.
    pub fn fold(
        &mut self,
        input: &Input,
        graph: &Graph,
        segment: Option<&crate::plan::Segment>,
        limits: &Limits,
        now: Timestamp,
    ) -> Folded {
        match input {
            Input::Started { at } => {
                if self.started_at.is_none() {
                    self.started_at = Some(*at);
                    self.touch();
                }
            }
            Input::Ended(end) => return self.ended(end, graph, limits, now),
            Input::Triggered { job, number, end } => self.triggered(*job, *number, *end, graph, now),
            Input::Uploaded { by, number, blob, replace } => {
                let upload = Upload { by: *by, number: *number, blob, replace: *replace };
                return self.uploaded(&upload, segment, graph);
            }
            Input::Cancel { by } => {
                if self.cancel.is_none() && !self.state.is_final() {
                    self.cancel = Some(Cancel { by: by.clone(), at: now, skipped: false });
                    self.touch();
                }
            }
            Input::Superseded { by, skip, cancel } => {
                let skipped = *skip && self.started_at.is_none();
                if self.cancel.is_none() && !self.state.is_final() && (skipped || *cancel) {
                    self.cancel = Some(Cancel { by: by.clone(), at: now, skipped });
                    self.touch();
                }
            }
            Input::Approved { by, plan } => return self.approved(by, plan, segment, now),
            Input::PullRequest(pull_request) => self.joined(pull_request),
            Input::Retry { job, by, wish } => {
                if self.is_new(wish) && self.retry(*job, graph) {
                    self.note(by, Did::Retried(*job), now);
                }
            }
            Input::Unblock { job, by, form } => {
                if let Some(cell) = self.cells.get_mut(job.0 as usize)
                    && cell.state == JobState::Blocked
                    && self.cancel.is_none()
                {
                    cell.state = JobState::Unblocked;
                    let did = Did::Unblocked { job: *job, form: form.clone(), unwritten: form.is_some() };
                    self.note(by, did, now);
                    self.touch();
                }
            }
            Input::ChangeStep { job, uuid, change } => self.change_step(graph, *job, uuid, change),
            Input::CancelStep { job } => self.cancel_step(graph, *job),
            Input::Granted { job, round } => {
                if let Some(cell) = self.cells.get_mut(job.0 as usize)
                    && cell.in_group
                    && cell.round == *round
                {
                    cell.granted = true;
                }
            }
        }
        Folded::Done
    }

    /// A build that was cancelled meanwhile stays so, and one that has a plan keeps it: an approval counts once.
    fn approved(&mut self, by: &str, plan: &Planned, segment: Option<&crate::plan::Segment>, now: Timestamp) -> Folded {
        if self.hold.is_none() || self.cancel.is_some() {
            return Folded::Done;
        }
        match (plan, segment) {
            (Planned::Segment(_), None) => return Folded::Later,
            (Planned::Segment(blob), Some(segment)) => self.planned(blob.clone(), segment),
            (Planned::Failed { failure, diagnostics }, _) => {
                self.failure.clone_from(failure);
                self.diagnostics = diagnostics.iter().take(50).cloned().collect();
            }
        }
        self.hold = None;
        self.note(by, Did::Approved, now);
        self.touch();
        Folded::Done
    }

    fn ended(&mut self, end: &Ended, graph: &Graph, limits: &Limits, now: Timestamp) -> Folded {
        let canceled = self.cancel.is_some();
        let Some(cell) = self.cells.get_mut(end.job.0 as usize) else {
            return Folded::Done;
        };
        if cell.attempt != end.number || !cell.state.has_live_attempt() {
            return Folded::Done;
        }
        if cell.uploads < end.uploads {
            return Folded::Later;
        }
        let (retry, soft_fail) = match graph.job(end.job).map(|job| (job.command, job.spec())) {
            Some((Some(command), Some(spec))) => (&command.retry, &spec.soft_fail),
            _ => (&Retry::default(), &SoftFail::Never),
        };
        let canceled = canceled || cell.state == JobState::Canceling;
        let verdict = after_end(retry, soft_fail, cell, canceled, limits, end, now);
        cell.revoke = false;
        match verdict {
            Verdict::Final(state) => {
                if counts_as_silent(end.cause) && end.started && state.is_failure() {
                    cell.silent += 1;
                }
                cell.state = state;
            }
            Verdict::ByRule(rule) => {
                if cell.rule_uses.len() <= rule {
                    cell.rule_uses.resize(rule + 1, 0);
                }
                cell.rule_uses[rule] = cell.rule_uses[rule].saturating_add(1);
                cell.retries += 1;
                cell.losses = 0;
                cell.state = JobState::Backoff;
                cell.not_before = now;
            }
            Verdict::OnUs(pause) => {
                if cell.losses == 0 {
                    cell.lost_since = now;
                }
                cell.losses += 1;
                if counts_as_silent(end.cause) && end.started {
                    cell.silent += 1;
                }
                cell.state = JobState::Backoff;
                // Up to a quarter more, spread by place, so that jobs lost together do not come back together.
                let spread = pause.mul_f64(f64::from(end.job.0 % 16) / 64.0);
                cell.not_before = now + pause + spread.max(Duration::ZERO);
                // Users know nothing of this try: what it uploaded makes room for what the next one uploads.
                for segment in &mut self.segments {
                    segment.lost |= segment.by == Some(end.job) && segment.number == end.number;
                }
            }
        }
        if cell.state.is_final() {
            cell.leave_group();
        }
        self.touch();
        Folded::Done
    }
}
