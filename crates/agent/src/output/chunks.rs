//! Uploading chunks of a log: numbered from 0 without a hole, each `PUT` to a presigned URL of its own until it is
//! there. A URL that is refused or does not answer is replaced by asking the gate again, because URLs expire and a
//! server that was started again may have moved.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tidegate_core::ids::AttemptId;
use tidegate_core::wire::gate::{Presign, PresignAnswer};

use crate::gate::{Gate, Pauses, PutError, Refused};

/// How many URLs are asked for at once when the stock runs out.
const BATCH: u32 = 16;

/// Where the chunks of one attempt's log go.
#[derive(Clone, Debug)]
pub(crate) struct Chunks {
    gate: Gate,
    boot: String,
    attempt: AttemptId,
    urls: Arc<Mutex<BTreeMap<u32, String>>>,
}

impl Chunks {
    pub(crate) fn new(gate: Gate, boot: String, attempt: AttemptId, first: Vec<String>) -> Self {
        let urls = (0..).zip(first).collect();
        Self { gate, boot, attempt, urls: Arc::new(Mutex::new(urls)) }
    }

    /// Uploads one chunk; an error means that the gate wants no more of this log.
    pub(crate) async fn upload(self, number: u32, body: Bytes) -> Result<(), Refused> {
        let mut pauses = Pauses::between(Duration::from_millis(20), Duration::from_secs(2));
        let mut url = self.take(number);
        loop {
            let target = match url.take() {
                Some(url) => url,
                None => self.presign(number).await?,
            };
            match self.gate.put(&target, body.clone()).await {
                Ok(()) => return Ok(()),
                Err(PutError::Stale(status)) => {
                    tracing::info!(log.chunk = number, status, "asking for another URL");
                }
                Err(PutError::Weather(why)) => {
                    tracing::warn!(log.chunk = number, error = why, "a chunk was not taken");
                }
            }
            pauses.pause().await;
        }
    }

    fn take(&self, number: u32) -> Option<String> {
        self.urls.lock().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }

    async fn presign(&self, number: u32) -> Result<String, Refused> {
        let mut pauses = Pauses::new();
        loop {
            let request =
                Presign { boot: self.boot.clone(), attempt: self.attempt.clone(), first: number, count: BATCH };
            let answer: PresignAnswer = self.gate.call("presign", &request).await?;
            let mut urls = (number..).zip(answer.urls);
            if let Some((_, url)) = urls.next() {
                self.urls.lock().unwrap_or_else(PoisonError::into_inner).extend(urls);
                return Ok(url);
            }
            tracing::warn!(log.chunk = number, "the gate gave no URL");
            pauses.pause().await;
        }
    }
}
