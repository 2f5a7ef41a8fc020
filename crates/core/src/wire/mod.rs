//! Formats that leave the process: envelopes of stored records, and the messages between agent and gate.

pub mod credential;
pub mod envelope;
pub mod gate;
pub mod instance;
pub mod job;
pub mod secret;
