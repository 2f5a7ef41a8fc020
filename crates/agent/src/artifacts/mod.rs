//! Files that a job keeps: chosen by globs beneath the checkout, hashed, registered, uploaded.

mod digest;
mod media;
mod select;
mod upload;

pub(crate) use upload::{Voice, upload};
