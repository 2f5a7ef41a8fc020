//! How fast a job may print: a store that is shared must not be filled by one of its users alone. Nothing is lost: a job
//! that is too fast waits, as it does for a slow terminal.

use std::time::Duration;

/// So many seconds of the rate may come at once.
const BURST: u64 = 8;

/// A bucket that fills with time and is emptied by output.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Bytes a second.
    rate: u64,
    /// What was printed beyond what time has given back, in bytes.
    debt: u64,
    /// As of when.
    at: Duration,
    told: bool,
}

impl Pace {
    pub(crate) fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), debt: 0, at: Duration::ZERO, told: false }
    }

    /// Bytes were printed; `now` is the time since the log was opened.
    pub(crate) fn printed(&mut self, bytes: usize, now: Duration) {
        let back = now.saturating_sub(self.at).as_micros().saturating_mul(u128::from(self.rate)) / 1_000_000;
        self.debt = self.debt.saturating_sub(u64::try_from(back).unwrap_or(u64::MAX));
        self.at = now;
        self.debt = self.debt.saturating_add(bytes as u64);
    }

    /// When the job may go on, by the same clock; `None` when it may now.
    pub(crate) fn waits_until(&self, now: Duration) -> Option<Duration> {
        let over = self.debt.saturating_sub(self.rate.saturating_mul(BURST));
        let micros = u128::from(over) * 1_000_000 / u128::from(self.rate);
        let until = self.at + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        (over > 0 && until > now).then_some(until)
    }

    /// The line that says so, once.
    pub(crate) fn notice(&mut self) -> Option<String> {
        let first = !std::mem::replace(&mut self.told, true);
        first.then(|| {
            format!(
                "~~~ The job prints more than {} bytes a second: it is slowed down, and nothing is lost.",
                self.rate
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_pass_and_what_lasts_is_slowed_to_the_rate() {
        let seconds = Duration::from_secs;
        let mut pace = Pace::new(100);
        pace.printed(800, seconds(0));
        assert_eq!(pace.waits_until(seconds(0)), None);
        pace.printed(100, seconds(0));
        assert_eq!(pace.waits_until(seconds(0)), Some(seconds(1)));
        assert_eq!(pace.waits_until(seconds(1)), None);
        pace.printed(100, seconds(1));
        assert_eq!(pace.waits_until(seconds(1)), Some(seconds(2)));
        // A pause gives it all back.
        pace.printed(800, seconds(60));
        assert_eq!(pace.waits_until(seconds(60)), None);
        assert!(pace.notice().is_some());
        assert!(pace.notice().is_none());
    }

    #[test]
    fn a_job_that_prints_all_the_time_gets_its_rate() {
        let mut pace = Pace::new(1_000_000);
        let (mut now, mut printed) = (Duration::ZERO, 0u64);
        while now < Duration::from_secs(100) {
            pace.printed(65_536, now);
            printed += 65_536;
            now = pace.waits_until(now).unwrap_or(now);
        }
        assert!((107_000_000..110_000_000).contains(&printed), "{printed}");
    }
}
