//! What people ask for on the forge's own pages: buttons of checks, and commands in comments.

use serde::{Deserialize, Serialize};

use super::{Person, Repository};
use crate::ids::CommitSha;

/// Somebody pressed a button of a check.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Rerun {
    /// Which App's check: only ours is ours to run again.
    pub app: u64,
    /// The same as its client id; empty when not said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    /// Where.
    pub repository: Repository,
    /// The commit that the check is for.
    pub commit: CommitSha,
    /// Which button of what.
    pub of: RerunOf,
    /// Who.
    pub sender: Person,
    /// Installation of the GitHub App that the delivery came through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<u64>,
}

/// A button, and what it belongs to.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RerunOf {
    /// All checks of the commit.
    Suite,
    /// One check.
    Check {
        /// GitHub's id of the check.
        id: u64,
        /// What we called it: our own id of what it shows.
        external_id: String,
        /// The check's name.
        name: String,
        /// Which of our own buttons; `None` for GitHub's own, to run it again.
        button: Option<String>,
    },
}

/// A command below a pull request.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Comment {
    /// GitHub's id of the comment.
    pub id: u64,
    /// Where.
    pub repository: Repository,
    /// The pull request's number.
    pub number: u64,
    /// Who wrote it. Anybody can: what they may do is asked for when it is acted upon.
    pub author: Person,
    /// What is asked for.
    pub ask: Ask,
    /// Installation of the GitHub App that the delivery came through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<u64>,
}

/// What a comment asks for.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// `/retest`: run again what failed.
    Retest,
    /// `/approve SHA`: let this very commit be built.
    Approve(CommitSha),
    /// `/approve` with something else than a whole commit id, which names too many commits or none.
    ApproveWhat(String),
}
