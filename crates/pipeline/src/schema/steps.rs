//! Steps, as types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::AgentsAlias;
use super::values::{
    Agents, Cache, Checkout, DependsOn, Field, Flag, IfChanged, Matrix, Notify, Number, Plugins, Retry, Scalar,
    Secrets, Skip, SoftFail, Texts,
};

/// A step: a word or a map.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum StepItem {
    Word(StepWord),
    Nested(Box<Nested>),
    Group(Box<GroupStep>),
    Trigger(Box<TriggerStep>),
    Block(Box<BlockStep>),
    Input(Box<InputStep>),
    Wait(Box<WaitStep>),
    Command(Box<CommandStep>),
}

/// A step inside the attribute that tells its kind.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Nested {
    Command(CommandStep),
    Commands(CommandStep),
    Script(CommandStep),
    Wait(WaitInside),
    Waiter(WaitInside),
    Block(BlockInside),
    Input(BlockInside),
    Trigger(TriggerStep),
}

/// A wait step inside `wait`.
#[derive(JsonSchema, Serialize)]
pub(super) struct WaitInside {
    #[serde(flatten)]
    common: Common,
    /// Opens also when something before it failed.
    continue_on_failure: Option<Flag>,
}

/// A block or input step inside its attribute.
#[derive(JsonSchema, Serialize)]
pub(super) struct BlockInside {
    #[serde(flatten)]
    common: Common,
    #[serde(flatten)]
    manual: Manual,
}

/// A step of one word.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StepWord {
    /// Holds everything after it until everything before it has passed.
    Wait,
    /// Older name of `wait`.
    Waiter,
    /// Waits for a person.
    Block,
    /// Older name of `block`.
    Manual,
    /// Asks a person.
    Input,
}

/// Attributes of every kind of step.
#[derive(JsonSchema, Serialize)]
pub(super) struct Common {
    /// The step's name in `depends_on`: letters, digits and `_-:.,`, at most 100 characters, unique in the build.
    key: Option<Scalar>,
    /// Older name of `key`.
    id: Option<Scalar>,
    /// Older name of `key`.
    identifier: Option<Scalar>,
    /// What people see.
    label: Option<Scalar>,
    /// Older name of `label`.
    name: Option<Scalar>,
    /// What kind of step it is, where no attribute tells.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Keys of steps or groups to wait for, instead of the `wait` before it. An empty list: nothing.
    depends_on: Option<DependsOn>,
    /// Runs although something it depends on failed.
    allow_dependency_failure: Option<Flag>,
    /// Whether the step is there at all, decided when the file is read: `build.branch == "main"`.
    #[serde(rename = "if")]
    condition: Option<String>,
}

/// Runs commands.
#[derive(JsonSchema, Serialize)]
#[schemars(extend("anyOf" = [{"required": ["command"]}, {"required": ["commands"]}, {"required": ["script"]}, {"required": ["plugins"]}, {"properties": {"type": {"enum": ["command", "commands", "script"]}}, "required": ["type"]}]))]
pub(super) struct CommandStep {
    #[serde(flatten)]
    common: Common,
    /// The script; a list is joined by newlines.
    command: Option<Texts>,
    /// Same as `command`.
    commands: Option<Texts>,
    /// Same as `command`.
    script: Option<Texts>,
    /// Plugins, in order.
    plugins: Option<Plugins>,
    /// Which machines may run it. Replaces the top-level block.
    agents: Option<Agents>,
    #[serde(flatten)]
    agents_alias: AgentsAlias,
    /// Variables of the job.
    env: Option<BTreeMap<String, Scalar>>,
    /// Globs of files to keep; `**` crosses directories.
    artifact_paths: Option<Texts>,
    /// Same as `artifact_paths`.
    artifacts: Option<Texts>,
    /// Branches, `*` for any text, a leading `!` for «not».
    branches: Option<Texts>,
    /// Globs; the step is left out where no changed file matches.
    if_changed: Option<IfChanged>,
    /// Leaves the step out: `true`, or why.
    skip: Option<Skip>,
    /// How many copies.
    parallelism: Option<Number>,
    /// One job for each combination of values; `{{matrix}}` or `{{matrix.name}}` stands for the value.
    matrix: Option<Matrix>,
    /// How many jobs of `concurrency_group` run at once, over all builds.
    concurrency: Option<Number>,
    /// The group's name.
    concurrency_group: Option<Scalar>,
    /// `ordered`: in order of creation. `eager`: any free slot.
    concurrency_method: Option<String>,
    /// Larger first.
    priority: Option<Number>,
    /// When to try again.
    retry: Option<Retry>,
    /// Which failures count as passed.
    soft_fail: Option<SoftFail>,
    /// Minutes from the start of the job to its timeout.
    timeout_in_minutes: Option<Number>,
    /// Same as `timeout_in_minutes`.
    timeout: Option<Number>,
    /// Ends the job as soon as the build is failing.
    cancel_on_build_failing: Option<Flag>,
    /// Secrets that the job gets as variables.
    secrets: Option<Secrets>,
    /// Paths to keep between builds.
    cache: Option<Cache>,
    /// How the job checks out.
    checkout: Option<Checkout>,
    /// Container image.
    image: Option<Scalar>,
    /// Who is told how the step goes.
    notify: Option<Vec<Notify>>,
    /// Written by an agent when it signs.
    signature: Option<Json>,
}

