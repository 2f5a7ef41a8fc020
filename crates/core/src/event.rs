//! What a webhook asked for: our own small form of GitHub's payloads.
//!
//! An event is what travels through the `ingest` queue: ids, refs, commit ids and a truncated message, a few kilobytes
//! whatever the payload's size was. Everything that needs the whole payload (such as the search for skip tokens) is
//! decided before it is reduced.

use serde::{Deserialize, Serialize};

use crate::ids::{CommitSha, DeliveryId, RepositoryId, RepositoryName};
use crate::time::Timestamp;

/// Longest commit message that an event carries, in bytes; the rest is cut at a character border.
pub const MESSAGE_LIMIT: usize = 4096;

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
}

/// The commit at the head of a push.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct HeadCommit {
    /// The commit; differs from [`Push::after`] for an annotated tag.
    pub id: CommitSha,
    /// Its message, cut at [`MESSAGE_LIMIT`].
    pub message: String,
    /// Author's name.
    pub author_name: String,
    /// Author's address; empty when hidden.
    pub author_email: String,
    /// The skip token found in the whole message, if any (`contract.md`, skip tokens).
    pub skip: Option<String>,
}

/// A branch or a tag.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GitRef {
    /// `refs/heads/…`
    Branch(String),
    /// `refs/tags/…`
    Tag(String),
}

impl GitRef {
    /// Parses a full ref. `None` for other namespaces and for names that `git check-ref-format` refuses.
    pub fn parse(full: &str) -> Option<Self> {
        let (make, name): (fn(String) -> GitRef, &str) = if let Some(name) = full.strip_prefix("refs/heads/") {
            (GitRef::Branch, name)
        } else if let Some(name) = full.strip_prefix("refs/tags/") {
            (GitRef::Tag, name)
        } else {
            return None;
        };
        is_ref_name(name).then(|| make(name.to_owned()))
    }

    /// The name without its namespace.
    pub fn name(&self) -> &str {
        match self {
            GitRef::Branch(name) | GitRef::Tag(name) => name,
        }
    }

    /// The full ref.
    pub fn full(&self) -> String {
        match self {
            GitRef::Branch(name) => format!("refs/heads/{name}"),
            GitRef::Tag(name) => format!("refs/tags/{name}"),
        }
    }
}

/// The rules of `git check-ref-format` for the part after the namespace, and at most 1,024 bytes. A leading dash is
/// refused too, although git's plumbing allows it, so that a name can never be read as an option.
pub fn is_ref_name(name: &str) -> bool {
    let bad_char = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    !name.is_empty()
        && name.len() <= 1024
        && !name.starts_with('-')
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@"
        && !name.chars().any(bad_char)
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
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
    fn refs_are_checked_as_git_checks_them() {
        assert_eq!(GitRef::parse("refs/heads/a/b"), Some(GitRef::Branch("a/b".into())));
        assert_eq!(GitRef::parse("refs/tags/v1.0"), Some(GitRef::Tag("v1.0".into())));
        for bad in [
            "refs/pull/1/merge",
            "refs/heads/",
            "refs/heads/a..b",
            "refs/heads/-x",
            "refs/heads/a b",
            "refs/heads/a.lock",
            "refs/heads/.a",
            "refs/heads/a//b",
            "refs/heads/a\n",
            "refs/heads/@{0}",
        ] {
            assert_eq!(GitRef::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn truncation_keeps_characters_whole() {
        assert_eq!(truncate("aé", 2), "a");
        assert_eq!(truncate("aé", 3), "aé");
        assert_eq!(truncate("abc", 9), "abc");
    }
}
