//! Endpoints of check runs.

use serde_json::{Value, json};

use super::{Answer, Asked, answer, check_json, invalid, not_found, refuse};
use crate::auth::By;
use crate::hub::{Annotation, CheckRun, Hub};

/// Annotations of one request.
const MOST_ANNOTATIONS: usize = 50;
/// Longest summary and text, in characters.
const LONGEST_TEXT: usize = 65_535;
/// Runs of one name that a commit keeps.
const MOST_RUNS: usize = 1_000;
const CONCLUSIONS: [&str; 8] =
    ["action_required", "cancelled", "failure", "neutral", "success", "skipped", "stale", "timed_out"];

fn annotation(given: &Value) -> Result<Annotation, &'static str> {
    let text = |name: &str| given[name].as_str().map(str::to_owned);
    let (Some(path), Some(level), Some(message)) = (text("path"), text("annotation_level"), text("message")) else {
        return Err("an annotation lacks path, annotation_level or message");
    };
    let (Some(start_line), Some(end_line)) = (given["start_line"].as_u64(), given["end_line"].as_u64()) else {
        return Err("an annotation lacks start_line or end_line");
    };
    if !matches!(level.as_str(), "notice" | "warning" | "failure") {
        return Err("annotation_level is not one of notice, warning, failure");
    }
    if start_line == 0 || start_line != end_line && given.get("start_column").is_some() {
        return Err("start_column is for annotations of one line");
    }
    Ok(Annotation { path, start_line, end_line, level, message })
}

/// Applies what a request says, or says what is wrong with it.
fn apply(run: &mut CheckRun, body: &Value) -> Result<(), String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(status) = body["status"].as_str() {
        if !matches!(status, "queued" | "in_progress" | "completed") {
            return Err(format!("`{status}` is no status"));
        }
        status.clone_into(&mut run.status);
        if status != "completed" {
            run.conclusion = None;
        }
    }
    if let Some(conclusion) = body["conclusion"].as_str() {
        if !CONCLUSIONS.contains(&conclusion) {
            return Err(format!("`{conclusion}` is no conclusion"));
        }
        run.conclusion = Some(conclusion.to_owned());
        "completed".clone_into(&mut run.status);
    }
    if run.status == "completed" && run.conclusion.is_none() {
        return Err("a completed check needs a conclusion".to_owned());
    }
    if let Some(url) = body["details_url"].as_str() {
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err("details_url is no web address".to_owned());
        }
        run.details_url = Some(url.to_owned());
    }
    for (name, to) in [("started_at", &mut run.started_at), ("completed_at", &mut run.completed_at)] {
        if let Some(at) = body[name].as_str() {
            at.parse::<jiff::Timestamp>().map_err(|_| format!("{name} is no time"))?;
            *to = Some(at.to_owned());
        }
    }
    if body["actions"].as_array().is_some_and(|actions| actions.len() > 3) {
        return Err("at most 3 actions".to_owned());
    }
    let output = &body["output"];
    if output.is_object() {
        let (Some(title), Some(summary)) = (text(&output["title"]), text(&output["summary"])) else {
            return Err("output needs title and summary".to_owned());
        };
        let more = text(&output["text"]);
        if [Some(&summary), more.as_ref()].into_iter().flatten().any(|t| t.chars().count() > LONGEST_TEXT) {
            return Err(format!("summary and text are limited to {LONGEST_TEXT} characters"));
        }
        (run.title, run.summary) = (Some(title), Some(summary));
        run.text = more.or_else(|| run.text.take());
        let marks = output["annotations"].as_array().map_or(&[][..], Vec::as_slice);
        if marks.len() > MOST_ANNOTATIONS {
            return Err(format!("only {MOST_ANNOTATIONS} annotations are allowed; {} were supplied", marks.len()));
        }
        for mark in marks {
            run.annotations.push(annotation(mark)?);
        }
    }
    run.writes += 1;
    Ok(())
}

impl Hub {
    pub(super) fn create_check(&mut self, repository: u64, asked: &Asked<'_>) -> Answer {
        let By::Installation { app, .. } = asked.by else {
            return refuse(403, "You must authenticate via a GitHub App.");
        };
        let text = |name: &str| asked.body[name].as_str().unwrap_or_default().to_owned();
        let (name, head_sha) = (text("name"), text("head_sha"));
        if name.is_empty() {
            return invalid("name is missing");
        }
        if !self.repositories.get(&repository).is_some_and(|r| r.commits.contains_key(&head_sha)) {
            return invalid(&format!("No commit found for SHA: {head_sha}"));
        }
        let mut run = CheckRun {
            id: self.fresh(),
            app: *app,
            repository,
            head_sha,
            name,
            external_id: text("external_id"),
            details_url: None,
            status: "queued".to_owned(),
            conclusion: None,
            title: None,
            summary: None,
            text: None,
            annotations: Vec::new(),
            started_at: None,
            completed_at: None,
            writes: 0,
        };
        if let Err(why) = apply(&mut run, asked.body) {
            return invalid(&why);
        }
        let same = |r: &CheckRun| (r.repository, &r.head_sha, &r.name) == (run.repository, &run.head_sha, &run.name);
        let known: Vec<u64> = self.checks.values().filter(|r| same(r)).map(|r| r.id).collect();
        if let [oldest, ..] = known.as_slice()
            && known.len() >= MOST_RUNS
        {
            self.checks.remove(oldest);
        }
        let body = check_json(self, &run);
        self.checks.insert(run.id, run);
        answer(201, body)
    }

    pub(super) fn update_check(&mut self, repository: u64, id: &str, asked: &Asked<'_>) -> Answer {
        let By::Installation { app, .. } = asked.by else {
            return refuse(403, "You must authenticate via a GitHub App.");
        };
        let known = id.parse().ok().and_then(|id: u64| self.checks.get(&id)).filter(|run| run.repository == repository);
        let Some(run) = known else { return not_found() };
        if run.app != *app {
            return refuse(
                403,
                "Invalid app_id `given` - check run can only be modified by the GitHub App that created it.",
            );
        }
        let mut run = run.clone();
        if let Err(why) = apply(&mut run, asked.body) {
            return invalid(&why);
        }
        let body = check_json(self, &run);
        self.checks.insert(run.id, run);
        answer(200, body)
    }

    pub(super) fn get_check(&self, repository: u64, id: &str) -> Answer {
        let known = id.parse().ok().and_then(|id: u64| self.checks.get(&id)).filter(|run| run.repository == repository);
        known.map_or_else(not_found, |run| answer(200, check_json(self, run)))
    }

    pub(super) fn list_checks(&self, repository: u64, sha: &str, asked: &Asked<'_>) -> Answer {
        let name = asked.query("check_name");
        let app = asked.query("app_id").and_then(|id| id.parse::<u64>().ok());
        let matching = self.checks.values().rev().filter(|run| {
            run.repository == repository
                && run.head_sha == sha
                && name.is_none_or(|name| run.name == name)
                && app.is_none_or(|app| run.app == app)
        });
        let mut names = std::collections::BTreeSet::new();
        // Unless all are asked for, only the newest of each name.
        let all = asked.query("filter") == Some("all");
        let listed: Vec<Value> = matching
            .filter(|run| all || names.insert((run.app, run.name.clone())))
            .map(|run| check_json(self, run))
            .collect();
        let total = listed.len();
        let (part, headers) = asked.page(listed);
        Answer { status: 200, headers, body: json!({ "total_count": total, "check_runs": part }) }
    }
}
