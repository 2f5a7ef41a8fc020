//! Schedules: builds at times (`[[pipeline.schedule]]`).
//!
//! A slot is a time at which a schedule is due. The slot is what tells two builds of a schedule apart, so a slot makes one
//! build however often it is found. Of slots that were missed, only the last is made up for.

use std::time::Duration;

use cronexpr::{Crontab, FallbackTimezoneOption, ParseOptions};

use crate::time::Timestamp;

/// When a schedule is due: five fields of cron, in UTC unless a time zone follows.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    crontab: Crontab,
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Schedule {}

impl Schedule {
    /// Reads the fields: minute, hour, day of month, month, day of week.
    ///
    /// # Errors
    /// What is wrong with the text, in a line, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let crontab = cronexpr::parse_crontab_with(text, options).map_err(|error| {
            let error = error.to_string();
            let said = error.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned();
            format!("`{text}` is no schedule: {said}; write five fields such as `0 3 * * 1-5`")
        })?;
        let schedule = Self { text: text.to_owned(), crontab };
        match schedule.next(Timestamp(0)) {
            Some(_) => Ok(schedule),
            None => Err(format!("`{text}` is never due")),
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first slot after a time; `None` if there is none.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_millisecond(i64::try_from(after.0).ok()?).ok()?;
        let next = self.crontab.find_next(after).ok()?;
        u64::try_from(next.timestamp().as_millisecond()).ok().map(Timestamp)
    }

    /// The last slot after `after` and not after `now`: what is due, if anything is.
    pub fn due(&self, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        // Looked for in the last minute, hour, day … first, so that a frequent schedule that was not looked at for a year
        // is not walked through slot by slot.
        const MINUTE: u64 = 60;
        let spans = [2 * MINUTE, 60 * MINUTE, 24 * 60 * MINUTE, 31 * 24 * 60 * MINUTE, u64::MAX];
        for span in spans {
            let begin = Timestamp(now.0.saturating_sub(span.saturating_mul(1_000))).max(after);
            let slots = std::iter::successors(self.next(begin), |slot| self.next(*slot));
            let last = slots.take_while(|slot| *slot <= now).last();
            if last.is_some() || begin == after {
                return last;
            }
        }
        None
    }

    /// How long until the next slot, at most `most`.
    pub fn pause(&self, now: Timestamp, most: Duration) -> Duration {
        self.next(now).map_or(most, |slot| slot.since(now).min(most))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().unwrap();
        Timestamp(u64::try_from(time.as_millisecond()).unwrap())
    }

    #[test]
    fn slots() {
        let rows = [
            ("* * * * *", "2026-11-23T05:00:30Z", "2026-11-23T05:01:00Z"),
            ("0 3 * * *", "2026-11-23T05:00:30Z", "2026-11-24T03:00:00Z"),
            ("0 3 * * 1-5", "2026-11-27T05:00:00Z", "2026-11-30T03:00:00Z"),
            ("*/15 9-17 * * *", "2026-11-23T17:45:00Z", "2026-11-24T09:00:00Z"),
            ("0 0 29 2 *", "2026-11-23T05:00:00Z", "2028-02-29T00:00:00Z"),
        ];
        for (text, after, want) in rows {
            let schedule = Schedule::parse(text).unwrap();
            assert_eq!(schedule.next(at(after)), Some(at(want)), "{text}");
            assert_eq!(schedule.due(at(after), at(want)), Some(at(want)), "{text}");
            assert_eq!(schedule.due(at(after), Timestamp(at(want).0 - 1)), None, "{text}");
            assert_eq!(schedule.due(at(want), at(want)), None, "{text}: once");
        }
    }

    #[test]
    fn of_missed_slots_the_last_is_made_up_for() {
        let schedule = Schedule::parse("*/5 * * * *").unwrap();
        let (before, now) = (at("2020-01-01T00:00:00Z"), at("2026-11-23T05:04:59Z"));
        assert_eq!(schedule.due(before, now), Some(at("2026-11-23T05:00:00Z")));
        let yearly = Schedule::parse("0 0 1 1 *").unwrap();
        assert_eq!(yearly.due(before, now), Some(at("2026-01-01T00:00:00Z")));
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_the_text() {
        for text in ["", "* * * *", "61 * * * *", "every day", "0 0 30 2 *"] {
            let said = Schedule::parse(text).err().unwrap();
            assert!(said.contains(&format!("`{text}`")), "{said}");
        }
    }

    proptest! {
        /// However often and at whatever times it is looked, each slot that is found is found once, in order, and none
        /// that passes between two looks is passed over altogether.
        #[test]
        fn a_slot_is_due_once(
            which in 0usize..4,
            looks in proptest::collection::vec(1u64..100_000_000, 1..12),
        ) {
            let text = ["* * * * *", "*/7 * * * *", "30 2 * * *", "0 0 * * 0"][which];
            let schedule = Schedule::parse(text).unwrap();
            let mut last = at("2026-11-23T05:00:30Z");
            let mut now = last;
            for step in looks {
                now = now + Duration::from_millis(step);
                match schedule.due(last, now) {
                    Some(slot) => {
                        prop_assert!(last < slot && slot <= now);
                        prop_assert!(schedule.next(slot).is_none_or(|next| next > now), "a later one is due");
                        last = slot;
                    }
                    None => prop_assert!(schedule.next(last).is_none_or(|next| next > now)),
                }
            }
        }
    }
}
