//! Findings for people and for programs.

mod github;
mod json;
mod text;

pub use github::github;
pub use json::{Finding, Findings, json};
pub use text::text;
