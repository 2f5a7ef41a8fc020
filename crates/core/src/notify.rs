//! What services should be told of a build (`spec/pipeline.md` 1.18), given its record. Pure: the report actor compares
//! it with what was told.

use serde_json::{Value, json};

use crate::build::{Build, BuildState, Graph, JobState};
use crate::ids::JobIndex;
use crate::ids::job_uuid;
use crate::plan::{Notify, StepKind};
use crate::report::{Status, StatusState, status};

/// Something that should be told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// Which entry of which `notify` it is of: letters, digits and `-`.
    pub id: String,
    /// Changes with what is told: who was told this needs not be told again.
    pub digest: String,
    /// What, and whom.
    pub message: Message,
}

/// What is told, and whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// A commit status of a name of its own.
    CommitStatus(Status),
    /// A signed `POST` to an address.
    Webhook {
        /// The address.
        url: String,
        /// `build.finished`.
        event: &'static str,
        /// The body.
        body: Value,
    },
    /// Slack, by the incoming webhook that is configured.
    Slack {
        /// The text, a line.
        text: String,
        /// Channels that were named; none is the webhook's own.
        channels: Vec<String>,
    },
    /// An entry that says too little.
    Wrong {
        /// For people.
        why: String,
    },
}

/// What a condition may look at beyond the build.
#[derive(Clone, Copy, Debug)]
pub struct StepView<'a> {
    /// Id of its first job.
    pub id: &'a str,
    /// Its key.
    pub key: Option<&'a str>,
    /// What people see.
    pub label: &'a str,
    /// `command`.
    pub kind: &'static str,
    /// `failing` or `finished`.
    pub state: &'static str,
    /// `passed`, `soft_failed`, `hard_failed`, `errored` or `neutral`.
    pub outcome: &'static str,
}

/// Services that are told. Others are accepted, and a finding says that nothing is sent.
pub const SERVICES: [&str; 3] = ["github_commit_status", "webhook", "slack"];

/// What should be told now. `holds` evaluates a condition, with the step where it is about one; `link` is where people see
/// the build, empty where there is no such place.
pub fn notices(
    build: &Build,
    graph: &Graph,
    link: &str,
    holds: impl Fn(&str, Option<StepView<'_>>) -> bool,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    let over = build.state.is_final();
    let when = build.finished_at.map_or(0, |at| at.0);
    if over || build.state == BuildState::Failing {
        for (segment, plan) in graph.segments().iter().enumerate() {
            for (place, entry) in plan.notify.iter().enumerate() {
                if entry.condition.as_deref().is_some_and(|condition| !holds(condition, None)) {
                    continue;
                }
                let id = format!("build-{segment}-{place}");
                notices.extend(of_build(build, graph, link, entry, id, over, when));
            }
        }
    }
    for &step in &graph.order {
        let node = &graph.steps[step];
        let written = graph.step(step);
        let StepKind::Command(command) = &written.kind else { continue };
        if command.notify.is_empty() {
            continue;
        }
        let states: Vec<JobState> = (node.first..node.first + node.count)
            .filter_map(|job| build.cells.get(job as usize))
            .map(|cell| cell.state)
            .collect();
        let left_out = |s: &JobState| matches!(s, JobState::Broken | JobState::Skipped | JobState::WaitingFailed);
        let finished = states.iter().all(|state| state.is_final());
        let failing = states.iter().any(|state| state.is_failure());
        if states.iter().all(left_out) || !(finished || failing) {
            continue;
        }
        let first = JobIndex(node.first);
        let id = job_uuid(&build.facts.id, first).to_string();
        let view = StepView {
            id: &id,
            key: written.key.as_deref(),
            label: &written.label,
            kind: "command",
            state: if finished { "finished" } else { "failing" },
            outcome: outcome(&states),
        };
        for (place, entry) in command.notify.iter().enumerate() {
            if entry.condition.as_deref().is_some_and(|condition| !holds(condition, Some(view))) {
                continue;
            }
            // A job that is tried again ends again.
            let tries = (node.first..node.first + node.count)
                .filter_map(|job| build.cells.get(job as usize))
                .fold(0u64, |sum, cell| sum + u64::from(cell.attempt));
            let id = format!("step-{}-{place}", node.first);
            notices.extend(of_step(build, link, entry, id, view, tries));
        }
    }
    notices
}

fn outcome(states: &[JobState]) -> &'static str {
    let any = |is: fn(&JobState) -> bool| states.iter().any(is);
    if any(|s| matches!(s, JobState::Expired | JobState::WaitingFailed)) {
        "errored"
    } else if any(|s| s.is_failure()) {
        "hard_failed"
    } else if any(|s| *s == JobState::SoftFailed) {
        "soft_failed"
    } else if any(|s| *s == JobState::Passed) {
        "passed"
    } else {
        "neutral"
    }
}

