//! A check run as it should be (GitHub's Checks API; `spec/github.md` 6.3).

use serde::{Deserialize, Serialize};

use crate::ids::{BuildId, JobIndex, derived_uuid};
use crate::time::Timestamp;

/// Longest summary, in bytes: GitHub's own limit is 65,535 characters.
pub const SUMMARY_LIMIT: usize = 60_000;

/// A check run.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What people call it: `tidegate/web`, or `tidegate/web: Tests`.
    pub name: String,
    /// By which it is found again: see [`Subject`].
    pub external_id: String,
    /// Where it stands.
    pub state: CheckState,
    /// One line.
    pub title: String,
    /// Markdown, at most [`SUMMARY_LIMIT`].
    pub summary: String,
    /// Where people are sent, if there is such a place.
    pub details_url: Option<String>,
    /// Marks in files of the repository.
    pub annotations: Vec<Mark>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
}

impl Check {
    /// Changes with anything that is shown.
    pub fn digest(&self) -> String {
        // A struct of texts and numbers can always be written.
        let text = serde_json::to_string(self).unwrap_or_default();
        derived_uuid("check", &text).to_string()
    }

    /// Changes with what people wait for. What else changes, such as how many jobs are done, may be shown a little later.
    pub fn urgency(&self) -> String {
        match self.state {
            CheckState::InProgress => {
                let title = self.title.rsplit_once(':').map_or("", |(before, _)| before);
                derived_uuid("urgent", &format!("running/{title}")).to_string()
            }
            CheckState::Queued | CheckState::Completed(_) => self.digest(),
        }
    }
}

/// Where a check stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// Nothing has begun.
    Queued,
    /// Something runs.
    InProgress,
    /// Over, until somebody runs it again.
    Completed(Conclusion),
}

/// How a check ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// Passed.
    Success,
    /// Failed.
    Failure,
    /// There was nothing to find out; counts as passed.
    Neutral,
    /// Ended by somebody.
    Cancelled,
    /// Its time was over.
    TimedOut,
}

/// A mark in a file.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Path in the repository.
    pub path: String,
    /// Line, from 1.
    pub line: u32,
    /// First and last column, from 1, where they are known.
    pub columns: Option<(u32, u32)>,
    /// It makes the check red.
    pub failure: bool,
    /// Headline.
    pub title: String,
    /// What it says.
    pub message: String,
}

/// What a check is of: its `external_id`, which comes back when somebody presses "Re-run".
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Subject {
    /// A build: `BUILD`.
    Build(BuildId),
    /// A job of a build: `BUILD/JOB`, its place in the build.
    Job(BuildId, JobIndex),
}

impl Subject {
    /// The `external_id`.
    pub fn external_id(&self) -> String {
        match self {
            Subject::Build(id) => id.to_string(),
            Subject::Job(id, job) => format!("{id}/{}", job.0),
        }
    }

    /// What an `external_id` names; `None` when it is not one of ours.
    pub fn parse(external_id: &str) -> Option<Self> {
        match external_id.split_once('/') {
            None => BuildId::new(external_id).ok().map(Subject::Build),
            Some((id, job)) => Some(Subject::Job(BuildId::new(id).ok()?, JobIndex(job.parse().ok()?))),
        }
    }
}
