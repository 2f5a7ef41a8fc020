//! The report actor: makes the forge show what the record says. Level-triggered: it compares, it does not remember events.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_core::ids::BuildId;
use tidegate_core::report::{Status, status};
use tidegate_core::time::Timestamp;

use crate::engine::{Engine, Loaded};
use crate::error::Error;
use crate::keys;
use crate::ports::{CommitStatus, Expect, PortError};

/// What the forge was last told of a build.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ReportRecord {
    /// The status.
    pub status: Status,
    /// When it was decided.
    pub at: Timestamp,
    /// Whether it was posted; `false` where no forge is configured.
    pub posted: bool,
    /// Why it could not be posted, if it was refused for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The forge is being told; whoever wrote this has not said yet what came of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub telling: bool,
    /// Until then a step that was overtaken may still tell the forge something older: it is told again afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubtful_until: Option<Timestamp>,
}

/// How long a call of ours may be on its way: no function lives longer (`spec/aws-limits.md`, Lambda).
const LONGEST_CALL: Duration = Duration::from_secs(15 * 60);

impl Engine {
    pub(super) async fn step_report(&self, id: &BuildId) -> Result<(), Error> {
        let note = self.ports.store.get(&keys::unreported(id)).await?;
        // Before the build: what is written below depends on nobody having written since, so that a step that slept between
        // the two readings cannot tell what an old build says after another told what a newer one says.
        let known = self.load::<ReportRecord>(&keys::report(id)).await?;
        let Some((build, graph)) = self.load_build(id).await? else { return Ok(()) };
        let wanted = status(&build, &graph);
        let now = self.now();
        let doubt = known.as_ref().and_then(|k| k.body.doubtful_until).filter(|until| *until > now);
        let up_to_date = known.as_ref().is_some_and(|k| {
            k.body.status == wanted
                && (k.body.posted || self.ports.forge.is_none() || k.body.refused.is_some())
                && (k.body.doubtful_until.is_none() || doubt.is_some())
        });
        if !up_to_date && !self.tell_forge(id, &build, wanted, known).await? {
            return self.ring(&super::Actor::Report(id.clone())).await;
        }
        let waits = self.notify(&build, &graph).await?;
        if let Some(at) = waits {
            self.ring_later(&super::Actor::Report(id.clone()), at.since(self.now())).await?;
        }
        if doubt.is_some() || waits.is_some() {
            // The note stays, so that the sweep brings us back when the doubt or the pause is over.
            return Ok(());
        }
        if let Some(note) = note {
            // A note that was written meanwhile stays, and its doorbell brings us back.
            match self.ports.store.delete_if(&note.key, Expect::Version(note.version)).await {
                Ok(()) | Err(PortError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Tells the forge, between two writes of the record: before, that it is about to be told, so that a crash in between
    /// leads to telling it again; after, that it was told. Whoever finds that somebody else wrote meanwhile may have told
    /// something older later than the other told something newer: the record is marked, and everything told again. It may
    /// also die before it can mark anything: whoever overtakes an intent tells the forge once more when no call can be on
    /// its way any longer.
    /// Returns whether the record says what the forge was told.
    async fn tell_forge(
        &self,
        id: &BuildId,
        build: &tidegate_core::build::Build,
        wanted: Status,
        known: Option<Loaded<ReportRecord>>,
    ) -> Result<bool, Error> {
        let key = keys::report(id);
        let now = self.now();
        // An intent without an outcome: whoever wrote it has died, or sleeps and tells what it meant to tell after us.
        let overtaken = known.as_ref().is_some_and(|k| k.body.telling);
        let doubtful_until = match known.as_ref().and_then(|k| k.body.doubtful_until) {
            _ if overtaken => Some(now + LONGEST_CALL),
            until => until.filter(|until| *until > now),
        };
        let telling = self.ports.forge.is_some();
        let intent = ReportRecord { status: wanted, at: now, posted: false, refused: None, telling, doubtful_until };
        let expect = known.map_or(Expect::Absent, |k| Expect::Version(k.version));
        let version = match self.save(key.clone(), &intent, expect).await {
            Ok(version) => version,
            Err(Error::Port(PortError::Conflict)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let (posted, refused) = match self.post(build, &intent.status).await {
            Ok(outcome) => outcome,
            Err(error) => {
                // Told or not, this call is over: the next one has nobody to fear.
                let over = ReportRecord { telling: false, ..intent };
                if let Err(why) = self.save(key, &over, Expect::Version(version)).await {
                    tracing::debug!(build.id = %id, %why, "a failed report is not written down: it is told twice");
                }
                return Err(error);
            }
        };
        if !posted && refused.is_none() {
            return Ok(true);
        }
        let told = ReportRecord { posted, refused, telling: false, ..intent };
        match self.save(key.clone(), &told, Expect::Version(version)).await {
            // With doubts the note must stay: another step sees to that.
            Ok(_) => return Ok(told.doubtful_until.is_none()),
            Err(Error::Port(PortError::Conflict)) => {}
            Err(error) => return Err(error),
        }
        loop {
            let Some(other) = self.load::<ReportRecord>(&key).await? else { return Ok(false) };
            let doubtful = ReportRecord { posted: false, refused: None, ..other.body };
            match self.save(key.clone(), &doubtful, Expect::Version(other.version)).await {
                Ok(_) => return Ok(false),
                Err(Error::Port(PortError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn post(
        &self,
        build: &tidegate_core::build::Build,
        wanted: &Status,
    ) -> Result<(bool, Option<String>), Error> {
        let Some(forge) = &self.ports.forge else { return Ok((false, None)) };
        let Some(repository) = self.repository(build.facts.repository).await? else { return Ok((false, None)) };
        let target_url = (!self.settings.base_url.is_empty())
            .then(|| format!("{}/builds/{}", self.settings.base_url, build.facts.id));
        let status = CommitStatus {
            context: wanted.context.clone(),
            state: wanted.state,
            description: wanted.description.clone(),
            target_url,
        };
        match forge.set_status(&repository, &build.facts.commit, &status).await {
            Ok(()) => Ok((true, None)),
            Err(PortError::Reject { why }) => {
                tracing::warn!(build.id = %build.facts.id, %why, "the commit status was refused");
                Ok((false, Some(why)))
            }
            Err(error) => Err(error.into()),
        }
    }
}
