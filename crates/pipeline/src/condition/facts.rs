//! What a condition can look at (`spec/pipeline.md` 1.8). The JSON shape is that of the recorded vectors.

use serde::{Deserialize, Serialize};

/// Everything that conditions see of a build.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Facts {
    /// On whose behalf the condition is evaluated.
    #[serde(deserialize_with = "null_is_empty")]
    pub entry_point: EntryPoint,
    /// The build.
    #[serde(deserialize_with = "null_is_empty")]
    pub build: Build,
    /// Its pipeline.
    #[serde(deserialize_with = "null_is_empty")]
    pub pipeline: Pipeline,
    /// The organisation.
    #[serde(deserialize_with = "null_is_empty")]
    pub organization: Organization,
    /// The step, where the entry point has one.
    pub step: Option<Step>,
    /// Variables of the build.
    #[serde(deserialize_with = "null_is_empty")]
    pub build_env: Variables,
    /// Variables of the pipeline's settings, below those of the build.
    #[serde(deserialize_with = "null_is_empty")]
    pub project_env: Variables,
    /// Changed files, for `build.changed_files` in pipeline files; see docs/decisions/0104.
    #[serde(skip)]
    pub changed_files: Option<Vec<String>>,
}

/// Variables by name.
pub type Variables = std::collections::BTreeMap<String, String>;

fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

/// On whose behalf a condition is evaluated.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum EntryPoint {
    /// `if` of a step.
    #[default]
    #[serde(rename = "EntryPointBuildCondition", alias = "build_condition", alias = "")]
    BuildCondition,
    /// A condition that may look at `step.*`.
    #[serde(rename = "EntryPointBuildConditionWithStep", alias = "build_condition_with_step")]
    BuildConditionWithStep,
    /// `if` of a notification of the build: an error is `false`, a blank condition `true`.
    #[serde(rename = "EntryPointBuildNotification", alias = "build_notification")]
    BuildNotification,
    /// `if` of a notification of a step.
    #[serde(rename = "EntryPointStepNotification", alias = "step_notification")]
    StepNotification,
}

impl EntryPoint {
    /// Whether `step.*` can be looked at.
    pub fn has_step(self) -> bool {
        matches!(self, Self::BuildConditionWithStep | Self::StepNotification)
    }

    /// Whether errors are `false` and a blank condition `true`.
    pub fn is_notification(self) -> bool {
        matches!(self, Self::BuildNotification | Self::StepNotification)
    }
}

/// A build.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
#[expect(missing_docs, reason = "each is the variable of the same name, listed in spec/pipeline.md 1.8")]
pub struct Build {
    #[serde(rename = "ID")]
    pub id: Option<String>,
    pub state: Option<String>,
    pub fixed: Option<bool>,
    pub blocked_state: Option<String>,
    pub source: Option<String>,
    pub source_event: Option<String>,
    pub source_action: Option<String>,
    pub branch: Option<String>,
    pub tag: Option<String>,
    pub message: Option<String>,
    pub commit: Option<String>,
    pub number: Option<i64>,
    #[serde(deserialize_with = "null_is_empty")]
    pub creator: Actor,
    #[serde(deserialize_with = "null_is_empty")]
    pub author: Actor,
    #[serde(deserialize_with = "null_is_empty")]
    #[serde(rename = "SCM")]
    pub scm: Scm,
    #[serde(deserialize_with = "null_is_empty")]
    pub pull_request: PullRequest,
    #[serde(deserialize_with = "null_is_empty")]
    pub merge_queue: MergeQueue,
    #[serde(deserialize_with = "null_is_empty")]
    pub triggered_from: TriggeredFrom,
    #[serde(deserialize_with = "null_is_empty")]
    pub rebuilt_from: RebuiltFrom,
}

/// Who made a build or wrote its commit.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
#[expect(missing_docs, reason = "each is the variable of the same name, listed in spec/pipeline.md 1.8")]
pub struct Actor {
    #[serde(rename = "ID")]
    pub id: Option<String>,
    pub name: Option<String>,
    pub email: Option<String>,
    pub teams: Option<Vec<String>>,
    pub verified: Option<bool>,
}

/// What the commit itself says of its people.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
#[expect(missing_docs, reason = "each is the variable of the same name, listed in spec/pipeline.md 1.8")]
pub struct Scm {
    pub author_name: Option<String>,
    pub author_email: Option<String>,
    pub committer_name: Option<String>,
    pub committer_email: Option<String>,
}

/// The pull request that the build is for.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
#[expect(missing_docs, reason = "each is the variable of the same name, listed in spec/pipeline.md 1.8")]
pub struct PullRequest {
    /// Its number, as a text.
    #[serde(rename = "ID")]
    pub id: Option<String>,
    pub base_branch: Option<String>,
    pub draft: Option<bool>,
    pub label: Option<String>,
    pub labels: Option<Vec<String>>,
    pub repository: Option<String>,
    pub repository_fork: Option<bool>,
    pub using_merge_refspec: Option<bool>,
}

/// The merge queue that the build is for.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct MergeQueue {
    /// Whether it is a build of a merge queue at all.
    pub active: bool,
    /// The branch that is merged into.
    pub base_branch: Option<String>,
    /// Its commit.
    pub base_commit: Option<String>,
}

/// The build that triggered this one.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
#[expect(missing_docs, reason = "each is the variable of the same name, listed in spec/pipeline.md 1.16")]
pub struct TriggeredFrom {
    #[serde(rename = "BuildID")]
    pub build_id: Option<String>,
    pub build_number: Option<i64>,
    pub pipeline_slug: Option<String>,
    #[serde(rename = "JobID")]
    pub job_id: Option<String>,
}

