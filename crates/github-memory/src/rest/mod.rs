//! The REST API: requests and answers as plain data.

mod apps;
mod checks;
mod repositories;

use serde_json::{Value, json};

use crate::auth::{By, Grant, Refused};
use crate::hub::{CheckRun, Fault, Hub, Pull, Repository};
use crate::limits::Exceeded;

/// A request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// In upper case.
    pub method: &'a str,
    /// The path below the API's address, escaped as it was sent.
    pub path: &'a str,
    /// Without the question mark.
    pub query: &'a str,
    /// `Authorization`.
    pub authorization: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers beside `content-type`.
    pub headers: Vec<(&'static str, String)>,
    /// JSON; `Null` is no body.
    pub body: Value,
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When.
    pub at: u64,
    /// In upper case.
    pub method: String,
    /// With the query.
    pub path: String,
    /// Whose limit it counted against; empty when nobody's.
    pub lane: String,
    /// JSON; `Null` when there was none.
    pub body: Value,
    /// How it was answered.
    pub status: u16,
}

/// What an endpoint is told.
pub(crate) struct Asked<'a> {
    pub(crate) now: u64,
    pub(crate) by: &'a By,
    pub(crate) query: &'a [(String, String)],
    pub(crate) body: &'a Value,
    /// Where this endpoint is, for links to further pages.
    pub(crate) here: String,
}

impl Asked<'_> {
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str, default: usize) -> usize {
        self.query(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// One page of a list, by `page` and `per_page`.
    pub(crate) fn page(&self, all: Vec<Value>) -> (Vec<Value>, Vec<(&'static str, String)>) {
        let (size, page) = (self.number("per_page", 30).clamp(1, 100), self.number("page", 1).max(1));
        let more = all.len() > page * size;
        let part = all.into_iter().skip((page - 1) * size).take(size).collect();
        let link = format!("<{}?per_page={size}&page={}>; rel=\"next\"", self.here, page + 1);
        (part, if more { vec![("link", link)] } else { Vec::new() })
    }
}

pub(crate) fn answer(status: u16, body: Value) -> Answer {
    Answer { status, headers: Vec::new(), body }
}

pub(crate) fn refuse(status: u16, message: &str) -> Answer {
    answer(
        status,
        json!({ "message": message, "documentation_url": "https://docs.github.com/rest", "status": status.to_string() }),
    )
}

pub(crate) fn not_found() -> Answer {
    refuse(404, "Not Found")
}

/// 422 with what is wrong.
pub(crate) fn invalid(why: &str) -> Answer {
    answer(
        422,
        json!({ "message": "Validation Failed", "errors": [why], "documentation_url": "https://docs.github.com/rest" }),
    )
}

/// RFC 3339.
pub(crate) fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|t| t.to_string()).unwrap_or_default()
}

