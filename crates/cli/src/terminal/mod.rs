//! What a job wrote, made fit for a terminal and for programs.

mod clean;
mod marks;
mod neutral;

pub(crate) use clean::clean;
pub(crate) use marks::{Marks, Piece};
pub(crate) use neutral::Neutral;
