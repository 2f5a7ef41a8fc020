#![doc = include_str!("../README.md")]

mod artifacts;
mod beat;
mod beneath;
mod checkout;
mod control;
#[cfg(test)]
mod fuzzed;
mod gate;
mod job;
mod job_cli;
mod output;
mod process;
mod watchdog;
mod worker;

pub use beneath::{Beneath, BeneathError};
pub use job_cli::{is_job_cli, job_cli_main};
pub use output::Sieve;
pub use watchdog::watchdog_main;
pub use worker::agent_main;
