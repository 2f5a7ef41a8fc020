use std::time::Duration;

/// How a call through a port failed. Adapters classify at the source.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PortError {
    /// It may work later. The call may have had its effect.
    #[error("{why}")]
    Retry {
        /// When the other side asked for a pause.
        after: Option<Duration>,
        /// For people.
        why: String,
    },
    /// It will never work with these arguments, and it had no effect.
    #[error("{why}")]
    Reject {
        /// For people.
        why: String,
    },
    /// A condition did not hold: somebody else wrote first. It had no effect.
    #[error("the record changed meanwhile")]
    Conflict,
    /// The adapter cannot work at all: wrong configuration, damaged state, disk full.
    #[error("{why}")]
    Fatal {
        /// For people.
        why: String,
    },
}

impl PortError {
    /// A [`PortError::Retry`] without a wished pause.
    pub fn retry(why: impl Into<String>) -> Self {
        PortError::Retry { after: None, why: why.into() }
    }

    /// A [`PortError::Reject`].
    pub fn reject(why: impl Into<String>) -> Self {
        PortError::Reject { why: why.into() }
    }

    /// A [`PortError::Fatal`].
    pub fn fatal(why: impl Into<String>) -> Self {
        PortError::Fatal { why: why.into() }
    }
}
