//! What the forge should show for a build.

use serde::{Deserialize, Serialize};

use crate::build::{Build, BuildState, Graph, JobState};
use crate::ids::JobIndex;

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
    let failed = (0u32..)
        .zip(build.cells.iter())
        .filter(|(_, c)| matches!(c.state, JobState::Failed | JobState::TimedOut | JobState::Expired))
        .filter_map(|(place, _)| graph.job(JobIndex(place)));
    let names = || {
        let labels: Vec<&str> = failed.clone().map(|j| j.label()).collect();
        match labels.as_slice() {
            [] => String::new(),
            [one] => format!(": {one}"),
            [one, rest @ ..] => format!(": {one} and {} more", rest.len()),
        }
    };
    let (state, text) = match build.state {
        BuildState::Scheduled => (StatusState::Pending, format!("Build #{number} is waiting")),
        BuildState::Running => (StatusState::Pending, format!("Build #{number} is running")),
        BuildState::Failing => (StatusState::Failure, format!("Build #{number} is failing{}", names())),
        BuildState::Blocked => (StatusState::Success, format!("Build #{number} is blocked")),
        BuildState::Canceling => (StatusState::Pending, format!("Build #{number} is being canceled")),
        BuildState::Passed => (StatusState::Success, format!("Build #{number} passed")),
        BuildState::Failed if !build.failure.is_empty() => {
            let first = build.failure.lines().next().unwrap_or_default();
            (StatusState::Failure, format!("Build #{number} failed: {first}"))
        }
        BuildState::Failed => (StatusState::Failure, format!("Build #{number} failed{}", names())),
        BuildState::Canceled => (StatusState::Error, format!("Build #{number} was canceled")),
        BuildState::NotRun => (StatusState::Success, format!("Build #{number} had nothing to run")),
    };
    let description = if text.chars().count() > 140 { text.chars().take(139).chain(['…']).collect() } else { text };
    Status { context: format!("tidegate/{}", build.facts.pipeline), state, description }
}
