//! The stored form of an expanded pipeline: what `tidegate-pipeline` makes of a file and what the build actor runs.
//!
//! A build has one or more [`Segment`]s: the first from the pipeline file, each further one from a `pipeline upload`
//! inside a job. A segment is immutable once stored. Conditions, branches, matrix and parallelism are already
//! applied; dependencies are not resolved yet, because later segments may bring their targets.

use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostic;

/// An ordered map of environment variables. Order matters: later entries may refer to earlier ones.
pub type Env = Vec<(String, String)>;

/// One expansion of one pipeline text.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Steps in file order; the children of a group stand where the group stood.
    pub steps: Vec<Step>,
    /// Groups in file order; steps refer to them by place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// Top-level `env`: applies to every command step of the build that has not started, below the step's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Env,
    /// Top-level `notify`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Notify>,
    /// Warnings that the build should show, such as attributes that are accepted but not yet acted on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
}

impl Segment {
    /// Whether the two differ at most in what they say to people: the same jobs run, in the same way.
    pub fn does_the_same_as(&self, other: &Self) -> bool {
        let silent = |segment: &Self| {
            let mut segment = Self { diagnostics: Vec::new(), ..segment.clone() };
            for step in &mut segment.steps {
                let jobs = match &mut step.kind {
                    StepKind::Command(command) => command.jobs.as_mut_slice(),
                    StepKind::Wait { .. } | StepKind::Block(_) | StepKind::Input(_) | StepKind::Trigger(_) => &mut [],
                };
                let left_out = jobs.iter_mut().filter_map(|job| job.left_out.as_mut()).chain(&mut step.left_out);
                left_out.for_each(|left_out| left_out.why.clear());
            }
            segment
        };
        silent(self) == silent(other)
    }
}

/// A group of steps.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The key that `depends_on` may name: it means all children.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What people see.
    pub label: String,
    /// Step-level notifications of the group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Notify>,
}

/// One step of a pipeline.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The key that `depends_on` may name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What people see; never empty.
    pub label: String,
    /// The step's group, as an index into [`Segment::groups`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// What it waits for.
    #[serde(default)]
    pub depends_on: DependsOn,
    /// Runs although something it depends on failed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_dependency_failure: bool,
    /// Why the step makes no runnable job, if so. Counts as satisfied for whoever depends on it
    /// (`spec/pipeline.md` 1.7, rule 7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
    /// What the step does.
    #[serde(flatten)]
    pub kind: StepKind,
}

/// What a step waits for.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DependsOn {
    /// No `depends_on` was written: the nearest wait or block before it in the same scope.
    #[default]
    Implicit,
    /// What `depends_on` names; an empty list means that the step may run at once.
    Explicit(Vec<Dependency>),
}

/// One entry of `depends_on`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Dependency {
    /// Key of a step or a group; it may come with a later segment.
    pub key: String,
    /// Go on although that step failed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_failure: bool,
}

/// Why a step or a job is not run.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// `broken` (an `if` or `branches` that did not hold) or `skipped` (`skip`, `if_changed`).
    pub kind: LeftOutKind,
    /// For people: which condition, with which values.
    pub why: String,
}

/// The two ways to be left out; they are job states (`spec/pipeline.md` 1.13).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOutKind {
    /// A condition did not hold.
    Broken,
    /// Skipped on purpose.
    Skipped,
}

/// What a step does.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StepKind {
    /// Runs commands; at least one job.
    Command(Box<CommandStep>),
    /// Holds everything after it until everything before it has passed.
    Wait {
        /// Opens also when something before it failed.
        #[serde(default)]
        continue_on_failure: bool,
    },
    /// A gate that a person opens, with the dependencies of a wait.
    Block(Box<ManualStep>),
    /// Like block, without implicit dependencies.
    Input(Box<ManualStep>),
    /// Starts a build of another pipeline.
    Trigger(Box<TriggerStep>),
}

/// The part of a command step that all its jobs share, and its jobs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct CommandStep {
    /// What a job runs unless its own [`Job::spec`] says otherwise.
    #[serde(flatten)]
    pub spec: JobSpec,
    /// One job a copy: `parallelism`, the combinations of a matrix, or just one.
    pub jobs: Vec<Job>,
    /// When to try again.
    #[serde(default)]
    pub retry: Retry,
    /// Minutes from the start of a job to its timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_in_minutes: Option<u32>,
    /// Larger first; 0 when not given.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i64,
    /// Limits how many jobs of a group run at once, over all builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Cancel this step's jobs as soon as the build is failing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cancel_on_build_failing: bool,
    /// Step-level notifications.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Notify>,
}

