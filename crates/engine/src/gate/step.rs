//! What a job may know of the steps of its build, and change.

use tidegate_core::build::{Input, JobState, LONGEST_LABEL, MOST_CHANGED, StepChange};
use tidegate_core::ids::{AttemptId, BuildId, JobIndex, job_uuid};
use tidegate_core::plan::StepKind;
use tidegate_core::wire::job::{CancelOwnBuild, Canceled, Step, StepAnswer, UpdateStep};

use super::upload::uuid_like;
use super::{Caller, GateError};
use crate::actors::Actor;
use crate::api::{ApiError, BuildName};
use crate::engine::Engine;

impl Engine {
    /// A step of the build of the caller's attempt.
    ///
    /// # Errors
    /// Refused unless the caller holds the attempt; invalid for a step that the build does not have.
    pub async fn show_step(&self, caller: &Caller, request: &Step) -> Result<StepAnswer, GateError> {
        self.held(caller, &request.boot, &request.attempt).await?;
        self.step_of(&request.attempt, request.step.as_deref()).await.map(|(_, answer)| answer)
    }

    /// Changes the label or the priority of a step of the build of the caller's attempt.
    ///
    /// # Errors
    /// As [`Engine::show_step`]; invalid beyond the limits of changes.
    pub async fn update_step(&self, caller: &Caller, request: &UpdateStep) -> Result<StepAnswer, GateError> {
        self.held(caller, &request.boot, &request.attempt).await?;
        let id = &request.attempt.build;
        if uuid_like(&request.uuid).is_none() {
            return Err(GateError::Invalid(format!("`{}` is not a UUID", request.uuid.escape_debug())));
        }
        let (StepChange::Label(text) | StepChange::Append(text)) = &request.change else {
            return self.change(request).await;
        };
        if text.chars().count() > LONGEST_LABEL || text.trim().is_empty() || text.contains(char::is_control) {
            let why = format!("a label has 1 to {LONGEST_LABEL} characters on one line, not `{}`", text.escape_debug());
            return Err(GateError::Invalid(why));
        }
        tracing::info!(build.id = %id, attempt.id = %request.attempt, "a job renames a step");
        self.change(request).await
    }

    async fn change(&self, request: &UpdateStep) -> Result<StepAnswer, GateError> {
        let id = &request.attempt.build;
        let (job, _) = self.step_of(&request.attempt, request.step.as_deref()).await?;
        let full = match self.load_build(id).await? {
            Some((build, graph)) => build.changes_are_full(&graph, job),
            None => false,
        };
        if full {
            return Err(GateError::Invalid(format!("at most {MOST_CHANGED} steps of a build can be changed")));
        }
        let input = Input::ChangeStep { job, uuid: request.uuid.clone(), change: request.change.clone() };
        self.tell_and_step(id, &input).await?;
        self.step_of(&request.attempt, request.step.as_deref().map(|_| job_uuid(id, job).to_string()).as_deref())
            .await
            .map(|(_, answer)| answer)
    }

    /// Cancels all jobs of a step that are not over. When this returns none of them will start.
    ///
    /// # Errors
    /// As [`Engine::show_step`].
    pub async fn cancel_step(&self, caller: &Caller, request: &Step) -> Result<StepAnswer, GateError> {
        self.held(caller, &request.boot, &request.attempt).await?;
        let id = &request.attempt.build;
        let (job, _) = self.step_of(&request.attempt, request.step.as_deref()).await?;
        tracing::info!(build.id = %id, attempt.id = %request.attempt, job.index = job.0, "a job cancels a step");
        self.tell_and_step(id, &Input::CancelStep { job }).await?;
        self.step_of(&request.attempt, request.step.as_deref()).await.map(|(_, answer)| answer)
    }

    /// Cancels the build of the caller's attempt. When this returns, no job that has not started will start.
    ///
    /// # Errors
    /// Refused unless the caller holds the attempt.
    pub async fn cancel_own_build(&self, caller: &Caller, request: &CancelOwnBuild) -> Result<Canceled, GateError> {
        self.held(caller, &request.boot, &request.attempt).await?;
        let (_, step) = self.step_of(&request.attempt, None).await?;
        let name = BuildName::Id(request.attempt.build.clone());
        match self.cancel_build(&name, &format!("its job `{}`", step.label)).await {
            Ok(_) => Ok(Canceled {}),
            Err(ApiError::Engine(error)) => Err(error.into()),
            Err(error @ (ApiError::NotFound(_) | ApiError::Refused(_))) => Err(GateError::Invalid(error.to_string())),
        }
    }

    async fn tell_and_step(&self, build: &BuildId, input: &Input) -> Result<(), GateError> {
        let actor = Actor::Build(build.clone());
        self.tell(&actor, input).await?;
        // Folded in before the answer: whoever asks next sees it.
        self.step(&actor).await?;
        Ok(())
    }

    /// A step as its jobs may know it, by a key, a label or the id of a job; the attempt's own when not given. With the
    /// first of its jobs that has the name.
    async fn step_of(&self, attempt: &AttemptId, name: Option<&str>) -> Result<(JobIndex, StepAnswer), GateError> {
        let id = &attempt.build;
        let Some((build, graph)) = self.load_build(id).await? else {
            return Err(GateError::Invalid("the build is gone".to_owned()));
        };
        let is = |job: JobIndex, name: &str| {
            job_uuid(id, job).to_string() == name
                || graph.job(job).is_some_and(|j| j.step.key.as_deref() == Some(name) || j.label() == name)
        };
        let place = match name {
            None => Some(attempt.job),
            Some(name) => graph.jobs_in_order().find(|&job| is(job, name)),
        };
        let Some((place, first)) = place.and_then(|job| Some((job, graph.job(job)?))) else {
            let name = name.unwrap_or_default();
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
        let answer = StepAnswer {
            kind: kind.to_owned(),
            key: first.step.key.clone(),
            label: first.label().to_owned(),
            state: state(&states).to_owned(),
            outcome: outcome(&states).to_owned(),
        };
        Ok((place, answer))
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
