//! Push payloads of GitHub's shape for real commits.
//!
//! The template is `events/push.json`; what depends on the push is replaced, everything else (the dozens of addresses of a
//! repository, the sender's) stays as GitHub would fill it for the repository's name.

use std::sync::LazyLock;

use serde_json::{Value, json};
use tidegate_core::event::GitRef;
use tidegate_core::ids::{CommitSha, RepositoryId, RepositoryName};
use tidegate_core::time::Timestamp;

static TEMPLATE: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../events/push.json")).unwrap_or_default());

/// The repository's name in the template.
const TEMPLATE_NAME: &str = "tidegate-demo/hello";

/// What a push did.
#[derive(Clone, Debug)]
pub struct PushFacts {
    /// The repository's numeric id.
    pub repository_id: RepositoryId,
    /// Its name.
    pub full_name: RepositoryName,
    /// Its default branch.
    pub default_branch: String,
    /// Where it can be cloned from; `None` is the address it would have at GitHub.
    pub clone_url: Option<String>,
    /// What moved.
    pub git_ref: GitRef,
    /// Where it was; zeros when it is new.
    pub before: CommitSha,
    /// Where it is; zeros when it was deleted.
    pub after: CommitSha,
    /// The move was not a fast-forward.
    pub forced: bool,
    /// The commits that came, oldest first; GitHub sends at most 2,048.
    pub commits: Vec<CommitFacts>,
    /// The commit that the ref points to, when it is not the last of `commits` (a new branch at an old commit, a tag).
    pub head: Option<CommitFacts>,
    /// Login of who pushed.
    pub pusher: String,
    /// When.
    pub at: Timestamp,
}

/// A commit in a push.
#[derive(Clone, Debug)]
pub struct CommitFacts {
    /// Its id.
    pub id: CommitSha,
    /// Its tree.
    pub tree: CommitSha,
    /// Its whole message.
    pub message: String,
    /// Author's (and committer's) name.
    pub author_name: String,
    /// Author's (and committer's) address.
    pub author_email: String,
    /// When it was made, in RFC 3339.
    pub timestamp: String,
    /// Paths of files that came.
    pub added: Vec<String>,
    /// Paths of files that went.
    pub removed: Vec<String>,
    /// Paths of files that changed.
    pub modified: Vec<String>,
}

/// The payload of a `push`.
pub fn push(facts: &PushFacts) -> Value {
    let mut payload = TEMPLATE.clone();
    rename(&mut payload, facts.full_name.as_str());

    let web = format!("https://github.com/{}", facts.full_name);
    let commits: Vec<Value> = facts.commits.iter().map(|c| commit(c, &web)).collect();
    let head = match &facts.head {
        _ if facts.after.is_zero() => Value::Null,
        Some(head) => commit(head, &web),
        None => commits.last().cloned().unwrap_or_default(),
    };
    let compare = if facts.before.is_zero() {
        format!("{web}/compare/{}", facts.git_ref.name())
    } else {
        let (from, to) = (facts.before.as_str(), facts.after.as_str());
        format!("{web}/compare/{}...{}", &from[..12], &to[..12])
    };
    payload["ref"] = json!(facts.git_ref.full());
    payload["before"] = json!(facts.before);
    payload["after"] = json!(facts.after);
    payload["created"] = json!(facts.before.is_zero());
    payload["deleted"] = json!(facts.after.is_zero());
    payload["forced"] = json!(facts.forced);
    payload["compare"] = json!(compare);
    payload["commits"] = json!(commits);
    payload["head_commit"] = head;
    payload["pusher"]["name"] = json!(facts.pusher);
    payload["sender"]["login"] = json!(facts.pusher);

    let repository = &mut payload["repository"];
    repository["id"] = json!(facts.repository_id);
    repository["default_branch"] = json!(facts.default_branch);
    repository["master_branch"] = json!(facts.default_branch);
    repository["pushed_at"] = json!(facts.at.0 / 1000);
    if let Some(clone_url) = &facts.clone_url {
        repository["clone_url"] = json!(clone_url);
    }
    payload
}

fn commit(facts: &CommitFacts, web: &str) -> Value {
    let person = json!({"name": facts.author_name, "email": facts.author_email});
    json!({
        "id": facts.id,
        "tree_id": facts.tree,
        "distinct": true,
        "message": facts.message,
        "timestamp": facts.timestamp,
        "url": format!("{web}/commit/{}", facts.id),
        "author": person,
        "committer": person,
        "added": facts.added,
        "removed": facts.removed,
        "modified": facts.modified,
    })
}

