//! One SQLite database with the records and the queues of a server.

mod database;
mod queue;
mod queue_sql;
mod readers;
mod store;
mod writer;

pub use database::Database;
pub use queue::{QueueSettings, SqliteQueue};
pub use store::SqliteStore;