/// What one job of a command step runs.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The script: a list of commands is joined by newlines (`spec/pipeline.md` 1.4). Empty when a plugin supplies it.
    pub command: String,
    /// The step's own variables. The segment's `env` is below them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Env,
    /// Which machines may run it, after defaults: tag and value, sorted by tag; value `*` is any. `queue` is always present.
    pub agents: Vec<(String, String)>,
    /// Globs of files to keep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifact_paths: Vec<String>,
    /// Plugins in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<Plugin>,
    /// Variable and name of each secret that the agent fetches before the hooks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<(String, String)>,
    /// Which failures count as passed.
    #[serde(default)]
    pub soft_fail: SoftFail,
    /// The `cache` attribute, normalised to JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<serde_json::Value>,
    /// The `checkout` attribute, normalised to JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkout: Option<serde_json::Value>,
    /// The `image` attribute, exposed as `BUILDKITE_IMAGE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// One job of a command step.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// `BUILDKITE_PARALLEL_JOB` (from 0) and `BUILDKITE_PARALLEL_JOB_COUNT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<(u32, u32)>,
    /// Dimension and value of each matrix dimension; the dimension of an anonymous matrix is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matrix: Vec<(String, String)>,
    /// Why this combination is not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
    /// The label after substitution, where it differs from the step's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What this job runs, where it differs from the step's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Box<JobSpec>>,
}

/// A plugin after canonicalisation.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Plugin {
    /// Where it comes from, with its ref, as `BUILDKITE_PLUGINS` has it.
    pub source: String,
    /// Its configuration; null when none was given.
    #[serde(default)]
    pub config: serde_json::Value,
}

/// Which exits count as passed although they are not zero.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SoftFail {
    /// None.
    #[default]
    Never,
    /// Every one.
    Always,
    /// These exit statuses; `None` stands for `*`.
    On(Vec<Option<i32>>),
}

/// `retry`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// Rules of `retry.automatic`, first match decides. `None` when the file says nothing, `Some([])` for `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automatic: Option<Vec<RetryRule>>,
    /// `retry.manual`.
    #[serde(default)]
    pub manual: ManualRetry,
}

/// A rule of `retry.automatic`. All of its conditions must hold.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RetryRule {
    /// Which exit statuses.
    #[serde(default)]
    pub exit_status: ExitStatusMatch,
    /// Which signals: upper case without `SIG`; `*` any, `none` no signal.
    #[serde(default = "any")]
    pub signal: Vec<String>,
    /// Which reasons of a signal; `*` any, `none` no reason.
    #[serde(default = "any")]
    pub signal_reason: Vec<String>,
    /// How often this rule may be used for one job: 0 to 10.
    pub limit: u8,
}

fn any() -> Vec<String> {
    vec!["*".to_owned()]
}

/// Which exit statuses a retry rule is for.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatusMatch {
    /// `*`.
    #[default]
    Any,
    /// One of these.
    OneOf(Vec<i32>),
}

/// `retry.manual`: whether people may retry.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ManualRetry {
    /// Whether a retry is allowed at all.
    pub allowed: bool,
    /// Whether a job that passed may be retried.
    pub permit_on_passed: bool,
    /// Shown when a retry is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Default for ManualRetry {
    fn default() -> Self {
        Self { allowed: true, permit_on_passed: true, reason: None }
    }
}

/// `concurrency`, `concurrency_group` and `concurrency_method`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Concurrency {
    /// The group's name, the same over all builds and pipelines.
    pub group: String,
    /// How many may run at once.
    pub limit: u32,
    /// Take any free slot, instead of strictly in order of creation.
    #[serde(default, skip_serializing_if = "is_false")]
    pub eager: bool,
}

/// A block or an input step.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct ManualStep {
    /// What to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Text of the button.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submit: Option<String>,
    /// What a person fills in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
    /// What the build shows outside while it is blocked here.
    #[serde(default)]
    pub blocked_state: BlockedState,
    /// Teams whose members may open it; empty is everybody with access.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_teams: Vec<String>,
}

