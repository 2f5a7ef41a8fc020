#![doc = include_str!("../README.md")]

mod blobs;
mod blocking;
mod clock;
mod credentials;
mod files;
mod fleet;
mod git;
mod secret;
mod secrets;
mod sqlite;
mod state_dir;

pub use blobs::{DirBlobs, blob_routes};
pub use clock::{SystemClock, SystemIds};
pub use credentials::{ConfiguredTokens, Token};
pub use fleet::{FleetSettings, ProcessFleet};
pub use git::GitRepositories;
pub use secrets::{KeptSecret, SecretFile, SecretsError};
pub use sqlite::{Database, QueueSettings, SqliteQueue, SqliteStore};
pub use state_dir::{SECRETS_FILE, StateDir, StateError};
