//! Trying again: which failures of git are worth it, how often, and with which pauses.

use std::time::Duration;

use tidegate_git::names;
use tidegate_git::words::{Trouble, judge};

use super::CheckoutError;
use crate::gate::Pauses;
use crate::output::Log;

/// How often something is tried before it fails.
pub(crate) const TRIES: u32 = 5;
/// A commit that was pushed a moment ago may not have reached every server of a forge yet.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// The tries of one thing.
#[derive(Debug)]
pub(crate) struct Persistence<'a> {
    log: &'a Log,
    pauses: Pauses,
    looked_twice: bool,
    pub(crate) tries: u32,
}

impl<'a> Persistence<'a> {
    /// For something that is read from this URL.
    pub(crate) fn new(log: &'a Log, url: &str) -> Self {
        let pauses = Pauses::between(Duration::from_millis(500), Duration::from_secs(16));
        // A directory does not lag behind itself.
        Self { log, pauses, looked_twice: names::is_local(url), tries: 0 }
    }

    /// After a failure, in git's words: waits and returns if it is worth trying again.
    pub(crate) async fn after(&mut self, why: String) -> Result<(), CheckoutError> {
        self.tries += 1;
        match judge(&why) {
            Trouble::DiskFull => Err(CheckoutError::DiskFull(why)),
            Trouble::Missing if !self.looked_twice => {
                self.looked_twice = true;
                tokio::time::sleep(SECOND_LOOK).await;
                Ok(())
            }
            Trouble::Missing | Trouble::Unadvertised | Trouble::Refused => Err(CheckoutError::Permanent(why)),
            Trouble::Damaged | Trouble::Passing if self.tries >= TRIES => Err(CheckoutError::Failed(why)),
            Trouble::Damaged | Trouble::Passing => {
                self.log.say(format!("{why}\nTrying again ({} of {TRIES} tries made).", self.tries)).await;
                self.pauses.pause().await;
                Ok(())
            }
        }
    }
}
