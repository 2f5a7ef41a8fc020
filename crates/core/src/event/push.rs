//! Pushes: a branch or a tag moved, came or went.

use serde::{Deserialize, Serialize};

use super::{GitRef, Repository};
use crate::ids::CommitSha;

/// A push.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Push {
    /// Where.
    pub repository: Repository,
    /// What moved.
    pub git_ref: GitRef,
    /// Where it was; zeros when it was created.
    pub before: CommitSha,
    /// Where it is; zeros when it was deleted. For an annotated tag this is the tag object.
    pub after: CommitSha,
    /// The ref is new.
    pub created: bool,
    /// The ref is gone.
    pub deleted: bool,
    /// The move was not a fast-forward.
    pub forced: bool,
    /// The commit that the ref points to now, if GitHub named it.
    pub head: Option<HeadCommit>,
    /// Login or name of who pushed; empty when not known.
    pub pusher: String,
    /// Numeric id of who pushed, if known.
    pub sender: Option<u64>,
    /// Installation of the GitHub App that the delivery came through.
    pub installation: Option<u64>,
}

/// The commit at the head of a push.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct HeadCommit {
    /// The commit; differs from [`Push::after`] for an annotated tag.
    pub id: CommitSha,
    /// Its message, cut at [`MESSAGE_LIMIT`](super::MESSAGE_LIMIT).
    pub message: String,
    /// Author's name.
    pub author_name: String,
    /// Author's address; empty when hidden.
    pub author_email: String,
    /// The skip token found in the whole message, if any (`contract.md`, skip tokens).
    pub skip: Option<String>,
}
