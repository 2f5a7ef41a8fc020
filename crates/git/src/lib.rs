#![doc = include_str!("../README.md")]

mod command;
pub mod credential;
pub mod names;
#[cfg(feature = "testing")]
pub mod testing;
pub mod words;

pub use command::{git, remote_args};
