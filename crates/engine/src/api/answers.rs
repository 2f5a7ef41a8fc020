//! What is shown of builds, in the shapes of `contract.md`.

use serde::{Deserialize, Serialize};
use tidegate_core::attempt::{Attempt, Phase};
use tidegate_core::build::{Build, BuildState, Graph, JobState, PullRequestFacts};
use tidegate_core::diagnostic::Diagnostic;
use tidegate_core::ids::{BuildId, job_uuid};
use tidegate_core::plan::{BlockedState, Field, FieldInput, ManualStep};
use tidegate_core::time::Timestamp;
use tidegate_core::trust::Trust;
use tidegate_core::wire::job::AnnotationStyle;

use crate::actors::ReportRecord;
use crate::list::ListEntry;

/// A list of builds.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Builds {
    /// Newest first.
    pub builds: Vec<BuildLine>,
}

/// A build in a list.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct BuildLine {
    /// Its id.
    pub id: BuildId,
    /// Its number.
    pub number: u64,
    /// Slug of its pipeline.
    pub pipeline: String,
    /// Its repository, `owner/name`.
    pub repository: String,
    /// Its full ref, if it has one.
    #[serde(rename = "ref")]
    pub git_ref: Option<String>,
    /// Its commit.
    pub commit: String,
    /// Its state.
    pub state: BuildState,
    /// What a blocked build shows outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_state: Option<BlockedState>,
    /// When it was made.
    pub created_at: String,
    /// First line of the commit's message.
    #[serde(default)]
    pub message: String,
    /// When its first job was claimed.
    #[serde(default)]
    pub started_at: Option<String>,
    /// When it ended.
    #[serde(default)]
    pub finished_at: Option<String>,
}

/// A build with its jobs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct BuildAnswer {
    /// As in a list.
    #[serde(flatten)]
    pub build: BuildLine,
    /// Its jobs, in the order of steps.
    pub jobs: Vec<JobAnswer>,
    /// Why there are no jobs, if the build failed before it had any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failure: String,
    /// Why there are no jobs yet, though there may be: what it waits for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub waits: String,
    /// Whether its work is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Trust>,
    /// The pull request that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequestFacts>,
    /// Findings about the pipeline file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
    /// What the forge was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ReportRecord>,
    /// Who cancelled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canceled_by: Option<String>,
    /// What services were told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<NoticeAnswer>,
    /// The build whose trigger step made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggered_by: Option<TriggeredAnswer>,
    /// The build that it repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt_from: Option<BuildId>,
    /// That build's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt_number: Option<u64>,
    /// Who or what made it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub creator: String,
    /// `webhook`, `api`, `ui`, `schedule` or `trigger_job`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Who did what to it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acts: Vec<ActAnswer>,
    /// What its jobs have to say to people, the most important first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<AnnotationAnswer>,
}

/// What a service was told of a build.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct NoticeAnswer {
    /// `github_commit_status`, `webhook` or `slack`.
    pub service: String,
    /// It was told.
    pub told: bool,
    /// How often it was tried.
    pub tries: u32,
    /// Why it was not told, or will not be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// It is not tried any more.
    #[serde(default)]
    pub given_up: bool,
}

/// What somebody did to a build.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ActAnswer {
    /// When.
    pub at: String,
    /// Who.
    pub by: String,
    /// `canceled`, `retried` or `unblocked`.
    pub what: String,
    /// Label of the job that it was done to, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Id of that job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
}

/// A build that a trigger step made, or the one whose step made it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TriggeredAnswer {
    /// Its id.
    pub id: BuildId,
    /// Its number.
    pub number: u64,
    /// Slug of its pipeline.
    pub pipeline: String,
    /// Its state, if it is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<BuildState>,
}

/// What a block or input step asks.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct FormAnswer {
    /// The question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What is to be filled in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldAnswer>,
}

/// A field of a block or input step.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct FieldAnswer {
    /// The meta-data key that the value is written to.
    pub key: String,
    /// What people see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Explanation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether a value must be given.
    pub required: bool,
    /// What counts when nothing is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default: Vec<String>,
    /// The regular expression that the value must match, of a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The values to choose from, of a choice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Several may be chosen.
    #[serde(default)]
    pub multiple: bool,
}

impl From<&ManualStep> for FormAnswer {
    fn from(step: &ManualStep) -> Self {
        let field = |field: &Field| {
            let (format, options, multiple) = match &field.input {
                FieldInput::Text { format } => (format.clone(), Vec::new(), false),
                FieldInput::Select { options, multiple } => {
                    (None, options.iter().map(|(_, value)| value.clone()).collect(), *multiple)
                }
            };
            FieldAnswer {
                key: field.key.clone(),
                label: field.label.clone(),
                hint: field.hint.clone(),
                required: field.required,
                default: field.default.clone(),
                format,
                options,
                multiple,
            }
        };
        Self { prompt: step.prompt.clone(), fields: step.fields.iter().map(field).collect() }
    }
}

/// A text that jobs attached to their build.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct AnnotationAnswer {
    /// Its name.
    pub context: String,
    /// What it looks like.
    pub style: AnnotationStyle,
    /// 1 to 10.
    pub priority: u8,
    /// Markdown, as the job wrote it.
    pub body: String,
    /// Id of the job that wrote it last.
    pub job_id: String,
    /// When it was made.
    pub created_at: String,
    /// When it was changed last.
    pub updated_at: String,
}

