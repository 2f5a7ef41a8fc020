use tidegate_core::wire::envelope::ReadError;

use crate::ports::PortError;

/// How a flow of the engine failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port failed.
    #[error("{0}")]
    Port(#[from] PortError),
    /// A record cannot be read by this release: it is parked, neither changed nor dropped.
    #[error("`{record}` cannot be read: {source}")]
    Parked {
        /// Where it is.
        record: String,
        /// Why.
        source: ReadError,
    },
    /// A record cannot be written as JSON.
    #[error("a record cannot be written: {0}")]
    Unwritable(#[from] serde_json::Error),
}

impl Error {
    /// Whether the same call may succeed later without anybody doing something.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Port(PortError::Retry { .. } | PortError::Conflict) => true,
            Error::Port(PortError::Reject { .. } | PortError::Fatal { .. })
            | Error::Parked { .. }
            | Error::Unwritable(_) => false,
        }
    }
}
