//! What a list of builds shows: a small record, so that a list never reads whole builds (`spec/hazards.md` H2).

use serde::{Deserialize, Serialize};
use tidegate_core::build::{Build, BuildState, Graph};
use tidegate_core::event::GitRef;
use tidegate_core::ids::{BuildId, CommitSha, PipelineSlug, RepositoryName};
use tidegate_core::plan::BlockedState;
use tidegate_core::report::blocked_state;
use tidegate_core::time::Timestamp;

/// A line of a list of builds.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ListEntry {
    /// The build.
    pub id: BuildId,
    /// Its number.
    pub number: u64,
    /// Its pipeline.
    pub pipeline: PipelineSlug,
    /// Its repository.
    pub repository: RepositoryName,
    /// Its ref.
    pub git_ref: Option<GitRef>,
    /// Its commit.
    pub commit: CommitSha,
    /// First line of the message.
    pub message: String,
    /// Its state.
    pub state: BuildState,
    /// What a blocked build shows outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_state: Option<BlockedState>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the first job was claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How many jobs it has.
    pub jobs: usize,
    /// Up to which change of the build this is true.
    pub shown: u64,
    /// The build is being deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

impl ListEntry {
    pub(crate) fn of(build: &Build, graph: &Graph, shown: u64) -> Self {
        let facts = &build.facts;
        Self {
            id: facts.id.clone(),
            number: facts.number,
            pipeline: facts.pipeline.clone(),
            repository: facts.repository_name.clone(),
            git_ref: facts.git_ref.clone(),
            commit: facts.commit.clone(),
            message: facts.message.lines().next().unwrap_or_default().to_owned(),
            state: build.state,
            blocked_state: blocked_state(build, graph),
            created_at: facts.created_at,
            started_at: build.started_at,
            finished_at: build.finished_at,
            jobs: graph.job_count(),
            shown,
            gone: false,
        }
    }
}
