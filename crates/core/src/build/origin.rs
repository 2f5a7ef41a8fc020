//! What made a build on the forge, besides its commit (`spec/pipeline.md` 1.16, the variables of pull requests).

use serde::{Deserialize, Serialize};

use super::Build;
use crate::ids::CommitSha;

/// The event that made a build, and what it was about.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// `push`, `pull_request` or `merge_group`.
    pub event: String,
    /// Its action, if it has one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub action: String,
    /// The pull request that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequestFacts>,
    /// The merge queue that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge_queue: Option<MergeQueueFacts>,
}

/// A pull request, as jobs and conditions see it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct PullRequestFacts {
    /// Its number.
    pub number: u64,
    /// The branch that it is to be merged into.
    pub base_branch: String,
    /// Marked as not ready.
    pub draft: bool,
    /// Names of its labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Where its branch could be cloned from. For people and scripts: nothing of ours goes there.
    pub repository: String,
    /// It comes from another repository.
    pub fork: bool,
}

/// A merge queue, as jobs and conditions see it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct MergeQueueFacts {
    /// The branch that is merged into.
    pub base_branch: String,
    /// Its commit.
    pub base_commit: CommitSha,
}

/// Why a build that was made has no plan yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// It is for a commit of a fork, which somebody with write access must approve.
    Approval,
}

/// What came of the plan of a build that was held.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Planned {
    /// It is stored under this key.
    Segment(String),
    /// There is none, for this reason.
    Failed {
        /// For people.
        failure: String,
        /// What is wrong with the pipeline file.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        diagnostics: Vec<crate::diagnostic::Diagnostic>,
    },
}

impl Build {
    /// The pull request that it is for.
    pub fn pull_request(&self) -> Option<&PullRequestFacts> {
        self.facts.origin.as_ref()?.pull_request.as_ref()
    }

    /// The build is for a pull request, or this is how the pull request looks now: jobs that have not started see it.
    pub(super) fn joined(&mut self, pull_request: &PullRequestFacts) {
        if self.pull_request() != Some(pull_request) {
            self.facts.origin.get_or_insert_default().pull_request = Some(pull_request.clone());
            self.touch();
        }
    }
}
