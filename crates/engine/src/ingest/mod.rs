//! From a verified event to a build (design, "From a push to a result", 2).
//!
//! The `ingest` queue is at-least-once and unordered. What is acknowledged: everything that was decided, whether it made
//! a build or not, and messages that cannot be read (they are logged and moved aside by the queue's dead letters only if
//! reading may work later: an unreadable text never will, so it is dropped). What is retried: every failure of a port. The
//! delivery record is written last, so that a crash anywhere before is repaired by the message coming again
//! (`spec/hazards.md` C3).

mod at;
mod known;
mod make;
mod merge_group;
mod policy;
mod pull_request;
mod push;
mod refs;
mod wishes;

pub(crate) use make::Wanted;

use serde::{Deserialize, Serialize};
use tidegate_core::event::{Event, EventKind};
use tidegate_core::ids::BuildId;
use tidegate_core::time::Timestamp;

use crate::engine::Engine;
use crate::error::Error;
use crate::keys;
use crate::ports::Expect;

/// The queue of verified events.
pub const INGEST: &str = "ingest";

/// What became of a delivery.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct DeliveryRecord {
    /// When it was decided.
    pub at: Timestamp,
    /// The builds it led to.
    pub builds: Vec<BuildId>,
    /// Why it led to none, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What an event led to.
struct Outcome {
    builds: Vec<BuildId>,
    why: Option<String>,
}

impl Outcome {
    fn builds(builds: Vec<BuildId>) -> Self {
        Self { builds, why: None }
    }

    fn none(why: impl Into<String>) -> Self {
        Self { builds: Vec::new(), why: Some(why.into()) }
    }

    /// Of several things that were to be done: those that were, or why none was.
    fn of(did: Vec<Result<BuildId, String>>, none: &str) -> Self {
        let (mut builds, mut whys) = (Vec::new(), Vec::new());
        for one in did {
            match one {
                Ok(build) => builds.push(build),
                Err(why) => whys.push(why),
            }
        }
        match (builds.is_empty(), whys.is_empty()) {
            (false, _) => Self::builds(builds),
            (true, false) => Self::none(whys.join("; ")),
            (true, true) => Self::none(none),
        }
    }
}

impl Engine {
    /// Decides about a verified event. Doing so again, at any time and after any crash, leads to the same builds.
    ///
    /// # Errors
    /// A port failed: ask again.
    pub async fn ingest(&self, event: &Event) -> Result<DeliveryRecord, Error> {
        let key = keys::delivery(&event.delivery);
        if let Some(known) = self.load::<DeliveryRecord>(&key).await? {
            tracing::info!(delivery.id = %event.delivery, "a doubled delivery: nothing to do");
            return Ok(known.body);
        }
        let delivery = &event.delivery;
        let Outcome { builds, why } = match &event.kind {
            EventKind::Ping { hook } => Outcome::none(format!("a greeting from webhook {hook}")),
            EventKind::HookDeleted { hook } => {
                // Nothing will be heard of its repositories any more: somebody should know.
                tracing::error!(delivery.id = %delivery, hook, "the webhook was deleted: no more deliveries come from it");
                Outcome::none(format!("the webhook {hook} was deleted"))
            }
            EventKind::Ignored { event, why } => Outcome::none(format!("`{event}`: {why}")),
            EventKind::Push(push) => self.ingest_push(delivery, push).await?,
            EventKind::PullRequest(pull) => self.ingest_pull_request(delivery, pull).await?,
            EventKind::MergeGroup(group) => self.ingest_merge_group(delivery, group).await?,
            EventKind::Rerun(rerun) => self.ingest_rerun(delivery, rerun).await?,
            EventKind::Comment(comment) => self.ingest_comment(delivery, comment).await?,
            EventKind::RefDeleted(deleted) => self.ingest_deleted(deleted).await?,
            EventKind::Installation(installation) => self.ingest_installation(installation).await?,
            EventKind::Repository(change) => self.ingest_repository(change).await?,
        };
        match &why {
            Some(why) => tracing::info!(delivery.id = %delivery, %why, "no build"),
            None => {
                for build in &builds {
                    tracing::info!(delivery.id = %delivery, build.id = %build, "build made");
                }
            }
        }
        let record = DeliveryRecord { at: self.now(), builds, why };
        self.remember(&key).await?;
        self.save(key, &record, Expect::Any).await?;
        Ok(record)
    }
}
