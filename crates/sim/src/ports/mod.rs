//! Adapters of the ports with the worst behaviour that the ports allow.

mod blobs;
mod clock;
mod cloud;
mod forge;
mod git;
mod outbound;
mod queue;
mod secrets;
mod store;

pub(crate) use blobs::BlobState;
pub(crate) use cloud::{CloudState, Death, Machine};
pub(crate) use forge::ForgeState;
pub(crate) use git::GitState;
pub(crate) use queue::QueueState;
pub(crate) use secrets::SecretState;
pub(crate) use store::{StoreState, Written};
