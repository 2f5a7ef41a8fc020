//! Trigger steps (`spec/pipeline.md` 1.5): a job of such a step is a build of another pipeline.
//!
//! A try of the job makes one build, whose key is made of build, job and number, so that making it twice makes it once.
//! The build tells the step how it ended each time that it ends; a step whose build failed and was then retried there
//! until it passed has passed too.

use serde::{Deserialize, Serialize};

use super::{Build, BuildState, Graph, JobState};
use crate::ids::JobIndex;
use crate::plan::StepKind;
use crate::time::Timestamp;

/// The exit status that `soft_fail` sees of a build that failed.
const FAILED: i32 = 1;
/// The exit status that `soft_fail` sees of a build that could not be made.
const NOT_MADE: i32 = -1;

/// What became of the build that a trigger step wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerEnd {
    /// It is there.
    Made,
    /// It cannot be made: there is no such pipeline, branch or commit, or too many builds triggered each other.
    Refused,
    /// It has ended.
    Ended(BuildState),
    /// It was cancelled before it was made.
    Recalled,
}

impl Build {
    pub(super) fn triggered(&mut self, job: JobIndex, number: u32, end: TriggerEnd, graph: &Graph, now: Timestamp) {
        let Some(StepKind::Trigger(step)) = graph.job(job).map(|j| &j.step.kind) else { return };
        let canceled = self.cancel.is_some();
        let Some(cell) = self.cells.get_mut(job.0 as usize).filter(|cell| cell.attempt == number) else { return };
        // A build that nobody waits for may be over before its step has learnt that it was made: how it ended is all the same.
        let end = match end {
            TriggerEnd::Ended(_) if step.asynchronous && cell.state == JobState::Scheduled => TriggerEnd::Made,
            end => end,
        };
        let soft = |status| if step.soft_fail.covers(status) { JobState::SoftFailed } else { JobState::Failed };
        let next = match end {
            TriggerEnd::Made => {
                if self.started_at.is_none() {
                    self.started_at = Some(now);
                    self.shown += 1;
                }
                // A step that does not wait is done. Where it is being cancelled, the build is cancelled too.
                (step.asynchronous && cell.state == JobState::Scheduled).then_some(JobState::Passed)
            }
            TriggerEnd::Ended(BuildState::Passed | BuildState::NotRun) => Some(JobState::Passed),
            TriggerEnd::Ended(
                BuildState::Scheduled
                | BuildState::Running
                | BuildState::Failing
                | BuildState::Blocked
                | BuildState::Canceling,
            ) => None,
            TriggerEnd::Recalled | TriggerEnd::Ended(BuildState::Canceled) => Some(JobState::Canceled),
            TriggerEnd::Refused | TriggerEnd::Ended(BuildState::Failed | BuildState::Skipped) if canceled => {
                Some(JobState::Canceled)
            }
            TriggerEnd::Ended(BuildState::Skipped) => Some(JobState::Skipped),
            TriggerEnd::Refused => Some(soft(NOT_MADE)),
            TriggerEnd::Ended(BuildState::Failed) => Some(soft(FAILED)),
        };
        let Some(next) = next else { return };
        let mended = next == JobState::Passed
            && matches!(cell.state, JobState::Failed | JobState::SoftFailed | JobState::Canceled)
            && !canceled
            && !step.asynchronous;
        if cell.state.has_live_attempt() || mended {
            (cell.state, cell.revoke) = (next, false);
            self.touch();
        }
    }
}
