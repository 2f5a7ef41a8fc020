#![doc = include_str!("../README.md")]

pub mod api;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod gate;
pub mod ports;
pub mod resident;

mod actors;
mod engine;
mod environment;
mod error;
mod expand;
mod ingest;
mod keys;
mod list;
mod lost;
mod retention;
mod schedules;
mod supersede;
mod sweep;

pub use actors::{Actor, CheckRecord, DOORBELL, JobChecks, Pace, ReportRecord, UnknownActor};
pub use engine::{
    Engine, ForgeSettings, NotifySettings, PipelineSettings, Ports, ScheduleSettings, Settings, UntrustedSettings,
};
pub use error::Error;
pub use ingest::{DeliveryRecord, INGEST};
pub use list::ListEntry;
pub use retention::{Expired, RetentionAnswer};
pub use schedules::{ScheduleAnswer, Schedules};
