#![doc = include_str!("../README.md")]

pub mod ambient;
pub mod config;
mod errors;
pub mod sqs;
pub mod ssm;
