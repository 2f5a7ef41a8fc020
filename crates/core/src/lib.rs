#![doc = include_str!("../README.md")]

pub mod attempt;
pub mod build;
pub mod diagnostic;
pub mod event;
pub mod fleet;
pub mod group;
pub mod ids;
pub mod notify;
pub mod plan;
pub mod report;
pub mod schedule;
pub mod secret;
pub mod time;
pub mod trust;
pub mod why;
pub mod wire;
