//! The variables of conditions, their types and values: the one table of `spec/pipeline.md` 1.8.

use super::eval::Value;
use super::facts::Facts;

/// The type of an expression.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Type {
    String,
    Number,
    Bool,
    Null,
    Regex,
    Strings,
    /// The changed files: our own addition, see docs/decisions/0104.
    Files,
    /// A text out of a closed list.
    Enum(&'static Enum),
    /// Something is wrong with it, and was said already.
    Unknown,
}

/// A closed list of texts.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Enum {
    pub(super) name: &'static str,
    pub(super) words: &'static [&'static str],
}

impl Type {
    pub(super) fn describe(self) -> String {
        match self {
            Self::String => "a text".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::Bool => "a boolean".to_owned(),
            Self::Null => "`null`".to_owned(),
            Self::Regex => "a regular expression".to_owned(),
            Self::Strings => "a list of texts".to_owned(),
            Self::Files => "the list of changed files".to_owned(),
            Self::Enum(list) => format!("a {}", list.name),
            Self::Unknown => "something unknown".to_owned(),
        }
    }
}

/// A variable.
pub(super) struct Variable {
    pub(super) name: &'static str,
    pub(super) kind: Type,
    pub(super) value: fn(&Facts) -> Value,
}

static BUILD_STATE: Enum = Enum {
    name: "build state",
    words: &[
        "creating",
        "started",
        "running",
        "scheduled",
        "blocked",
        "passed",
        "failing",
        "failed",
        "canceling",
        "canceled",
        "skipped",
        "not_run",
    ],
};
static BLOCKED_STATE: Enum = Enum { name: "build blocked state", words: &["failed", "passed", "running"] };
static BUILD_SOURCE: Enum =
    Enum { name: "build source", words: &["api", "ui", "webhook", "trigger_job", "schedule", "pipeline_trigger"] };
static STEP_TYPE: Enum = Enum { name: "step type", words: &["command", "wait", "input", "trigger", "group"] };
static STEP_STATE: Enum = Enum {
    name: "step state",
    words: &[
        "ignored",
        "waiting_for_dependencies",
        "ready",
        "waiting_for_input",
        "running",
        "failing",
        "canceled",
        "finished",
    ],
};
static STEP_OUTCOME: Enum =
    Enum { name: "step outcome", words: &["neutral", "passed", "soft_failed", "hard_failed", "errored"] };

const fn variable(name: &'static str, kind: Type, value: fn(&Facts) -> Value) -> Variable {
    Variable { name, kind, value }
}

fn text(value: &Option<String>) -> Value {
    value.clone().map_or(Value::Null, Value::Str)
}

/// Blank is null.
fn present(value: &Option<String>) -> Value {
    text(&value.clone().filter(|value| !value.trim().is_empty()))
}

fn truth(value: Option<bool>) -> Value {
    value.map_or(Value::Null, Value::Bool)
}

fn texts(value: &Option<Vec<String>>) -> Value {
    value.clone().map_or(Value::Null, Value::Strings)
}

fn step(facts: &Facts, value: fn(&super::facts::Step) -> &Option<String>) -> Value {
    facts.step.as_ref().map_or(Value::Null, |step| text(value(step)))
}

/// What the event was; only webhooks have one.
fn source_event(facts: &Facts) -> Option<String> {
    webhook(facts, &facts.build.source_event, "BUILDKITE_GITHUB_EVENT")
}

fn webhook(facts: &Facts, own: &Option<String>, name: &str) -> Option<String> {
    if facts.build.source.as_deref() != Some("webhook") {
        return None;
    }
    own.clone().or_else(|| facts.build_env.get(name).cloned())
}

