//! The build actor: one record, folded from its inputs, which implies its effects.
//!
//! A step of the actor is: load the record and its plan, [`Build::fold`] everything that is waiting, [`Build::settle`]
//! what follows from it, write once, perform [`Build::effects`], mark them done, and clear the marks with the next write. An
//! effect is implied by the state and carries a token made of build, job and attempt, so that performing it twice is
//! harmless; a crash after any line is repaired by the next doorbell.

mod acts;
mod cell;
mod change;
mod effects;
mod fold;
mod form;
mod graph;
mod manual;
mod origin;
mod retry;
mod schedule;
mod settle;
mod trigger;
mod upload;

use serde::{Deserialize, Serialize};

pub use acts::{Act, Did};
pub use cell::{Cell, Cells, JobState};
pub use change::{LONGEST_LABEL, MOST_CHANGED, StepChange, StepChanges};
pub use effects::{Done, Effect};
pub use fold::{Ended, Folded, Input};
pub use form::MAX_FIELDS;
pub use graph::{Graph, JobRef, Node, StepRef};
pub use origin::{Hold, MergeQueueFacts, Origin, Planned, PullRequestFacts};
pub use retry::{EXIT_STATUS_WITHOUT_EXIT, Verdict, after_end, quarantine};
pub use trigger::TriggerEnd;
pub use upload::Upload;

use crate::diagnostic::Diagnostic;
use crate::event::GitRef;
use crate::fleet::Requirement;
use crate::ids::{BuildId, CommitSha, JobIndex, PipelineSlug, RepositoryId, RepositoryName};
use crate::plan::Env;
use crate::time::Timestamp;
use crate::trust::Trust;

/// What a build is for: fixed when it is made.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Its id.
    pub id: BuildId,
    /// Counted per pipeline from 1.
    pub number: u64,
    /// Its pipeline.
    pub pipeline: PipelineSlug,
    /// Its repository.
    pub repository: RepositoryId,
    /// The repository's name when the build was made.
    pub repository_name: RepositoryName,
    /// The ref that it is for, if any.
    pub git_ref: Option<GitRef>,
    /// The commit.
    pub commit: CommitSha,
    /// First line and more of the commit's message.
    pub message: String,
    /// Who wrote the commit: name and address.
    pub author: (String, String),
    /// Who or what made the build.
    pub creator: String,
    /// `webhook`, `api`, `ui`, `schedule` or `trigger_job`.
    pub source: String,
    /// How far its work is trusted.
    pub trust: Trust,
    /// Build environment given by whoever made it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Env,
    /// When it was made.
    pub created_at: Timestamp,
    /// The repository's default branch, if known.
    #[serde(default)]
    pub default_branch: String,
    /// The build that this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt_from: Option<BuildId>,
    /// That build's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt_number: Option<u64>,
    /// The trigger step that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggered_by: Option<Box<TriggeredBy>>,
    /// The event that made it, and what it was about. The one fact that may change: a pull request of a commit that is
    /// built already joins the build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Box<Origin>>,
}

/// The trigger step that made a build.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TriggeredBy {
    /// Its build.
    pub build: BuildId,
    /// The build's number.
    pub number: u64,
    /// The build's pipeline.
    pub pipeline: PipelineSlug,
    /// The step's job.
    pub job: JobIndex,
    /// Which try of the job.
    pub attempt: u32,
    /// How many builds are above this one: at most [`MAX_TRIGGER_DEPTH`].
    pub depth: u32,
}

/// How many builds may trigger each other in a row (`spec/pipeline.md` 1.5).
pub const MAX_TRIGGER_DEPTH: u32 = 10;

/// State of a build (`spec/pipeline.md` 1.13).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildState {
    /// Nothing has started.
    Scheduled,
    /// Something has started.
    Running,
    /// Something failed while other jobs are not done.
    Failing,
    /// Nothing can go on without a person.
    Blocked,
    /// On its way to `canceled`.
    Canceling,
    /// Ended well.
    Passed,
    /// Ended badly.
    Failed,
    /// Ended by a person or a newer build.
    Canceled,
    /// Every step was skipped or left out.
    NotRun,
    /// It had not begun when a newer build of its branch was made.
    Skipped,
}

impl BuildState {
    /// Whether nothing more happens unless a person asks for it.
    pub fn is_final(self) -> bool {
        match self {
            BuildState::Passed
            | BuildState::Failed
            | BuildState::Canceled
            | BuildState::NotRun
            | BuildState::Skipped => true,
            BuildState::Scheduled
            | BuildState::Running
            | BuildState::Failing
            | BuildState::Blocked
            | BuildState::Canceling => false,
        }
    }

    /// The name in JSON and for people.
    pub fn name(self) -> &'static str {
        match self {
            BuildState::Scheduled => "scheduled",
            BuildState::Running => "running",
            BuildState::Failing => "failing",
            BuildState::Blocked => "blocked",
            BuildState::Canceling => "canceling",
            BuildState::Passed => "passed",
            BuildState::Failed => "failed",
            BuildState::Canceled => "canceled",
            BuildState::NotRun => "not_run",
            BuildState::Skipped => "skipped",
        }
    }
}

/// A segment of the plan, stored as a blob.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SegmentRef {
    /// Its key in the blob store.
    pub blob: String,
    /// How many jobs it has, so that places can be counted without loading it.
    pub jobs: u32,
    /// The job that uploaded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<JobIndex>,
    /// That job's attempt.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub number: u32,
    /// That attempt was lost to us and is made again: the next upload of the job takes this one's place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
    /// It replaced what had not started after its uploader.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
}

