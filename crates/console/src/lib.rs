#![doc = include_str!("../README.md")]

mod api;
mod token;

pub use api::{ArtifactUrl, By, LogQuery, RetryRequest, routes};
pub use token::ApiToken;
