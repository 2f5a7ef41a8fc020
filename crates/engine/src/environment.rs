//! The environment of a job, as far as the control plane knows it (`spec/pipeline.md` 1.16); the agent adds what only it
//! knows. Order is precedence: later entries win.

use tidegate_core::build::{Build, Did, Graph, JobRef, PullRequestFacts};
use tidegate_core::event::GitRef;
use tidegate_core::ids::{JobIndex, derived_uuid, job_uuid};
use tidegate_core::plan::{Env, JobSpec, Plugin};
use tidegate_pipeline::condition;

use crate::engine::Settings;
use crate::ports::RepositorySource;

/// Where people see a build.
pub(crate) fn build_url(settings: &Settings, build: &Build) -> String {
    if settings.base_url.is_empty() {
        String::new()
    } else {
        format!("{}/builds/{}", settings.base_url, build.facts.id)
    }
}

fn branch(build: &Build) -> String {
    // Builds of a tag have the tag's name as their branch (`spec/pipeline.md` 1.8, branches).
    build.facts.git_ref.as_ref().map_or_else(String::new, |r| r.name().to_owned())
}

fn tag(build: &Build) -> String {
    match &build.facts.git_ref {
        Some(GitRef::Tag(name)) => name.clone(),
        Some(GitRef::Branch(_) | GitRef::Pull { .. }) | None => String::new(),
    }
}

