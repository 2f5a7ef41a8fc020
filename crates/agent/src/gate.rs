//! The client of the gate (`tidegate_core::wire::gate`): every call is `POST <base>/gate/<verb>`.
//!
//! A call that may be repeated is repeated: no connection, a time-out, 5xx and 429 are the weather. The base URL is
//! read from its file again after each failure, because a server that was started again may listen elsewhere; until
//! the file is current, whoever took over the old port may answer nonsense, so that only the three refusals of the
//! protocol are final. Callers bound the time by dropping the future.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt as _;
use reqwest::{Client, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use tidegate_core::wire::gate::Refusal;
use tidegate_core::wire::instance::InstanceFile;

/// For a call that does not wait for anything.
const CALL_TIME: Duration = Duration::from_secs(10);
/// Between two tries: doubled from the first to the last, each with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// The gate said no, and asking again will not change it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the gate refused `{verb}` ({status}): {why}")]
pub(crate) struct Refused {
    pub(crate) verb: &'static str,
    pub(crate) status: u16,
    pub(crate) why: String,
}

/// Why one try failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{0}")]
    Weather(String),
}

/// Why one `PUT` of contents failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    /// The URL is no longer good: ask for another.
    #[error("the URL was refused ({0})")]
    Stale(u16),
    #[error("{0}")]
    Weather(String),
}

/// A handle to the gate.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    http: Client,
    instance: Arc<InstanceFile>,
    base: Arc<Mutex<String>>,
}

impl Gate {
    pub(crate) fn new(instance: Arc<InstanceFile>) -> Result<Self, reqwest::Error> {
        let base = read_endpoint(&instance).unwrap_or_default();
        let mut http = Client::builder()
            .connect_timeout(Duration::from_secs(3))
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(4);
        if is_loopback(&base) {
            // A proxy cannot reach our loopback.
            http = http.no_proxy();
        }
        Ok(Self { http: http.build()?, instance, base: Arc::new(Mutex::new(base)) })
    }

