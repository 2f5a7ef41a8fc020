//! Pull requests and merge queues.

use tidegate_core::event::{
    EventKind, MOST_LABELS, MergeGroup, MergeGroupAction, PullAction, PullHead, PullRequest, is_ref_name, truncate,
};
use tidegate_core::ids::{CommitSha, RepositoryId, RepositoryName};

use super::push::head_of;
use super::{
    BRANCH_LIMIT, PERSON_LIMIT, Understood, commit, inner_id, inner_text, no_object, person, repository_of,
    required_text, shown, wrong,
};
use crate::json::{boolean, items, members, number, text};

/// Longest label that an event carries, in bytes; GitHub's limit is 50 characters.
const LABEL_LIMIT: usize = 200;
/// Longest title that an event carries, in bytes.
const TITLE_LIMIT: usize = 1024;

/// The actions that are of use.
pub(super) const ACTIONS: [&str; 9] = [
    "opened",
    "synchronize",
    "reopened",
    "ready_for_review",
    "converted_to_draft",
    "labeled",
    "unlabeled",
    "edited",
    "closed",
];

pub(super) fn pull_request(action: &str, json: &str) -> Understood {
    let names = ["number", "pull_request", "repository", "sender", "installation", "before", "changes"];
    let Some(found) = members(json, names)? else {
        return Ok(Err(no_object()));
    };
    Ok(pull_request_of(action, found).map(|pull| EventKind::PullRequest(Box::new(pull))))
}

fn pull_request_of(
    action: &str,
    [number_, pull, repository, sender, installation, before, changes]: [Option<&str>; 7],
) -> Result<PullRequest, String> {
    let action = action_of(action, pull, before, changes)?;
    let repository = repository_of(repository)?;
    let number =
        number_.and_then(number).filter(|n| *n > 0).ok_or_else(|| wrong("number", number_, "a whole number"))?;
    let names = ["head", "base", "draft", "labels", "title", "user", "state", "updated_at"];
    let Some([head, base, draft, labels, title, user, state, updated_at]) =
        pull.and_then(|raw| members(raw, names).ok()?)
    else {
        return Err(wrong("pull_request", pull, "an object"));
    };
    let (base_branch, base_commit, _) = side("base", base)?;
    Ok(PullRequest {
        action,
        repository,
        number,
        head: head_side(head)?,
        base_branch,
        base: base_commit,
        draft: draft.and_then(boolean).unwrap_or(false),
        open: state.and_then(text).is_none_or(|state| state == "open"),
        labels: labels
            .map(|raw| items(raw, MOST_LABELS))
            .unwrap_or_default()
            .into_iter()
            .filter_map(|label| inner_text(label, "name", LABEL_LIMIT))
            .collect(),
        title: title.and_then(text).map(|title| truncate(&title, TITLE_LIMIT)).unwrap_or_default(),
        author: person(user),
        sender: person(sender),
        updated_at: updated_at.and_then(text).map(|at| truncate(&at, 40)).unwrap_or_default(),
        installation: installation.and_then(inner_id),
    })
}

fn action_of(
    action: &str,
    pull: Option<&str>,
    before: Option<&str>,
    changes: Option<&str>,
) -> Result<PullAction, String> {
    Ok(match action {
        "opened" => PullAction::Opened,
        "reopened" => PullAction::Reopened,
        "synchronize" => {
            PullAction::Synchronize { before: before.and_then(text).and_then(|id| CommitSha::new(id).ok()) }
        }
        "closed" => {
            let merged = pull.and_then(|raw| members(raw, ["merged"]).ok()?).and_then(|[merged]| merged);
            PullAction::Closed { merged: merged.and_then(boolean).unwrap_or(false) }
        }
        "edited" => {
            let base = changes.and_then(|raw| members(raw, ["base"]).ok()?).and_then(|[base]| base);
            let from = base.and_then(|raw| members(raw, ["ref"]).ok()?).and_then(|[from]| from);
            match from.and_then(|raw| inner_text(raw, "from", BRANCH_LIMIT)) {
                Some(from) => PullAction::Retargeted { from },
                None => return Err("no use for the action `edited` of this event, but for another base".to_owned()),
            }
        }
        other => PullAction::Relabeled { action: other.to_owned() },
    })
}

