//! Machines and deliveries, as people see them.

use serde::{Deserialize, Serialize};
use tidegate_core::fleet::{Fleet, MachineState};
use tidegate_core::ids::DeliveryId;

use super::ApiError;
use super::find::NotFound;
use crate::engine::Engine;
use crate::ingest::DeliveryRecord;
use crate::keys;

/// A machine.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct InstanceAnswer {
    /// Its id.
    pub id: String,
    /// Its pool.
    pub pool: String,
    /// `booting`, `idle`, `busy`, `closing` or `lost`.
    pub state: String,
    /// The attempt that it holds.
    pub attempt: Option<String>,
    /// When it was launched.
    pub launched_at: String,
    /// Process id, where machines are processes.
    pub pid: Option<u32>,
}

impl Engine {
    /// Machines that are or may be alive.
    ///
    /// # Errors
    /// A port failed.
    pub async fn list_instances(&self) -> Result<Vec<InstanceAnswer>, ApiError> {
        let fleet = self.load::<Fleet>(&keys::fleet()).await?.map(|f| f.body).unwrap_or_default();
        let views = self.ports.fleet.describe().await?;
        let mut answers = Vec::new();
        for (pool, machines) in &fleet.pools {
            for (id, machine) in &machines.machines {
                let state = match machine.state {
                    MachineState::Booting => "booting",
                    MachineState::Idle => "idle",
                    MachineState::Busy => "busy",
                    MachineState::Closing => "closing",
                    MachineState::Lost(_) => "lost",
                };
                answers.push(InstanceAnswer {
                    id: id.to_string(),
                    pool: pool.to_string(),
                    state: state.to_owned(),
                    attempt: machine.attempt.as_ref().map(ToString::to_string),
                    launched_at: machine.launched_at.to_string(),
                    pid: views.iter().find(|v| v.id == *id).and_then(|v| v.pid),
                });
            }
        }
        Ok(answers)
    }

    /// What became of a delivery.
    ///
    /// # Errors
    /// Not found: it was never accepted, or it is not decided yet.
    pub async fn show_delivery(&self, id: &DeliveryId) -> Result<DeliveryRecord, ApiError> {
        let known = self.load::<DeliveryRecord>(&keys::delivery(id)).await?;
        Ok(known.ok_or_else(|| NotFound(format!("delivery `{id}` is not known, or not decided yet")))?.body)
    }
}
