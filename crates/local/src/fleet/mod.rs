//! Child processes as machines.

mod adopt;
mod process_fleet;
mod procs;
mod records;
mod settings;
mod spawn;
mod supervise;

pub use process_fleet::ProcessFleet;
pub use settings::FleetSettings;
