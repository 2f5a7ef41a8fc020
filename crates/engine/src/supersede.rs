//! Builds that a newer one of their branch supersedes (`spec/pipeline.md` 1.20): those that have not begun are skipped,
//! those that have are cancelled, where the pipeline says so.
//!
//! A record a branch names the builds that may not be over. A build is added to it after it is made; whoever finds newer
//! ones there is superseded itself, so that it does not matter which of two is added first.

use serde::{Deserialize, Serialize};
use tidegate_core::build::{Build, Input};
use tidegate_core::event::GitRef;
use tidegate_core::ids::BuildId;
use tidegate_pipeline::branches_match;

use crate::actors::Actor;
use crate::engine::{Engine, PipelineSettings};
use crate::error::Error;
use crate::keys;
use crate::ports::{Expect, PortError};

/// Most builds that a branch's record names.
const MOST: usize = 200;

/// Builds of a branch that may not be over, and the newest.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
struct BranchRecord {
    /// By number, oldest first.
    builds: Vec<(u64, BuildId)>,
}

impl Engine {
    /// Tells the builds of a branch which of them are superseded, now that there is one more. Doing so again is harmless.
    pub(crate) async fn supersede(
        &self,
        pipeline: &PipelineSettings,
        id: &BuildId,
        number: u64,
        git_ref: Option<&GitRef>,
    ) -> Result<(), Error> {
        let branch = git_ref.map_or("", GitRef::name);
        let says = |filter: &Option<Vec<String>>| filter.as_ref().is_some_and(|f| branches_match(f, branch));
        let (skip, cancel) = (says(&pipeline.skip_intermediate), says(&pipeline.cancel_intermediate));
        if !(skip || cancel) || branch.is_empty() {
            return Ok(());
        }
        let key = match git_ref {
            // Two pull requests may come from one branch of a fork.
            Some(pull @ GitRef::Pull { .. }) => keys::branch(&pipeline.slug, &pull.full()),
            Some(GitRef::Branch(_) | GitRef::Tag(_)) | None => keys::branch(&pipeline.slug, branch),
        };
        let builds = loop {
            let (known, expect) = match self.load::<BranchRecord>(&key).await? {
                Some(known) => (known.body, Expect::Version(known.version)),
                None => (BranchRecord::default(), Expect::Absent),
            };
            let mut builds = Vec::new();
            for (n, other) in known.builds.iter().filter(|(_, other)| other != id) {
                let state = self.load::<Build>(&keys::build(other)).await?.map(|b| b.body.state);
                if state.is_some_and(|state| !state.is_final()) {
                    builds.push((*n, other.clone()));
                }
            }
            // The newest stays although it may be over: an older one that comes late must know of it.
            builds.extend(known.builds.last().filter(|(n, _)| *n > number).cloned());
            builds.push((number, id.clone()));
            builds.sort();
            builds.dedup();
            if builds.len() > MOST {
                builds.remove(0);
            }
            let next = BranchRecord { builds };
            if next == known {
                break next.builds;
            }
            match self.save(key.clone(), &next, expect).await {
                Ok(_) => break next.builds,
                Err(Error::Port(PortError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        };
        let Some((newest, _)) = builds.last() else { return Ok(()) };
        let by = format!("{}#{newest}", pipeline.slug);
        for (_, other) in builds.iter().filter(|(n, _)| n < newest) {
            let input = Input::Superseded { by: by.clone(), skip, cancel };
            self.tell(&Actor::Build(other.clone()), &input).await?;
        }
        Ok(())
    }
}