/// What belongs to the build: the same for all its jobs.
fn of_build(settings: &Settings, build: &Build, repository: Option<&RepositorySource>) -> Env {
    let facts = &build.facts;
    let origin = facts.origin.as_deref();
    let event = match (origin, facts.source.as_str()) {
        (Some(origin), _) => origin.event.as_str(),
        (None, "webhook") => "push",
        (None, _) => "",
    };
    let pull = build.pull_request();
    let queue = origin.and_then(|o| o.merge_queue.as_ref());
    let of_pull = |say: fn(&PullRequestFacts) -> String| pull.map_or_else(String::new, say);
    let parent = facts.triggered_by.as_deref();
    let entries: Vec<(&str, String)> = vec![
        ("BUILDKITE", "true".into()),
        ("CI", "true".into()),
        ("TIDEGATE", "true".into()),
        ("BUILDKITE_ORGANIZATION_SLUG", settings.organization.clone()),
        ("BUILDKITE_ORGANIZATION_ID", derived_uuid("organization", &settings.organization).to_string()),
        ("BUILDKITE_PIPELINE_ID", derived_uuid("pipeline", facts.pipeline.as_str()).to_string()),
        ("BUILDKITE_PIPELINE_NAME", facts.pipeline.to_string()),
        ("BUILDKITE_PIPELINE_SLUG", facts.pipeline.to_string()),
        ("BUILDKITE_PIPELINE_PROVIDER", "github".into()),
        ("BUILDKITE_PIPELINE_DEFAULT_BRANCH", facts.default_branch.clone()),
        ("BUILDKITE_BUILD_ID", facts.id.to_string()),
        ("BUILDKITE_BUILD_NUMBER", facts.number.to_string()),
        ("BUILDKITE_BUILD_URL", build_url(settings, build)),
        ("BUILDKITE_BUILD_AUTHOR", facts.author.0.clone()),
        ("BUILDKITE_BUILD_AUTHOR_EMAIL", facts.author.1.clone()),
        ("BUILDKITE_BUILD_CREATOR", facts.creator.clone()),
        ("BUILDKITE_SOURCE", facts.source.clone()),
        ("BUILDKITE_GITHUB_EVENT", event.into()),
        ("BUILDKITE_GITHUB_ACTION", origin.map_or_else(String::new, |o| o.action.clone())),
        ("BUILDKITE_MESSAGE", facts.message.clone()),
        ("BUILDKITE_BRANCH", branch(build)),
        ("BUILDKITE_TAG", tag(build)),
        ("BUILDKITE_COMMIT", facts.commit.to_string()),
        ("BUILDKITE_COMMIT_RESOLVED", "true".into()),
        ("BUILDKITE_REPO", repository.map_or_else(String::new, |r| r.clone_url.clone())),
        ("BUILDKITE_PULL_REQUEST", pull.map_or_else(|| "false".to_owned(), |pull| pull.number.to_string())),
        ("BUILDKITE_PULL_REQUEST_BASE_BRANCH", of_pull(|pull| pull.base_branch.clone())),
        ("BUILDKITE_PULL_REQUEST_REPO", of_pull(|pull| pull.repository.clone())),
        ("BUILDKITE_PULL_REQUEST_DRAFT", of_pull(|pull| pull.draft.to_string())),
        ("BUILDKITE_PULL_REQUEST_LABELS", of_pull(|pull| pull.labels.join(","))),
        ("BUILDKITE_MERGE_QUEUE_BASE_BRANCH", queue.map_or_else(String::new, |queue| queue.base_branch.clone())),
        ("BUILDKITE_MERGE_QUEUE_BASE_COMMIT", queue.map_or_else(String::new, |queue| queue.base_commit.to_string())),
        ("BUILDKITE_REBUILT_FROM_BUILD_ID", facts.rebuilt_from.as_ref().map_or_else(String::new, ToString::to_string)),
        ("BUILDKITE_REBUILT_FROM_BUILD_NUMBER", facts.rebuilt_number.map_or_else(String::new, |n| n.to_string())),
        ("BUILDKITE_TRIGGERED_FROM_BUILD_ID", parent.map_or_else(String::new, |by| by.build.to_string())),
        ("BUILDKITE_TRIGGERED_FROM_BUILD_NUMBER", parent.map_or_else(String::new, |by| by.number.to_string())),
        ("BUILDKITE_TRIGGERED_FROM_BUILD_PIPELINE_SLUG", parent.map_or_else(String::new, |by| by.pipeline.to_string())),
    ];
    entries.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The complete environment of one attempt at a job.
pub(crate) fn of_job(
    settings: &Settings,
    build: &Build,
    graph: &Graph,
    place: JobIndex,
    job: &JobRef<'_>,
    repository: Option<&RepositorySource>,
    retry_count: u32,
) -> Env {
    let mut env: Env = Vec::new();
    // Top-level env of every segment so far, then the build's own, then the step's (`spec/pipeline.md` 1.16).
    for segment in graph.segments() {
        env.extend(segment.env.iter().cloned());
    }
    env.extend(build.facts.env.iter().cloned());
    let Some(spec) = job.spec() else { return env };
    env.extend(spec.env.iter().cloned());
    env.extend(of_build(settings, build, repository));
    let mut add = |name: &str, value: String| env.push((name.to_owned(), value));
    let id = job_uuid(&build.facts.id, place);
    add("BUILDKITE_JOB_ID", id.to_string());
    let step = derived_uuid("step", &format!("{}/{}/{}", build.facts.id, job.segment, step_name(graph, place)));
    add("BUILDKITE_STEP_ID", step.to_string());
    if let Some(key) = &job.step.key {
        add("BUILDKITE_STEP_KEY", key.clone());
    }
    add("BUILDKITE_LABEL", job.label().to_owned());
    add("BUILDKITE_COMMAND", spec.command.clone());
    if !spec.artifact_paths.is_empty() {
        add("BUILDKITE_ARTIFACT_PATHS", spec.artifact_paths.join(";"));
    }
    let timeout = job.command.and_then(|c| c.timeout_in_minutes);
    add("BUILDKITE_TIMEOUT", timeout.map_or_else(|| "false".to_owned(), |minutes| minutes.to_string()));
    add("BUILDKITE_RETRY_COUNT", retry_count.to_string());
    if let Some((index, count)) = job.job.and_then(|j| j.parallel) {
        add("BUILDKITE_PARALLEL_JOB", index.to_string());
        add("BUILDKITE_PARALLEL_JOB_COUNT", count.to_string());
    }
    if let Some(group) = job.step.group.and_then(|g| graph.segments().get(job.segment)?.groups.get(g as usize)) {
        add("BUILDKITE_GROUP_LABEL", group.label.clone());
        if let Some(key) = &group.key {
            add("BUILDKITE_GROUP_KEY", key.clone());
        }
    }
    if !spec.plugins.is_empty() {
        add("BUILDKITE_PLUGINS", plugins(spec).to_string());
    }
    if let Some(image) = &spec.image {
        add("BUILDKITE_IMAGE", image.clone());
    }
    if let Some(act) = build.acts.iter().rev().find(|act| matches!(act.did, Did::Unblocked { .. })) {
        add("BUILDKITE_UNBLOCKER", act.by.clone());
    }
    for (tag, value) in &spec.agents {
        let name: String =
            tag.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        add(&format!("BUILDKITE_AGENT_META_DATA_{name}"), value.clone());
    }
    env
}

/// `["source", {"source": configuration}, …]`, as the reference gives it to its agent (`spec/pipeline.md` 1.14).
fn plugins(spec: &JobSpec) -> serde_json::Value {
    let entry = |plugin: &Plugin| match &plugin.config {
        serde_json::Value::Null => serde_json::Value::String(plugin.source.clone()),
        config => serde_json::Value::Object([(plugin.source.clone(), config.clone())].into_iter().collect()),
    };
    spec.plugins.iter().map(entry).collect()
}

fn step_name(graph: &Graph, place: JobIndex) -> String {
    graph.owner(place).map_or_else(String::new, |step| step.to_string())
}

/// What the conditions and the interpolation of a pipeline text see of a build.
pub(crate) fn pipeline_facts(settings: &Settings, build: &tidegate_core::build::Facts, url: &str) -> condition::Facts {
    let (branch, tag) = match &build.git_ref {
        Some(GitRef::Branch(name) | GitRef::Pull { branch: name, .. }) => (Some(name.clone()), None),
        Some(GitRef::Tag(name)) => (Some(name.clone()), Some(name.clone())),
        None => (None, None),
    };
    let mut facts = condition::Facts::default();
    facts.build.id = Some(build.id.to_string());
    facts.build.number = i64::try_from(build.number).ok();
    facts.build.source = Some(build.source.clone());
    facts.build.branch = branch;
    facts.build.tag = tag;
    facts.build.message = Some(build.message.clone());
    facts.build.commit = Some(build.commit.to_string());
    facts.build.author.name = Some(build.author.0.clone());
    facts.build.author.email = Some(build.author.1.clone()).filter(|e| !e.is_empty());
    facts.build.creator.name = Some(build.creator.clone());
    facts.build.state = Some("scheduled".to_owned());
    facts.pipeline.slug = Some(build.pipeline.to_string());
    facts.pipeline.name = Some(build.pipeline.to_string());
    facts.pipeline.id = Some(derived_uuid("pipeline", build.pipeline.as_str()).to_string());
    facts.pipeline.default_branch = Some(build.default_branch.clone()).filter(|b| !b.is_empty());
    facts.pipeline.repository = Some(url.to_owned());
    facts.organization.slug = Some(settings.organization.clone());
    if let Some(origin) = &build.origin {
        facts.build.source_event = Some(origin.event.clone());
        facts.build.source_action = Some(origin.action.clone()).filter(|action| !action.is_empty());
        if let Some(pull) = &origin.pull_request {
            facts.build.pull_request = condition::PullRequest {
                id: Some(pull.number.to_string()),
                base_branch: Some(pull.base_branch.clone()),
                draft: Some(pull.draft),
                label: None,
                labels: Some(pull.labels.clone()),
                repository: Some(pull.repository.clone()),
                repository_fork: Some(pull.fork),
                using_merge_refspec: None,
            };
        }
        if let Some(queue) = &origin.merge_queue {
            facts.build.merge_queue = condition::MergeQueue {
                active: true,
                base_branch: Some(queue.base_branch.clone()),
                base_commit: Some(queue.base_commit.to_string()),
            };
        }
    }
    facts.build_env = build.env.iter().cloned().collect();
    facts
}
