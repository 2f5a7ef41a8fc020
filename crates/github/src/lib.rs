#![doc = include_str!("../README.md")]

pub mod app;
pub mod client;
mod json;
pub mod payload;
pub mod webhook;
