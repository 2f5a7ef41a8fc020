use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tidegate_core::time::Timestamp;
use tidegate_engine::ports::{Clock, Ids};

/// The wall clock and timers of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        timestamp(SystemTime::now())
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

/// Randomness of the operating system, by way of a generator that it seeds.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    fn random(&self) -> u128 {
        rand::random()
    }
}

/// A clock that starts at the wall clock's time and never jumps afterwards: spans that were promised (a visibility
/// timeout, a delay) keep their length when somebody sets the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SteadyClock {
    wall: SystemTime,
    since: Instant,
}

impl SteadyClock {
    pub(crate) fn start() -> Self {
        Self { wall: SystemTime::now(), since: Instant::now() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        timestamp(self.wall + self.since.elapsed())
    }
}

fn timestamp(at: SystemTime) -> Timestamp {
    let since_epoch = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