/// Holds everything after it until everything before it has passed.
#[derive(JsonSchema, Serialize)]
#[schemars(extend("anyOf" = [{"required": ["wait"]}, {"required": ["waiter"]}, {"properties": {"type": {"enum": ["wait", "waiter"]}}, "required": ["type"]}]))]
pub(super) struct WaitStep {
    #[serde(flatten)]
    common: Common,
    /// Nothing, or what people see.
    wait: Option<Json>,
    /// Older name of `wait`.
    waiter: Option<Json>,
    /// Opens also when something before it failed.
    continue_on_failure: Option<Flag>,
    /// Branches, `*` for any text, a leading `!` for «not».
    branches: Option<Texts>,
}

/// Attributes of block and input steps.
#[derive(JsonSchema, Serialize)]
pub(super) struct Manual {
    /// What to ask.
    prompt: Option<Scalar>,
    /// Text of the button.
    submit: Option<Scalar>,
    /// What a person fills in; the values become meta-data.
    fields: Option<Vec<Field>>,
    /// What the build shows outside while it is blocked here.
    blocked_state: Option<String>,
    /// Teams whose members may open it.
    allowed_teams: Option<Texts>,
    /// Branches, `*` for any text, a leading `!` for «not».
    branches: Option<Texts>,
}

/// A gate that a person opens.
#[derive(JsonSchema, Serialize)]
#[schemars(extend("anyOf" = [{"required": ["block"]}, {"required": ["manual"]}, {"properties": {"type": {"enum": ["block", "manual"]}}, "required": ["type"]}]))]
pub(super) struct BlockStep {
    #[serde(flatten)]
    common: Common,
    #[serde(flatten)]
    manual: Manual,
    /// What people see.
    block: Option<Json>,
    /// Older name of `block`.
    #[serde(rename = "manual")]
    older: Option<Json>,
}

/// Asks a person; steps after it run on unless they depend on it.
#[derive(JsonSchema, Serialize)]
#[schemars(extend("anyOf" = [{"required": ["input"]}, {"properties": {"type": {"enum": ["input", "manual"]}}, "required": ["type"]}]))]
pub(super) struct InputStep {
    #[serde(flatten)]
    common: Common,
    #[serde(flatten)]
    manual: Manual,
    /// What people see.
    input: Option<Json>,
}

/// Starts a build of another pipeline.
#[derive(JsonSchema, Serialize)]
pub(super) struct TriggerStep {
    #[serde(flatten)]
    common: Common,
    /// Slug of the other pipeline.
    trigger: Json,
    /// What the other build is given. Nothing is passed by itself, not even the branch.
    build: Option<TriggerBuild>,
    /// Passed as soon as the other build exists.
    #[serde(rename = "async")]
    asynchronous: Option<Flag>,
    /// Branches, `*` for any text, a leading `!` for «not».
    branches: Option<Texts>,
    /// Globs; the step is left out where no changed file matches.
    if_changed: Option<IfChanged>,
    /// Leaves the step out: `true`, or why.
    skip: Option<Skip>,
    /// Which failures count as passed.
    soft_fail: Option<SoftFail>,
    /// How many builds to start.
    parallelism: Option<Number>,
}

/// What a triggered build is given.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TriggerBuild {
    /// Its branch; the other pipeline's default branch where it is not given.
    branch: Option<Scalar>,
    /// Its commit; `HEAD` where it is not given.
    commit: Option<Scalar>,
    /// Its message; the label of the step where it is not given.
    message: Option<Scalar>,
    /// Its variables.
    env: Option<BTreeMap<String, Scalar>>,
    /// Its meta-data.
    meta_data: Option<BTreeMap<String, Scalar>>,
}

/// Steps under one heading.
#[derive(JsonSchema, Serialize)]
pub(super) struct GroupStep {
    #[serde(flatten)]
    common: Common,
    /// What people see.
    group: Option<Scalar>,
    /// The steps; a group cannot stand in a group.
    steps: Vec<StepItem>,
    /// Globs; the steps are left out where no changed file matches.
    if_changed: Option<IfChanged>,
    /// Leaves the steps out: `true`, or why.
    skip: Option<Skip>,
    /// Who is told how the group goes.
    notify: Option<Vec<Notify>>,
}
