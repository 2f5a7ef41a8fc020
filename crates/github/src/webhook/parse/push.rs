//! Pushes.

use tidegate_core::event::{EventKind, GitRef, HeadCommit, MESSAGE_LIMIT, Push, truncate};
use tidegate_core::ids::CommitSha;
use tidegate_core::skip::skip_token;

use super::{PERSON_LIMIT, Understood, commit, inner_id, inner_text, no_object, repository_of, required_text, shown};
use crate::json::{boolean, members, text};

pub(super) fn push(json: &str) -> Understood {
    let names = [
        "ref",
        "before",
        "after",
        "created",
        "deleted",
        "forced",
        "head_commit",
        "repository",
        "pusher",
        "sender",
        "installation",
    ];
    let Some(found) = members(json, names)? else {
        return Ok(Err(no_object()));
    };
    Ok(push_of(found).map(|push| EventKind::Push(Box::new(push))))
}

fn push_of(
    [git_ref, before, after, created, deleted, forced, head, repository, pusher, sender, installation]: [Option<&str>;
        11],
) -> Result<Push, String> {
    let repository = repository_of(repository)?;
    let full_ref = required_text("ref", git_ref)?;
    let git_ref =
        GitRef::parse(&full_ref).ok_or_else(|| format!("`ref` is `{}`, no branch and no tag", shown(&full_ref)))?;
    let before = commit("before", before)?;
    let after = commit("after", after)?;
    let flag = |raw: Option<&str>| raw.and_then(boolean).unwrap_or(false);
    let created = flag(created) || before.is_zero();
    let deleted = flag(deleted) || after.is_zero();
    let head = if deleted { None } else { head.and_then(head_of) };
    Ok(Push {
        repository,
        git_ref,
        created,
        deleted,
        forced: flag(forced),
        before,
        after,
        head,
        pusher: pusher
            .and_then(|raw| inner_text(raw, "name", PERSON_LIMIT))
            .or_else(|| sender.and_then(|raw| inner_text(raw, "login", PERSON_LIMIT)))
            .unwrap_or_default(),
        sender: sender.and_then(inner_id),
        installation: installation.and_then(inner_id),
    })
}

/// `None` when GitHub named no commit, or in a way that we cannot use: the ref still moved.
pub(super) fn head_of(raw: &str) -> Option<HeadCommit> {
    let [id, message, author] = members(raw, ["id", "message", "author"]).ok()??;
    let message = message.and_then(text).unwrap_or_default();
    let author = |name| author.and_then(|raw| inner_text(raw, name, PERSON_LIMIT));
    Some(HeadCommit {
        id: CommitSha::new(text(id?)?).ok()?,
        skip: skip_token(&message).map(str::to_owned),
        message: truncate(&message, MESSAGE_LIMIT),
        author_name: author("name").unwrap_or_default(),
        author_email: author("email").unwrap_or_default(),
    })
}
