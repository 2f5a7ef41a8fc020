//! How far the work of an event is trusted. Computed once, at ingress, from numeric ids; it never rises afterwards.

use serde::{Deserialize, Serialize};

/// A trust class. The order is that of trust: `Untrusted < Trusted`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Forks, unless policy read from the default branch says otherwise.
    Untrusted,
    /// Branches and tags of the repository itself, pushed by people with write access, and what an operator starts.
    Trusted,
}
