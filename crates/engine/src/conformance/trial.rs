use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_core::time::Timestamp;

use crate::ports::{Clock, PortError};

/// A property that an adapter breaks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{property}` does not hold: {what}")]
pub struct Violation {
    /// Name of the function that tried it.
    pub property: &'static str,
    /// What was seen, and what should have been.
    pub what: String,
}

/// What a suite saw. Prints as a short table.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// The properties that were tried, in order. All of them hold.
    pub properties: Vec<&'static str>,
    /// How often something legal but unpleasant happened, such as `duplicates`.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Report {
    /// How often something happened.
    pub fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} properties hold", self.properties.len())?;
        for (what, count) in &self.counts {
            write!(f, "\n{count:>8} {what}")?;
        }
        Ok(())
    }
}

/// A run of a suite: time, names and counts.
#[derive(Debug)]
pub struct Trial<'a> {
    clock: &'a dyn Clock,
    name: String,
    patience: Duration,
    seen: Mutex<Report>,
}

impl<'a> Trial<'a> {
    /// A run whose names begin with `name` (letters, digits and `-`, at most 20), new for each run over the same world.
    /// What has to happen eventually has to happen within `patience` of `clock`.
    pub fn new(clock: &'a dyn Clock, name: impl Into<String>, patience: Duration) -> Self {
        Self { clock, name: name.into(), patience, seen: Mutex::default() }
    }

    /// What was seen so far.
    pub fn report(&self) -> Report {
        self.seen().clone()
    }

    fn seen(&self) -> MutexGuard<'_, Report> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, property: &'static str) {
        self.seen().properties.push(property);
    }

    /// A name that only the current property uses.
    pub(super) fn name(&self, of: &str) -> String {
        format!("{}-{}-{of}", self.name, self.seen().properties.len())
    }

    pub(super) fn count(&self, what: &'static str) {
        *self.seen().counts.entry(what).or_default() += 1;
    }

    pub(super) fn broken(&self, what: impl Into<String>) -> Violation {
        Violation { property: self.seen().properties.last().copied().unwrap_or("?"), what: what.into() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) async fn sleep(&self, span: Duration) {
        self.clock.sleep(span).await;
    }

    /// When patience ends.
    pub(super) fn deadline(&self) -> Timestamp {
        self.now() + self.patience
    }

    /// Asks until there is another answer than [`PortError::Retry`].
    pub(super) async fn again<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, PortError>
    where
        F: Future<Output = Result<T, PortError>>,
    {
        let deadline = self.deadline();
        loop {
            match call().await {
                Err(PortError::Retry { after, .. }) if self.now() < deadline => {
                    self.count("retries");
                    self.sleep(after.unwrap_or(Duration::from_millis(20))).await;
                }
                answer => return answer,
            }
        }
    }

    /// As [`Trial::again`], where nothing but success is right.
    pub(super) async fn done<T, F>(&self, what: &str, call: impl FnMut() -> F) -> Result<T, Violation>
    where
        F: Future<Output = Result<T, PortError>>,
    {
        self.again(call).await.map_err(|error| self.broken(format!("{what} failed: {error}")))
    }

    /// As [`Trial::again`], where only [`PortError::Reject`] is right.
    pub(super) async fn rejected<T, F>(&self, what: &str, call: impl FnMut() -> F) -> Result<(), Violation>
    where
        F: Future<Output = Result<T, PortError>>,
    {
        match self.again(call).await {
            Err(PortError::Reject { .. }) => Ok(()),
            Ok(_) => Err(self.broken(format!("{what} should be refused, but succeeded"))),
            Err(error) => Err(self.broken(format!("{what} should be refused for good, but: {error} ({error:?})"))),
        }
    }

    /// As [`Trial::again`], where only [`PortError::Conflict`] is right.
    pub(super) async fn conflicts<T, F>(&self, what: &str, call: impl FnMut() -> F) -> Result<(), Violation>
    where
        F: Future<Output = Result<T, PortError>>,
    {
        match self.again(call).await {
            Err(PortError::Conflict) => Ok(()),
            Ok(_) => Err(self.broken(format!("{what} should conflict, but succeeded"))),
            Err(error) => Err(self.broken(format!("{what} should conflict, but: {error} ({error:?})"))),
        }
    }
}

/// Returns a [`Violation`] unless a condition holds.
macro_rules! ensure {
    ($trial:expr, $condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err($trial.broken(format!($($what)+)));
        }
    };
}

/// Runs properties one after the other.
macro_rules! run {
    ($trial:expr, $subject:expr, [$($property:ident),+ $(,)?]) => {{
        $(
            $trial.begin(stringify!($property));
            $property($trial, $subject).await?;
        )+
        Ok($trial.report())
    }};
}
