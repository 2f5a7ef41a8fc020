//! What agent and gate say to each other: `POST /gate/<verb>` with a JSON body, answered by JSON.
//!
//! The gate knows the caller (a token per agent process locally, role and instance id on AWS) and checks every verb
//! against the attempt that this very instance holds. Every verb may be repeated: a request whose answer was lost is
//! sent again with the same content and has the same effect.
//!
//! | verb | request | answer |
//! |---|---|---|
//! | `beat` | [`Beat`] | [`BeatAnswer`] |
//! | `next` | [`Next`] | [`NextAnswer`] |
//! | `start` | [`Start`] | [`StartAnswer`] |
//! | `presign` | [`Presign`] | [`PresignAnswer`] |
//! | `artifacts` | [`Artifacts`] | [`ArtifactsAnswer`] |
//! | `artifact_parts` | [`ArtifactParts`] | [`ArtifactPartsAnswer`] |
//! | `upload` | [`Upload`] | [`UploadAnswer`] |
//! | `result` | [`ReportResult`] | [`ResultAnswer`] |
//! | `git_credential` | [`GitCredential`](super::credential::GitCredential) | [`GitCredentialAnswer`](super::credential::GitCredentialAnswer) |
//!
//! The verbs for what a running job asks are in [`super::job`] and [`super::secret`].
//!
//! Refusals are HTTP 403 (not your attempt), 409 (that attempt has ended), 422 (the request breaks a rule) with
//! [`Refusal`]; 503 asks for a repetition.

use serde::{Deserialize, Serialize};

use crate::attempt::Cause;
use crate::ids::{AttemptId, BuildId};
use crate::plan::Env;

/// A sign of life. The control plane watches that `counter` changes, by its own clock (`spec/hazards.md` C9).
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// Random, new for each process: an agent that was restarted is not the owner of what it held before.
    pub boot: String,
    /// Rises with each beat.
    pub counter: u64,
    /// What the agent is doing.
    pub state: AgentState,
    /// The attempt it holds.
    #[serde(default)]
    pub attempt: Option<AttemptId>,
}

/// What an agent is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Waiting for work.
    Idle,
    /// Holding an attempt.
    Busy,
    /// About to leave: no capacity any more, after one last look for work.
    Closing,
}

/// What the control plane wants of the agent.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct BeatAnswer {
    /// End the held attempt for this reason.
    #[serde(default)]
    pub cancel: Option<CancelReason>,
    /// This machine is to be gone soon: take no more work. Held work goes on.
    #[serde(default)]
    pub doomed: bool,
    /// End now: held work ends with cause `agent_stopped`, then the agent leaves.
    #[serde(default)]
    pub stop: bool,
}

/// Why a running attempt is to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// A person, a newer build, or a failing build: ends `canceled`.
    Canceled,
    /// Its time is over: ends `timeout`.
    Timeout,
}

/// Asks for work: long-polls the ticket queue of the pool, claims, and deletes the ticket, in this order. An agent
/// that holds an attempt already (the answer was lost) is given the same one again.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Next {
    /// As in [`Beat`].
    pub boot: String,
    /// How long the gate may wait for a ticket, in milliseconds, at most 20,000.
    pub wait_ms: u64,
}

/// The answer to [`Next`].
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct NextAnswer {
    /// Work, or none within the wait.
    #[serde(default)]
    pub assignment: Option<Box<Assignment>>,
    /// No more work will be given: leave.
    #[serde(default)]
    pub leave: bool,
}

/// Everything an agent needs to run one attempt.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// What is held from now on.
    pub attempt: AttemptId,
    /// The job's environment, complete but for what only the agent knows (paths, pid, agent name). Later entries win.
    pub env: Env,
    /// The script; empty when there is nothing to run.
    pub command: String,
    /// What to check out; `None` leaves the working directory empty.
    #[serde(default)]
    pub checkout: Option<Checkout>,
    /// Variable and name of each secret that is fetched before anything runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<(String, String)>,
    /// Globs of files to keep, relative to the checkout.
    #[serde(default)]
    pub artifact_paths: Vec<String>,
    /// From the start of the job until it is ended with cause `timeout`, in milliseconds.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Between SIGTERM and SIGKILL, in milliseconds.
    pub grace_ms: u64,
    /// Where the first chunks of the log go: URL of chunk 0, 1, …; more by [`Presign`].
    #[serde(default)]
    pub log_urls: Vec<String>,
    /// How many bytes of log are kept; what is over is dropped, and the log says so.
    pub log_limit: u64,
    /// How many bytes of log a job may print a second, but for bursts; one that prints more is slowed down.
    #[serde(default = "default_log_rate")]
    pub log_rate: u64,
}

