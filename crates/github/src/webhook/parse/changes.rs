//! What happens to repositories themselves.

use tidegate_core::event::{
    Changed, EventKind, GitRef, Installation, InstallationChange, MOST_REPOSITORIES, RefDeleted, RepositoryChange,
    truncate,
};
use tidegate_core::ids::{RepositoryId, RepositoryName};

use super::{Understood, inner_id, no_object, repository_of, required_text, shown, wrong};
use crate::json::{items, members, number, text};

pub(super) fn ref_deleted(json: &str) -> Understood {
    let Some([name, ref_type, repository, installation]) =
        members(json, ["ref", "ref_type", "repository", "installation"])?
    else {
        return Ok(Err(no_object()));
    };
    let understood = || {
        let name = required_text("ref", name)?;
        let namespace = match required_text("ref_type", ref_type)?.as_ref() {
            "branch" => "heads",
            "tag" => "tags",
            other => return Err(format!("`ref_type` is `{}`, neither `branch` nor `tag`", shown(other))),
        };
        Ok(RefDeleted {
            repository: repository_of(repository)?,
            git_ref: GitRef::parse(&format!("refs/{namespace}/{name}"))
                .ok_or_else(|| format!("`ref` is `{}`, no name of a branch or a tag", shown(&name)))?,
            installation: installation.and_then(inner_id),
        })
    };
    Ok(understood().map(|deleted| EventKind::RefDeleted(Box::new(deleted))))
}

pub(super) fn installation(action: &str, json: &str) -> Understood {
    let Some([installation, repositories]) = members(json, ["installation", "repositories"])? else {
        return Ok(Err(no_object()));
    };
    let change = match action {
        "deleted" => InstallationChange::Deleted,
        "suspend" => InstallationChange::Suspended,
        "unsuspend" => InstallationChange::Unsuspended,
        _ => InstallationChange::Changed,
    };
    Ok(installation_of(change, installation, repositories, None))
}

pub(super) fn installation_repositories(json: &str) -> Understood {
    let Some([installation, added, removed]) =
        members(json, ["installation", "repositories_added", "repositories_removed"])?
    else {
        return Ok(Err(no_object()));
    };
    Ok(installation_of(InstallationChange::Changed, installation, added, removed))
}

fn installation_of(
    change: InstallationChange,
    raw: Option<&str>,
    repositories: Option<&str>,
    removed: Option<&str>,
) -> Result<EventKind, String> {
    let Some([id, app, client_id]) = raw.and_then(|raw| members(raw, ["id", "app_id", "client_id"]).ok()?) else {
        return Err(wrong("installation", raw, "an object"));
    };
    Ok(EventKind::Installation(Box::new(Installation {
        id: id.and_then(number).ok_or_else(|| wrong("installation.id", id, "a whole number"))?,
        app: app.and_then(number),
        client_id: client_id.and_then(text).map(|id| truncate(&id, 100)).unwrap_or_default(),
        change,
        repositories: names(repositories),
        removed: names(removed),
    })))
}

fn names(raw: Option<&str>) -> Vec<(RepositoryId, RepositoryName)> {
    let of = |raw: &str| {
        let [id, name] = members(raw, ["id", "full_name"]).ok()??;
        Some((RepositoryId(number(id?)?), RepositoryName::new(text(name?)?).ok()?))
    };
    raw.map(|raw| items(raw, MOST_REPOSITORIES)).unwrap_or_default().into_iter().filter_map(of).collect()
}

/// What an action of `repository` means; `None` where it is of no use.
pub(super) fn of_repository(action: &str) -> Option<Changed> {
    Some(match action {
        "renamed" | "transferred" | "edited" => Changed::Name,
        "publicized" => Changed::Publicized,
        "privatized" => Changed::Privatized,
        "archived" => Changed::Archived,
        "unarchived" => Changed::Unarchived,
        "deleted" => Changed::Deleted,
        _ => return None,
    })
}

pub(super) fn repository(action: &str, json: &str) -> Understood {
    let Some([repository, installation]) = members(json, ["repository", "installation"])? else {
        return Ok(Err(no_object()));
    };
    let understood = || {
        Ok(RepositoryChange {
            repository: repository_of(repository)?,
            changed: of_repository(action).ok_or_else(|| format!("no use for the action `{action}`"))?,
            installation: installation.and_then(inner_id),
        })
    };
    Ok(understood().map(|change| EventKind::Repository(Box::new(change))))
}
