//! Endpoints of repositories, but for checks.

use serde_json::{Value, json};

use super::{Answer, Asked, answer, invalid, not_found, pull_json, refuse, repository_json};
use crate::auth::By;
use crate::hub::{Hub, Status};

/// Statuses of one context and commit.
const MOST_STATUSES: usize = 1_000;

impl Hub {
    /// Whether who asks may see the repository, and has a permission there.
    fn allowed(&self, repository: u64, by: &By, permission: &str, level: &str) -> Result<(), Answer> {
        let Some(known) = self.repositories.get(&repository) else { return Err(not_found()) };
        let sees = match by {
            By::App(_) => false,
            By::Installation { repositories, .. } => repositories.contains(&repository),
            By::Person(login) => self.role(known, login) != "none",
        };
        if !sees && (known.private || level == "write") {
            return Err(not_found());
        }
        let writes = match by {
            By::Person(login) if level == "write" => matches!(self.role(known, login), "write" | "maintain" | "admin"),
            By::Person(_) | By::Installation { .. } | By::App(_) => true,
        };
        if !writes || !by.may(permission, level) {
            let who = if matches!(by, By::Person(_)) { "personal access token" } else { "integration" };
            return Err(refuse(403, &format!("Resource not accessible by {who}")));
        }
        Ok(())
    }

    pub(super) fn of_repository(&mut self, id: u64, method: &str, path: &[&str], asked: &Asked<'_>) -> Answer {
        let (permission, level) = match (method, path) {
            ("GET", ["installation"]) => match asked.by {
                By::App(app) => return self.installation_of(id, *app),
                By::Installation { .. } | By::Person(_) => return refuse(401, "A JSON web token could not be decoded"),
            },
            ("POST" | "PATCH", ["check-runs", ..]) => ("checks", "write"),
            ("GET", ["check-runs", ..] | ["commits", _, "check-runs"]) => ("checks", "read"),
            ("POST", ["statuses", _]) => ("statuses", "write"),
            ("GET", ["commits", _, "status" | "statuses"]) => ("statuses", "read"),
            ("GET", ["commits", ..]) => ("contents", "read"),
            ("GET", ["pulls", ..]) => ("pull_requests", "read"),
            ("GET", ["git", ..]) => ("contents", "read"),
            ("GET", [] | ["collaborators", ..]) => ("metadata", "read"),
            _ => return not_found(),
        };
        if let Err(refusal) = self.allowed(id, asked.by, permission, level) {
            return refusal;
        }
        match (method, path) {
            ("GET", []) => {
                let known = self.repositories.get(&id).map(|r| repository_json(self, r));
                known.map_or_else(not_found, |body| answer(200, body))
            }
            ("POST", ["check-runs"]) => self.create_check(id, asked),
            ("PATCH", ["check-runs", check]) => self.update_check(id, check, asked),
            ("GET", ["check-runs", check]) => self.get_check(id, check),
            ("GET", ["commits", sha, "check-runs"]) => self.list_checks(id, sha, asked),
            ("POST", ["statuses", sha]) => self.create_status(id, sha, asked),
            ("GET", ["git", "matching-refs", rest @ ..]) => self.matching_refs(id, &rest.join("/"), asked),
            ("GET", ["commits", rest @ ..]) => self.commit(id, &rest.join("/")),
            ("GET", ["pulls", number]) => {
                let known = self.repositories.get(&id);
                let pull = known.and_then(|r| Some((r, r.pulls.get(&number.parse().ok()?)?)));
                pull.map_or_else(not_found, |(base, pull)| answer(200, pull_json(self, base, pull)))
            }
            ("GET", ["collaborators", login, "permission"]) => self.permission(id, login),
            _ => not_found(),
        }
    }

    fn permission(&self, id: u64, login: &str) -> Answer {
        let Some(known) = self.repositories.get(&id) else { return not_found() };
        let Some(person) = self.people.get(login) else { return refuse(404, &format!("{login} is not a user")) };
        let role = self.role(known, login);
        let permission = match role {
            "maintain" => "write",
            "triage" => "read",
            other => other,
        };
        answer(200, json!({ "permission": permission, "role_name": role, "user": { "login": login, "id": person } }))
    }

    fn commit(&self, id: u64, name: &str) -> Answer {
        let Some(known) = self.repositories.get(&id) else { return not_found() };
        let at = known.refs.get(&format!("refs/{name}")).map_or(name, String::as_str);
        let sha = known.tags.get(at).map_or(at, String::as_str);
        match known.commits.get(sha) {
            Some(message) => {
                let author = json!({ "name": "somebody", "email": "somebody@example.com" });
                answer(200, json!({ "sha": sha, "commit": { "message": message, "author": author } }))
            }
            None => invalid(&format!("No commit found for SHA: {name}")),
        }
    }

    fn matching_refs(&self, id: u64, prefix: &str, asked: &Asked<'_>) -> Answer {
        let Some(known) = self.repositories.get(&id) else { return not_found() };
        let prefix = format!("refs/{prefix}");
        let matching = known.refs.iter().filter(|(name, _)| name.starts_with(&prefix));
        let all: Vec<Value> = matching
            .map(|(name, sha)| {
                let kind = if known.tags.contains_key(sha) { "tag" } else { "commit" };
                json!({ "ref": name, "object": { "sha": sha, "type": kind } })
            })
            .collect();
        let (part, headers) = asked.page(all);
        Answer { status: 200, headers, body: part.into() }
    }

    fn create_status(&mut self, id: u64, sha: &str, asked: &Asked<'_>) -> Answer {
        let text = |name: &str| asked.body[name].as_str().unwrap_or_default().to_owned();
        let (state, context, description) = (text("state"), text("context"), text("description"));
        if !self.repositories.get(&id).is_some_and(|r| r.commits.contains_key(sha)) {
            return invalid(&format!("No commit found for SHA: {sha}"));
        }
        if !matches!(state.as_str(), "pending" | "success" | "failure" | "error") {
            return invalid("state is not one of error, failure, pending, success");
        }
        if description.chars().count() > 140 {
            return invalid("description is too long (maximum is 140 characters)");
        }
        let same = |s: &&Status| s.repository == id && s.sha == sha && s.context == context;
        if self.statuses.iter().filter(same).count() >= MOST_STATUSES {
            return invalid("This SHA and context has reached the maximum number of statuses.");
        }
        let target_url = asked.body["target_url"].as_str().map(str::to_owned);
        let status = Status { repository: id, sha: sha.to_owned(), context, state, description, target_url };
        self.statuses.push(status);
        answer(201, json!({ "id": self.statuses.len() }))
    }
}
