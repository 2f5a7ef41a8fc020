//! Refs that moved without an event: more than three tags in one push, payloads above the limit, hooks that were switched off
//! (`spec/github.md` 6.2; `spec/security.md` S17).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tidegate_core::event::GitRef;
use tidegate_core::ids::{CommitSha, RepositoryId};
use tidegate_core::lost::SeenRefs;
use tidegate_core::wire::envelope;

use crate::engine::{Engine, open};
use crate::error::Error;
use crate::keys;
use crate::ports::{Forge, PortError, RepositorySource};

/// Most repositories that are looked at.
const MOST: usize = 10_000;

/// Where the refs of a repository at the last look are: too many for a record.
fn blob(repository: RepositoryId) -> String {
    format!("refs/{repository}")
}

impl Engine {
    /// Looks at the refs of every repository whose time has come.
    pub(super) async fn look_for_moves(&self, forge: &dyn Forge) -> Result<(), Error> {
        let mut ids: BTreeSet<RepositoryId> = self.settings.repositories.iter().map(|r| r.id).collect();
        // Those that were given to the App and have a pipeline.
        let (pipelines, _) = self.list(keys::PIPELINES, MOST).await?;
        for record in pipelines {
            ids.insert(open(&record.key, &record.body)?);
        }
        for id in ids {
            let Some(repository) = self.repository(id).await? else { continue };
            match self.look_at_refs(forge, &repository).await {
                Ok(()) => {}
                // A repository out of reach does not keep the others from being looked at.
                Err(Error::Port(PortError::Reject { why })) => {
                    tracing::warn!(repository = %repository.full_name, %why, "refs cannot be compared");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn look_at_refs(&self, forge: &dyn Forge, repository: &RepositorySource) -> Result<(), Error> {
        let blob = blob(repository.id);
        let now = self.now();
        let mut seen = match self.ports.blobs.get(&blob, None).await? {
            Some(bytes) => {
                envelope::open::<SeenRefs>(&bytes).map_err(|source| Error::Parked { record: blob.clone(), source })?
            }
            None => SeenRefs::default(),
        };
        if seen.next > now {
            return Ok(());
        }
        let listed = forge.refs(repository).await?;
        let refs: BTreeMap<String, CommitSha> = listed.into_iter().map(|r| (r.name, r.target)).collect();
        let mut untold = Vec::new();
        for (name, at) in seen.take_in(&refs) {
            let Some(git_ref) = GitRef::parse(&name) else { continue };
            if !self.was_told(repository.id, &git_ref, &at).await? {
                untold.push((name, at));
            }
        }
        for (name, at) in seen.take_up(&untold) {
            let Some(git_ref) = GitRef::parse(&name) else { continue };
            let Some(head) = forge.head_commit(repository, &git_ref).await? else { continue };
            // A branch that has moved on is looked at next time; what a tag's object leads to has another id.
            if head.id != at && matches!(git_ref, GitRef::Branch(_)) {
                continue;
            }
            tracing::warn!(repository = %repository.full_name, git_ref = name, commit = %at, "a move that no webhook told of");
            self.found_move(repository, &git_ref, &at, head).await?;
        }
        // Last: a look that was cut short is repeated, and makes nothing twice.
        seen.next = now + self.settings.look_every;
        Ok(self.ports.blobs.put(&blob, Bytes::from(envelope::seal(&seen)?)).await?)
    }
}