/// A job.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct JobAnswer {
    /// Its id.
    pub id: String,
    /// `command`, `wait`, `block`, `input` or `trigger`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Key of its step.
    pub key: Option<String>,
    /// What people see.
    pub label: String,
    /// Its place among the jobs of its step.
    pub index: usize,
    /// Its state.
    pub state: String,
    /// When it was ready to run: the making of its first attempt.
    #[serde(default)]
    pub ready_at: Option<String>,
    /// Why it waits, in a sentence, while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// What a person is asked, while the step is blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<FormAnswer>,
    /// The build that a trigger step made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggered: Option<TriggeredAnswer>,
    /// Why it ended as it did, where its attempts do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unblocked_by: Option<String>,
    /// When it was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unblocked_at: Option<String>,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptAnswer>,
}

/// An attempt.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct AttemptAnswer {
    /// Counted from 1.
    pub number: u32,
    /// `queued`, `assigned`, `running`, `canceling` or `ended`.
    pub state: String,
    /// Why it ended.
    pub cause: Option<String>,
    /// Its exit status.
    pub exit_status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<String>,
    /// The machine that has or had it.
    pub instance: Option<String>,
    /// `BUILDKITE_RETRY_COUNT`.
    pub retry_count: u32,
    /// When the command began.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// When it was made.
    #[serde(default)]
    pub created_at: Option<String>,
    /// When a machine took it.
    #[serde(default)]
    pub claimed_at: Option<String>,
    /// When the first output came.
    #[serde(default)]
    pub first_output_at: Option<String>,
    /// What there is to say about the end.
    #[serde(default)]
    pub detail: Option<String>,
    /// The last lines of output.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tail: String,
}

/// An artifact.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ArtifactAnswer {
    /// Its path as the job had it.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 in hex.
    pub sha256: String,
    /// Media type.
    pub content_type: String,
    /// Label of its job.
    pub job: String,
    /// Id of its job.
    pub job_id: String,
    /// The attempt that made it.
    pub attempt: u32,
    /// For downloading: key of its content.
    pub key: String,
}

pub(super) fn text(at: Timestamp) -> String {
    at.to_string()
}

impl From<ListEntry> for BuildLine {
    fn from(entry: ListEntry) -> Self {
        Self {
            id: entry.id,
            number: entry.number,
            pipeline: entry.pipeline.to_string(),
            repository: entry.repository.to_string(),
            git_ref: entry.git_ref.map(|r| r.full()),
            commit: entry.commit.to_string(),
            state: entry.state,
            blocked_state: entry.blocked_state,
            created_at: text(entry.created_at),
            message: entry.message,
            started_at: entry.started_at.map(text),
            finished_at: entry.finished_at.map(text),
        }
    }
}

impl From<&Attempt> for AttemptAnswer {
    fn from(attempt: &Attempt) -> Self {
        let (state, held, end) = match &attempt.phase {
            Phase::Queued => ("queued", None, None),
            Phase::Held(held) if held.cancel.is_some() => ("canceling", Some(held), None),
            Phase::Held(held) if held.started_at.is_some() => ("running", Some(held), None),
            Phase::Held(held) => ("assigned", Some(held), None),
            Phase::Ended(end) => ("ended", end.held.as_ref(), Some(end)),
        };
        Self {
            number: attempt.id.number,
            state: state.to_owned(),
            cause: end.map(|e| e.cause.name().to_owned()),
            exit_status: end.and_then(|e| e.exit_status),
            signal: end.and_then(|e| e.signal.clone()),
            instance: held.map(|h| h.owner.to_string()),
            retry_count: attempt.retry_count,
            started_at: held.and_then(|h| h.started_at).map(text),
            finished_at: end.map(|e| text(e.at)),
            created_at: Some(text(attempt.created_at)),
            claimed_at: held.map(|h| text(h.claimed_at)),
            first_output_at: end.and_then(|e| e.first_output_at).map(text),
            detail: end.and_then(|e| e.detail.clone()),
            tail: end.map_or_else(String::new, |e| e.tail.clone()),
        }
    }
}

/// The state of a job as it is shown: the attempt says what the record leaves open.
pub(super) fn shown_state(state: JobState, attempt: Option<&Attempt>) -> &'static str {
    match (state, attempt.map(|a| &a.phase)) {
        (JobState::Scheduled, Some(Phase::Held(held))) if held.started_at.is_some() => "running",
        (JobState::Scheduled, Some(Phase::Held(_))) => "assigned",
        // It has ended, and the build has not folded that in yet.
        (JobState::Scheduled, Some(Phase::Ended(end))) if end.held.is_some() => "running",
        (state, _) => state.name(),
    }
}

/// Who did what, oldest first.
pub(super) fn acts(build: &Build, graph: &Graph) -> Vec<ActAnswer> {
    let mut acts: Vec<(Timestamp, ActAnswer)> = Vec::new();
    for act in &build.acts {
        let job = act.did.job();
        let answer = ActAnswer {
            at: text(act.at),
            by: act.by.clone(),
            what: act.did.name().to_owned(),
            job: job.and_then(|job| graph.job(job)).map(|j| j.label().to_owned()),
            job_id: job.map(|job| job_uuid(&build.facts.id, job).to_string()),
        };
        acts.push((act.at, answer));
    }
    if let Some(cancel) = &build.cancel {
        let what = if cancel.skipped { "skipped" } else { "canceled" };
        let (by, what) = (cancel.by.clone(), what.to_owned());
        acts.push((cancel.at, ActAnswer { at: text(cancel.at), by, what, job: None, job_id: None }));
    }
    acts.sort_by_key(|(at, _)| *at);
    acts.into_iter().map(|(_, act)| act).collect()
}
