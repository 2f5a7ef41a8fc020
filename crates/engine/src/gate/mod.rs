//! The gate: the one door between a machine and the control plane (design, 6).
//!
//! The caller is known as an instance of a pool. Every verb is checked against the attempt that this very instance holds,
//! and every change is a compare-and-set on the attempt's record, in one transaction with the instance's own record and
//! the letters to the actors that must know.

mod annotate;
mod artifacts;
mod assignment;
mod beat;
mod find;
mod git_credential;
mod hold;
mod meta_data;
mod parts;
mod secrets;
mod step;
mod upload;

use serde::{Deserialize, Serialize};
use tidegate_core::attempt::{Attempt, Refused};
use tidegate_core::ids::{AttemptId, InstanceId, PoolName};
use tidegate_core::trust::Trust;
use tidegate_core::wire::gate::{AgentState, Presign, PresignAnswer, log_chunk_key};

pub use artifacts::ArtifactRecord;
pub(crate) use meta_data::MetaDataRecord;

use crate::engine::{Engine, Loaded};
use crate::error::Error;
use crate::keys;
use crate::ports::{Method, Version};

/// How long a presigned URL lives (`spec/hazards.md` H13: at most 15 minutes).
pub(crate) const URL_LIFETIME: std::time::Duration = std::time::Duration::from_secs(15 * 60);
/// Largest chunk of a log.
pub(crate) const LOG_CHUNK: u64 = 4 << 20;

/// Who calls, as authenticated.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The machine.
    pub instance: InstanceId,
    /// Its pool.
    pub pool: PoolName,
}

/// What is known of a machine by its own calls. Written by the gate, removed when the machine is buried.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// The agent process that spoke first or last.
    pub boot: String,
    /// What it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holding: Option<AttemptId>,
    /// It said that it is leaving.
    #[serde(default)]
    pub closing: bool,
    /// It has held something, ever.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spent: bool,
    /// Rises with each event that the fleet is told of.
    pub seq: u64,
}

/// A sign of life as it is stored: alone in its record, because it is written often (`spec/hazards.md` H3).
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct BeatRecord {
    /// Rises with each beat.
    pub counter: u64,
    /// What the agent said it does.
    pub state: AgentState,
}

/// Why the gate did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The attempt is not this caller's, or not any more.
    #[error("{0}")]
    Refused(#[from] Refused),
    /// The request breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// Something of ours failed: the caller asks again.
    #[error(transparent)]
    Engine(#[from] Error),
}

impl From<crate::ports::PortError> for GateError {
    fn from(error: crate::ports::PortError) -> Self {
        GateError::Engine(error.into())
    }
}

impl Engine {
    /// What the caller's pool is trusted with; nothing when the pool is not configured any more.
    fn trust_of(&self, pool: &PoolName) -> Option<Trust> {
        self.settings.policy.pools.iter().find(|p| p.name == *pool).map(|p| p.trust)
    }

    /// The attempt, if the caller holds it.
    async fn held(&self, caller: &Caller, boot: &str, attempt: &AttemptId) -> Result<Loaded<Attempt>, GateError> {
        let known = self.load::<Attempt>(&keys::attempt(attempt)).await?.ok_or(Refused::NotClaimed)?;
        known.body.held_by(&caller.instance, boot)?;
        Ok(known)
    }

    async fn load_instance(&self, instance: &InstanceId) -> Result<(InstanceRecord, Option<Version>), Error> {
        Ok(match self.load::<InstanceRecord>(&keys::instance(instance)).await? {
            Some(Loaded { body, version }) => (body, Some(version)),
            None => (InstanceRecord::default(), None),
        })
    }

    /// URLs of more log chunks.
    ///
    /// # Errors
    /// Refused unless the caller holds the attempt; invalid for more than 64 at once or beyond the log's limit.
    pub async fn presign(&self, caller: &Caller, request: &Presign) -> Result<PresignAnswer, GateError> {
        self.held(caller, &request.boot, &request.attempt).await?;
        if request.count > 64 || request.first.saturating_add(request.count) > 1_000_000 {
            return Err(GateError::Invalid("at most 64 chunks at once, and a million in all".to_owned()));
        }
        Ok(PresignAnswer { urls: self.log_urls(&request.attempt, request.first, request.count).await? })
    }

    async fn log_urls(&self, attempt: &AttemptId, first: u32, count: u32) -> Result<Vec<String>, Error> {
        let mut urls = Vec::new();
        for chunk in first..first + count {
            let key = log_chunk_key(attempt, chunk);
            let url = self.ports.blobs.presign(Method::Put { max_bytes: LOG_CHUNK }, &key, URL_LIFETIME).await?;
            urls.push(url.0);
        }
        Ok(urls)
    }
}
