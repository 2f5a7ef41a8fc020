//! What the forge should show for a build.

mod check;
mod pace;
mod words;

use serde::{Deserialize, Serialize};

pub use check::{Check, CheckState, Conclusion, Mark, SUMMARY_LIMIT, Subject};
pub use pace::{Lane, SLOT_LIFE};
pub use words::{Sources, build_check, is_culprit, job_check};

use crate::build::{Build, BuildState, Graph, Hold, JobState};
use crate::ids::JobIndex;
use crate::plan::{BlockedState, StepKind};

/// A commit status as it should be.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `tidegate/<pipeline>`.
    pub context: String,
    /// Its state.
    pub state: StatusState,
    /// At most 140 characters.
    pub description: String,
}

/// State of a commit status.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusState {
    /// Not decided yet.
    Pending,
    /// Passed.
    Success,
    /// Failed.
    Failure,
    /// Canceled, or it could not be run.
    Error,
}

/// The status of a build.
pub fn status(build: &Build, graph: &Graph) -> Status {
    let number = build.facts.number;
    let (state, text) = match build.state {
        BuildState::Scheduled => (StatusState::Pending, format!("Build #{number} is waiting")),
        BuildState::Running => (StatusState::Pending, format!("Build #{number} is running")),
        BuildState::Failing => (StatusState::Failure, format!("Build #{number} is failing{}", why(build, graph))),
        BuildState::Blocked if build.hold == Some(Hold::Approval) => {
            (StatusState::Pending, format!("Build #{number} waits for a comment: /approve {}", build.facts.commit))
        }
        BuildState::Blocked if build.cells.iter().any(|c| c.state.is_failure()) => {
            (StatusState::Failure, format!("Build #{number} is blocked, and failed{}", why(build, graph)))
        }
        BuildState::Blocked => {
            let state = match blocked_state(build, graph) {
                Some(BlockedState::Failed) => StatusState::Failure,
                Some(BlockedState::Running) => StatusState::Pending,
                Some(BlockedState::Passed) | None => StatusState::Success,
            };
            (state, format!("Build #{number} is blocked"))
        }
        BuildState::Canceling => (StatusState::Pending, format!("Build #{number} is being canceled")),
        BuildState::Passed => (StatusState::Success, format!("Build #{number} passed")),
        BuildState::Failed if !build.failure.is_empty() => {
            let first = build.failure.lines().next().unwrap_or_default();
            (StatusState::Failure, format!("Build #{number} failed: {first}"))
        }
        BuildState::Failed => (StatusState::Failure, format!("Build #{number} failed{}", why(build, graph))),
        BuildState::Canceled => (StatusState::Error, format!("Build #{number} was canceled")),
        BuildState::Skipped => {
            let by = build.cancel.as_ref().map_or_else(String::new, |cancel| format!(" for {}", cancel.by));
            (StatusState::Error, format!("Build #{number} was skipped{by}"))
        }
        BuildState::NotRun => (StatusState::Success, format!("Build #{number} had nothing to run")),
    };
    let description = if text.chars().count() > 140 { text.chars().take(139).chain(['…']).collect() } else { text };
    Status { context: format!("tidegate/{}", build.facts.pipeline), state, description }
}

/// Which jobs failed; where none did, what is waited for that never came. Begins with `: ` unless it is empty.
fn why(build: &Build, graph: &Graph) -> String {
    let jobs = |wanted: fn(JobState) -> bool| {
        let cells = (0u32..).zip(build.cells.iter()).filter(move |(_, c)| wanted(c.state));
        cells.map(|(place, _)| JobIndex(place))
    };
    let failed = |state| matches!(state, JobState::Failed | JobState::TimedOut | JobState::Expired);
    let labels: Vec<&str> = jobs(failed).filter_map(|job| graph.job(job)).map(|j| j.label()).collect();
    match labels.as_slice() {
        [] => {}
        [one] => return format!(": {one}"),
        [one, rest @ ..] => return format!(": {one} and {} more", rest.len()),
    }
    for job in jobs(|state| state == JobState::WaitingFailed) {
        let Some(step) = graph.owner(job) else { continue };
        if let Some(key) = graph.unknown_keys(step).next() {
            let label = &graph.step(step).label;
            return format!(": {label} waits for `{key}`, which no step has as its key");
        }
    }
    match graph.circle() {
        Some(circle) if jobs(|state| state == JobState::WaitingFailed).next().is_some() => {
            let names: Vec<&str> = circle.iter().map(|&s| graph.name(s)).collect();
            format!(": steps wait for each other: {}", names.join(", "))
        }
        Some(_) | None => String::new(),
    }
}

/// What the blocks that are reached say a blocked build looks like (`spec/pipeline.md` 1.5): the worst of them. `None`
/// unless the build is blocked.
pub fn blocked_state(build: &Build, graph: &Graph) -> Option<BlockedState> {
    if build.state != BuildState::Blocked {
        return None;
    }
    let blocked = (0u32..).zip(build.cells.iter()).filter(|(_, c)| c.state == JobState::Blocked);
    let states = blocked.filter_map(|(place, _)| match &graph.job(JobIndex(place))?.step.kind {
        StepKind::Block(manual) | StepKind::Input(manual) => Some(manual.blocked_state),
        StepKind::Command(_) | StepKind::Wait { .. } | StepKind::Trigger(_) => None,
    });
    let rank = |state: &BlockedState| match state {
        BlockedState::Passed => 0,
        BlockedState::Running => 1,
        BlockedState::Failed => 2,
    };
    states.max_by_key(rank)
}
