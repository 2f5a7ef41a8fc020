//! One attempt, from its assignment to its result.

mod dirs;
pub(crate) mod env;
mod outcome;
mod pressure;
mod run;

pub(crate) use dirs::{JobDir, remove as remove_tree};
pub(crate) use env::JobEnv;
pub(crate) use run::{Host, run};
