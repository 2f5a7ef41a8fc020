//! What conditions see of the event that a payload tells of.

use std::path::Path;

use serde_json::Value;
use tidegate_core::event::{EventKind, GitRef, HeadCommit, PullAction, Repository};
use tidegate_core::ids::DeliveryId;
use tidegate_core::time::Timestamp;
use tidegate_pipeline::condition::{Facts, MergeQueue, PullRequest};

use crate::exit::Expected;

/// The name of the event, which a payload does not say: GitHub sends it in a header.
fn event_name(payload: &Value) -> &'static str {
    match payload {
        Value::Object(members) if members.contains_key("pull_request") && members.contains_key("number") => {
            "pull_request"
        }
        Value::Object(members) if members.contains_key("merge_group") => "merge_group",
        _ => "push",
    }
}

/// The facts of a build of this payload. Only events that make builds have any.
pub(super) fn facts_of(path: &Path) -> anyhow::Result<Facts> {
    let wrong = |why: &str| Expected::usage(format!("`{}`: {why}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| wrong(&error.to_string()))?;
    let delivery = DeliveryId::new("plan").map_err(|error| wrong(&error.to_string()))?;
    let payload = serde_json::from_slice(&bytes).map_err(|_| wrong("this is not JSON"))?;
    let name = event_name(&payload);
    let event =
        tidegate_github::webhook::parse(name, delivery, &bytes, Timestamp(0)).map_err(|_| wrong("this is not JSON"))?;
    let mut facts = Facts::default();
    facts.build.source = Some("webhook".to_owned());
    facts.build.source_event = Some(name.to_owned());
    match event.kind {
        EventKind::Push(push) if push.deleted => {
            return Err(wrong("this push deletes a ref, which makes no build"));
        }
        EventKind::Push(push) => {
            facts.build.branch = Some(push.git_ref.name().to_owned());
            if let GitRef::Tag(tag) = &push.git_ref {
                facts.build.tag = Some(tag.clone());
            }
            facts.build.commit = Some(push.after.to_string());
            head(&mut facts, push.head.as_ref());
            facts.build.creator.name = Some(push.pusher.clone());
            repository(&mut facts, &push.repository);
        }
        EventKind::PullRequest(pull) => {
            if let PullAction::Closed { .. } = pull.action {
                return Err(wrong("this closes a pull request, which makes no build"));
            }
            let fork = pull.is_fork();
            let (owner, branch) = (&pull.head.owner, &pull.head.branch);
            facts.build.branch = Some(if fork { format!("{owner}:{branch}") } else { branch.clone() });
            facts.build.commit = Some(pull.head.commit.to_string());
            facts.build.source_action = Some(pull.action.name().to_owned());
            facts.build.creator.name = Some(pull.sender.login.clone());
            let name = pull.head.full_name.as_ref().unwrap_or(&pull.repository.full_name);
            facts.build.pull_request = PullRequest {
                id: Some(pull.number.to_string()),
                base_branch: Some(pull.base_branch.clone()),
                draft: Some(pull.draft),
                labels: Some(pull.labels.clone()),
                repository: Some(format!("https://github.com/{name}.git")),
                repository_fork: Some(fork),
                ..PullRequest::default()
            };
            repository(&mut facts, &pull.repository);
        }
        EventKind::MergeGroup(group) => {
            facts.build.branch = Some(group.branch.clone());
            facts.build.commit = Some(group.head.to_string());
            head(&mut facts, group.commit.as_ref());
            facts.build.source_action = Some("checks_requested".to_owned());
            facts.build.merge_queue = MergeQueue {
                active: true,
                base_branch: Some(group.base_branch.clone()),
                base_commit: Some(group.base.to_string()),
            };
            repository(&mut facts, &group.repository);
        }
        other => {
            let why = other.ignored().unwrap_or("an event of another kind").to_owned();
            return Err(wrong(&format!("this is no event that makes a build: {why}")));
        }
    }
    Ok(facts)
}

fn head(facts: &mut Facts, head: Option<&HeadCommit>) {
    if let Some(head) = head {
        facts.build.commit = Some(head.id.to_string());
        facts.build.message = Some(head.message.clone());
        facts.build.author.name = Some(head.author_name.clone());
        facts.build.author.email = Some(head.author_email.clone());
    }
}

fn repository(facts: &mut Facts, repository: &Repository) {
    facts.pipeline.default_branch = Some(repository.default_branch.clone()).filter(|branch| !branch.is_empty());
    let name = repository.full_name.as_str().rsplit('/').next().map(str::to_owned);
    facts.pipeline.slug.clone_from(&name);
    facts.pipeline.name = name;
}
