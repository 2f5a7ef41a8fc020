//! Retries by hand: which jobs, and why not.

use super::{Build, Graph, JobState};
use crate::ids::JobIndex;
use crate::plan::{ManualRetry, StepKind};

/// How many wishes a build remembers: a letter that is folded again is minutes old.
const MOST_WISHES: usize = 20;

impl Build {
    /// Whether a wish was not heard before; it is remembered.
    pub(super) fn is_new(&mut self, wish: &str) -> bool {
        if wish.is_empty() {
            return true;
        }
        if self.wishes.iter().any(|known| known == wish) {
            return false;
        }
        if self.wishes.len() >= MOST_WISHES {
            self.wishes.remove(0);
        }
        self.wishes.push(wish.to_owned());
        true
    }

    /// Returns whether anything is run again.
    pub(super) fn retry(&mut self, job: Option<JobIndex>, graph: &Graph) -> bool {
        if self.cancel.is_some() {
            return false;
        }
        let mut changed = false;
        for (place, cell) in (0u32..).zip(self.cells.iter_mut()) {
            let wanted = match job {
                Some(job) => job.0 == place && retry_refusal(graph, JobIndex(place), cell.state).is_none(),
                None => {
                    matches!(cell.state, JobState::Failed | JobState::TimedOut | JobState::Canceled | JobState::Expired)
                        && retry_refusal(graph, JobIndex(place), cell.state).is_none()
                }
            };
            if wanted {
                cell.state = JobState::Waiting;
                cell.retries += 1;
                cell.losses = 0;
                cell.silent = 0;
                changed = true;
            }
        }
        if changed {
            self.finished_at = None;
            self.touch();
        }
        changed
    }

    /// Why a job may not be retried by hand, for people; `None` if it may.
    pub fn retry_refused(&self, graph: &Graph, job: JobIndex) -> Option<String> {
        if self.cancel.is_some() {
            return Some("the build was canceled: make a new build instead".to_owned());
        }
        let state = self.cells.get(job.0 as usize).map_or(JobState::Waiting, |c| c.state);
        retry_refusal(graph, job, state)
    }
}

fn retry_refusal(graph: &Graph, job: JobIndex, state: JobState) -> Option<String> {
    let Some(written) = graph.job(job) else {
        return Some("there is no such job".to_owned());
    };
    let by_default = ManualRetry::default();
    let manual = match &written.step.kind {
        StepKind::Wait { .. } => return Some("a wait step cannot be retried".to_owned()),
        StepKind::Block(_) | StepKind::Input(_) => {
            return Some("a step that waits for a person cannot be retried".to_owned());
        }
        // Another build is made.
        StepKind::Trigger(_) => &by_default,
        StepKind::Command(command) => &command.retry.manual,
    };
    if !state.is_final() {
        return Some(format!("the job is {}, only a job that has ended can be retried", state.name()));
    }
    if matches!(state, JobState::Broken | JobState::Skipped | JobState::WaitingFailed) {
        return Some(format!("the job did not run: it is {}", state.name()));
    }
    let reason = || manual.reason.as_ref().map_or_else(String::new, |r| format!(": {r}"));
    if !manual.allowed {
        return Some(format!("the step does not allow retries by hand{}", reason()));
    }
    if matches!(state, JobState::Passed) && !manual.permit_on_passed {
        return Some(format!("the step does not allow retries of a job that passed{}", reason()));
    }
    None
}
