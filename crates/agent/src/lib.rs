#![doc = include_str!("../README.md")]

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
