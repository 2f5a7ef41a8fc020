//! What a running job changes of the steps of its build: labels and priorities, and steps that it cancels.

use serde::{Deserialize, Serialize};

use super::{Build, Graph, JobState};
use crate::ids::JobIndex;

/// Most steps of a build that can be changed: the record must not grow without bound.
pub const MOST_CHANGED: usize = 100;
/// Longest label, in characters.
pub const LONGEST_LABEL: usize = 200;

/// What a step was changed to.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct StepChanges {
    /// The step, by its first job.
    pub job: JobIndex,
    /// Its label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its priority, for attempts that are made from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// The latest request: folding it again changes nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uuid: String,
}

/// A wish to change a step.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepChange {
    /// Another label.
    Label(String),
    /// A text behind the label.
    Append(String),
    /// Another priority.
    Priority(i64),
}

impl Build {
    /// Whether a step cannot be changed any more because too many others were. `job` is any job of it.
    pub fn changes_are_full(&self, graph: &Graph, job: JobIndex) -> bool {
        let first = first_of(graph, job);
        self.changes.len() >= MOST_CHANGED && !self.changes.iter().any(|c| c.job == first)
    }

    /// Changes a step.
    pub(super) fn change_step(&mut self, graph: &Graph, job: JobIndex, uuid: &str, change: &StepChange) {
        if self.changes_are_full(graph, job) {
            return;
        }
        let first = first_of(graph, job);
        let place = self.changes.iter().position(|c| c.job == first).unwrap_or_else(|| {
            self.changes.push(StepChanges { job: first, ..StepChanges::default() });
            self.changes.len() - 1
        });
        let known = &mut self.changes[place];
        if known.uuid == uuid {
            return;
        }
        uuid.clone_into(&mut known.uuid);
        let written = || graph.job(first).map_or_else(String::new, |job| job.step.label.clone());
        match change {
            StepChange::Label(label) => known.label = Some(label.chars().take(LONGEST_LABEL).collect()),
            StepChange::Append(text) => {
                let label = known.label.take().unwrap_or_else(written) + text;
                known.label = Some(label.chars().take(LONGEST_LABEL).collect());
            }
            StepChange::Priority(priority) => known.priority = Some(*priority),
        }
        self.touch();
    }

    /// The priority of a step's attempts: as changed, or as written.
    pub(super) fn priority_of(&self, graph: &Graph, job: JobIndex, written: i64) -> i64 {
        let first = first_of(graph, job);
        self.changes.iter().find(|c| c.job == first).and_then(|c| c.priority).unwrap_or(written)
    }

    /// Cancels all jobs of a step that are not over, as cancelling the build would.
    pub(super) fn cancel_step(&mut self, graph: &Graph, job: JobIndex) {
        let Some(node) = graph.owner(job).map(|step| &graph.steps[step]) else { return };
        let mut any = false;
        for place in node.first..node.first + node.count {
            let Some(cell) = self.cells.get_mut(place as usize) else { continue };
            match cell.state {
                JobState::Waiting | JobState::Blocked | JobState::Limited | JobState::Backoff => {
                    cell.state = JobState::Canceled;
                    cell.leave_group();
                }
                JobState::Scheduled => {
                    cell.state = JobState::Canceling;
                    cell.revoke = true;
                }
                _ => continue,
            }
            any = true;
        }
        if any {
            self.touch();
        }
    }
}

fn first_of(graph: &Graph, job: JobIndex) -> JobIndex {
    graph.owner(job).map_or(job, |step| JobIndex(graph.steps[step].first))
}
