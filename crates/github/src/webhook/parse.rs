//! From a payload to our own event. Every member is optional until it is needed, and nothing is refused that is JSON: GitHub adds
//! events and members, and leaves out or nulls others (`spec/github.md` 6.2).

use tidegate_core::event::{Event, EventKind, GitRef, HeadCommit, MESSAGE_LIMIT, Push, Repository, truncate};
use tidegate_core::ids::{CommitSha, DeliveryId, RepositoryId, RepositoryName};
use tidegate_core::time::Timestamp;

use super::skip::skip_token;
use crate::json::{boolean, kind, members, number, text};

/// Longest name or address of a person that an event carries, in bytes.
const PERSON_LIMIT: usize = 256;
/// Longest event name that an event carries, in bytes.
const EVENT_LIMIT: usize = 64;
/// Longest branch name that an event carries, in bytes.
const BRANCH_LIMIT: usize = 1024;

/// The body is not JSON (or not UTF-8, which JSON must be).
#[derive(Debug, thiserror::Error)]
pub enum NotJson {
    /// It is not UTF-8.
    #[error("the body is not UTF-8: {0}")]
    Encoding(#[from] std::str::Utf8Error),
    /// It is not one JSON value.
    #[error("the body is not JSON: {0}")]
    Syntax(#[from] serde_json::Error),
}

/// Reduces a verified body to an event of a few kilobytes, without a tree of the whole. A push that lacks what we need, and
/// every event that we have no use for, is [`EventKind::Ignored`] with the reason.
///
/// # Errors
/// Only when the body is not JSON.
pub fn parse(event_name: &str, delivery: DeliveryId, body: &[u8], now: Timestamp) -> Result<Event, NotJson> {
    let json = std::str::from_utf8(body)?;
    let kind = match event_name {
        "push" => push(json)?,
        "ping" => ping(json)?,
        _ => {
            let found = members(json, ["action"])?;
            Err(no_use(event_name, found.and_then(|[action]| action)))
        }
    };
    Ok(Event {
        delivery,
        received_at: now,
        kind: kind.unwrap_or_else(|why| EventKind::Ignored {
            event: truncate(&event_name.escape_debug().to_string(), EVENT_LIMIT),
            why,
        }),
    })
}

/// What was understood, or why it is ignored; around it, whether it is JSON at all.
type Understood = Result<Result<EventKind, String>, serde_json::Error>;

fn no_use(event_name: &str, action: Option<&str>) -> String {
    match action.and_then(text) {
        _ if event_name.is_empty() => "there is no `X-GitHub-Event` header".to_owned(),
        Some(action) => format!("no use for the action `{}` of this event", shown(&action)),
        None => "no use for this event".to_owned(),
    }
}

fn ping(json: &str) -> Understood {
    let Some([hook_id]) = members(json, ["hook_id"])? else {
        return Ok(Err(no_object()));
    };
    Ok(match hook_id.and_then(number) {
        Some(hook) => Ok(EventKind::Ping { hook }),
        None => Err(wrong("hook_id", hook_id, "a whole number")),
    })
}

fn push(json: &str) -> Understood {
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

fn repository_of(raw: Option<&str>) -> Result<Repository, String> {
    let found = raw.and_then(|raw| members(raw, ["id", "full_name", "default_branch"]).ok()?);
    let Some([id, full_name, default_branch]) = found else {
        return Err(wrong("repository", raw, "an object"));
    };
    let name = required_text("repository.full_name", full_name)?;
    Ok(Repository {
        id: id.and_then(number).map(RepositoryId).ok_or_else(|| wrong("repository.id", id, "a whole number"))?,
        full_name: RepositoryName::new(name.as_ref())
            .map_err(|_| format!("`repository.full_name` is `{}`, not `owner/name`", shown(&name)))?,
        default_branch: default_branch.and_then(text).map(|branch| truncate(&branch, BRANCH_LIMIT)).unwrap_or_default(),
    })
}

/// `None` when GitHub named no commit, or in a way that we cannot use: the ref still moved.
fn head_of(raw: &str) -> Option<HeadCommit> {
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

fn inner_text(raw: &str, name: &str, limit: usize) -> Option<String> {
    let [value] = members(raw, [name]).ok()??;
    Some(truncate(&text(value?)?, limit))
}

fn inner_id(raw: &str) -> Option<u64> {
    let [id] = members(raw, ["id"]).ok()??;
    number(id?)
}

fn required_text<'a>(name: &str, raw: Option<&'a str>) -> Result<std::borrow::Cow<'a, str>, String> {
    raw.and_then(text).ok_or_else(|| wrong(name, raw, "a text"))
}

fn commit(name: &str, raw: Option<&str>) -> Result<CommitSha, String> {
    let value = required_text(name, raw)?;
    CommitSha::new(value.as_ref()).map_err(|_| format!("`{name}` is `{}`, not a commit id", shown(&value)))
}

fn no_object() -> String {
    "the payload is not an object".to_owned()
}

fn wrong(name: &str, raw: Option<&str>, expected: &str) -> String {
    match raw {
        None => format!("`{name}` is missing"),
        Some(raw) => format!("`{name}` is {}, not {expected}", kind(raw)),
    }
}

/// A text of a stranger for a log line: short, on one line, and without control characters.
fn shown(value: &str) -> String {
    let mut shown: String = value.chars().take(80).flat_map(char::escape_debug).collect();
    if value.chars().nth(80).is_some() {
        shown.push('…');
    }
    shown
}
