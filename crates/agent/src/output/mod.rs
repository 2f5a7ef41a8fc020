//! The log of an attempt: from the pipe that all of its processes write to, to numbered chunks in the blob store.

mod chunks;
mod escape;
mod fold;
mod limit;
mod pace;
mod redact;
mod sieve;
mod stamp;
mod stream;
mod tail;

pub(crate) use redact::{
    REDACTED, REDACTED_VARIABLES, Redactor, SECRET_NAMES, SHORTEST, is_secret_name, secret_values,
};
pub use sieve::Sieve;
pub(crate) use stream::{Log, LogEnd, LogSettings, Redactions};