fn http_date(seconds: i64) -> String {
    let at = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let pair = (*first == b'%').then(|| tail.get(..2).and_then(|digits| hex::decode(digits).ok())).flatten();
        match pair {
            Some(byte) => {
                bytes.extend(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) fn repository_json(hub: &Hub, repository: &Repository) -> Value {
    let (owner, name) = repository.full_name.split_once('/').unwrap_or_default();
    json!({
        "id": repository.id, "name": name, "full_name": repository.full_name, "private": repository.private,
        "owner": { "login": owner, "id": hub.people.get(owner) }, "fork": repository.fork_of.is_some(), "archived": false,
        "default_branch": repository.default_branch, "clone_url": format!("{}/{}.git", hub.web, repository.full_name),
    })
}

pub(crate) fn pull_json(hub: &Hub, base: &Repository, pull: &Pull) -> Value {
    let head = pull.head_repository.and_then(|id| hub.repositories.get(&id));
    let base_sha = base.refs.get(&format!("refs/heads/{}", pull.base_branch)).unwrap_or(&pull.base);
    let labels: Vec<Value> = pull.labels.iter().map(|name| json!({ "name": name })).collect();
    json!({
        "number": pull.number, "state": pull.state, "merged": pull.merged, "draft": pull.draft, "title": pull.title,
        "labels": labels, "user": { "login": pull.author, "id": hub.people.get(&pull.author) },
        "author_association": "CONTRIBUTOR", "merge_commit_sha": null, "mergeable": null,
        "head": { "sha": pull.head, "ref": pull.head_branch, "repo": head.map(|r| repository_json(hub, r)) },
        "base": { "sha": base_sha, "ref": pull.base_branch, "repo": repository_json(hub, base) },
    })
}

pub(crate) fn check_json(hub: &Hub, run: &CheckRun) -> Value {
    let app = hub.apps.get(&run.app);
    json!({
        "id": run.id, "name": run.name, "head_sha": run.head_sha, "external_id": run.external_id, "status": run.status,
        "conclusion": run.conclusion, "details_url": run.details_url, "started_at": run.started_at,
        "completed_at": run.completed_at, "pull_requests": [], "check_suite": { "id": 1 },
        "app": { "id": run.app, "slug": app.map(|app| app.slug.clone()) },
        "output": {
            "title": run.title, "summary": run.summary, "text": run.text, "annotations_count": run.annotations.len(),
        },
    })
}

impl Hub {
    /// Answers a request.
    pub fn answer(&mut self, now: u64, request: &Request<'_>) -> Answer {
        let body: Value = serde_json::from_slice(request.body).unwrap_or_default();
        let here = self.fault_at.take_if(|(part, _)| request.path.contains(*part)).map(|(_, fault)| fault);
        let fault = here.or_else(|| self.faults.pop_front());
        let (lane, mut answer) = match fault {
            Some(Fault::Refused(status)) => (String::new(), refuse(status, "something is wrong")),
            Some(Fault::Limited(seconds)) => {
                let mut answer = refuse(
                    403,
                    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
                );
                answer.headers.push(("retry-after", seconds.to_string()));
                (String::new(), answer)
            }
            Some(Fault::AnswerLost) => (self.admit(now, request, &body).0, refuse(502, "Server Error")),
            Some(Fault::Pass) | None => self.admit(now, request, &body),
        };
        answer.headers.push(("date", http_date(self.clock(now))));
        let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
        self.seen.push(Seen {
            at: now,
            method: request.method.to_owned(),
            path: format!("{}{query}", request.path),
            lane,
            body,
            status: answer.status,
        });
        answer
    }

    /// Checks who asks and how much, and asks the endpoint.
    fn admit(&mut self, now: u64, request: &Request<'_>, body: &Value) -> (String, Answer) {
        let segments: Vec<String> = request.path.split('/').filter(|s| !s.is_empty()).map(decoded).collect();
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        if let ("POST", ["app-manifests", code, "conversions"]) = (request.method, path.as_slice()) {
            return (String::new(), self.convert_manifest(code));
        }
        let grant = match self.grant(now, request.authorization) {
            Ok(grant) => grant,
            Err(Refused(status, why)) => return (String::new(), refuse(status, why)),
        };
        let lane = grant.lane.clone();
        let (write, create) = (request.method != "GET", request.method == "POST");
        // What an App asks for itself counts for nobody; whoever only wants to know the limit is always answered.
        let counted = !matches!(grant.by, By::App(_)) && path != ["rate_limit"];
        let clock = self.clock(now);
        if counted {
            let limits = self.limits;
            match self.usage.entry(lane.clone()).or_default().take(&limits, now, clock, write, create) {
                None => {}
                Some(Exceeded::Primary { reset }) => {
                    let mut answer = refuse(403, "API rate limit exceeded for installation.");
                    answer.headers.push(("x-ratelimit-remaining", "0".to_owned()));
                    answer.headers.push(("x-ratelimit-reset", reset.to_string()));
                    return (lane, answer);
                }
                Some(Exceeded::Secondary { retry_after }) => {
                    let mut answer = refuse(403, "You have exceeded a secondary rate limit.");
                    answer.headers.push(("retry-after", retry_after.to_string()));
                    return (lane, answer);
                }
            }
        }
        let pairs = request.query.split('&').filter_map(|pair| pair.split_once('='));
        let query: Vec<(String, String)> = pairs.map(|(name, value)| (decoded(name), decoded(value))).collect();
        let here = format!("{}{}", self.api, request.path);
        let asked = Asked { now, by: &grant.by, query: &query, body, here };
        let mut answer = self.route(&grant, request.method, &path, &asked);
        if let Some(usage) = self.usage.get(&lane) {
            let left = self.limits.hour.saturating_sub(usage.in_hour);
            answer.headers.push(("x-ratelimit-limit", self.limits.hour.to_string()));
            answer.headers.push(("x-ratelimit-remaining", left.to_string()));
            answer.headers.push(("x-ratelimit-reset", (usage.hour_began + 3_600).to_string()));
        }
        (lane, answer)
    }

    fn route(&mut self, grant: &Grant, method: &str, path: &[&str], asked: &Asked<'_>) -> Answer {
        match path {
            ["rate_limit"] => self.rate_limit(&grant.lane, asked),
            ["app", ..] => match &grant.by {
                By::App(app) => self.of_app(*app, method, &path[1..], asked),
                By::Installation { .. } | By::Person(_) => refuse(401, "A JSON web token could not be decoded"),
            },
            ["installation", ..] => self.of_installation(method, &path[1..], asked),
            ["repos", owner, name, rest @ ..] => {
                let full_name = format!("{owner}/{name}");
                match (self.named(&full_name).map(|r| r.id), self.old_names.get(&full_name)) {
                    (Some(id), _) => self.of_repository(id, method, rest, asked),
                    (None, Some(id)) => {
                        let status = if method == "GET" { 301 } else { 307 };
                        let mut answer = refuse(status, "Moved Permanently");
                        let rest: Vec<String> = rest.iter().map(|s| (*s).to_owned()).collect();
                        let below = if rest.is_empty() { String::new() } else { format!("/{}", rest.join("/")) };
                        answer.headers.push(("location", format!("{}/repositories/{id}{below}", self.api)));
                        answer
                    }
                    (None, None) => not_found(),
                }
            }
            ["repositories", id, rest @ ..] => match id.parse() {
                Ok(id) => self.of_repository(id, method, rest, asked),
                Err(_) => not_found(),
            },
            _ => not_found(),
        }
    }

    /// The most requests of any minute that any installation or token made: writes, and those that make something.
    pub fn busiest_minute(&self) -> (u32, u32) {
        let most = |of: fn(&crate::limits::Usage) -> u32| self.usage.values().map(of).max().unwrap_or(0);
        (most(|usage| usage.most_writes), most(|usage| usage.most_creations))
    }

    /// How many requests were refused by a limit.
    pub fn limited(&self) -> u32 {
        self.usage.values().map(|usage| usage.refused).sum()
    }
}
