//! What a job may know of the steps of its build.

use tidegate_core::build::JobState;
use tidegate_core::ids::{JobIndex, job_uuid};
use tidegate_core::plan::StepKind;
use tidegate_core::wire::job::{Step, StepAnswer};

use super::{Caller, GateError};
use crate::engine::Engine;

impl Engine {
    /// A step of the build of the caller's attempt.
    ///
    /// # Errors
    /// Refused unless the caller holds the attempt; invalid for a step that the build does not have.
    pub async fn show_step(&self, caller: &Caller, request: &Step) -> Result<StepAnswer, GateError> {
        self.held(caller, &request.boot, &request.attempt).await?;
        let id = &request.attempt.build;
        let Some((build, graph)) = self.load_build(id).await? else {
            return Err(GateError::Invalid("the build is gone".to_owned()));
        };
        let is = |job: JobIndex, name: &str| {
            job_uuid(id, job).to_string() == name
                || graph.job(job).is_some_and(|j| j.step.key.as_deref() == Some(name) || j.label() == name)
        };
        let first = match &request.step {
            None => Some(request.attempt.job),
            Some(name) => graph.jobs_in_order().find(|&job| is(job, name)),
        };
        let Some(first) = first.and_then(|job| graph.job(job)) else {
            let name = request.step.as_deref().unwrap_or_default();
            return Err(GateError::Invalid(format!("the build has no step `{}`", name.escape_debug())));
        };
        let states: Vec<JobState> = graph
            .jobs_in_order()
            .filter(|&job| graph.job(job).is_some_and(|j| std::ptr::eq(j.step, first.step)))
            .filter_map(|job| build.cells.get(job.0 as usize).map(|cell| cell.state))
            .collect();
        let kind = match &first.step.kind {
            StepKind::Command(_) => "command",
            StepKind::Wait { .. } => "wait",
            StepKind::Block(_) => "block",
            StepKind::Input(_) => "input",
            StepKind::Trigger(_) => "trigger",
        };
        Ok(StepAnswer {
            kind: kind.to_owned(),
            key: first.step.key.clone(),
            label: first.label().to_owned(),
            state: state(&states).to_owned(),
            outcome: outcome(&states).to_owned(),
        })
    }
}

/// The state of a step by those of its jobs, in the words of the reference.
fn state(jobs: &[JobState]) -> &'static str {
    let all = |is: fn(&JobState) -> bool| jobs.iter().all(is);
    if all(|job| *job == JobState::Skipped) {
        "ignored"
    } else if all(|job| job.is_final()) {
        "finished"
    } else if jobs.iter().any(|job| job.is_failure()) {
        "failing"
    } else if all(|job| *job == JobState::Waiting) {
        "waiting_for_dependencies"
    } else if all(|job| matches!(job, JobState::Waiting | JobState::Blocked | JobState::Limited)) {
        "ready"
    } else {
        "running"
    }
}

/// What has come of a step, the worst of its jobs first; `neutral` as long as nothing has.
fn outcome(jobs: &[JobState]) -> &'static str {
    let any = |is: fn(&JobState) -> bool| jobs.iter().any(is);
    if any(|job| matches!(job, JobState::Expired | JobState::WaitingFailed)) {
        "errored"
    } else if any(|job| job.is_failure()) {
        "hard_failed"
    } else if any(|job| *job == JobState::SoftFailed) {
        "soft_failed"
    } else if !jobs.is_empty() && jobs.iter().all(|job| *job == JobState::Passed) {
        "passed"
    } else {
        "neutral"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_job_speaks_for_its_step() {
        use JobState::*;
        for (jobs, wanted) in [
            (&[Passed, Passed][..], ("finished", "passed")),
            (&[Passed, Scheduled], ("running", "neutral")),
            (&[Passed, SoftFailed], ("finished", "soft_failed")),
            (&[SoftFailed, Failed], ("finished", "hard_failed")),
            (&[Failed, Scheduled], ("failing", "hard_failed")),
            (&[Failed, Expired], ("finished", "errored")),
            (&[WaitingFailed], ("finished", "errored")),
            (&[Waiting, Waiting], ("waiting_for_dependencies", "neutral")),
            (&[Limited, Waiting], ("ready", "neutral")),
            (&[Skipped], ("ignored", "neutral")),
        ] {
            assert_eq!((state(jobs), outcome(jobs)), wanted, "{jobs:?}");
        }
    }
}
