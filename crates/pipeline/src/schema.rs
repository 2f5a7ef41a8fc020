//! The language as types, from which the JSON Schema for editors is generated.
//!
//! The types describe what may be written; nothing is read into them. A test holds them to the one table of attributes.

#![expect(dead_code, reason = "the fields are there for their names, types and descriptions")]

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;
use serde_json::Value as Json;

/// The JSON Schema of pipeline files, for editors: `pipeline schema` prints it.
pub fn schema() -> Schema {
    schema_for!(PipelineFile)
}

/// A pipeline: a map with `steps`, or a bare list of steps.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum PipelineFile {
    Map(Box<Pipeline>),
    Steps(Vec<StepItem>),
}

/// A pipeline.
#[derive(JsonSchema, Serialize)]
struct Pipeline {
    /// The steps, in order.
    steps: Option<Vec<StepItem>>,
    /// Variables of every command step, below the step's own. Later ones may use earlier ones.
    env: Option<BTreeMap<String, Scalar>>,
    /// Which machines run the steps that say nothing themselves.
    agents: Option<Agents>,
    #[serde(flatten)]
    agents_alias: AgentsAlias,
    /// Who is told how the build goes.
    notify: Option<Vec<Notify>>,
    /// Secrets of every command step.
    secrets: Option<Secrets>,
    /// How every command step checks out.
    checkout: Option<Checkout>,
    /// Container image of every command step.
    image: Option<String>,
    /// Larger first.
    priority: Option<Number>,
    /// Paths that every command step keeps between builds.
    cache: Option<Cache>,
}

/// An older name of `agents`.
#[derive(JsonSchema, Serialize)]
struct AgentsAlias {
    /// Older name of `agents`.
    agent_query_rules: Option<Agents>,
}

/// A step: a word or a map.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum StepItem {
    Word(StepWord),
    Group(Box<GroupStep>),
    Trigger(Box<TriggerStep>),
    Block(Box<BlockStep>),
    Input(Box<InputStep>),
    Wait(Box<WaitStep>),
    Command(Box<CommandStep>),
}

/// A step of one word.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
enum StepWord {
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
struct Common {
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
struct CommandStep {
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
struct WaitStep {
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
struct Manual {
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
struct BlockStep {
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
struct InputStep {
    #[serde(flatten)]
    common: Common,
    #[serde(flatten)]
    manual: Manual,
    /// What people see.
    input: Json,
}

/// Starts a build of another pipeline.
#[derive(JsonSchema, Serialize)]
struct TriggerStep {
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
struct TriggerBuild {
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
struct GroupStep {
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

/// A text, a number or a boolean.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(f64),
    Flag(bool),
    Nothing(()),
}

/// A text or a list of texts.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum Texts {
    One(Scalar),
    Many(Vec<Scalar>),
}

/// A whole number, or a text such as `${N}` that becomes one.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum Number {
    Number(i64),
    Text(String),
}

/// `true` or `false`, or a text such as `${X}` that becomes one.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum Flag {
    Flag(bool),
    Text(String),
}

/// Tags and values, as a map or as a list of `tag=value`; `*` is any value.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum Agents {
    Map(BTreeMap<String, Scalar>),
    List(Vec<String>),
}

/// What a step waits for.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum DependsOn {
    Key(Scalar),
    List(Vec<Dependency>),
}

/// A key, or a key and whether its failure matters.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum Dependency {
    Key(Scalar),
    Map(DependencyMap),
}

/// A key and whether its failure matters.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct DependencyMap {
    /// Key of a step or a group.
    step: Scalar,
    /// Go on although it failed.
    allow_failure: Option<Flag>,
}

/// Globs of changed files.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum IfChanged {
    Globs(Texts),
    Map(IfChangedMap),
}

/// Globs of changed files that count, and of those that do not.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct IfChangedMap {
    /// What counts.
    include: Texts,
    /// What does not count, although it is included.
    exclude: Option<Texts>,
}

/// `true`, or a reason of at most 70 characters.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum Skip {
    Flag(bool),
    Reason(#[schemars(length(max = 70))] String),
}

/// A list of values, or dimensions under `setup`.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum Matrix {
    Values(Vec<Scalar>),
    Map(MatrixMap),
}

/// Dimensions and adjustments.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct MatrixMap {
    /// The values of one dimension, or of each.
    setup: MatrixSetup,
    /// Changes to combinations, and combinations more.
    adjustments: Option<Vec<Adjustment>>,
}

/// The values of one dimension, or of each.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum MatrixSetup {
    Values(Vec<Scalar>),
    Dimensions(BTreeMap<String, Vec<Scalar>>),
}

/// A change to a combination.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct Adjustment {
    /// The combination.
    with: AdjustmentWith,
    /// Leaves it out: `true`, or why.
    skip: Option<Skip>,
    /// Which failures of it count as passed.
    soft_fail: Option<SoftFail>,
}

/// A value, or one for each dimension.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum AdjustmentWith {
    Value(Scalar),
    Map(BTreeMap<String, Scalar>),
    List(Vec<Scalar>),
}

/// `true`, or exit statuses.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum SoftFail {
    Flag(Flag),
    Statuses(Vec<SoftFailEntry>),
}

/// An exit status that counts as passed.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct SoftFailEntry {
    /// A number, or `*`.
    exit_status: Number,
}

/// When to try again.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct Retry {
    /// By itself: `true`, a rule, or rules of which the first that matches decides.
    automatic: Option<Automatic>,
    /// By a person.
    manual: Option<ManualRetry>,
}