fn is_nought(value: &u64) -> bool {
    *value == 0
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// Who cancelled a build, and when.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Cancel {
    /// Who or what.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// A newer build of its branch was made before it had begun.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
}

/// Jobs of one requirement and priority, in the order in which they became ready.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What a machine must offer.
    pub requirement: Requirement,
    /// Larger first.
    pub priority: i64,
    /// How many attempts were put on the line so far: the number of the last one.
    pub issued: u32,
    /// How many of them the fleet has been told of.
    pub published: u32,
}

/// Limits that the engine gives to a build.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// How long an attempt may wait for a machine before it expires, and how long a job whose attempts are lost to us one
    /// after the other is tried again.
    pub wait: std::time::Duration,
    /// How many machines may die silently, or run out of disk, under one job after its command started
    /// (`spec/hazards.md` H10).
    pub silent_losses: u8,
    /// Most jobs of a build (`spec/pipeline.md` 1.21): `build_jobs` in the configuration.
    pub jobs: usize,
    /// Most jobs of one pipeline text, the first or an upload: `jobs` in the configuration.
    pub upload_jobs: usize,
    /// Most uploads of a build: `build_uploads` in the configuration.
    pub uploads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wait: std::time::Duration::from_secs(24 * 3600),
            silent_losses: 3,
            jobs: 4_000,
            upload_jobs: 500,
            uploads: 500,
        }
    }
}

/// The record of a build.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// What it is for.
    pub facts: Facts,
    /// Its state.
    pub state: BuildState,
    /// Why there is no plan: the build failed before it had jobs. Empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failure: String,
    /// Why it has no plan yet, though it may have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Errors and warnings of the pipeline file, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
    /// The plan.
    pub segments: Vec<SegmentRef>,
    /// One cell a job.
    pub cells: Cells,
    /// Where ready attempts are announced.
    pub lines: Vec<Line>,
    /// Set once somebody cancelled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Cancel>,
    /// Who did what to it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acts: Vec<Act>,
    /// The latest wishes to run jobs again, by their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wishes: Vec<String>,
    /// What jobs changed of the steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<StepChanges>,
    /// When the first job was claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended, last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Rises when something changed that is shown outside.
    pub shown: u64,
    /// Up to where `shown` has been told to list and report.
    pub told: u64,
    /// Up to which `shown` the trigger step that made it knows its end.
    #[serde(default, skip_serializing_if = "is_nought")]
    pub answered: u64,
    /// It is on the index of active builds.
    pub active: bool,
    /// Inbox records that are folded in and may be deleted.
    #[serde(default)]
    pub folded: Vec<String>,
}

impl Build {
    /// A build with its first segment: every job waits.
    pub fn new(facts: Facts, blob: String, segment: &crate::plan::Segment) -> Self {
        let mut build = Self::bare(facts);
        build.planned(blob, segment);
        build
    }

    /// Gives it its first segment.
    fn planned(&mut self, blob: String, segment: &crate::plan::Segment) {
        self.diagnostics = segment.diagnostics.iter().take(50).cloned().collect();
        self.append(SegmentRef { blob, jobs: 0, by: None, number: 0, lost: false, replace: false }, segment);
    }

    /// A build that failed before it had a plan.
    pub fn failed(facts: Facts, failure: String, diagnostics: Vec<Diagnostic>) -> Self {
        let mut build = Self::bare(facts);
        build.failure = failure;
        build.diagnostics = diagnostics.into_iter().take(50).collect();
        build
    }

    /// A build that has no plan until somebody lets it have one.
    pub fn held(facts: Facts, hold: Hold) -> Self {
        let mut build = Self::bare(facts);
        build.hold = Some(hold);
        build.state = BuildState::Blocked;
        build
    }

    fn bare(facts: Facts) -> Self {
        Self {
            facts,
            state: BuildState::Scheduled,
            failure: String::new(),
            hold: None,
            diagnostics: Vec::new(),
            segments: Vec::new(),
            cells: Cells::default(),
            lines: Vec::new(),
            cancel: None,
            acts: Vec::new(),
            wishes: Vec::new(),
            changes: Vec::new(),
            started_at: None,
            finished_at: None,
            shown: 1,
            told: 0,
            answered: 0,
            active: true,
            folded: Vec::new(),
        }
    }

    /// Adds the jobs of a segment.
    fn append(&mut self, reference: SegmentRef, segment: &crate::plan::Segment) {
        use crate::plan::{LeftOutKind, StepKind};
        let before = self.cells.len();
        for step in &segment.steps {
            for index in 0..step.job_count() {
                let job_left_out = match &step.kind {
                    StepKind::Command(command) => command.jobs.get(index).and_then(|job| job.left_out.as_ref()),
                    StepKind::Wait { .. } | StepKind::Block(_) | StepKind::Input(_) | StepKind::Trigger(_) => None,
                };
                let state = match step.left_out.as_ref().or(job_left_out).map(|l| l.kind) {
                    Some(LeftOutKind::Broken) => JobState::Broken,
                    Some(LeftOutKind::Skipped) => JobState::Skipped,
                    None => JobState::Waiting,
                };
                self.cells.push(Cell { state, ..Cell::default() });
            }
        }
        let jobs = u32::try_from(self.cells.len() - before).unwrap_or(u32::MAX);
        self.segments.push(SegmentRef { jobs, ..reference });
    }

    /// When the record wants to be looked at again although nothing happened: retries that back off.
    pub fn due(&self) -> Option<Timestamp> {
        self.cells.iter().filter(|c| c.state == JobState::Backoff).map(|c| c.not_before).min()
    }

    fn touch(&mut self) {
        self.shown += 1;
    }
}

#[cfg(test)]
pub(crate) mod tests;
