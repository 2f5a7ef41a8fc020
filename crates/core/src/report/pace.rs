//! How fast a forge may be written to: a lane is one installation of the App, or one token (`spec/github.md` 6.3).
//!
//! Whoever wants to write is given a slot, in the order of asking; at that time it writes what is true then. Slots are a
//! leaky bucket: in any minute there are at most [`Rate::burst`] and a minute's worth of the rate, and a slot that is not used
//! within [`SLOT_LIFE`] is void, so that a process that slept cannot write everything at once when it wakes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// How long a slot may be used after its time.
pub const SLOT_LIFE: Duration = Duration::from_secs(10);

/// A rate with some room for a crowd that comes at once.
#[derive(Clone, Copy, Debug)]
struct Rate {
    per_minute: u64,
    burst: u64,
}

/// All writes: with late use of slots at most 30 + 120 * 70 / 60 = 170 in any minute; GitHub allows 180.
const WRITES: Rate = Rate { per_minute: 120, burst: 30 };
/// Writes that make something: at most 15 + 50 * 70 / 60 = 74 in any minute; GitHub allows 80.
const CREATIONS: Rate = Rate { per_minute: 50, burst: 15 };

impl Rate {
    fn interval(self) -> Duration {
        Duration::from_millis(60_000 / self.per_minute)
    }

    /// The slot for who comes next, if the bucket is full until `full`.
    fn slot(self, full: Timestamp) -> Timestamp {
        full - self.interval() * u32::try_from(self.burst - 1).unwrap_or(u32::MAX)
    }
}

/// The record of a lane.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// When all slots that were given would be used up at an even pace.
    writes: Timestamp,
    /// The same for writes that make something.
    creations: Timestamp,
    /// The forge wants to be left alone until then.
    #[serde(default)]
    closed_until: Timestamp,
}

impl Lane {
    /// The next slot, which is taken.
    pub fn reserve(&mut self, now: Timestamp, creates: bool) -> Timestamp {
        let from = now.max(self.closed_until);
        self.writes = self.writes.max(from) + WRITES.interval();
        let mut slot = WRITES.slot(self.writes - WRITES.interval()).max(from);
        if creates {
            self.creations = self.creations.max(from) + CREATIONS.interval();
            slot = slot.max(CREATIONS.slot(self.creations - CREATIONS.interval()));
        }
        slot
    }

    /// Whether a slot may be used now.
    pub fn may_use(&self, slot: Timestamp, now: Timestamp) -> bool {
        slot <= now && now < slot + SLOT_LIFE && now >= self.closed_until
    }

    /// The forge has asked to be left alone until `until`. It goes on slowly then: no crowd at once.
    pub fn close(&mut self, until: Timestamp) {
        if until <= self.closed_until {
            return;
        }
        self.closed_until = until;
        let full = |rate: Rate| until + rate.interval() * u32::try_from(rate.burst - 1).unwrap_or(u32::MAX);
        (self.writes, self.creations) = (self.writes.max(full(WRITES)), self.creations.max(full(CREATIONS)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: u64 = 60_000;
    const START: u64 = 1_800_000_000_000;

    /// The most events of any minute.
    fn busiest(mut at: Vec<u64>) -> usize {
        at.sort_unstable();
        (0..at.len()).map(|i| at[i..].iter().take_while(|t| **t < at[i] + MINUTE).count()).max().unwrap_or(0)
    }

    proptest! {
        /// Whenever they ask, however late within its life each uses its slot.
        #[test]
        fn no_minute_has_more_than_github_allows(asks in prop::collection::vec((0u64..3_000, any::<bool>(), 0u64..10_000), 1..600)) {
            let mut lane = Lane::default();
            let (mut now, mut writes, mut creations) = (START, Vec::new(), Vec::new());
            for (gap, creates, late) in asks {
                now += gap / 20;
                let slot = lane.reserve(Timestamp(now), creates).0;
                prop_assert!(slot >= now);
                let used = slot + late;
                prop_assert!(lane.may_use(Timestamp(slot), Timestamp(used)));
                writes.push(used);
                if creates {
                    creations.push(used);
                }
            }
            prop_assert!(busiest(writes) <= 180);
            prop_assert!(busiest(creations) <= 80);
        }
    }

    #[test]
    fn a_few_go_at_once_and_a_crowd_queues() {
        let mut lane = Lane::default();
        let now = Timestamp(START);
        let slots: Vec<u64> = (0..200).map(|_| lane.reserve(now, false).0 - START).collect();
        assert!(slots[..30].iter().all(|slot| *slot == 0));
        assert_eq!(slots[30], 500);
        assert_eq!(slots[199], 85_000);
        // A quiet minute later there is room again.
        let later = Timestamp(START + 200_000);
        assert_eq!(lane.reserve(later, false), later);
    }

    #[test]
    fn a_slot_is_void_when_it_was_slept_through() {
        let mut lane = Lane::default();
        let slot = lane.reserve(Timestamp(START), true);
        assert!(lane.may_use(slot, Timestamp(START + 9_999)));
        assert!(!lane.may_use(slot, Timestamp(START + 10_000)));
        assert!(!lane.may_use(slot, Timestamp(START - 1)));
    }

    #[test]
    fn a_lane_that_was_closed_goes_on_slowly() {
        let mut lane = Lane::default();
        let early = lane.reserve(Timestamp(START), false);
        lane.close(Timestamp(START + 60_000));
        assert!(!lane.may_use(early, Timestamp(START + 5_000)));
        let slots: Vec<u64> = (0..3).map(|_| lane.reserve(Timestamp(START + 5_000), false).0 - START).collect();
        assert_eq!(slots, [60_000, 60_500, 61_000]);
        // A shorter wish does not shorten a longer one.
        lane.close(Timestamp(START + 10_000));
        assert!(!lane.may_use(Timestamp(START + 30_000), Timestamp(START + 30_000)));
    }
}
