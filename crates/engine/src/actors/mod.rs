//! The actors: each is one record and an inbox. A doorbell names an actor; whoever hears it runs the actor's step.
//!
//! Steps of one actor may run at once in several processes: the conditional write of the record decides, the loser reads
//! again. Doorbells may be lost: the sweep rings whoever has something to do.

pub(crate) mod build;
pub(crate) mod fleet;
mod group;
mod inbox;
pub(crate) mod notify;
mod pace;
pub(crate) mod report;
pub(crate) mod trigger;

pub(crate) use pace::Bell;
pub use pace::Pace;
pub use report::{CheckRecord, JobChecks, ReportRecord};

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tidegate_core::ids::BuildId;

use crate::engine::Engine;
use crate::error::Error;
use crate::ports::Outgoing;

/// The queue of doorbells.
pub const DOORBELL: &str = "doorbell";

/// Who a doorbell is for.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Actor {
    /// A build.
    Build(BuildId),
    /// A concurrency group, by the id that is derived from its name.
    Group(String),
    /// The fleet.
    Fleet,
    /// What the forge shows of a build.
    Report(BuildId),
    /// The attempts of a build whose deadlines come: no record of its own, a look at theirs.
    Deadline(BuildId),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Build(id) => write!(f, "build/{id}"),
            Actor::Group(id) => write!(f, "group/{id}"),
            Actor::Fleet => f.write_str("fleet"),
            Actor::Report(id) => write!(f, "report/{id}"),
            Actor::Deadline(id) => write!(f, "deadline/{id}"),
        }
    }
}

/// A doorbell that names nobody we know.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` names no actor")]
pub struct UnknownActor(String);

impl FromStr for Actor {
    type Err = UnknownActor;
    fn from_str(text: &str) -> Result<Self, UnknownActor> {
        let unknown = || UnknownActor(text.chars().take(100).collect());
        match text.split_once('/') {
            Some(("build", id)) => BuildId::new(id).map(Actor::Build).map_err(|_| unknown()),
            Some(("report", id)) => BuildId::new(id).map(Actor::Report).map_err(|_| unknown()),
            Some(("deadline", id)) => BuildId::new(id).map(Actor::Deadline).map_err(|_| unknown()),
            Some(("group", id)) => Ok(Actor::Group(id.to_owned())),
            None if text == "fleet" => Ok(Actor::Fleet),
            Some(_) | None => Err(unknown()),
        }
    }
}

impl Engine {
    /// Rings an actor.
    pub(crate) async fn ring(&self, actor: &Actor) -> Result<(), Error> {
        let message = Outgoing { body: actor.to_string(), group: Some(actor.to_string()), delay: Duration::ZERO };
        Ok(self.ports.queue.send(DOORBELL, message).await?)
    }

    /// Rings an actor after a while, at most 15 minutes. The sweep rings it in any case.
    pub(crate) async fn ring_later(&self, actor: &Actor, delay: Duration) -> Result<(), Error> {
        let delay = delay.min(Duration::from_secs(900));
        let message = Outgoing { body: actor.to_string(), group: None, delay };
        Ok(self.ports.queue.send(DOORBELL, message).await?)
    }

    /// Runs one step of an actor: folds everything that is waiting, writes once, performs what follows.
    ///
    /// # Errors
    /// Everything is in the records: a step that failed half way is repeated by the next doorbell.
    pub async fn step(&self, actor: &Actor) -> Result<(), Error> {
        self.step_sized(actor).await.map(|_| ())
    }

    /// As [`Engine::step`]; returns how many bytes were written of the record of a build or of the fleet.
    async fn step_sized(&self, actor: &Actor) -> Result<usize, Error> {
        match actor {
            Actor::Build(id) => self.step_build(id).await,
            Actor::Fleet => self.step_fleet().await,
            Actor::Group(id) => self.step_group(id).await.map(|()| 0),
            Actor::Report(id) => self.step_report(id).await.map(|()| 0),
            Actor::Deadline(id) => self.audit_deadlines(id).await.map(|()| 0),
        }
    }
}