fn of_build(
    build: &Build,
    graph: &Graph,
    link: &str,
    entry: &Notify,
    id: String,
    over: bool,
    when: u64,
) -> Option<Notice> {
    match entry.service.as_str() {
        "github_commit_status" => {
            let mut status = status(build, graph);
            if let Some(context) = entry.config.get("context").and_then(Value::as_str) {
                context.clone_into(&mut status.context);
            }
            Some(of_status(id, status))
        }
        "webhook" if over => Some(match entry.config.as_str().filter(|url| !url.is_empty()) {
            Some(url) => Notice {
                id,
                digest: format!("{}@{when}", build.state.name()),
                message: Message::Webhook {
                    url: url.to_owned(),
                    event: "build.finished",
                    body: json!({ "event": "build.finished", "build": description(build, link) }),
                },
            },
            None => Notice {
                id,
                digest: "wrong".into(),
                message: Message::Wrong { why: "`webhook` names no address".into() },
            },
        }),
        "slack" if over => {
            let text = sentence(build, link);
            Some(of_slack(id, format!("{}@{when}", build.state.name()), entry, text))
        }
        _ => None,
    }
}

fn of_step(build: &Build, link: &str, entry: &Notify, id: String, step: StepView<'_>, tries: u64) -> Option<Notice> {
    let good = matches!(step.outcome, "passed" | "soft_failed" | "neutral");
    let outcome = step.outcome.replace('_', " ");
    match entry.service.as_str() {
        "github_commit_status" => {
            let context = entry.config.get("context").and_then(Value::as_str).map(str::to_owned);
            let label = step.key.unwrap_or(step.label);
            let description: String = format!("{}: {outcome}", step.label).chars().take(140).collect();
            let state = if good { StatusState::Success } else { StatusState::Failure };
            let context = context.unwrap_or_else(|| format!("tidegate/{}/{label}", build.facts.pipeline));
            Some(of_status(id, Status { context, state, description }))
        }
        "slack" if step.state == "finished" => {
            let (pipeline, number) = (&build.facts.pipeline, build.facts.number);
            let mut text = format!("{} of {pipeline}#{number}: {outcome}", step.label);
            if !link.is_empty() {
                text.push_str(&format!(" {link}"));
            }
            Some(of_slack(id, format!("{}@{tries}", step.outcome), entry, text))
        }
        _ => None,
    }
}

fn of_status(id: String, status: Status) -> Notice {
    let digest = format!("{:?} {} {}", status.state, status.context, status.description);
    Notice { id, digest, message: Message::CommitStatus(status) }
}

/// `slack: "#ci"`, or a map with `channels` and `message`.
fn of_slack(id: String, digest: String, entry: &Notify, text: String) -> Notice {
    let list = |value: &Value| match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let (channels, message) = match &entry.config {
        Value::Object(map) => (map.get("channels").map(list).unwrap_or_default(), map.get("message")),
        other => (list(other), None),
    };
    let text = match message.and_then(Value::as_str) {
        Some(message) => format!("{message}\n{text}"),
        None => text,
    };
    Notice { id, digest, message: Message::Slack { text, channels } }
}

