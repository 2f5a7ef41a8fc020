//! How often a large record is written again.
//!
//! An actor's record is written whole. While a build of thousands of jobs runs, something is told to it and to the fleet
//! many times a second, and to write tens of kilobytes for each of these would cost more than the jobs
//! (`spec/hazards.md` H1). So a step that wrote much is followed by a pause that grows with what it wrote.
//! What comes in between stays in the inbox, and is folded in by one step at the end of the pause.
//!
//! A pause never loses a doorbell: before it is written down, the doorbell that ends it is on its way, and that one is
//! heard whatever the record of the pause says. Steps that somebody waits for (a cancel, an upload) know no pause.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_core::time::Timestamp;

use super::{Actor, DOORBELL, UnknownActor};
use crate::engine::{Engine, Loaded};
use crate::error::Error;
use crate::keys;
use crate::ports::{Expect, Key, Outgoing, PortError};

/// How much may be written of one actor's record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// What a step may write without a pause after it, in bytes.
    pub free: usize,
    /// How many bytes beyond that are worth a second.
    pub rate: usize,
    /// The longest pause. Whoever waits for the end of a job waits this much longer at worst.
    pub longest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { free: 3 * 1024, rate: 5 * 1024, longest: Duration::from_secs(2) }
    }
}

impl Pace {
    /// The pause after a step that wrote so many bytes of its record.
    fn pause_after(&self, bytes: usize) -> Duration {
        let beyond = bytes.saturating_sub(self.free);
        Duration::from_millis((beyond * 1000 / self.rate.max(1)) as u64).min(self.longest)
    }
}

/// Before this nobody needs to look: a doorbell is on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct Pause {
    until: Timestamp,
    /// How long it is, in milliseconds.
    millis: u64,
}

/// What a doorbell says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Bell {
    /// Who it is for.
    pub(crate) actor: Actor,
    /// It ends the pause until this moment.
    pub(crate) ends: Option<Timestamp>,
}

impl fmt::Display for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ends {
            Some(Timestamp(until)) => write!(f, "due/{until}/{}", self.actor),
            None => write!(f, "{}", self.actor),
        }
    }
}

impl FromStr for Bell {
    type Err = UnknownActor;
    fn from_str(text: &str) -> Result<Self, UnknownActor> {
        let due = text.strip_prefix("due/").and_then(|rest| rest.split_once('/'));
        let due = due.and_then(|(until, name)| Some((Timestamp(until.parse().ok()?), name)));
        let (ends, name) = due.map_or((None, text), |(until, name)| (Some(until), name));
        Ok(Self { actor: name.parse()?, ends })
    }
}

impl Engine {
    /// Runs the step that a doorbell asks for, unless there is a pause.
    ///
    /// Who wrote much the last time most likely does so again: the next pause begins before the step, so that of those who
    /// are rung at once one runs it.
    pub(crate) async fn answer_bell(&self, bell: &Bell) -> Result<(), Error> {
        let actor = &bell.actor;
        let key = match actor {
            Actor::Build(_) | Actor::Fleet => keys::pause(actor),
            Actor::Group(_) | Actor::Report(_) | Actor::Deadline(_) => return self.step(actor).await,
        };
        let known = self.load::<Pause>(&key).await?;
        if let Some(Loaded { body, version }) = &known {
            // The doorbell that ends this very pause is heard even if it comes early: clocks differ.
            if bell.ends != Some(body.until) && self.now() < body.until {
                return Ok(());
            }
            let length = Duration::from_millis(body.millis);
            match self.pause(actor, &key, length, Expect::Version(*version)).await {
                // Who began one in between has sent the doorbell that ends it.
                Err(Error::Port(PortError::Conflict)) => return Ok(()),
                begun => begun?,
            }
        }
        let length = self.settings.pace.pause_after(self.step_sized(actor).await?);
        let before = known.map_or(Duration::ZERO, |known| Duration::from_millis(known.body.millis));
        if length.is_zero() && !before.is_zero() {
            self.ports.store.delete_if(&key, Expect::Any).await?;
        } else if length.abs_diff(before) > before / 4 {
            self.pause(actor, &key, length, Expect::Any).await?;
        }
        Ok(())
    }

    /// Begins a pause: first the doorbell that ends it, then the record.
    async fn pause(&self, actor: &Actor, key: &Key, length: Duration, expect: Expect) -> Result<(), Error> {
        let until = self.now() + length;
        let end = Bell { actor: actor.clone(), ends: Some(until) };
        let message = Outgoing { body: end.to_string(), group: None, delay: length };
        self.ports.queue.send(DOORBELL, message).await?;
        let pause = Pause { until, millis: u64::try_from(length.as_millis()).unwrap_or(u64::MAX) };
        self.save(key.clone(), &pause, expect).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_as_long_as_what_was_written_is_large() {
        let table = [(0, 0), (3072, 0), (3072 + 512, 100), (8 * 1024, 1000), (64 * 1024, 2000)];
        for (bytes, millis) in table {
            assert_eq!(Pace::default().pause_after(bytes), Duration::from_millis(millis), "{bytes}");
        }
    }

    #[test]
    fn doorbells_are_read_as_they_are_written() {
        for text in ["fleet", "due/1700000000123/fleet", "due/5/build/4b825dc6-42cb-4eb9-a060-e54bf8d69288"] {
            assert_eq!(text.parse::<Bell>().map(|bell| bell.to_string()), Ok(text.to_owned()));
        }
        for bad in ["due/", "due/fleet", "due/x/fleet", "due/5/due/5/fleet"] {
            assert!(bad.parse::<Bell>().is_err(), "{bad}");
        }
    }
}
