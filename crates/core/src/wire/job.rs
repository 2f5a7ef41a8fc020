//! What a running job asks of the control plane through its agent, beyond running: the verbs of the gate for meta-data,
//! artifacts of the build and annotations. The same rules as in [`super::gate`] hold.
//!
//! | verb | request | answer |
//! |---|---|---|
//! | `meta_data` | [`MetaData`] | [`MetaDataAnswer`] |
//! | `find_artifacts` | [`FindArtifacts`] | [`FindArtifactsAnswer`] |
//! | `fetch_artifacts` | [`FetchArtifacts`] | [`FetchArtifactsAnswer`] |
//! | `annotate` | [`Annotate`] | [`AnnotateAnswer`] |
//! | `show_step` | [`Step`] | [`StepAnswer`] |
//! | `update_step` | [`UpdateStep`] | [`StepAnswer`] |
//! | `cancel_step` | [`Step`] | [`StepAnswer`] |
//! | `cancel_own_build` | [`CancelOwnBuild`] | [`Canceled`] |

use serde::{Deserialize, Serialize};

use super::gate::ArtifactFile;
use crate::build::StepChange;
use crate::ids::AttemptId;

/// Reads or writes the meta-data of the build: texts under names, of which the last write wins.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct MetaData {
    /// As in [`super::gate::Beat`].
    pub boot: String,
    /// The held attempt.
    pub attempt: AttemptId,
    /// What is wanted.
    pub ask: MetaDataAsk,
}

/// What is wanted of the meta-data.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetaDataAsk {
    /// Write these, all or none: 1 to 100 names, each with a value of at most 100 KB.
    Set(Vec<(String, String)>),
    /// Read this one.
    Get(String),
    /// List the names.
    Keys,
}

/// The answer to [`MetaData`].
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct MetaDataAnswer {
    /// The value that was asked for, if there is one.
    #[serde(default)]
    pub value: Option<String>,
    /// The names that were asked for, in order.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// Lists artifacts of the build whose contents are there, in the order of jobs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct FindArtifacts {
    /// As in [`super::gate::Beat`].
    pub boot: String,
    /// The held attempt.
    pub attempt: AttemptId,
    /// Of the jobs with this id, of this step key, or with this label; of all when not given.
    #[serde(default)]
    pub step: Option<String>,
    /// Also of attempts after which the job was tried again.
    #[serde(default)]
    pub retried: bool,
    /// Where to go on: [`FindArtifactsAnswer::next`].
    #[serde(default)]
    pub after: Option<String>,
}

/// The answer to [`FindArtifacts`].
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct FindArtifactsAnswer {
    /// Some of them.
    pub files: Vec<FoundArtifact>,
    /// There may be more: ask again with this.
    #[serde(default)]
    pub next: Option<String>,
}

/// An artifact of the build.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct FoundArtifact {
    /// The attempt that made it.
    pub attempt: AttemptId,
    /// Id of its job.
    pub job_id: String,
    /// The file.
    pub file: ArtifactFile,
    /// When it was registered, RFC 3339.
    pub created_at: String,
}

/// Asks for the contents of artifacts of the build, at most 100 at once.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct FetchArtifacts {
    /// As in [`super::gate::Beat`].
    pub boot: String,
    /// The held attempt.
    pub attempt: AttemptId,
    /// Attempts and numbers, as [`FindArtifacts`] told them.
    pub files: Vec<(AttemptId, u32)>,
}

/// URLs to `GET` the contents from, each for one exact key, for at most 15 minutes.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct FetchArtifactsAnswer {
    /// In the order asked for.
    pub urls: Vec<String>,
}

/// Asks for a step of the build.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// As in [`super::gate::Beat`].
    pub boot: String,
    /// The held attempt.
    pub attempt: AttemptId,
    /// Its key, its label, or the id of one of its jobs; the step of the attempt itself when not given.
    #[serde(default)]
    pub step: Option<String>,
}

/// Changes a step of the build, for as long as the build lasts.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct UpdateStep {
    /// As in [`super::gate::Beat`].
    pub boot: String,
    /// The held attempt.
    pub attempt: AttemptId,
    /// As in [`Step`].
    #[serde(default)]
    pub step: Option<String>,
    /// Chosen by the caller: makes a repetition harmless.
    pub uuid: String,
    /// What is wanted.
    pub change: StepChange,
}

/// Cancels the build of the attempt, the attempt included.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct CancelOwnBuild {
    /// As in [`super::gate::Beat`].
    pub boot: String,
    /// The held attempt.
    pub attempt: AttemptId,
}

/// The answer to [`CancelOwnBuild`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Canceled {}

/// A step of the build.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct StepAnswer {
    /// `command`, `wait`, `block`, `input` or `trigger`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its key.
    pub key: Option<String>,
    /// What people see.
    pub label: String,
    /// `ignored`, `waiting_for_dependencies`, `ready`, `running`, `failing` or `finished`.
    pub state: String,
    /// `neutral`, `passed`, `soft_failed`, `hard_failed` or `errored`.
    pub outcome: String,
}

/// Writes or removes an annotation: a text of the build that people see.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Annotate {
    /// As in [`super::gate::Beat`].
    pub boot: String,
    /// The held attempt.
    pub attempt: AttemptId,
    /// Which one: at most 100 characters.
    pub context: String,
    /// Chosen by the caller: makes a repetition harmless.
    pub uuid: String,
    /// What is wanted.
    pub ask: AnnotateAsk,
}

/// What is wanted of an annotation.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnnotateAsk {
    /// Write it.
    Write {
        /// Markdown.
        body: String,
        /// As it was, or [`AnnotationStyle::Default`], when not given.
        #[serde(default)]
        style: Option<AnnotationStyle>,
        /// Put the text behind the one that is there.
        #[serde(default)]
        append: bool,
        /// 1 to 10, higher ones first; as it was, or 3, when not given.
        #[serde(default)]
        priority: Option<u8>,
    },
    /// Remove it.
    Remove,
}

/// What an annotation looks like.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnnotationStyle {
    /// Plain.
    #[default]
    Default,
    /// Good news.
    Success,
    /// News.
    Info,
    /// Doubtful news.
    Warning,
    /// Bad news.
    Error,
}

/// The answer to [`Annotate`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct AnnotateAnswer {
    /// Whether it was there before.
    pub existed: bool,
}
