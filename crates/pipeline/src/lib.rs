#![doc = include_str!("../README.md")]

mod attributes;
mod codes;
mod context;
#[cfg(test)]
mod docs;
mod expand;
mod filter;
mod find;
mod formats;
mod glob;
mod graph;
mod json;
mod limits;
mod normalize;
mod policy;
mod read;
mod schema;
mod source;
mod traps;
mod yaml;

pub mod condition;
pub mod interpolate;
pub mod matrix;
pub mod plugin;
pub mod render;
pub mod view;

pub use attributes::{Unsupported, describe_unsupported};
pub use codes::Code;
pub use context::{Context, Unset};
pub use expand::{Expansion, expand, lint};
pub use filter::branches_match;
pub use find::{FindError, SEARCH_PATHS, find};
pub use formats::matches_format;
pub use glob::{Glob, GlobError};
pub use limits::Limits;
pub use normalize::{Normalized, normalize};
pub use policy::{POLICY_PATH, policy};
pub use schema::schema;
pub use source::Source;
pub use view::{PlanView, plan_view};
