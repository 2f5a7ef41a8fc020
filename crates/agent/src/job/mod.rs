//! One attempt, from its assignment to its result.

pub(crate) mod api;
pub(crate) mod difference;
mod dirs;
pub(crate) mod env;
mod forbidden;
mod hooks;
mod locks;
mod outcome;
mod phases;
mod plugins;
mod pressure;
mod run;
mod schema;
mod script;
mod secrets;
mod steps;
pub(crate) mod variables;

pub(crate) use dirs::{JobDir, remove as remove_tree};
pub(crate) use env::JobEnv;
pub(crate) use run::{Host, run};
