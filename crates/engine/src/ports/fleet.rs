use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::ids::{InstanceId, PoolName};

use super::PortError;

/// What to launch. The same token with the same content never launches twice; a token is never used again with other
/// content (`spec/hazards.md` H7).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LaunchRequest {
    /// At most 64 ASCII letters, digits and `-`; instances are tagged with it.
    pub token: String,
    /// The pool.
    pub pool: PoolName,
    /// How many.
    pub count: u32,
    /// An agent leaves after being idle this long.
    pub idle: Duration,
    /// A machine ends after this long, whatever happens.
    pub hard_stop: Duration,
    /// Tags of the pool, as agents announce them (`queue` first).
    pub tags: Vec<(String, String)>,
}

/// What a launch gave.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Launched {
    /// These instances, possibly fewer than asked for.
    Instances(Vec<InstanceId>),
    /// None can be had now.
    NoCapacity {
        /// For people.
        why: String,
    },
}

/// The state of an instance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InstanceStatus {
    /// Booting or running.
    Alive,
    /// Ended: nothing of it runs any more.
    Gone,
    /// The cloud has ended it, and says so: an interruption, a failure of its own, an end that somebody asked the cloud
    /// for. Nothing of it runs any more.
    Taken,
}

/// What is known of an instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InstanceView {
    /// Its id.
    pub id: InstanceId,
    /// The pool it was launched for.
    pub pool: PoolName,
    /// The token of its launch.
    pub token: String,
    /// Its state.
    pub status: InstanceStatus,
    /// Process id, where instances are processes of this machine.
    pub pid: Option<u32>,
    /// Why it is gone, for people, if known.
    pub why: Option<String>,
}

/// Machines.
#[async_trait]
pub trait Fleet: fmt::Debug + Send + Sync {
    /// Launches. [`PortError::Retry`] leaves it open whether something was launched: ask again with the same request.
    async fn launch(&self, request: &LaunchRequest) -> Result<Launched, PortError>;

    /// Everything alive, and what ended within the last while. May be some seconds behind a launch.
    async fn describe(&self) -> Result<Vec<InstanceView>, PortError>;

    /// Ends instances with everything that runs on them. Unknown ones are no error.
    async fn terminate(&self, instances: &[InstanceId]) -> Result<(), PortError>;
}
