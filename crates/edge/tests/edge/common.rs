//! A queue and a clock for tests of the edge.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::time::Timestamp;
use tidegate_engine::ports::{Clock, Outgoing, PortError, Queue, Received};

/// What a [`TestQueue`] does when it is sent a message.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Mood {
    #[default]
    Well,
    Failing,
    Silent,
}

/// A queue that keeps what it is sent.
#[derive(Debug, Default)]
pub(crate) struct TestQueue {
    pub(crate) mood: Mutex<Mood>,
    pub(crate) sent: Mutex<Vec<(String, String)>>,
}

impl TestQueue {
    pub(crate) fn set(&self, mood: Mood) {
        if let Ok(mut now) = self.mood.lock() {
            *now = mood;
        }
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        let sent = self.sent.lock().map(|sent| sent.clone());
        let sent = sent.unwrap_or_default();
        sent.into_iter().map(|(_, body)| body).collect()
    }
}

#[async_trait]
impl Queue for TestQueue {
    async fn send(&self, queue: &str, message: Outgoing) -> Result<(), PortError> {
        let mood = self.mood.lock().map_or(Mood::Failing, |mood| *mood);
        match mood {
            Mood::Well => {}
            Mood::Failing => return Err(PortError::fatal("disk full at /secret/place")),
            Mood::Silent => std::future::pending().await,
        }
        if let Ok(mut sent) = self.sent.lock() {
            sent.push((queue.to_owned(), message.body));
        }
        Ok(())
    }

    async fn receive(&self, _: &str, _: usize, _: Duration) -> Result<Vec<Received>, PortError> {
        Err(PortError::fatal("the edge receives nothing"))
    }

    async fn delete(&self, _: &str, _: &str) -> Result<(), PortError> {
        Err(PortError::fatal("the edge deletes nothing"))
    }

    async fn extend(&self, _: &str, _: &str, _: Duration) -> Result<(), PortError> {
        Err(PortError::fatal("the edge extends nothing"))
    }

    async fn depth(&self, _: &str) -> Result<u64, PortError> {
        Err(PortError::fatal("the edge counts nothing"))
    }
}

/// A clock that stands still; waiting takes no time.
#[derive(Debug)]
pub(crate) struct TestClock;

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_795_398_000_123)
    }

    async fn sleep(&self, _: Duration) {}
}
