//! How much may be asked for (`spec/github.md` 6.3).

use std::collections::VecDeque;

/// Limits of one installation or token.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests an hour.
    pub hour: u32,
    /// Points a minute: a read is 1, a write 5.
    pub points: u32,
    /// Requests a minute that make something.
    pub creations: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { hour: 5_000, points: 900, creations: 80 }
    }
}

/// What one installation or token has used.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// When the hour began, in seconds.
    pub hour_began: i64,
    /// Requests in that hour.
    pub in_hour: u32,
    /// When, in milliseconds, and how many points, of the last minute.
    recent: VecDeque<(u64, u32, bool)>,
    /// Requests that were refused by a limit.
    pub refused: u32,
    /// The most writes of any minute so far.
    pub most_writes: u32,
    /// The most creations of any minute so far.
    pub most_creations: u32,
}

/// Why a request is refused.
pub(crate) enum Exceeded {
    /// The hour's requests are used up; it begins anew then, in seconds.
    Primary { reset: i64 },
    /// Too much at once; it may go on after so many seconds.
    Secondary { retry_after: u64 },
}

const MINUTE: u64 = 60_000;

impl Usage {
    /// Counts a request.
    pub(crate) fn take(
        &mut self,
        limits: &Limits,
        now: u64,
        clock: i64,
        write: bool,
        create: bool,
    ) -> Option<Exceeded> {
        while self.recent.front().is_some_and(|(at, ..)| at + MINUTE <= now) {
            self.recent.pop_front();
        }
        if clock >= self.hour_began + 3_600 || self.hour_began == 0 {
            (self.hour_began, self.in_hour) = (clock, 0);
        }
        if self.in_hour >= limits.hour {
            self.refused += 1;
            return Some(Exceeded::Primary { reset: self.hour_began + 3_600 });
        }
        let points: u32 = self.recent.iter().map(|(_, points, _)| points).sum();
        let creations = self.creations();
        let cost = if write { 5 } else { 1 };
        if points + cost > limits.points || create && creations + 1 > limits.creations {
            self.refused += 1;
            let oldest = self.recent.front().map_or(now, |(at, ..)| *at);
            return Some(Exceeded::Secondary {
                retry_after: (oldest + MINUTE).saturating_sub(now).div_ceil(1_000).max(1),
            });
        }
        self.in_hour += 1;
        self.recent.push_back((now, cost, create));
        let writes = self.recent.iter().filter(|(_, points, _)| *points == 5).count();
        self.most_writes = self.most_writes.max(u32::try_from(writes).unwrap_or(u32::MAX));
        self.most_creations = self.most_creations.max(self.creations());
        None
    }

    fn creations(&self) -> u32 {
        u32::try_from(self.recent.iter().filter(|(.., create)| *create).count()).unwrap_or(u32::MAX)
    }
}
