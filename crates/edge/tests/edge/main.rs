//! Tests of the edge, through its routes and over connections.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;
mod logs;
mod serve;
mod webhook;
