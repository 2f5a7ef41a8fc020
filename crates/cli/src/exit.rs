//! Exit statuses of `contract.md`, and the errors that carry them.

use std::process::ExitCode;

/// Done, or passed.
pub(crate) const DONE: u8 = 0;
/// A build that did not pass, findings, or something that could not be done.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage, configuration or pipeline file.
pub(crate) const USAGE: u8 = 2;
/// The server cannot be reached.
pub(crate) const UNREACHABLE: u8 = 3;
/// Interrupted by a person.
pub(crate) const INTERRUPTED: u8 = 130;

/// An error whose exit status is not 1. It may stand anywhere in the chain of an [`anyhow::Error`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Expected {
    /// Wrong usage, configuration or pipeline file.
    #[error("{0}")]
    Usage(String),
    /// The server cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// A person pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Whoever read the output has gone.
    #[error("nobody reads the output")]
    NobodyReads,
}

impl Expected {
    pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
        Expected::Usage(message.into()).into()
    }

    pub(crate) fn unreachable(message: impl Into<String>) -> anyhow::Error {
        Expected::Unreachable(message.into()).into()
    }
}

/// The exit status of an error, and whether there is something to say about it.
pub(crate) fn of(error: &anyhow::Error) -> (u8, bool) {
    if error.chain().filter_map(|e| e.downcast_ref::<std::io::Error>()).any(is_broken_pipe) {
        return (DONE, false);
    }
    match error.chain().find_map(|e| e.downcast_ref::<Expected>()) {
        Some(Expected::Usage(_)) => (USAGE, true),
        Some(Expected::Unreachable(_)) => (UNREACHABLE, true),
        Some(Expected::Interrupted) => (INTERRUPTED, false),
        Some(Expected::NobodyReads) => (DONE, false),
        None => (FAILED, true),
    }
}

pub(crate) fn is_broken_pipe(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}

/// The status of a command that answers with a number.
pub(crate) fn code(status: u8) -> ExitCode {
    ExitCode::from(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_found_under_contexts() {
        let wrapped = |e: anyhow::Error| e.context("while doing something");
        assert_eq!(of(&wrapped(Expected::usage("x"))), (2, true));
        assert_eq!(of(&wrapped(Expected::unreachable("x"))), (3, true));
        assert_eq!(of(&Expected::Interrupted.into()), (130, false));
        assert_eq!(of(&anyhow::anyhow!("x")), (1, true));
        let pipe = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert_eq!(of(&wrapped(pipe.into())), (0, false));
    }
}
