#![doc = include_str!("../README.md")]

pub mod serve;
pub mod webhook;
