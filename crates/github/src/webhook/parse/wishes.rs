//! Buttons of checks, and commands in comments.

use tidegate_core::event::{Ask, Comment, EventKind, Rerun, RerunOf, truncate};
use tidegate_core::ids::CommitSha;

use super::{Understood, commit, inner_id, inner_text, no_object, person, repository_of, required_text, shown, wrong};
use crate::json::{kind, members, number, text};

/// Longest name and id of ours that a check is known by, in bytes.
const NAME_LIMIT: usize = 256;
/// How much of a comment is looked at, in bytes.
const COMMENT_LIMIT: usize = 64 * 1024;

pub(super) fn suite(json: &str) -> Understood {
    let Some([suite, repository, sender, installation]) =
        members(json, ["check_suite", "repository", "sender", "installation"])?
    else {
        return Ok(Err(no_object()));
    };
    let understood = || {
        let Some([head, app]) = suite.and_then(|raw| members(raw, ["head_sha", "app"]).ok()?) else {
            return Err(wrong("check_suite", suite, "an object"));
        };
        Ok(Rerun {
            app: app.and_then(inner_id).ok_or_else(|| wrong("check_suite.app", app, "an App with an id"))?,
            client_id: app.and_then(|raw| inner_text(raw, "client_id", NAME_LIMIT)).unwrap_or_default(),
            repository: repository_of(repository)?,
            commit: commit("check_suite.head_sha", head)?,
            of: RerunOf::Suite,
            sender: person(sender),
            installation: installation.and_then(inner_id),
        })
    };
    Ok(understood().map(|rerun| EventKind::Rerun(Box::new(rerun))))
}

pub(super) fn check(action: &str, json: &str) -> Understood {
    let names = ["check_run", "repository", "sender", "installation", "requested_action"];
    let Some([run, repository, sender, installation, requested]) = members(json, names)? else {
        return Ok(Err(no_object()));
    };
    let understood = || {
        let names = ["id", "external_id", "name", "head_sha", "app"];
        let Some([id, external_id, name, head, app]) = run.and_then(|raw| members(raw, names).ok()?) else {
            return Err(wrong("check_run", run, "an object"));
        };
        let short = |raw: Option<&str>| raw.and_then(text).map(|t| truncate(&t, NAME_LIMIT)).unwrap_or_default();
        let button = match action {
            "requested_action" => {
                let button = requested.and_then(|raw| inner_text(raw, "identifier", NAME_LIMIT));
                Some(button.ok_or_else(|| wrong("requested_action", requested, "an object with an identifier"))?)
            }
            _ => None,
        };
        Ok(Rerun {
            app: app.and_then(inner_id).ok_or_else(|| wrong("check_run.app", app, "an App with an id"))?,
            client_id: app.and_then(|raw| inner_text(raw, "client_id", NAME_LIMIT)).unwrap_or_default(),
            repository: repository_of(repository)?,
            commit: commit("check_run.head_sha", head)?,
            of: RerunOf::Check {
                id: id.and_then(number).ok_or_else(|| wrong("check_run.id", id, "a whole number"))?,
                external_id: short(external_id),
                name: short(name),
                button,
            },
            sender: person(sender),
            installation: installation.and_then(inner_id),
        })
    };
    Ok(understood().map(|rerun| EventKind::Rerun(Box::new(rerun))))
}

pub(super) fn comment(json: &str) -> Understood {
    let Some([issue, comment, repository, installation]) =
        members(json, ["issue", "comment", "repository", "installation"])?
    else {
        return Ok(Err(no_object()));
    };
    let understood = || {
        let Some([issue_number, pull]) = issue.and_then(|raw| members(raw, ["number", "pull_request"]).ok()?) else {
            return Err(wrong("issue", issue, "an object"));
        };
        let Some([id, user, body]) = comment.and_then(|raw| members(raw, ["id", "user", "body"]).ok()?) else {
            return Err(wrong("comment", comment, "an object"));
        };
        let body = required_text("comment.body", body)?;
        let Some(ask) = ask(&truncate(&body, COMMENT_LIMIT)) else {
            return Err("a comment without a command".to_owned());
        };
        if pull.is_none_or(|raw| kind(raw) == crate::json::Kind::Null) {
            return Err("a command below an issue: only pull requests are built".to_owned());
        }
        Ok(Comment {
            id: id.and_then(number).unwrap_or_default(),
            repository: repository_of(repository)?,
            number: issue_number
                .and_then(number)
                .ok_or_else(|| wrong("issue.number", issue_number, "a whole number"))?,
            author: person(user),
            ask,
            installation: installation.and_then(inner_id),
        })
    };
    Ok(understood().map(|comment| EventKind::Comment(Box::new(comment))))
}

/// The first command of a comment: a line of its own that begins with `/`. Quoted lines begin with `>` and are none.
fn ask(body: &str) -> Option<Ask> {
    body.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        match (words.next()?, words.next(), words.next()) {
            ("/retest", None, _) => Some(Ask::Retest),
            ("/approve", Some(sha), None) => Some(match CommitSha::new(sha.to_ascii_lowercase()) {
                Ok(sha) => Ask::Approve(sha),
                Err(_) => Ask::ApproveWhat(shown(sha)),
            }),
            ("/approve", None, _) => Some(Ask::ApproveWhat(String::new())),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_line_of_its_own() {
        let sha = "a".repeat(40);
        let approve = |text: &str| CommitSha::new(text).map(Ask::Approve).ok();
        for (body, wanted) in [
            ("/retest".to_owned(), Some(Ask::Retest)),
            ("thanks!\r\n\r\n  /retest  \r\n".to_owned(), Some(Ask::Retest)),
            (format!("/approve {sha}"), approve(&sha)),
            (format!("/approve {}", sha.to_uppercase()), approve(&sha)),
            ("/approve aaaaaaa".to_owned(), Some(Ask::ApproveWhat("aaaaaaa".to_owned()))),
            ("/approve".to_owned(), Some(Ask::ApproveWhat(String::new()))),
            (format!("/approve {sha} please"), None),
            ("please /retest".to_owned(), None),
            ("> /retest".to_owned(), None),
            ("/retest now".to_owned(), None),
            ("/retesting".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(ask(&body), wanted, "{body:?}");
        }
    }
}
