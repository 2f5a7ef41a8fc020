//! Which builds there are at a commit.

use serde::{Deserialize, Serialize};
use tidegate_core::build::{Build, Input};
use tidegate_core::event::GitRef;
use tidegate_core::ids::{BuildId, CommitSha, PipelineSlug, RepositoryId};

use super::refs::Move;
use crate::actors::Actor;
use crate::engine::{Engine, open};
use crate::error::Error;
use crate::keys;

/// Most builds of a commit that are looked at: the index is sorted by pipeline, newest first.
const MOST: usize = 1_000;

/// An entry of the index.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct At {
    pub(crate) build: BuildId,
    pub(crate) pipeline: PipelineSlug,
    /// The full ref; empty without one.
    pub(crate) git_ref: String,
    /// What made it.
    pub(crate) trigger: String,
}

impl Engine {
    /// The builds at a commit, newest first within a pipeline.
    pub(crate) async fn builds_at(&self, repository: RepositoryId, commit: &CommitSha) -> Result<Vec<At>, Error> {
        let (records, _) = self.list(&keys::at_partition(repository, commit), MOST).await?;
        records.iter().map(|record| open(&record.key, &record.body)).collect()
    }

    /// The newest build of each pipeline at a commit, of this ref if one is named.
    pub(super) async fn newest_at(
        &self,
        repository: RepositoryId,
        commit: &CommitSha,
        git_ref: Option<&GitRef>,
    ) -> Result<Vec<Build>, Error> {
        let full = git_ref.map(GitRef::full);
        let mut builds: Vec<Build> = Vec::new();
        for at in self.builds_at(repository, commit).await? {
            let done = builds.iter().any(|b| b.facts.pipeline == at.pipeline);
            if done || full.as_ref().is_some_and(|full| *full != at.git_ref) {
                continue;
            }
            builds.extend(self.load::<Build>(&keys::build(&at.build)).await?.map(|b| b.body));
        }
        Ok(builds)
    }

    /// Cancels what these moves of a ref made and is not over. Returns the builds.
    pub(super) async fn cancel_moves(
        &self,
        repository: RepositoryId,
        git_ref: &GitRef,
        moves: &[Move],
        by: &str,
        wanted: impl Fn(&Build) -> bool,
    ) -> Result<Vec<BuildId>, Error> {
        let full = git_ref.full();
        let mut builds = Vec::new();
        for m in moves {
            let Ok(commit) = CommitSha::new(m.after.as_str()) else { continue };
            for at in self.builds_at(repository, &commit).await? {
                if at.git_ref == full && at.trigger == m.trigger && !builds.contains(&at.build) {
                    builds.push(at.build);
                }
            }
        }
        let mut ended = Vec::new();
        for id in builds {
            let Some(build) = self.load::<Build>(&keys::build(&id)).await? else { continue };
            if !build.body.state.is_final() && wanted(&build.body) {
                self.tell(&Actor::Build(id.clone()), &Input::Cancel { by: by.to_owned() }).await?;
                ended.push(id);
            }
        }
        Ok(ended)
    }
}
