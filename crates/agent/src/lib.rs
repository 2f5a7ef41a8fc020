//! What boots on an instance: claim, check out, run, stream, upload, report, idle out.
//!
//! An instance is two processes of one program. The [watchdog](watchdog_main) is tiny and has one duty: when the
//! worker has ended, however that came, or the hard stop has passed, nothing of the instance is left running. The
//! [worker](agent_main) beats, asks the gate for work, and runs one attempt at a time. What they are told is in
//! `instance.json` ([`tidegate_core::wire::instance::InstanceFile`]).

mod artifacts;
mod beat;
mod checkout;
mod control;
mod gate;
mod job;
mod output;
mod process;
mod watchdog;
mod worker;

pub use watchdog::watchdog_main;
pub use worker::agent_main;
