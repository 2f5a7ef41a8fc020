//! The fleet actor: the only owner of capacity of an account and region (design, 5).
//!
//! One record holds every pool: its machines, its launch intents and the tickets that are out. It never holds the
//! backlog: what is ready is read from demand lines, one record a build, requirement and priority, in dispatch order, and
//! only as many as there is room for. [`plan`] is pure and the same code everywhere.

mod fold;
mod planner;
mod requirement;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use fold::Input;
pub use planner::{Action, plan};
pub use requirement::Requirement;

use crate::ids::{AttemptId, BuildId, InstanceId, PoolName};
use crate::time::Timestamp;
use crate::trust::Trust;

/// What an owner has configured of a pool.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolPolicy {
    /// Its name.
    pub name: PoolName,
    /// Most machines at once.
    pub width: u32,
    /// How long a machine may be idle before it leaves.
    pub idle: Duration,
    /// How long a machine may live at most.
    pub hard_stop: Duration,
    /// What its machines offer; `queue` is always among them.
    pub tags: Vec<(String, String)>,
    /// What it is trusted with.
    pub trust: Trust,
    /// What keeps its jobs from each other and from the rest of the world.
    pub isolation: Isolation,
}

/// What keeps jobs from each other, from the machine and from the owner's account. Work that is not trusted runs only
/// where it is in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Isolation {
    /// Each job has a machine of its own, and its code no way to anything else.
    InForce,
    /// Something is missing, and the owner has accepted that in so many words.
    Waived,
    /// This is missing, for people.
    Missing(String),
}

impl PoolPolicy {
    /// Whether work of this trust may run here.
    pub fn takes(&self, trust: Trust) -> bool {
        self.trust == trust
            && match trust {
                Trust::Trusted => true,
                Trust::Untrusted => !matches!(self.isolation, Isolation::Missing(_)),
            }
    }
}

/// What an owner has configured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// The pools, in order of preference.
    pub pools: Vec<PoolPolicy>,
    /// How long a machine may take from launch to its first sign of life.
    pub boot: Duration,
    /// How long a machine may be silent before it is given up.
    pub silence: Duration,
    /// Pause after a launch that found no capacity.
    pub no_capacity: Duration,
    /// How long an attempt may be queued with a ticket out before the ticket is sent again.
    pub ticket_patience: Duration,
}

impl Policy {
    /// The pool that a requirement goes to: the first that offers everything. Work that is not trusted has pools of its own,
    /// whatever queue its pipeline names: the queue only chooses among them.
    pub fn pool_for(&self, requirement: &Requirement, trust: Trust) -> Option<&PoolPolicy> {
        let mut pools = self.pools.iter().filter(|pool| pool.takes(trust));
        let exact = pools.clone().find(|pool| requirement.is_met_by(&pool.tags));
        match trust {
            Trust::Trusted => exact,
            Trust::Untrusted => exact.or_else(|| pools.find(|pool| requirement.is_met_but_for_queue(&pool.tags))),
        }
    }

    /// Why no pool may run work that is not trusted, and what to do; `None` where one may.
    pub fn no_place_for_strangers(&self) -> Option<String> {
        if self.pools.iter().any(|pool| pool.takes(Trust::Untrusted)) {
            return None;
        }
        let why = self.pools.iter().filter(|pool| pool.trust == Trust::Untrusted).find_map(|p| match &p.isolation {
            Isolation::Missing(what) => Some(format!("in pool `{}` isolation is not in force: {what}", p.name)),
            Isolation::InForce | Isolation::Waived => None,
        });
        Some(why.unwrap_or_else(|| "no [[pool]] has `trust = \"untrusted\"`".to_owned()))
    }
}

/// A demand line: how many attempts of a build with one requirement and priority are ready, and how many of them have
/// been given out. The build writes `ready`, the fleet `released`, each under the record's version.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// The build.
    pub build: BuildId,
    /// Place of the line in the build's record.
    pub line: u32,
    /// What a machine must offer.
    pub requirement: Requirement,
    /// What the work is trusted with.
    pub trust: Trust,
    /// Larger first.
    pub priority: i64,
    /// When the build was made: older builds first.
    pub created_at: Timestamp,
    /// Number of the last attempt that is ready.
    pub ready: u32,
    /// Number of the last attempt that was given out.
    pub released: u32,
}

impl Demand {
    /// How many are waiting to be given out.
    pub fn waiting(&self) -> u32 {
        self.ready.saturating_sub(self.released)
    }

    /// The sort key of the record within its requirement: larger priority first, then older builds.
    pub fn order_key(&self) -> String {
        let inverted = i128::from(i64::MAX) - i128::from(self.priority);
        format!("{inverted:020}/{:015}/{}/{}", self.created_at.0, self.build, self.line)
    }
}