/// [`Assignment::log_rate`] where nobody says.
pub const DEFAULT_LOG_RATE: u64 = 64 << 20;

fn default_log_rate() -> u64 {
    DEFAULT_LOG_RATE
}

/// What to check out.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Checkout {
    /// Numeric id of the repository as text: names the mirror.
    pub repository: String,
    /// Where to clone from. Never holds a credential.
    pub url: String,
    /// The commit, or `HEAD` for what the ref points at by then.
    pub commit: String,
    /// The full ref that the commit was pushed to, fetched when the commit alone cannot be.
    #[serde(default)]
    pub git_ref: Option<String>,
    /// The gate has a credential for the repository ([`crate::wire::credential`]): git asks for it.
    #[serde(default)]
    pub credentials: bool,
    /// What the pipeline wants of the checkout.
    #[serde(default)]
    pub options: CheckoutOptions,
}

/// The `checkout` attribute (`spec/pipeline.md` 1.4), as far as the agent acts on it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckoutOptions {
    /// So many commits of history.
    pub depth: Option<u32>,
    /// With submodules; when not given, they come along.
    pub submodules: Option<bool>,
    /// With the contents of files in Git LFS; when not given, as git on the machine is configured.
    pub lfs: Option<bool>,
    /// Only these directories.
    pub sparse: Vec<String>,
    /// Flags for `git clone`.
    pub clone_flags: String,
    /// Flags for `git fetch`.
    pub fetch_flags: String,
    /// Flags for `git checkout`.
    pub checkout_flags: String,
}

/// Says that the command is about to run. From here on the user's own code may have had effects.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// As in [`Beat`].
    pub boot: String,
    /// The held attempt.
    pub attempt: AttemptId,
}

/// Whether the command may run.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct StartAnswer {
    /// Set when the attempt was cancelled before: do not run, end it for this reason.
    #[serde(default)]
    pub cancel: Option<CancelReason>,
}

/// Asks for URLs of more log chunks: `count` from number `first` on, at most 64.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Presign {
    /// As in [`Beat`].
    pub boot: String,
    /// The held attempt.
    pub attempt: AttemptId,
    /// Number of the first chunk.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// URLs to `PUT` to, in order, each for one exact key, for at most 15 minutes.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct PresignAnswer {
    /// In the order asked for.
    pub urls: Vec<String>,
}

/// Registers artifacts, at most 100 in one request, and 5,000 files and 10 GiB in one attempt; their contents follow by `PUT` to the answered URLs. They are
/// listed once the result (which counts them) is accepted or [`Artifacts::done`] repeats them.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Artifacts {
    /// As in [`Beat`].
    pub boot: String,
    /// The held attempt.
    pub attempt: AttemptId,
    /// What is to be uploaded.
    pub files: Vec<ArtifactFile>,
    /// The contents of these files are uploaded: list them.
    #[serde(default)]
    pub done: bool,
}

/// A file that a job keeps.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ArtifactFile {
    /// Number within the attempt, from 0.
    pub number: u32,
    /// Relative path with `/`, no `..`.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 in hex.
    pub sha256: String,
    /// Media type.
    pub content_type: String,
}

/// URLs to `PUT` the contents to, in the order of [`Artifacts::files`]; empty when `done`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct ArtifactsAnswer {
    /// In the order asked for.
    pub urls: Vec<String>,
    /// A file that is larger than twice this may be uploaded in parts of so many bytes instead ([`ArtifactParts`]), so
    /// that what breaks goes on where it broke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_bytes: Option<u64>,
}

/// Uploads one registered artifact in parts: begin, `PUT` each part to a URL of its own, complete. What was begun and not
/// completed is dropped by the store some days later.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ArtifactParts {
    /// As in [`Beat`].
    pub boot: String,
    /// The held attempt.
    pub attempt: AttemptId,
    /// Number of the artifact, as it was registered.
    pub number: u32,
    /// What is wanted.
    pub ask: PartsAsk,
}

