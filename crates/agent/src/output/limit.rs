//! How much of a log is kept.

/// The agent's own lines have this much room after the job has used up its own, in bytes: how a job ended must be
/// readable even if it printed too much.
const LAST_WORDS: u64 = 64 * 1024;

/// Counts what is kept and what is dropped.
#[derive(Debug)]
pub(crate) struct Limit {
    job: u64,
    kept: u64,
    dropped: u64,
}

/// Who wrote something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Writer {
    Job,
    Agent,
}

/// What to do with some bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Share {
    /// Keep so many from the front.
    pub(crate) keep: usize,
    /// These are the first bytes that are dropped: say so.
    pub(crate) notice: bool,
}

impl Limit {
    pub(crate) fn new(job: u64) -> Self {
        Self { job, kept: 0, dropped: 0 }
    }

    /// How much of `length` more bytes is kept.
    pub(crate) fn admit(&mut self, length: usize, writer: Writer) -> Share {
        let limit = match writer {
            Writer::Job => self.job,
            Writer::Agent => self.job.saturating_add(LAST_WORDS),
        };
        let room = usize::try_from(limit.saturating_sub(self.kept)).unwrap_or(usize::MAX);
        let keep = length.min(room);
        let notice = keep < length && self.dropped == 0;
        self.kept += keep as u64;
        self.dropped += (length - keep) as u64;
        Share { keep, notice }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The line that says so.
    pub(crate) fn notice(&self) -> String {
        format!(
            "\n~~~ The log has reached its limit of {} bytes. The job goes on; what it prints from here on is not kept.\n",
            self.job
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_and_counts_what_is_over_and_says_so_once() {
        let mut limit = Limit::new(10);
        let share = |keep, notice| Share { keep, notice };
        assert_eq!(limit.admit(8, Writer::Job), share(8, false));
        assert_eq!(limit.admit(8, Writer::Job), share(2, true));
        assert_eq!(limit.admit(8, Writer::Job), share(0, false));
        assert_eq!(limit.dropped(), 14);
        assert_eq!(limit.admit(100, Writer::Agent), share(100, false));
        assert_eq!(limit.admit(1 << 20, Writer::Agent).keep, (64 << 10) - 100);
    }
}