/// Puts another repository's name in all texts, and its parts where GitHub sends them apart.
fn rename(payload: &mut Value, full_name: &str) {
    fn texts(value: &mut Value, full_name: &str) {
        match value {
            Value::String(text) => {
                if text.contains(TEMPLATE_NAME) {
                    *text = text.replace(TEMPLATE_NAME, full_name);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| texts(item, full_name)),
            Value::Object(members) => members.values_mut().for_each(|value| texts(value, full_name)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    texts(payload, full_name);
    if let Some((owner, name)) = full_name.split_once('/') {
        payload["repository"]["name"] = json!(name);
        payload["repository"]["organization"] = json!(owner);
        payload["repository"]["owner"]["login"] = json!(owner);
        payload["repository"]["owner"]["name"] = json!(owner);
        payload["organization"]["login"] = json!(owner);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use tidegate_core::event::{EventKind, Push};
    use tidegate_core::ids::DeliveryId;

    use super::*;
    use crate::webhook::parse;

    fn commit_facts(digit: &str, message: &str) -> CommitFacts {
        CommitFacts {
            id: CommitSha::new(digit.repeat(40)).unwrap(),
            tree: CommitSha::new("e".repeat(40)).unwrap(),
            message: message.into(),
            author_name: "A".into(),
            author_email: "a@example.com".into(),
            timestamp: "2026-11-23T02:00:00Z".into(),
            added: vec!["x".into()],
            removed: vec![],
            modified: vec![],
        }
    }

    fn facts() -> PushFacts {
        PushFacts {
            repository_id: RepositoryId(42),
            full_name: RepositoryName::new("mine/own").unwrap(),
            default_branch: "trunk".into(),
            clone_url: Some("file:///somewhere".into()),
            git_ref: GitRef::Branch("topic".into()),
            before: CommitSha::new("a".repeat(40)).unwrap(),
            after: CommitSha::new("c".repeat(40)).unwrap(),
            forced: false,
            commits: vec![commit_facts("b", "one"), commit_facts("c", "two [no ci]")],
            head: None,
            pusher: "me".into(),
            at: Timestamp(1_795_398_000_123),
        }
    }

    fn parsed(facts: &PushFacts) -> Push {
        let body = push(facts).to_string();
        let delivery = DeliveryId::new("d").unwrap();
        let event = parse("push", delivery, body.as_bytes(), facts.at).unwrap();
        let EventKind::Push(push) = event.kind else { panic!("{event:?}") };
        *push
    }

    #[test]
    fn what_went_in_is_what_is_read() {
        let push = parsed(&facts());
        assert_eq!(push.repository.id, RepositoryId(42));
        assert_eq!(push.repository.full_name.as_str(), "mine/own");
        assert_eq!(push.repository.default_branch, "trunk");
        assert_eq!(push.git_ref, GitRef::Branch("topic".into()));
        assert_eq!((push.created, push.deleted, push.forced), (false, false, false));
        let head = push.head.unwrap();
        assert_eq!(head.id, push.after);
        assert_eq!(head.skip.as_deref(), Some("[no ci]"));
        assert_eq!(push.pusher, "me");
    }

    #[test]
    fn created_and_deleted_follow_from_the_ids() {
        let zero = CommitSha::new("0".repeat(40)).unwrap();
        let created = parsed(&PushFacts {
            before: zero.clone(),
            commits: vec![],
            head: Some(commit_facts("c", "old")),
            ..facts()
        });
        assert!(created.created);
        assert_eq!(created.head.unwrap().message, "old");
        let deleted = parsed(&PushFacts { after: zero, commits: vec![], ..facts() });
        assert!(deleted.deleted && deleted.head.is_none());
    }

    #[test]
    fn nothing_of_the_template_is_left_that_names_another_repository() {
        let payload = push(&facts());
        let text = payload["repository"].to_string() + &payload["compare"].to_string();
        assert!(!text.contains(TEMPLATE_NAME), "{text}");
        assert_eq!(payload["repository"]["clone_url"], "file:///somewhere");
        let template = TEMPLATE.as_object().unwrap();
        let made = payload.as_object().unwrap();
        assert!(template.keys().eq(made.keys()), "same members, same order");
    }
}
