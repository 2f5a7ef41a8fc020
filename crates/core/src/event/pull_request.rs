//! Pull requests and merge queues.

use serde::{Deserialize, Serialize};

use super::{HeadCommit, Person, Repository};
use crate::ids::{CommitSha, RepositoryId, RepositoryName};

/// Something that happened to a pull request.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct PullRequest {
    /// What happened.
    pub action: PullAction,
    /// The repository that it is for.
    pub repository: Repository,
    /// Its number there.
    pub number: u64,
    /// What is to be merged.
    pub head: PullHead,
    /// The branch that it is to be merged into.
    pub base_branch: String,
    /// That branch's commit, as GitHub last compared it.
    pub base: CommitSha,
    /// Marked as not ready.
    pub draft: bool,
    /// It is open.
    pub open: bool,
    /// Names of its labels, at most [`super::MOST_LABELS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Its title, truncated.
    pub title: String,
    /// Who opened it.
    pub author: Person,
    /// Who did this.
    pub sender: Person,
    /// When it was changed last, in GitHub's words: later is larger.
    pub updated_at: String,
    /// Installation of the GitHub App that the delivery came through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<u64>,
}

impl PullRequest {
    /// Whether it comes from another repository. By numeric ids: names can be taken by others (`spec/github.md` 6.2).
    pub fn is_fork(&self) -> bool {
        self.head.repository != Some(self.repository.id)
    }
}

/// What is to be merged.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct PullHead {
    /// The commit.
    pub commit: CommitSha,
    /// The branch, without its owner.
    pub branch: String,
    /// Who owns the branch.
    pub owner: String,
    /// The repository; `None` when it was deleted.
    pub repository: Option<RepositoryId>,
    /// What that repository is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_name: Option<RepositoryName>,
}

/// What happened to a pull request, as far as it matters here.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullAction {
    /// It is new.
    Opened,
    /// Its head moved.
    Synchronize {
        /// Where it was.
        before: Option<CommitSha>,
    },
    /// It was closed and is open again.
    Reopened,
    /// It is to be merged into another branch.
    Retargeted {
        /// Which it was.
        from: String,
    },
    /// Its author thinks it ready, or not yet after all; or it has other labels.
    Relabeled {
        /// GitHub's name of the action.
        action: String,
    },
    /// It is closed.
    Closed {
        /// It was merged.
        merged: bool,
    },
}

impl PullAction {
    /// GitHub's name of the action.
    pub fn name(&self) -> &str {
        match self {
            PullAction::Opened => "opened",
            PullAction::Synchronize { .. } => "synchronize",
            PullAction::Reopened => "reopened",
            PullAction::Retargeted { .. } => "edited",
            PullAction::Relabeled { action } => action,
            PullAction::Closed { .. } => "closed",
        }
    }
}

/// A merge queue has a commit to be built, or not any more.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct MergeGroup {
    /// What it wants.
    pub action: MergeGroupAction,
    /// The repository.
    pub repository: Repository,
    /// The branch of the queue, without its namespace: `gh-readonly-queue/…`.
    pub branch: String,
    /// The commit.
    pub head: CommitSha,
    /// What is known of the commit.
    pub commit: Option<HeadCommit>,
    /// The branch that is merged into, without its namespace.
    pub base_branch: String,
    /// The commit that it is merged into.
    pub base: CommitSha,
    /// Who did this.
    pub sender: Person,
    /// Installation of the GitHub App that the delivery came through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<u64>,
}

/// What a merge queue wants.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeGroupAction {
    /// To know whether the commit passes.
    ChecksRequested,
    /// Nothing any more.
    Destroyed {
        /// `merged`, `invalidated` or `dequeued`, as GitHub says.
        reason: String,
    },
}
