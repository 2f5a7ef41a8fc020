//! What the end of a job is called (`contract.md`, causes; `spec/pipeline.md` 1.12).

use tidegate_core::attempt::Cause;
use tidegate_core::wire::gate::{CancelReason, LogExtent, Outcome};

use crate::control::Ending;
use crate::process::End;

/// What was seen while the command ran.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Seen {
    /// The kernel killed something for want of memory.
    pub(crate) out_of_memory: bool,
    /// Nothing can be written to the working directory any more.
    pub(crate) disk_full: bool,
}

/// The longest [`Outcome::detail`], in bytes.
const DETAIL: usize = 2_000;

/// An outcome of a cause alone.
pub(crate) fn plain(cause: Cause, detail: Option<String>) -> Outcome {
    Outcome {
        cause,
        exit_status: None,
        signal: None,
        detail: detail.map(shorten),
        permanent: false,
        first_output_ms: None,
        log: LogExtent::default(),
        tail: String::new(),
        uploads: 0,
    }
}

/// The cause of a job that was ended from outside.
pub(crate) fn cause_of(ending: Ending) -> Cause {
    match ending {
        Ending::Cancel(CancelReason::Canceled) => Cause::Canceled,
        Ending::Cancel(CancelReason::Timeout) => Cause::Timeout,
        Ending::Stop | Ending::Ended | Ending::Abandon => Cause::AgentStopped,
    }
}

/// How a command that ran has ended.
pub(crate) fn of_command(end: End, ending: Option<Ending>, seen: Seen) -> Outcome {
    let killed = end.status() == 137;
    let (cause, detail) = match (ending, end) {
        (Some(ending), _) => (cause_of(ending), None),
        (None, End::Exited(0)) => (Cause::Exit, None),
        (None, _) if killed && seen.out_of_memory => {
            (Cause::OutOfMemory, Some("the kernel killed a process of the job for want of memory"))
        }
        (None, _) if seen.disk_full => (Cause::OutOfDisk, Some("the disk of the working directory is full")),
        (None, End::Exited(_)) => (Cause::Exit, None),
        (None, End::Signaled(_) | End::Unknown) => (Cause::Signal, None),
    };
    Outcome { exit_status: Some(end.status()), signal: end.signal(), ..plain(cause, detail.map(str::to_owned)) }
}

/// The failures of a job's parts: an exit status other than 0 each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Failures {
    /// A hook up to `pre-command`: the command did not run.
    pub(crate) early_hook: Option<i32>,
    pub(crate) command: Option<i32>,
    pub(crate) post_command: Option<i32>,
    /// `pre-artifact`, `post-artifact`, or the upload itself.
    pub(crate) artifacts: Option<i32>,
    pub(crate) pre_exit: Option<i32>,
}

impl Failures {
    /// The exit status of the job, and whether it is the command's own (`spec/pipeline.md` 1.15).
    pub(crate) fn status(self) -> (i32, bool) {
        if let Some(status) = self.pre_exit.or(self.early_hook) {
            return (status, false);
        }
        match (self.command, self.artifacts, self.post_command) {
            (None, Some(status), _) | (_, _, Some(status)) => (status, false),
            (command, _, None) => (command.unwrap_or(0), true),
        }
    }
}

/// At most [`DETAIL`] bytes: the end says most in what git and the kernel print.
pub(crate) fn shorten(text: String) -> String {
    if text.len() <= DETAIL {
        return text;
    }
    let mut start = text.len() - DETAIL + '…'.len_utf8();
    while !text.is_char_boundary(start) {
        start += 1;
    }
    format!("…{}", &text[start..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::Signal as Sig;

    #[test]
    fn ends_have_their_causes() {
        use Cause::*;
        let calm = Seen::default();
        let oom = Seen { out_of_memory: true, ..calm };
        let full = Seen { disk_full: true, ..calm };
        let canceled = Some(Ending::Cancel(CancelReason::Canceled));
        let timeout = Some(Ending::Cancel(CancelReason::Timeout));
        let kill = End::Signaled(Sig::SIGKILL);
        let term = End::Signaled(Sig::SIGTERM);
        for (end, ending, seen, cause, status, signal) in [
            (End::Exited(0), None, calm, Exit, 0, None),
            (End::Exited(0), None, full, Exit, 0, None),
            (End::Exited(3), None, calm, Exit, 3, None),
            (End::Exited(3), None, oom, Exit, 3, None),
            (End::Exited(137), None, oom, OutOfMemory, 137, None),
            (kill, None, oom, OutOfMemory, 137, Some("KILL")),
            (kill, None, calm, Signal, 137, Some("KILL")),
            (End::Signaled(Sig::SIGSEGV), None, calm, Signal, 139, Some("SEGV")),
            (End::Exited(1), None, full, OutOfDisk, 1, None),
            (term, canceled, calm, Canceled, 143, Some("TERM")),
            (End::Exited(0), timeout, calm, Timeout, 0, None),
            (kill, timeout, oom, Timeout, 137, Some("KILL")),
            (term, Some(Ending::Stop), calm, AgentStopped, 143, Some("TERM")),
        ] {
            let outcome = of_command(end, ending, seen);
            assert_eq!(outcome.cause, cause, "{end:?} {ending:?} {seen:?}");
            assert_eq!(outcome.exit_status, Some(status));
            assert_eq!(outcome.signal.as_deref(), signal);
        }
    }

    #[test]
    fn the_first_rule_that_applies_gives_the_status() {
        let none = Failures::default();
        let table = [
            (none, (0, true)),
            (Failures { command: Some(3), ..none }, (3, true)),
            (Failures { command: Some(3), artifacts: Some(4), ..none }, (3, true)),
            (Failures { artifacts: Some(4), ..none }, (4, false)),
            (Failures { artifacts: Some(4), post_command: Some(5), ..none }, (4, false)),
            (Failures { command: Some(3), post_command: Some(5), ..none }, (5, false)),
            (Failures { command: Some(3), artifacts: Some(4), post_command: Some(5), ..none }, (5, false)),
            (Failures { early_hook: Some(6), ..none }, (6, false)),
            (Failures { early_hook: Some(6), pre_exit: Some(7), ..none }, (7, false)),
            (Failures { command: Some(3), pre_exit: Some(7), ..none }, (7, false)),
        ];
        for (failures, wanted) in table {
            assert_eq!(failures.status(), wanted, "{failures:?}");
        }
    }

    #[test]
    fn details_are_short_and_whole_characters() {
        let long = shorten("é".repeat(3_000));
        assert!(long.len() <= DETAIL && long.starts_with('…') && long.ends_with('é'));
        assert_eq!(shorten("short".to_owned()), "short");
    }
}
