//! The environment of a job, as far as the control plane knows it (`spec/pipeline.md` 1.16); the agent adds what only it
//! knows. Order is precedence: later entries win.

use tidegate_core::build::{Build, Did, Graph, JobRef};
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
        Some(GitRef::Branch(_)) | None => String::new(),
    }
}

/// What belongs to the build: the same for all its jobs.
fn of_build(settings: &Settings, build: &Build, repository: Option<&RepositorySource>) -> Env {
    let facts = &build.facts;
    let source = if facts.source == "webhook" { "push" } else { "" };
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
        ("BUILDKITE_GITHUB_EVENT", source.into()),
        ("BUILDKITE_MESSAGE", facts.message.clone()),
        ("BUILDKITE_BRANCH", branch(build)),
        ("BUILDKITE_TAG", tag(build)),
        ("BUILDKITE_COMMIT", facts.commit.to_string()),
        ("BUILDKITE_COMMIT_RESOLVED", "true".into()),
        ("BUILDKITE_REPO", repository.map_or_else(String::new, |r| r.clone_url.clone())),
        ("BUILDKITE_PULL_REQUEST", "false".into()),
        ("BUILDKITE_PULL_REQUEST_BASE_BRANCH", String::new()),
        ("BUILDKITE_PULL_REQUEST_REPO", String::new()),
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
        Some(GitRef::Branch(name)) => (Some(name.clone()), None),
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
    facts.build_env = build.env.iter().cloned().collect();
    facts
}