/// `blocked_state`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockedState {
    /// The default.
    #[default]
    Passed,
    /// Shown as failed.
    Failed,
    /// Shown as running.
    Running,
}

/// A field of a block or input step.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// The meta-data key that the value is written to.
    pub key: String,
    /// What people see above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Explanation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether a value must be given.
    pub required: bool,
    /// The default: one value, or several where `multiple`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default: Vec<String>,
    /// Text or choice.
    pub input: FieldInput,
}

/// How a field is filled in.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldInput {
    /// Free text.
    Text {
        /// Anchored regular expression that the value must match.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<String>,
    },
    /// One or several of these.
    Select {
        /// Label and value of each.
        options: Vec<(String, String)>,
        /// Whether several may be chosen; they are joined by newlines.
        multiple: bool,
    },
}

/// A trigger step.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TriggerStep {
    /// Slug of the pipeline to build.
    pub pipeline: String,
    /// Branch of the child; its default branch when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Commit of the child; `HEAD` of the branch when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Message of the child; the label when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Environment of the child's build.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Env,
    /// Meta-data of the child's build.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meta_data: Vec<(String, String)>,
    /// Passed as soon as the child exists.
    #[serde(default, skip_serializing_if = "is_false")]
    pub asynchronous: bool,
    /// Which failures of the child count as passed.
    #[serde(default)]
    pub soft_fail: SoftFail,
    /// How many children to start.
    pub parallelism: u32,
}

/// A notification, kept as written after interpolation; `kind` is its service.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Notify {
    /// `github_commit_status`, `webhook`, `slack`, …
    pub service: String,
    /// Its configuration; null for a bare name.
    #[serde(default)]
    pub config: serde_json::Value,
    /// Condition, evaluated when the event happens.
    #[serde(default, rename = "if", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

impl Step {
    /// How many jobs the step makes: a command or trigger step one or more, every other kind one.
    pub fn job_count(&self) -> usize {
        match &self.kind {
            StepKind::Command(step) => step.jobs.len(),
            StepKind::Trigger(step) => usize::try_from(step.parallelism).unwrap_or(1).max(1),
            StepKind::Wait { .. } | StepKind::Block(_) | StepKind::Input(_) => 1,
        }
    }
}

impl CommandStep {
    /// What the job at `index` runs; the step's own when there is no such job.
    pub fn spec_of(&self, index: usize) -> &JobSpec {
        self.jobs.get(index).and_then(|job| job.spec.as_deref()).unwrap_or(&self.spec)
    }
}

impl SoftFail {
    /// Whether a job that ended with this exit status counts as passed.
    pub fn covers(&self, exit_status: i32) -> bool {
        match self {
            SoftFail::Never => false,
            SoftFail::Always => exit_status != 0,
            SoftFail::On(statuses) => {
                exit_status != 0 && statuses.iter().any(|s| s.is_none_or(|wanted| wanted == exit_status))
            }
        }
    }
}

/// Why a segment cannot be added to a build.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SegmentRefusal {
    /// A key is in use.
    #[error("the key `{0}` is already used by a step of this build")]
    KeyTaken(String),
    /// Steps would wait for each other.
    #[error("these steps would wait for each other: `{0}`; take one of them out of `depends_on`")]
    Circle(String),
    /// Too many jobs at once.
    #[error(
        "{jobs} jobs in one pipeline, the limit is {limit}: upload them in several parts, or raise `jobs` in the `[limits]` \
         table of the configuration"
    )]
    UploadTooLarge {
        /// How many.
        jobs: usize,
        /// How many may be.
        limit: usize,
    },
    /// Too many jobs in all.
    #[error(
        "the build would have {jobs} jobs, the limit is {limit}: do more in one job, or raise `build_jobs` in the `[limits]` \
         table of the configuration"
    )]
    TooManyJobs {
        /// How many.
        jobs: usize,
        /// How many may be.
        limit: usize,
    },
    /// Too many uploads.
    #[error(
        "the build has {limit} uploads, which is the limit: upload more steps at once, or raise `build_uploads` in the \
         `[limits]` table of the configuration"
    )]
    TooManyUploads {
        /// How many may be.
        limit: usize,
    },
}