/// `true`, a rule, or rules.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum Automatic {
    Flag(Flag),
    Rule(Rule),
    Rules(Vec<Rule>),
}

/// A rule. All that it names must fit.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// A number, a list of numbers, or `*`.
    exit_status: Option<Statuses>,
    /// Names of signals, `*` or `none`.
    signal: Option<Texts>,
    /// Why the signal was sent.
    signal_reason: Option<Texts>,
    /// How often, 0 to 10.
    limit: Option<Number>,
}

/// One status or several.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum Statuses {
    One(Number),
    Many(Vec<Number>),
}

/// Whether people may retry.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum ManualRetry {
    Flag(Flag),
    Map(ManualRetryMap),
}

/// Whether people may retry, and what they are told.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct ManualRetryMap {
    /// At all.
    allowed: Option<Flag>,
    /// A job that passed.
    permit_on_passed: Option<Flag>,
    /// Shown when a retry is refused.
    reason: Option<Scalar>,
}

/// Plugins, in order.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum Plugins {
    List(Vec<Plugin>),
    Map(BTreeMap<String, Json>),
}

/// `NAME#VERSION`, alone or with its configuration.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum Plugin {
    Name(String),
    Map(BTreeMap<String, Json>),
}

/// Names of secrets, or variables and names.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum Secrets {
    Names(Vec<Secret>),
    Map(BTreeMap<String, String>),
}

/// The name of a secret, or the name and its variable.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum Secret {
    Name(String),
    Map(SecretMap),
}

/// The name of a secret and its variable.
#[derive(JsonSchema, Serialize)]
struct SecretMap {
    /// The secret.
    key: String,
    /// The variable.
    environment_variable: Option<String>,
}

/// Paths to keep; `false` for none.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum Cache {
    Off(bool),
    Paths(Texts),
    Map(CacheMap),
}

/// Paths to keep, and how.
#[derive(JsonSchema, Serialize)]
struct CacheMap {
    /// The paths.
    paths: Option<Texts>,
    /// A name of its own.
    name: Option<Scalar>,
    /// Gigabytes, such as `20g`.
    size: Option<Scalar>,
}

/// How to check out.
#[derive(JsonSchema, Serialize)]
struct Checkout {
    /// Not at all.
    skip: Option<Flag>,
    /// With submodules.
    submodules: Option<Flag>,
    /// The secret that holds the key.
    ssh_secret: Option<Scalar>,
    /// How many commits.
    depth: Option<Number>,
    /// With large files.
    lfs: Option<Flag>,
    /// Further flags of git.
    flags: Option<BTreeMap<String, Json>>,
    /// Only some paths.
    sparse: Option<BTreeMap<String, Json>>,
    /// Whether commits must be signed.
    commit_verification: Option<Json>,
}

/// A service, alone or with its configuration.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum Notify {
    Name(String),
    Map(Box<NotifyMap>),
}

/// One service and its configuration.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct NotifyMap {
    /// Whether to tell at all, decided when it happens.
    #[serde(rename = "if")]
    condition: Option<String>,
    /// An address.
    email: Option<Json>,
    /// A channel, or channels and a message.
    slack: Option<Json>,
    /// A URL.
    webhook: Option<Json>,
    /// A URL.
    basecamp_campfire: Option<Json>,
    /// Older name of `basecamp_campfire`.
    basecamp: Option<Json>,
    /// An integration key.
    pagerduty_change_event: Option<Json>,
    /// The status of the commit.
    github_commit_status: Option<Json>,
    /// A check of the commit.
    github_check: Option<Json>,
}

/// A field of a block or input step.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct Field {
    /// What people see above a text.
    text: Option<Scalar>,
    /// What people see above a choice.
    select: Option<Scalar>,
    /// The meta-data that the value becomes.
    key: Scalar,
    /// Explanation.
    hint: Option<Scalar>,
    /// Whether it must be filled in.
    required: Option<Flag>,
    /// What is filled in already.
    default: Option<Texts>,
    /// Regular expression that a text must match.
    format: Option<String>,
    /// The choices.
    options: Option<Vec<Choice>>,
    /// Whether several may be chosen.
    multiple: Option<Flag>,
}

/// A choice.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    /// What people see.
    label: Scalar,
    /// What is kept.
    value: Scalar,
    /// Explanation.
    hint: Option<Scalar>,
    /// Whether it must be chosen.
    required: Option<Flag>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::attributes::{ATTRIBUTES, Kind};

    /// The names of a type's attributes.
    fn properties<T: JsonSchema>() -> BTreeSet<String> {
        let schema = schema_for!(T).to_value();
        schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
    }

    #[test]
    fn the_types_name_what_the_table_of_attributes_names() {
        let kinds = [
            (Kind::Top, properties::<Pipeline>()),
            (Kind::Command, properties::<CommandStep>()),
            (Kind::Wait, properties::<WaitStep>()),
            (Kind::Block, properties::<BlockStep>()),
            (Kind::Input, properties::<InputStep>()),
            (Kind::Trigger, properties::<TriggerStep>()),
            (Kind::Group, properties::<GroupStep>()),
        ];
        for (kind, properties) in kinds {
            let rows = ATTRIBUTES.iter().filter(|row| row.kinds & kind as u8 != 0);
            let table: BTreeSet<String> = rows
                .flat_map(|row| std::iter::once(row.name).chain(row.aliases.iter().copied()))
                .map(str::to_owned)
                .collect();
            assert_eq!(properties, table, "{}", kind.name());
        }
    }
}
