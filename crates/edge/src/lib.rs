#![doc = include_str!("../README.md")]

pub mod gate;
pub mod serve;
pub mod webhook;
