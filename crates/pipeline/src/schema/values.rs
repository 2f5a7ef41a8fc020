//! Values of attributes, as types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

/// A text, a number or a boolean.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum Scalar {
    Text(String),
    Number(f64),
    Flag(bool),
    Nothing(()),
}

/// A text or a list of texts.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum Texts {
    One(Scalar),
    Many(Vec<Scalar>),
}

/// A whole number, or a text such as `${N}` that becomes one.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum Number {
    Number(i64),
    Text(String),
}

/// `true` or `false`, or a text such as `${X}` that becomes one.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum Flag {
    Flag(bool),
    Text(String),
}

/// Tags and values, as a map or as a list of `tag=value`; `*` is any value.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum Agents {
    Map(BTreeMap<String, Scalar>),
    List(Vec<String>),
}

/// What a step waits for.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum DependsOn {
    Key(Scalar),
    List(Vec<Dependency>),
}

/// A key, or a key and whether its failure matters.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum Dependency {
    Key(Scalar),
    Map(DependencyMap),
}

/// A key and whether its failure matters.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DependencyMap {
    /// Key of a step or a group.
    step: Scalar,
    /// Go on although it failed.
    allow_failure: Option<Flag>,
}

/// Globs of changed files.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum IfChanged {
    Globs(Texts),
    Map(IfChangedMap),
}

/// Globs of changed files that count, and of those that do not.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IfChangedMap {
    /// What counts.
    include: Texts,
    /// What does not count, although it is included.
    exclude: Option<Texts>,
}

/// `true`, or a reason of at most 70 characters.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum Skip {
    Flag(bool),
    Reason(#[schemars(length(max = 70))] String),
}

/// A list of values, or dimensions under `setup`.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum Matrix {
    Values(Vec<Scalar>),
    Map(MatrixMap),
}

/// Dimensions and adjustments.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MatrixMap {
    /// The values of one dimension, or of each.
    setup: MatrixSetup,
    /// Changes to combinations, and combinations more.
    adjustments: Option<Vec<Adjustment>>,
}

/// The values of one dimension, or of each.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum MatrixSetup {
    Values(Vec<Scalar>),
    Dimensions(BTreeMap<String, Vec<Scalar>>),
}

/// A change to a combination.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Adjustment {
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
pub(super) enum AdjustmentWith {
    Value(Scalar),
    Map(BTreeMap<String, Scalar>),
    List(Vec<Scalar>),
}

/// `true`, or exit statuses.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum SoftFail {
    Flag(Flag),
    Statuses(Vec<SoftFailEntry>),
}

/// An exit status that counts as passed.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SoftFailEntry {
    /// A number, or `*`.
    exit_status: Number,
}

/// When to try again.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    /// By itself: `true`, a rule, or rules of which the first that matches decides.
    automatic: Option<Automatic>,
    /// By a person.
    manual: Option<ManualRetry>,
}

/// `true`, a rule, or rules.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum Automatic {
    Flag(Flag),
    Rule(Rule),
    Rules(Vec<Rule>),
}

/// A rule. All that it names must fit.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
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
pub(super) enum Statuses {
    One(Number),
    Many(Vec<Number>),
}

/// Whether people may retry.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum ManualRetry {
    Flag(Flag),
    Map(ManualRetryMap),
}

/// Whether people may retry, and what they are told.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManualRetryMap {
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
pub(super) enum Plugins {
    List(Vec<Plugin>),
    Map(BTreeMap<String, Json>),
}

/// `NAME#VERSION`, alone or with its configuration.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum Plugin {
    Name(String),
    Map(BTreeMap<String, Json>),
}

/// Names of secrets, or variables and names.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum Secrets {
    Names(Vec<Secret>),
    Map(BTreeMap<String, String>),
}

/// The name of a secret, or the name and its variable.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum Secret {
    Name(String),
    Map(SecretMap),
}

/// The name of a secret and its variable.
#[derive(JsonSchema, Serialize)]
pub(super) struct SecretMap {
    /// The secret.
    key: String,
    /// The variable.
    environment_variable: Option<String>,
}

/// Paths to keep; `false` for none.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum Cache {
    Off(bool),
    Paths(Texts),
    Map(CacheMap),
}

/// Paths to keep, and how.
#[derive(JsonSchema, Serialize)]
pub(super) struct CacheMap {
    /// The paths.
    paths: Option<Texts>,
    /// A name of its own.
    name: Option<Scalar>,
    /// Gigabytes, such as `20g`.
    size: Option<Scalar>,
}

/// How to check out.
#[derive(JsonSchema, Serialize)]
pub(super) struct Checkout {
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
pub(super) enum Notify {
    Name(String),
    Map(Box<NotifyMap>),
}

/// One service and its configuration.
#[derive(JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NotifyMap {
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
pub(super) struct Field {
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
pub(super) struct Choice {
    /// What people see.
    label: Scalar,
    /// What is kept.
    value: Scalar,
    /// Explanation.
    hint: Option<Scalar>,
    /// Whether it must be chosen.
    required: Option<Flag>,
}