/// Variables of every condition.
static BASE: &[Variable] = &[
    variable("build.id", Type::String, |f| text(&f.build.id)),
    variable("build.state", Type::Enum(&BUILD_STATE), |f| text(&f.build.state)),
    variable("build.fixed", Type::Bool, |f| truth(f.build.fixed)),
    variable("build.blocked_state", Type::Enum(&BLOCKED_STATE), |f| text(&f.build.blocked_state)),
    variable("build.source", Type::Enum(&BUILD_SOURCE), |f| text(&f.build.source)),
    variable("build.source_event", Type::String, |f| text(&source_event(f))),
    variable("build.source_action", Type::String, |f| {
        text(&webhook(f, &f.build.source_action, "BUILDKITE_GITHUB_ACTION"))
    }),
    variable("build.branch", Type::String, |f| text(&f.build.branch)),
    variable("build.tag", Type::String, |f| present(&f.build.tag)),
    variable("build.message", Type::String, |f| present(&f.build.message)),
    variable("build.commit", Type::String, |f| text(&f.build.commit)),
    variable("build.number", Type::Number, |f| f.build.number.map_or(Value::Null, Value::Int)),
    variable("build.creator.id", Type::String, |f| text(&f.build.creator.id)),
    variable("build.creator.name", Type::String, |f| text(&f.build.creator.name)),
    variable("build.creator.email", Type::String, |f| text(&f.build.creator.email)),
    variable("build.creator.teams", Type::Strings, |f| texts(&f.build.creator.teams)),
    variable("build.creator.verified", Type::Bool, |f| truth(f.build.creator.verified)),
    variable("build.author.id", Type::String, |f| text(&f.build.author.id)),
    variable("build.author.name", Type::String, |f| present(&f.build.author.name)),
    variable("build.author.email", Type::String, |f| present(&f.build.author.email)),
    variable("build.author.teams", Type::Strings, |f| texts(&f.build.author.teams)),
    variable("build.scm.author.name", Type::String, |f| text(&f.build.scm.author_name)),
    variable("build.scm.author.email", Type::String, |f| text(&f.build.scm.author_email)),
    variable("build.scm.committer.name", Type::String, |f| text(&f.build.scm.committer_name)),
    variable("build.scm.committer.email", Type::String, |f| text(&f.build.scm.committer_email)),
    variable("build.pull_request.id", Type::String, |f| text(&f.build.pull_request.id)),
    variable("build.pull_request.base_branch", Type::String, |f| text(&f.build.pull_request.base_branch)),
    variable("build.pull_request.draft", Type::Bool, |f| truth(f.build.pull_request.draft)),
    variable("build.pull_request.label", Type::String, |f| match source_event(f).as_deref() {
        Some("pull_request") => text(&f.build.pull_request.label),
        _ => Value::Null,
    }),
    variable("build.pull_request.labels", Type::Strings, |f| texts(&f.build.pull_request.labels)),
    variable("build.pull_request.repository", Type::String, |f| text(&f.build.pull_request.repository)),
    variable("build.pull_request.repository.fork", Type::Bool, |f| truth(f.build.pull_request.repository_fork)),
    variable("build.merge_queue.base_branch", Type::String, |f| text(&f.build.merge_queue.base_branch)),
    variable("build.merge_queue.base_commit", Type::String, |f| text(&f.build.merge_queue.base_commit)),
    variable("pipeline.id", Type::String, |f| text(&f.pipeline.id)),
    variable("pipeline.slug", Type::String, |f| text(&f.pipeline.slug)),
    variable("pipeline.default_branch", Type::String, |f| present(&f.pipeline.default_branch)),
    variable("pipeline.repository", Type::String, |f| present(&f.pipeline.repository)),
    variable("pipeline.started_passing", Type::Bool, |f| truth(f.pipeline.started_passing)),
    variable("pipeline.started_failing", Type::Bool, |f| truth(f.pipeline.started_failing)),
    variable("pipeline.next_finished_build_exists", Type::Bool, |f| truth(f.pipeline.next_finished_build_exists)),
    variable("organization.id", Type::String, |f| text(&f.organization.id)),
    variable("organization.slug", Type::String, |f| text(&f.organization.slug)),
];

