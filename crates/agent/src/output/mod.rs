//! The log of an attempt: from the pipe that all of its processes write to, to numbered chunks in the blob store.

mod chunks;
mod limit;
mod stamp;
mod stream;
mod tail;

pub(crate) use stream::{Log, LogEnd, LogSettings};
