//! Webhook deliveries: verified over the raw bytes, then parsed, then reduced to our own event.
//!
//! [`decide()`] is the whole decision, a pure function; the shell around it (`tidegate-edge`, the webhook function) reads bytes,
//! sends the event and answers.

mod decide;
mod parse;
mod signature;

pub use decide::{Decision, Headers, LOCAL_LIMIT, decide};
pub use parse::{NotJson, parse};
pub use signature::{EmptySecret, Secrets, Unverified, sign};
pub use tidegate_core::skip::skip_token;