/// Variables of conditions that have a step.
static STEP: &[Variable] = &[
    variable("step.id", Type::String, |f| step(f, |step| &step.id)),
    variable("step.key", Type::String, |f| step(f, |step| &step.key)),
    variable("step.type", Type::Enum(&STEP_TYPE), |f| step(f, |step| &step.kind)),
    variable("step.label", Type::String, |f| step(f, |step| &step.label)),
    variable("step.state", Type::Enum(&STEP_STATE), |f| step(f, |step| &step.state)),
    variable("step.outcome", Type::Enum(&STEP_OUTCOME), |f| step(f, |step| &step.outcome)),
];

/// The changed files. Not a variable of the other implementation, but files in the wild name it.
pub(super) static CHANGED_FILES: Variable = variable("build.changed_files", Type::Files, |f| texts(&f.changed_files));

pub(super) fn find(name: &str, with_step: bool) -> Option<&'static Variable> {
    names_of(with_step).find(|variable| variable.name == name)
}

pub(super) fn names_of(with_step: bool) -> impl Iterator<Item = &'static Variable> {
    let step = if with_step { STEP } else { &[] };
    BASE.iter().chain(step)
}

/// The standard variables of the environment that a condition may read by a literal name.
pub(super) const READABLE: [&str; 38] = [
    "BUILDKITE_BRANCH",
    "BUILDKITE_TAG",
    "BUILDKITE_MESSAGE",
    "BUILDKITE_COMMIT",
    "BUILDKITE_PIPELINE_SLUG",
    "BUILDKITE_PIPELINE_NAME",
    "BUILDKITE_PIPELINE_ID",
    "BUILDKITE_ORGANIZATION_SLUG",
    "BUILDKITE_TRIGGERED_FROM_BUILD_ID",
    "BUILDKITE_TRIGGERED_FROM_BUILD_NUMBER",
    "BUILDKITE_TRIGGERED_FROM_BUILD_PIPELINE_SLUG",
    "BUILDKITE_TRIGGERED_FROM_BUILD_JOB_ID",
    "BUILDKITE_REBUILT_FROM_BUILD_ID",
    "BUILDKITE_REBUILT_FROM_BUILD_NUMBER",
    "BUILDKITE_REPO",
    "BUILDKITE_PULL_REQUEST",
    "BUILDKITE_PULL_REQUEST_BASE_BRANCH",
    "BUILDKITE_PULL_REQUEST_REPO",
    "BUILDKITE_PULL_REQUEST_USING_MERGE_REFSPEC",
    "BUILDKITE_MERGE_QUEUE_BASE_BRANCH",
    "BUILDKITE_MERGE_QUEUE_BASE_COMMIT",
    "BUILDKITE_GIT_DIFF_BASE",
    "BUILDKITE_GITHUB_ACTION",
    "BUILDKITE_GITHUB_COMMENT_ID",
    "BUILDKITE_GITHUB_DEPLOYMENT_ID",
    "BUILDKITE_GITHUB_DEPLOYMENT_TASK",
    "BUILDKITE_GITHUB_DEPLOYMENT_ENVIRONMENT",
    "BUILDKITE_GITHUB_DEPLOYMENT_PAYLOAD",
    "BUILDKITE_GITHUB_EVENT",
    "BUILDKITE_GITHUB_REVIEW_ID",
    "BUILDKITE_GITHUB_CHECK_RUN_CONCLUSION",
    "BUILDKITE_GITHUB_CHECK_RUN_NAME",
    "BUILDKITE_GITHUB_DEPLOYMENT_STATUS_ENVIRONMENT",
    "BUILDKITE_GITHUB_DEPLOYMENT_STATUS_STATE",
    "BUILDKITE_GITHUB_RELEASE_DRAFT",
    "BUILDKITE_GITHUB_RELEASE_PRERELEASE",
    "BUILDKITE_GITHUB_RELEASE_TAG",
    "BUILDKITE_GITHUB_REVIEW_STATE",
];

/// Readable too, but only by a name that is not literal.
pub(super) const LABELS: &str = "BUILDKITE_PULL_REQUEST_LABELS";

/// Whether a name is a standard variable that a condition may not read by a literal name.
pub(super) fn unreadable(name: &str) -> bool {
    name.starts_with("BUILDKITE_") && !READABLE.contains(&name)
}