/// The record of the fleet.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    /// By pool. A pool that is no longer configured stays until its last machine is gone.
    pub pools: BTreeMap<PoolName, Pool>,
    /// When silence was last looked at: after a gap everybody gets the full limit again.
    #[serde(default)]
    pub audited_at: Option<Timestamp>,
    /// Since when it has been looked at without a gap.
    #[serde(default)]
    pub watching_since: Timestamp,
    /// Inbox records that are folded in and may be deleted.
    #[serde(default)]
    pub folded: Vec<String>,
}

/// One pool.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Machines that are or may be alive.
    pub machines: BTreeMap<InstanceId, Machine>,
    /// Launches that are decided and not yet answered.
    pub launches: Vec<Launch>,
    /// Attempts that were given out and not yet claimed.
    pub tickets: Vec<Ticket>,
    /// No launch before this.
    #[serde(default)]
    pub launch_after: Timestamp,
    /// Why the last launch gave nothing, for people.
    #[serde(default)]
    pub no_capacity: Option<String>,
}

/// A machine.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// What it does.
    pub state: MachineState,
    /// Since when.
    pub since: Timestamp,
    /// When it was launched.
    pub launched_at: Timestamp,
    /// The launch it came from.
    pub launch: String,
    /// The attempt it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptId>,
    /// Number of the last event that it took part in: events may come out of order.
    #[serde(default)]
    pub seq: u64,
    /// It was found to hold something after it was lost: the next burial was for what was known before, and one more
    /// follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// It is lost because the cloud took it, and the cloud says so: what it held is `interrupted`, not `lost`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken: bool,
    /// The last beat that was seen, and when it was first seen, by our clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beat: Option<(u64, Timestamp)>,
}

/// What a machine does.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineState {
    /// Launched, not heard of.
    Booting,
    /// Waiting for work.
    Idle,
    /// Holding an attempt.
    Busy,
    /// Leaving.
    Closing,
    /// It is to be ended, and what it holds is lost: an effect that is still to be performed.
    Lost(String),
}

/// A launch that was decided. Written before the call is made; the call is repeated with the same bytes.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// The client token.
    pub token: String,
    /// How many.
    pub count: u32,
    /// When it was decided.
    pub at: Timestamp,
    /// The call is made by whoever writes a later time here first: two that make it at once may be answered differently.
    #[serde(default)]
    pub ask_after: Timestamp,
}

/// An attempt that was given out.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    /// The attempt.
    pub attempt: AttemptId,
    /// When its message was last sent.
    pub at: Timestamp,
    /// Whether somebody has taken on to send the message.
    pub sent: bool,
}

/// How long a launch without an answer counts as capacity: by then its machines are known by their tags (`spec/hazards.md`
/// H7). It is also how late the cloud's descriptions may be.
pub const UNRESOLVED: Duration = Duration::from_secs(120);

/// How long one call to launch may take before somebody else makes it again.
pub const LAUNCH_CALL: Duration = Duration::from_secs(30);

impl Pool {
    /// Machines that take or will take work.
    pub fn capacity(&self) -> u32 {
        let takes = |m: &&Machine| matches!(m.state, MachineState::Booting | MachineState::Idle | MachineState::Busy);
        count(self.machines.values().filter(takes)).saturating_add(self.expected())
    }

    /// Machines that exist or may exist: what width and budget bound.
    pub fn existing(&self) -> u32 {
        count(self.machines.values()).saturating_add(self.expected())
    }

    /// Machines that wait for work, or will soon.
    pub fn free(&self) -> u32 {
        let free = |m: &&Machine| matches!(m.state, MachineState::Booting | MachineState::Idle);
        count(self.machines.values().filter(free)).saturating_add(self.expected())
    }

    /// Machines of launches that have no answer yet. Those that were found already count as machines.
    fn expected(&self) -> u32 {
        self.launches.iter().fold(0, |sum, launch| {
            let found = count(self.machines.values().filter(|m| m.launch == launch.token));
            sum.saturating_add(launch.count.saturating_sub(found))
        })
    }

    /// Machines that work.
    pub fn busy(&self) -> u32 {
        count(self.machines.values().filter(|m| m.state == MachineState::Busy))
    }

    /// Those of them that were heard at this moment to have claimed something.
    pub fn claimed_at(&self, now: Timestamp) -> u32 {
        count(self.machines.values().filter(|m| m.state == MachineState::Busy && m.since == now))
    }
}

fn count<T>(iter: impl Iterator<Item = T>) -> u32 {
    u32::try_from(iter.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