    /// One try. `wait` is how long the gate may take on purpose.
    pub(crate) async fn once<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        verb: &'static str,
        request: &Q,
        wait: Duration,
    ) -> Result<A, CallError> {
        let result = self.post(verb, request, wait).await;
        if result.is_err() {
            self.reread();
        }
        result
    }

    async fn post<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        verb: &'static str,
        request: &Q,
        wait: Duration,
    ) -> Result<A, CallError> {
        let weather = |error: reqwest::Error| CallError::Weather(chain(&error));
        let url = format!("{}/gate/{verb}", self.base());
        let response = self
            .http
            .post(url)
            .timeout(CALL_TIME + wait)
            .bearer_auth(self.instance.token.expose())
            .header("X-Tidegate-Instance", self.instance.instance.as_str())
            .json(request)
            .send()
            .await
            .map_err(weather)?;
        let status = response.status();
        let body = response.bytes().await.map_err(weather)?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body)
                .map_err(|e| CallError::Weather(format!("unreadable answer to `{verb}`: {e}"))),
            StatusCode::FORBIDDEN
            | StatusCode::CONFLICT
            | StatusCode::UNPROCESSABLE_ENTITY
            | StatusCode::BAD_REQUEST => Err(CallError::Refused(Refused {
                verb,
                status: status.as_u16(),
                why: serde_json::from_slice::<Refusal>(&body)
                    .map_or_else(|_| String::from_utf8_lossy(&body).into_owned(), |r| r.error),
            })),
            StatusCode::PAYLOAD_TOO_LARGE => Err(CallError::Refused(Refused {
                verb,
                status: status.as_u16(),
                why: "this is larger than the server takes; the cap of a pipeline is `bytes` in the `[limits]` table of its \
                      configuration"
                    .to_owned(),
            })),
            other => Err(CallError::Weather(format!("`{verb}` was answered {other}"))),
        }
    }

    /// Tries until the gate answers; an error is final.
    pub(crate) async fn call<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        verb: &'static str,
        request: &Q,
    ) -> Result<A, Refused> {
        self.call_waiting(verb, request, Duration::ZERO).await
    }

    /// As [`Gate::call`], where the gate may take `wait` on purpose.
    pub(crate) async fn call_waiting<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        verb: &'static str,
        request: &Q,
        wait: Duration,
    ) -> Result<A, Refused> {
        let mut pauses = Pauses::new();
        loop {
            let asked = self.base();
            match self.once(verb, request, wait).await {
                Ok(answer) => return Ok(answer),
                // Said by whoever took over the port of a gate that has moved meanwhile.
                Err(CallError::Refused(_)) if self.base() != asked => {}
                Err(CallError::Refused(refused)) => return Err(refused),
                Err(CallError::Weather(why)) => {
                    tracing::warn!(gate.verb = verb, error = why, "the gate does not answer");
                    pauses.pause().await;
                }
            }
        }
    }

    /// Puts contents to a presigned URL, once.
    pub(crate) async fn put(&self, url: &str, body: Bytes) -> Result<(), PutError> {
        self.put_body(url, body.len() as u64, body.into()).await.map(drop)
    }

    /// As [`Gate::put`], for a body that is a stream of `length` bytes. Returns the `ETag` of the answer.
    pub(crate) async fn put_body(
        &self,
        url: &str,
        length: u64,
        body: reqwest::Body,
    ) -> Result<Option<String>, PutError> {
        // No less than 100 kB/s, or the peer is as good as gone.
        let time = Duration::from_secs(30 + length / 100_000);
        let sent =
            self.http.put(url).timeout(time).header(reqwest::header::CONTENT_LENGTH, length).body(body).send().await;
        // The URL carries a signature: it does not belong into a message.
        match sent.map_err(reqwest::Error::without_url) {
            Ok(response) if response.status().is_success() => {
                let tag = response.headers().get(reqwest::header::ETAG).and_then(|tag| tag.to_str().ok());
                Ok(tag.map(|tag| tag.trim_matches('"').to_owned()))
            }
            // The key holds these very contents already, if an answer was lost: keys are written once.
            Ok(response) if response.status() == StatusCode::PRECONDITION_FAILED => Ok(None),
            Ok(response) if response.status().is_client_error() => Err(PutError::Stale(response.status().as_u16())),
            Ok(response) => Err(PutError::Weather(format!("answered {}", response.status()))),
            Err(error) => Err(PutError::Weather(chain(&error))),
        }
    }

    fn base(&self) -> String {
        self.base.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn reread(&self) {
        if let Some(base) = read_endpoint(&self.instance) {
            *self.base.lock().unwrap_or_else(PoisonError::into_inner) = base;
        }
    }
}

fn read_endpoint(instance: &InstanceFile) -> Option<String> {
    let text = std::fs::read_to_string(&instance.endpoint_file).ok()?;
    let base = text.trim().trim_end_matches('/');
    (!base.is_empty()).then(|| base.to_owned())
}

pub(crate) fn is_loopback(base: &str) -> bool {
    ["http://127.", "http://localhost", "http://[::1]"].iter().any(|prefix| base.starts_with(prefix))
}

/// An error with its causes: reqwest keeps the interesting part (refused, reset, timed out) in the last one.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Growing pauses with jitter.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
    last: Duration,
}

impl Pauses {
    pub(crate) fn new() -> Self {
        Self::between(FIRST_PAUSE, LAST_PAUSE)
    }

    pub(crate) fn between(first: Duration, last: Duration) -> Self {
        Self { next: first, last }
    }

    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(jitter(self.next)).await;
        self.next = (self.next * 2).min(self.last);
    }
}

/// Between 75 and 125 % of a span, so that many agents do not move in step.
pub(crate) fn jitter(span: Duration) -> Duration {
    span.mul_f64(rand::rng().random_range(0.75..1.25))
}