/// The build that this one repeats.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
#[expect(missing_docs, reason = "each is the variable of the same name, listed in spec/pipeline.md 1.16")]
pub struct RebuiltFrom {
    #[serde(rename = "BuildID")]
    pub build_id: Option<String>,
    pub build_number: Option<i64>,
}

/// A pipeline.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
#[expect(missing_docs, reason = "each is the variable of the same name, listed in spec/pipeline.md 1.8")]
pub struct Pipeline {
    #[serde(rename = "ID")]
    pub id: Option<String>,
    pub name: Option<String>,
    pub slug: Option<String>,
    pub default_branch: Option<String>,
    pub repository: Option<String>,
    pub started_passing: Option<bool>,
    pub started_failing: Option<bool>,
    pub next_finished_build_exists: Option<bool>,
    pub use_merge_queue_base_commit_for_git_diff_base: Option<bool>,
}

/// An organisation.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
#[expect(missing_docs, reason = "each is the variable of the same name, listed in spec/pipeline.md 1.8")]
pub struct Organization {
    #[serde(rename = "ID")]
    pub id: Option<String>,
    pub slug: Option<String>,
}

/// A step, for notifications.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
#[expect(missing_docs, reason = "each is the variable of the same name, listed in spec/pipeline.md 1.8")]
pub struct Step {
    #[serde(rename = "ID")]
    pub id: Option<String>,
    pub key: Option<String>,
    #[serde(rename = "Type")]
    pub kind: Option<String>,
    pub label: Option<String>,
    pub state: Option<String>,
    pub outcome: Option<String>,
}

impl Facts {
    /// The standard variables that follow from the facts. Those that a build always has are blank where there is
    /// nothing to say, and left out where `blanks` is false.
    pub(crate) fn standard_env(&self, blanks: bool) -> Vec<(String, String)> {
        let (build, pipeline) = (&self.build, &self.pipeline);
        let number = |n: Option<i64>| n.map(|n| n.to_string());
        let always: [(&str, Option<String>); 15] = [
            ("BUILDKITE_TAG", build.tag.clone()),
            ("BUILDKITE_MESSAGE", build.message.clone()),
            ("BUILDKITE_PULL_REQUEST_BASE_BRANCH", build.pull_request.base_branch.clone()),
            ("BUILDKITE_PULL_REQUEST_REPO", build.pull_request.repository.clone()),
            ("BUILDKITE_PULL_REQUEST_LABELS", build.pull_request.labels.as_ref().map(|labels| labels.join(","))),
            (
                "BUILDKITE_PULL_REQUEST_USING_MERGE_REFSPEC",
                build.pull_request.using_merge_refspec.map(|used| if used { "true" } else { "" }.to_owned()),
            ),
            ("BUILDKITE_MERGE_QUEUE_BASE_BRANCH", build.merge_queue.base_branch.clone()),
            ("BUILDKITE_MERGE_QUEUE_BASE_COMMIT", build.merge_queue.base_commit.clone()),
            ("BUILDKITE_TRIGGERED_FROM_BUILD_ID", build.triggered_from.build_id.clone()),
            ("BUILDKITE_TRIGGERED_FROM_BUILD_NUMBER", number(build.triggered_from.build_number)),
            ("BUILDKITE_TRIGGERED_FROM_BUILD_PIPELINE_SLUG", build.triggered_from.pipeline_slug.clone()),
            ("BUILDKITE_TRIGGERED_FROM_BUILD_JOB_ID", build.triggered_from.job_id.clone()),
            ("BUILDKITE_REBUILT_FROM_BUILD_ID", build.rebuilt_from.build_id.clone()),
            ("BUILDKITE_REBUILT_FROM_BUILD_NUMBER", number(build.rebuilt_from.build_number)),
            ("BUILDKITE_GIT_DIFF_BASE", self.git_diff_base()),
        ];
        let sometimes: [(&str, &Option<String>); 7] = [
            ("BUILDKITE_BRANCH", &build.branch),
            ("BUILDKITE_COMMIT", &build.commit),
            ("BUILDKITE_REPO", &pipeline.repository),
            ("BUILDKITE_PIPELINE_SLUG", &pipeline.slug),
            ("BUILDKITE_PIPELINE_NAME", &pipeline.name),
            ("BUILDKITE_PIPELINE_ID", &pipeline.id),
            ("BUILDKITE_ORGANIZATION_SLUG", &self.organization.slug),
        ];
        let mut out = Vec::with_capacity(always.len() + sometimes.len() + 1);
        for (name, value) in sometimes {
            out.extend(value.clone().map(|value| (name.to_owned(), value)));
        }
        for (name, value) in always {
            if blanks || value.is_some() {
                out.push((name.to_owned(), value.unwrap_or_default()));
            }
        }
        let pull_request = build.pull_request.id.as_ref().filter(|id| !id.is_empty());
        if blanks || pull_request.is_some() {
            let id = pull_request.cloned().unwrap_or_else(|| "false".to_owned());
            out.push(("BUILDKITE_PULL_REQUEST".to_owned(), id));
        }
        out
    }

    /// What changed files are compared with, in a merge queue.
    fn git_diff_base(&self) -> Option<String> {
        let queue = &self.build.merge_queue;
        if !queue.active {
            return None;
        }
        if self.pipeline.use_merge_queue_base_commit_for_git_diff_base == Some(true) {
            return queue.base_commit.clone();
        }
        queue.base_branch.clone()
    }
}