/// A step of an upload in parts.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartsAsk {
    /// Begin: answered with [`ArtifactPartsAnswer::upload`]. A repetition begins another upload.
    Begin,
    /// Where a part goes: answered with [`ArtifactPartsAnswer::url`], which answers a `PUT` with the part's `ETag`.
    Part {
        /// The upload.
        upload: String,
        /// Number of the part, from 1.
        part: u32,
        /// Bytes of every part but the last.
        part_bytes: u64,
    },
    /// All parts are there: make them the artifact. A repetition has the same effect.
    Complete {
        /// The upload.
        upload: String,
        /// The `ETag` of each part, in order.
        tags: Vec<String>,
    },
    /// Drop the upload and its parts.
    Abort {
        /// The upload.
        upload: String,
    },
}

/// The answer to [`ArtifactParts`].
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct ArtifactPartsAnswer {
    /// The upload that was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
    /// Where the part goes, for at most 15 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// `pipeline upload`: adds steps to the build. Answered only when the upload is recorded.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Upload {
    /// As in [`Beat`].
    pub boot: String,
    /// The held attempt.
    pub attempt: AttemptId,
    /// Chosen by the caller: makes a repetition harmless.
    pub uuid: String,
    /// The pipeline text.
    pub pipeline: String,
    /// Drop all steps after this one that have not started.
    #[serde(default)]
    pub replace: bool,
    /// Variables for interpolation on top of the job's own, such as changes that hooks made.
    #[serde(default)]
    pub env: Env,
    /// Leave `$` alone.
    #[serde(default)]
    pub no_interpolation: bool,
}

/// The answer to [`Upload`].
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct UploadAnswer {
    /// Findings to show: with `accepted: false` at least one error.
    pub diagnostics: Vec<crate::diagnostic::Diagnostic>,
    /// Whether the steps are part of the build now.
    pub accepted: bool,
}

/// How the attempt ended. Repeating it is harmless; after another end was recorded it is kept for reading only.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ReportResult {
    /// As in [`Beat`].
    pub boot: String,
    /// The held attempt.
    pub attempt: AttemptId,
    /// How it ended.
    pub outcome: Outcome,
}

/// How an attempt ended, as its agent saw it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The class of the end.
    pub cause: Cause,
    /// Exit status of the job (`spec/pipeline.md` 1.12), if it ran: 0 to 255.
    #[serde(default)]
    pub exit_status: Option<i32>,
    /// Name of the signal that ended it, upper case without `SIG`.
    #[serde(default)]
    pub signal: Option<String>,
    /// For people: git's own words, what could not be started, which limit was hit. At most 2,000 bytes.
    #[serde(default)]
    pub detail: Option<String>,
    /// Trying again cannot help (no such commit, no access).
    #[serde(default)]
    pub permanent: bool,
    /// From [`Start`] to the first byte of output, in milliseconds.
    #[serde(default)]
    pub first_output_ms: Option<u64>,
    /// The log as it was uploaded.
    #[serde(default)]
    pub log: LogExtent,
    /// The last lines of output, at most 2,000 bytes, control characters removed.
    #[serde(default)]
    pub tail: String,
    /// How many pipeline uploads the job made: the result is not applied before they are (invariant I12).
    #[serde(default)]
    pub uploads: u32,
}

/// What is there of a log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct LogExtent {
    /// Number of chunks, from 0 without a hole.
    pub chunks: u32,
    /// Bytes in all chunks.
    pub bytes: u64,
    /// Bytes that were dropped because of the limit.
    #[serde(default)]
    pub dropped: u64,
}

/// The answer to [`ReportResult`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct ResultAnswer {
    /// This result decided the attempt. `false` when it had ended before, for example as lost.
    pub accepted: bool,
}

/// Why the gate refused.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// For people.
    pub error: String,
}

/// Key of a log chunk in the blob store.
pub fn log_chunk_key(attempt: &AttemptId, chunk: u32) -> String {
    format!("{}{chunk:06}", log_prefix(attempt))
}

/// Prefix of an attempt's log chunks in the blob store.
pub fn log_prefix(attempt: &AttemptId) -> String {
    format!("logs/{}/{:05}/{:03}/", attempt.build, attempt.job.0, attempt.number)
}

/// Key of an artifact's content in the blob store. The name that the job gave is not part of it: keys are ours.
pub fn artifact_key(attempt: &AttemptId, number: u32) -> String {
    format!("artifacts/{}/{:05}/{:03}/{number:05}", attempt.build, attempt.job.0, attempt.number)
}

/// Key of a stored plan segment.
pub fn segment_key(build: &BuildId, name: &str) -> String {
    format!("plans/{build}/{name}")
}
