//! What a webhook asked for: our own small form of GitHub's payloads.
//!
//! An event is what travels through the `ingest` queue: ids, refs, commit ids and a truncated message, a few kilobytes
//! whatever the payload's size was. Everything that needs the whole payload (such as the search for skip tokens) is
//! decided before it is reduced.

mod changes;
mod git_ref;
mod pull_request;
mod push;
mod wishes;

pub use changes::{Changed, Installation, InstallationChange, RefDeleted, RepositoryChange};
pub use git_ref::{GitRef, is_ref_name};
pub use pull_request::{MergeGroup, MergeGroupAction, PullAction, PullHead, PullRequest};
pub use push::{HeadCommit, Push};
pub use wishes::{Ask, Comment, Rerun, RerunOf};

use serde::{Deserialize, Serialize};

use crate::ids::{DeliveryId, RepositoryId, RepositoryName};
use crate::time::Timestamp;

/// Longest commit message that an event carries, in bytes; the rest is cut at a character border.
pub const MESSAGE_LIMIT: usize = 4096;
/// Most labels that an event carries; of more, the first.
pub const MOST_LABELS: usize = 50;
/// Most repositories that an event about an installation carries; of more, the first.
pub const MOST_REPOSITORIES: usize = 500;

/// A verified delivery.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// `X-GitHub-Delivery`; a redelivery has the same.
    pub delivery: DeliveryId,
    /// When we verified it, by our clock.
    pub received_at: Timestamp,
    /// What it says.
    pub kind: EventKind,
}

/// What a delivery says.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// A branch or a tag moved, came or went.
    Push(Box<Push>),
    /// Something happened to a pull request.
    PullRequest(Box<PullRequest>),
    /// A merge queue wants a commit to be built, or does not any more.
    MergeGroup(Box<MergeGroup>),
    /// Somebody pressed a button of a check.
    Rerun(Box<Rerun>),
    /// Somebody wrote a command below a pull request.
    Comment(Box<Comment>),
    /// A branch or a tag is gone.
    RefDeleted(Box<RefDeleted>),
    /// The App was given repositories, or lost them.
    Installation(Box<Installation>),
    /// A repository has another name or visibility, or is gone.
    Repository(Box<RepositoryChange>),
    /// The webhook that sends the deliveries was deleted.
    HookDeleted {
        /// GitHub's id of the hook.
        hook: u64,
    },
    /// GitHub's greeting when a webhook is made.
    Ping {
        /// GitHub's id of the hook.
        hook: u64,
    },
    /// Verified, and nothing to do.
    Ignored {
        /// `X-GitHub-Event`, truncated.
        event: String,
        /// Why, for the log.
        why: String,
    },
}

impl EventKind {
    /// Why there is nothing to do, if so.
    pub fn ignored(&self) -> Option<&str> {
        if let EventKind::Ignored { why, .. } = self { Some(why) } else { None }
    }
}

/// A repository as an event names it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Repository {
    /// What decisions are keyed by.
    pub id: RepositoryId,
    /// What people call it today.
    pub full_name: RepositoryName,
    /// Its default branch; empty when the payload does not say.
    #[serde(default)]
    pub default_branch: String,
    /// Whether not everybody may read it, if the payload says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
}

/// Somebody of the forge.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Person {
    /// What decisions are keyed by.
    pub id: u64,
    /// What people call them today.
    pub login: String,
}

/// Cuts a text at `limit` bytes, at a character border.
pub fn truncate(text: &str, limit: usize) -> String {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncation_keeps_characters_whole() {
        assert_eq!(truncate("aé", 2), "a");
        assert_eq!(truncate("aé", 3), "aé");
        assert_eq!(truncate("abc", 9), "abc");
    }
}