fn sentence(build: &Build, link: &str) -> String {
    let facts = &build.facts;
    let title = facts.message.lines().next().unwrap_or_default();
    let on = facts.git_ref.as_ref().map_or_else(String::new, |r| format!(" on {}", r.name()));
    let state = build.state.name().replace('_', " ");
    let mut text = format!("{}#{}{on}: {state}", facts.pipeline, facts.number);
    for part in [title, link].into_iter().filter(|part| !part.is_empty()) {
        text.push_str(&format!(" - {part}"));
    }
    text
}

fn description(build: &Build, link: &str) -> Value {
    let facts = &build.facts;
    json!({
        "id": facts.id,
        "number": facts.number,
        "pipeline": facts.pipeline,
        "repository": facts.repository_name,
        "ref": facts.git_ref.as_ref().map(|r| r.full()),
        "commit": facts.commit,
        "message": facts.message.lines().next().unwrap_or_default(),
        "state": build.state.name(),
        "source": facts.source,
        "creator": facts.creator,
        "created_at": facts.created_at.to_string(),
        "started_at": build.started_at.map(|at| at.to_string()),
        "finished_at": build.finished_at.map(|at| at.to_string()),
        "url": link,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::tests::{World, cmd, segment};

    fn entry(service: &str, config: Value, condition: Option<&str>) -> Notify {
        Notify { service: service.into(), config, condition: condition.map(str::to_owned) }
    }

    /// A world of one job with these notifications of the build and of the step.
    fn world(build: Vec<Notify>, step: Vec<Notify>) -> World {
        let mut plan = segment([cmd("a").notify(step)]);
        plan.notify = build;
        World::of(plan)
    }

    fn told(w: &World) -> Vec<(String, Message)> {
        let holds = |condition: &str, step: Option<StepView<'_>>| match step {
            None => condition == w.build.state.name(),
            Some(step) => condition == step.outcome,
        };
        notices(&w.build, &w.graph, "", holds).into_iter().map(|n| (n.id, n.message)).collect()
    }

    #[test]
    fn services_are_told_at_the_end_and_statuses_already_when_it_fails() {
        let mut w = world(
            vec![
                entry("github_commit_status", json!({ "context": "ci/all" }), None),
                entry("webhook", json!("https://example.com/x"), None),
                entry("slack", json!({ "channels": ["#ci"], "message": "Look" }), Some("failed")),
                entry("slack", json!("#good"), Some("passed")),
                entry("email", json!("a@example.com"), None),
                entry("webhook", Value::Null, None),
            ],
            vec![entry("github_commit_status", json!({ "context": "ci/a" }), Some("hard_failed"))],
        );
        assert_eq!(told(&w), []);
        w.fail("a");
        let told = told(&w);
        let ids: Vec<&str> = told.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["build-0-0", "build-0-1", "build-0-2", "build-0-5", "step-0-0"]);
        assert!(
            matches!(&told[0].1, Message::CommitStatus(s) if s.context == "ci/all" && s.state == StatusState::Failure)
        );
        assert!(matches!(&told[1].1, Message::Webhook { body, .. } if body["build"]["state"] == "failed"));
        let slack =
            Message::Slack { text: "Look\nhello#7 on main: failed - Say hello".into(), channels: vec!["#ci".into()] };
        assert_eq!(told[2].1, slack);
        assert!(
            matches!(&told[4].1, Message::CommitStatus(s) if s.context == "ci/a" && s.description == "a: hard failed")
        );
    }

    #[test]
    fn what_ends_again_is_told_again_and_what_did_not_change_is_not() {
        let mut w = world(vec![entry("slack", json!("#ci"), None)], vec![entry("slack", json!("#ci"), None)]);
        let digests = |w: &World| {
            let all = notices(&w.build, &w.graph, "", |_, _| true);
            all.into_iter().map(|n| n.digest).collect::<Vec<_>>()
        };
        w.fail("a");
        let first = digests(&w);
        w.settle();
        assert_eq!(digests(&w), first);
        w.retry("a");
        assert_eq!(digests(&w), Vec::<String>::new());
        w.later(std::time::Duration::from_secs(1));
        w.fail("a");
        let second = digests(&w);
        assert!(first.iter().zip(&second).all(|(a, b)| a != b), "{first:?} {second:?}");
    }
}
