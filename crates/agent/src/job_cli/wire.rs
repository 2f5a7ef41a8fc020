//! What the command line and the agent of its job say to each other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tidegate_core::plan::Env;
use tidegate_core::wire::job::AnnotateAsk;

/// [`Upload`], answered by [`tidegate_core::wire::gate::UploadAnswer`].
pub(crate) const UPLOAD: &str = "/tidegate/v0/upload";

/// [`MetaDataAsk`](tidegate_core::wire::job::MetaDataAsk), answered by
/// [`MetaDataAnswer`](tidegate_core::wire::job::MetaDataAnswer).
pub(crate) const META_DATA: &str = "/tidegate/v0/meta-data";
/// [`Keep`], answered by [`Kept`].
pub(crate) const KEEP: &str = "/tidegate/v0/artifacts/upload";
/// [`Find`], answered by [`FindArtifactsAnswer`](tidegate_core::wire::job::FindArtifactsAnswer).
pub(crate) const FIND: &str = "/tidegate/v0/artifacts/find";
/// Attempts and numbers, answered by [`FetchArtifactsAnswer`](tidegate_core::wire::job::FetchArtifactsAnswer).
pub(crate) const FETCH: &str = "/tidegate/v0/artifacts/fetch";
/// [`Annotation`], answered by [`AnnotateAnswer`](tidegate_core::wire::job::AnnotateAnswer).
pub(crate) const ANNOTATE: &str = "/tidegate/v0/annotate";
/// The name of a step or `null`, answered by [`StepAnswer`](tidegate_core::wire::job::StepAnswer).
pub(crate) const STEP: &str = "/tidegate/v0/step";
/// [`Secrets`], answered by [`SecretsAnswer`](tidegate_core::wire::secret::SecretsAnswer).
pub(crate) const SECRETS: &str = "/tidegate/v0/secrets";
/// The environment of the job, as the reference serves it.
pub(crate) const ENV: &str = "/api/current-job/v0/env";
/// Secrets to hide, as the reference takes them.
pub(crate) const REDACTIONS: &str = "/api/current-job/v0/redactions";

/// [`Repository`], answered by [`GitCredentialAnswer`](tidegate_core::wire::credential::GitCredentialAnswer).
pub(crate) const GIT_CREDENTIAL: &str = "/tidegate/v0/git-credential";

/// Where git would send a credential.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Repository {
    pub(crate) protocol: String,
    pub(crate) host: String,
    pub(crate) path: String,
}

/// [`Lock`], answered by [`Locked`].
pub(crate) const LOCK: &str = "/tidegate/v0/lock";
/// [`StepUpdate`], answered by [`StepAnswer`](tidegate_core::wire::job::StepAnswer).
pub(crate) const UPDATE_STEP: &str = "/tidegate/v0/step/update";
/// As [`STEP`].
pub(crate) const CANCEL_STEP: &str = "/tidegate/v0/step/cancel";
/// Nothing, answered by [`Canceled`](tidegate_core::wire::job::Canceled).
pub(crate) const CANCEL_BUILD: &str = "/tidegate/v0/build/cancel";
/// Minutes from the start of the job on, answered by nothing.
pub(crate) const TIMEOUT: &str = "/tidegate/v0/job/timeout";

/// What is wanted of a lock.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lock {
    Acquire { key: String, wait_ms: Option<u64> },
    Release { key: String, token: String },
    Do { key: String, wait_ms: Option<u64> },
    Done { key: String },
    Get { key: String },
}

/// What a lock says.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Locked {
    pub(crate) state: String,
}

/// A step to change.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StepUpdate {
    pub(crate) step: Option<String>,
    pub(crate) uuid: String,
    pub(crate) change: tidegate_core::build::StepChange,
}

/// Secrets to get.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub(crate) names: Vec<String>,
}

/// Files to keep.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Keep {
    /// Where the globs start.
    pub(crate) directory: PathBuf,
    pub(crate) globs: Vec<String>,
}

/// What became of files to keep.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) lines: Vec<String>,
    pub(crate) error: Option<String>,
}

/// As [`FindArtifacts`](tidegate_core::wire::job::FindArtifacts).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Find {
    pub(crate) step: Option<String>,
    pub(crate) retried: bool,
    pub(crate) after: Option<String>,
}

/// As [`Annotate`](tidegate_core::wire::job::Annotate).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Annotation {
    pub(crate) context: String,
    pub(crate) uuid: String,
    pub(crate) ask: AnnotateAsk,
}

/// The environment, or changes of it: `null` removes a variable.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Variables {
    pub(crate) env: BTreeMap<String, Option<String>>,
}

/// What changes of the environment did, in the words of the reference.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Changed {
    pub(crate) added: Vec<String>,
    pub(crate) updated: Vec<String>,
    pub(crate) deleted: Vec<String>,
}

/// Names of variables to remove.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Names {
    pub(crate) keys: Vec<String>,
}

/// A secret to hide.
#[derive(Serialize, Deserialize)]
pub(crate) struct Redact {
    pub(crate) redact: String,
}

/// The secret that is hidden from now on is not repeated.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Redacted {
    pub(crate) redacted: String,
}

/// A pipeline to add to the build: as [`tidegate_core::wire::gate::Upload`], without what the agent knows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) uuid: String,
    pub(crate) pipeline: String,
    pub(crate) replace: bool,
    pub(crate) env: Env,
    pub(crate) no_interpolation: bool,
}
