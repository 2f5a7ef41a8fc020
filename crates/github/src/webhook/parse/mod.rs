//! From a payload to our own event. Every member is optional until it is needed, and nothing is refused that is JSON: GitHub adds
//! events and members, and leaves out or nulls others (`spec/github.md` 6.2).

mod changes;
mod pull_request;
mod push;
mod wishes;

use tidegate_core::event::{Event, EventKind, Person, Repository, truncate};
use tidegate_core::ids::{CommitSha, DeliveryId, RepositoryId, RepositoryName};
use tidegate_core::time::Timestamp;

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

/// Reduces a verified body to an event of a few kilobytes, without a tree of the whole. An event that lacks what we need, and
/// every one that we have no use for, is [`EventKind::Ignored`] with the reason.
///
/// # Errors
/// Only when the body is not JSON.
pub fn parse(event_name: &str, delivery: DeliveryId, body: &[u8], now: Timestamp) -> Result<Event, NotJson> {
    let json = std::str::from_utf8(body)?;
    let kind = match event_name {
        "push" => push::push(json)?,
        "ping" => ping(json)?,
        "delete" => changes::ref_deleted(json)?,
        "create" => {
            let _ = members(json, ["ref"])?;
            Err("the push that made the branch or tag says the same".to_owned())
        }
        _ => with_action(event_name, json)?,
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
    match action {
        _ if event_name.is_empty() => "there is no `X-GitHub-Event` header".to_owned(),
        Some(action) => format!("no use for the action `{}` of this event", shown(action)),
        None => "no use for this event".to_owned(),
    }
}

/// Events that have an action.
fn with_action(event_name: &str, json: &str) -> Understood {
    let action = members(json, ["action"])?.and_then(|[action]| action).and_then(text);
    match (event_name, action.as_deref().unwrap_or_default()) {
        ("pull_request", action) if pull_request::ACTIONS.contains(&action) => pull_request::pull_request(action, json),
        ("merge_group", action @ ("checks_requested" | "destroyed")) => pull_request::merge_group(action, json),
        ("check_suite", "rerequested") => wishes::suite(json),
        ("check_run", action @ ("rerequested" | "requested_action")) => wishes::check(action, json),
        ("issue_comment", "created") => wishes::comment(json),
        ("installation", action @ ("created" | "deleted" | "suspend" | "unsuspend")) => {
            changes::installation(action, json)
        }
        ("installation_repositories", "added" | "removed") => changes::installation_repositories(json),
        ("repository", action) if changes::of_repository(action).is_some() => changes::repository(action, json),
        ("meta", "deleted") => meta(json),
        _ => Ok(Err(no_use(event_name, action.as_deref()))),
    }
}

fn meta(json: &str) -> Understood {
    let Some([hook_id]) = members(json, ["hook_id"])? else {
        return Ok(Err(no_object()));
    };
    Ok(match hook_id.and_then(number) {
        Some(hook) => Ok(EventKind::HookDeleted { hook }),
        None => Err(wrong("hook_id", hook_id, "a whole number")),
    })
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

fn repository_of(raw: Option<&str>) -> Result<Repository, String> {
    let found = raw.and_then(|raw| members(raw, ["id", "full_name", "default_branch", "private"]).ok()?);
    let Some([id, full_name, default_branch, private]) = found else {
        return Err(wrong("repository", raw, "an object"));
    };
    let name = required_text("repository.full_name", full_name)?;
    Ok(Repository {
        id: id.and_then(number).map(RepositoryId).ok_or_else(|| wrong("repository.id", id, "a whole number"))?,
        full_name: RepositoryName::new(name.as_ref())
            .map_err(|_| format!("`repository.full_name` is `{}`, not `owner/name`", shown(&name)))?,
        default_branch: default_branch.and_then(text).map(|branch| truncate(&branch, BRANCH_LIMIT)).unwrap_or_default(),
        private: private.and_then(boolean),
    })
}

/// Somebody, as a member of the payload. Nobody where it is none.
fn person(raw: Option<&str>) -> Person {
    let found = raw.and_then(|raw| members(raw, ["id", "login"]).ok()?);
    let Some([id, login]) = found else { return Person::default() };
    Person {
        id: id.and_then(number).unwrap_or_default(),
        login: login.and_then(text).map(|login| truncate(&login, PERSON_LIMIT)).unwrap_or_default(),
    }
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