/// Branch and commit of a side, and the text of its repository.
fn side<'a>(name: &str, raw: Option<&'a str>) -> Result<(String, CommitSha, Option<&'a str>), String> {
    let Some([branch, sha, repository]) = raw.and_then(|raw| members(raw, ["ref", "sha", "repo"]).ok()?) else {
        return Err(wrong(&format!("pull_request.{name}"), raw, "an object"));
    };
    let branch = required_text(&format!("pull_request.{name}.ref"), branch)?;
    if !is_ref_name(&branch) {
        return Err(format!("`pull_request.{name}.ref` is `{}`, no branch", shown(&branch)));
    }
    Ok((branch.into_owned(), commit(&format!("pull_request.{name}.sha"), sha)?, repository))
}

fn head_side(raw: Option<&str>) -> Result<PullHead, String> {
    let (branch, commit, repository) = side("head", raw)?;
    let [user, label] = raw.and_then(|raw| members(raw, ["user", "label"]).ok()?).unwrap_or_default();
    let label = label.and_then(text);
    let full_name =
        repository.and_then(|raw| inner_text(raw, "full_name", 256)).and_then(|name| RepositoryName::new(name).ok());
    let owner = user
        .and_then(|raw| inner_text(raw, "login", PERSON_LIMIT))
        .or_else(|| label.as_deref()?.split_once(':').map(|(owner, _)| truncate(owner, PERSON_LIMIT)))
        .or_else(|| full_name.as_ref()?.as_str().split_once('/').map(|(owner, _)| owner.to_owned()))
        .unwrap_or_else(|| "unknown".to_owned());
    Ok(PullHead { commit, branch, owner, repository: repository.and_then(inner_id).map(RepositoryId), full_name })
}

pub(super) fn merge_group(action: &str, json: &str) -> Understood {
    let names = ["merge_group", "repository", "sender", "installation", "reason"];
    let Some(found) = members(json, names)? else {
        return Ok(Err(no_object()));
    };
    Ok(merge_group_of(action, found).map(|group| EventKind::MergeGroup(Box::new(group))))
}

fn merge_group_of(
    action: &str,
    [group, repository, sender, installation, reason]: [Option<&str>; 5],
) -> Result<MergeGroup, String> {
    let names = ["head_sha", "head_ref", "base_sha", "base_ref", "head_commit"];
    let Some([head, head_ref, base, base_ref, head_commit]) = group.and_then(|raw| members(raw, names).ok()?) else {
        return Err(wrong("merge_group", group, "an object"));
    };
    let branch = |name: &str, raw: Option<&str>| {
        let full = required_text(name, raw)?;
        let branch = full.strip_prefix("refs/heads/").unwrap_or(&full).to_owned();
        if is_ref_name(&branch) { Ok(branch) } else { Err(format!("`{name}` is `{}`, no branch", shown(&full))) }
    };
    Ok(MergeGroup {
        action: match action {
            "destroyed" => MergeGroupAction::Destroyed {
                reason: reason.and_then(text).map(|reason| truncate(&reason, 40)).unwrap_or_default(),
            },
            _ => MergeGroupAction::ChecksRequested,
        },
        repository: repository_of(repository)?,
        branch: branch("merge_group.head_ref", head_ref)?,
        head: commit("merge_group.head_sha", head)?,
        commit: head_commit.and_then(head_of),
        base_branch: branch("merge_group.base_ref", base_ref)?,
        base: commit("merge_group.base_sha", base)?,
        sender: person(sender),
        installation: installation.and_then(inner_id),
    })
}
