//! One try at a job.

use serde::{Deserialize, Serialize};

/// Why an attempt ended. The closed list of `contract.md`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The command ended by itself.
    Exit,
    /// A signal that was not ours ended the command.
    Signal,
    /// Its time was over.
    Timeout,
    /// Canceled by a person, by a newer build, or because the build was failing.
    Canceled,
    /// The cloud announced that it takes the machine.
    Interrupted,
    /// The machine fell silent or was ended from outside.
    Lost,
    /// The machine never came up.
    BootFailed,
    /// The repository could not be checked out.
    CheckoutFailed,
    /// The agent was told to stop, or could not start the command.
    AgentStopped,
    /// The machine's disk was full.
    OutOfDisk,
    /// The kernel ended the job for want of memory.
    OutOfMemory,
    /// No machine took it until its deadline.
    Expired,
}
