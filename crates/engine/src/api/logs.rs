//! Logs: chunks in order, read from a position, so that a reader can follow a log that still grows.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_core::attempt::{Attempt, Phase};
use tidegate_core::ids::AttemptId;
use tidegate_core::wire::gate::log_chunk_key;

use super::ApiError;
use super::find::{BuildName, JobName, NotFound, find_job};
use crate::engine::Engine;
use crate::keys;

/// Where a reader is: which attempt, and which chunk comes next.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct LogPosition {
    /// The attempt.
    pub attempt: AttemptId,
    /// The next chunk.
    pub chunk: u32,
}

/// A part of a log.
#[derive(Clone, Debug)]
pub struct LogPart {
    /// The bytes, as the job wrote them, with time marks (`spec/agent.md`, logs).
    pub bytes: Bytes,
    /// Where to go on.
    pub next: LogPosition,
    /// Nothing more will come.
    pub end: bool,
}

impl Engine {
    /// The beginning of a job's log: of the given attempt, or of the latest.
    ///
    /// # Errors
    /// Not found: no such build, job or attempt, or the job has not run.
    pub async fn log_position(
        &self,
        build: &BuildName,
        job: &JobName,
        attempt: Option<u32>,
    ) -> Result<LogPosition, ApiError> {
        let id = self.find_build(build).await?;
        let (build, graph) =
            self.load_build(&id).await?.ok_or_else(|| NotFound(format!("there is no build `{id}`")))?;
        let job = find_job(&build, &graph, job)?;
        let latest = build.cells.get(job.0 as usize).map_or(0, |c| c.attempt);
        let label = graph.job(job).map_or_else(String::new, |j| j.label().to_owned());
        let number = match attempt {
            None if latest == 0 => {
                let state = build.cells.get(job.0 as usize).map_or("unknown", |c| c.state.name());
                return Err(NotFound(format!("job `{label}` has not run: it is {state}")).into());
            }
            None => latest,
            Some(number) if (1..=latest).contains(&number) => number,
            Some(number) => {
                return Err(NotFound(format!("job `{label}` has no attempt {number}; it has {latest}")).into());
            }
        };
        Ok(LogPosition { attempt: AttemptId { build: id, job, number }, chunk: 0 })
    }

    /// The next chunk of a log. An empty part that is not the end: nothing new yet.
    ///
    /// # Errors
    /// A port failed.
    pub async fn log_part(&self, at: &LogPosition) -> Result<LogPart, ApiError> {
        let attempt = self.load::<Attempt>(&keys::attempt(&at.attempt)).await?.map(|a| a.body);
        let key = log_chunk_key(&at.attempt, at.chunk);
        if let Some(bytes) = self.ports.blobs.get(&key, None).await? {
            let next = LogPosition { attempt: at.attempt.clone(), chunk: at.chunk + 1 };
            return Ok(LogPart { bytes, next, end: false });
        }
        // Read before the chunk was: an attempt that had ended then has uploaded everything.
        let end = match attempt.map(|a| a.phase) {
            Some(Phase::Ended(_)) | None => true,
            Some(Phase::Queued | Phase::Held(_)) => false,
        };
        Ok(LogPart { bytes: Bytes::new(), next: at.clone(), end })
    }
}
