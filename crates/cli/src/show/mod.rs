//! Answers for people: pure functions from answers to texts. Colours are always there; whoever prints leaves them out
//! where they are not wanted.

mod artifacts;
mod build;
mod builds;
mod deliveries;
mod instances;
mod paint;
mod retention;
mod schedules;
mod table;
mod time;
mod why;

pub(crate) use artifacts::artifacts;
pub(crate) use build::{build, job_table};
pub(crate) use builds::builds;
pub(crate) use deliveries::{deliveries, delivery};
pub(crate) use instances::instances;
pub(crate) use paint::{attempt_outcome, build_state, cause_word, job_state, paint, symbol};
pub(crate) use retention::retention;
pub(crate) use schedules::schedules;
pub(crate) use table::{Table, cut, width};
pub(crate) use time::{ago, bytes, elapsed, parse, since, span};
pub(crate) use why::{groups, why};
