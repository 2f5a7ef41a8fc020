use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::PortError;

/// A message to send.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outgoing {
    /// At most 256 KiB of characters that SQS accepts; ours are ASCII JSON.
    pub body: String,
    /// Messages of one group are handed out one at a time, in order, while the adapter can. A contention optimisation
    /// only: nothing may rely on it.
    pub group: Option<String>,
    /// Not before this much time has passed; at most 15 minutes. Not together with `group`.
    pub delay: Duration,
}

/// A message that was handed out. It comes again unless it is deleted before its visibility timeout (30 s) ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Received {
    /// The body.
    pub body: String,
    /// For [`Queue::delete`] and [`Queue::extend`]; belongs to this receipt only.
    pub receipt: String,
    /// How often it was handed out, this time included.
    pub receive_count: u32,
}

/// At-least-once messages. Any message may come twice, late, out of order, or again after it was deleted.
///
/// Queues are named: `ingest`, `doorbell`, `tickets-<pool>`. After 20 receipts a message moves to `<name>-dead`, which is a
/// queue like any other.
#[async_trait]
pub trait Queue: fmt::Debug + Send + Sync {
    /// Sends a message; it is durable when this returns. A repetition may send it twice.
    async fn send(&self, queue: &str, message: Outgoing) -> Result<(), PortError>;

    /// Up to `max` (1 to 10) messages; waits up to `wait` (at most 20 s) for the first one.
    async fn receive(&self, queue: &str, max: usize, wait: Duration) -> Result<Vec<Received>, PortError>;

    /// Removes a message. A stale receipt is no error: the message may come again.
    async fn delete(&self, queue: &str, receipt: &str) -> Result<(), PortError>;

    /// Sets the time until a message that was handed out comes again; zero hands it back at once.
    async fn extend(&self, queue: &str, receipt: &str, visibility: Duration) -> Result<(), PortError>;

    /// About how many messages are there, hidden ones included.
    async fn depth(&self, queue: &str) -> Result<u64, PortError>;
}
