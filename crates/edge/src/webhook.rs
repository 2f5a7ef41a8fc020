//! `POST /webhook` and `GET /healthz`: what strangers reach.
//!
//! A delivery is decided by [`tidegate_github::webhook::decide`], a pure function; what is here reads the body within limits, sends the event
//! to the queue `ingest`, and only then answers 202. If we die after sending and before answering, GitHub records a failed delivery and
//! somebody may redeliver it: the queue then holds it twice, under one delivery id, which ingest expects. An unverified request sends
//! nothing (invariant I2).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::StreamExt as _;
use tidegate_core::event::Event;
use tidegate_core::ids::DeliveryId;
use tidegate_core::wire::envelope::to_ascii_json;
use tidegate_engine::ports::{Clock, Outgoing, PortError, Queue};
use tidegate_github::webhook::{Decision, Headers, Secrets, decide};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The queue that verified events go to.
pub const INGEST: &str = "ingest";
/// GitHub gives a delivery up after 10 s (`spec/github.md` 6.1): its body must be here by then.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// And the queue must have taken the event a little earlier than that, so that GitHub sees our 503.
const SEND_DEADLINE: Duration = Duration::from_secs(8);
/// How many bodies of the largest size may be held at once; smaller ones share the same room.
const LARGEST_AT_ONCE: usize = 2;
/// Unit of that room, in bytes.
const UNIT: usize = 1024;

/// What answering a delivery takes.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The secrets that deliveries may be signed with.
    pub secrets: Secrets,
    /// Largest body, in bytes.
    pub limit: usize,
    /// Where events go.
    pub queue: Arc<dyn Queue>,
    /// When they came.
    pub clock: Arc<dyn Clock>,
}

/// What to answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON, or empty.
    pub body: String,
}

/// Answers a delivery whose body is complete; the same for the server and for the webhook function.
///
/// 202 means that the event is durable in the queue, or that there is nothing to do about it. If the queue does not take it in time the
/// answer is 503, and GitHub shows the delivery as failed.
pub async fn handle(deps: &Deps, headers: Headers<'_>, body: &[u8]) -> Answer {
    let decision = decide(headers, body, deps.limit, &deps.secrets, deps.clock.now());
    if let Some(event) = &decision.event
        && is_sent(event)
        && let Err(error) = send(deps, event).await
    {
        tracing::error!(
            delivery.id = %event.delivery,
            delivery.event = word(headers.event),
            outcome = "not_queued",
            %error,
            "the queue did not take a webhook delivery: redeliver it from the settings of the webhook",
        );
        return Answer {
            status: 503,
            body: r#"{"error":"the delivery could not be stored: redeliver it"}"#.to_owned(),
        };
    }
    log(&decision, headers);
    Answer { status: decision.status, body: decision.body }
}

/// Ignored events end here, in the log and in the answer, which GitHub shows: an App may be sent many of them.
fn is_sent(event: &Event) -> bool {
    event.kind.ignored().is_none()
}

async fn send(deps: &Deps, event: &Event) -> Result<(), PortError> {
    let body =
        to_ascii_json(event).map_err(|error| PortError::fatal(format!("the event cannot be written: {error}")))?;
    let message = Outgoing { body, ..Outgoing::default() };
    tokio::select! {
        biased;
        sent = deps.queue.send(INGEST, message) => sent,
        () = deps.clock.sleep(SEND_DEADLINE) => Err(PortError::retry("it did not answer in time")),
    }
}

/// One line a delivery: ids and fixed words only. Bodies and signatures are never logged (`spec/security.md` S10).
fn log(decision: &Decision, headers: Headers<'_>) {
    let event = word(headers.event);
    let outcome = decision.code;
    let Some(said) = &decision.event else {
        tracing::warn!(
            delivery.id = word(headers.delivery),
            delivery.event = event,
            outcome,
            status = decision.status,
            "webhook delivery refused",
        );
        return;
    };
    let delivery = &said.delivery;
    match said.kind.ignored() {
        Some(why) => {
            tracing::info!(delivery.id = %delivery, delivery.event = event, outcome, %why, "webhook delivery ignored");
        }
        None => tracing::info!(delivery.id = %delivery, delivery.event = event, outcome, "webhook delivery accepted"),
    }
}

/// A header of a stranger for the log, if it is what GitHub would send there.
fn word(header: Option<&str>) -> &str {
    match header {
        Some(text) if DeliveryId::new(text).is_ok() => text,
        Some(_) => "invalid",
        None => "none",
    }
}

#[derive(Clone)]
struct Shared {
    deps: Arc<Deps>,
    /// Room for bodies, in [`UNIT`]s: strangers can send as much as they like before they are found unverified.
    room: Arc<Semaphore>,
}

/// The public routes: `POST /webhook` and `GET /healthz`.
pub fn router(deps: Deps) -> axum::Router {
    let room = deps.limit.div_ceil(UNIT).max(1) * LARGEST_AT_ONCE;
    let shared = Shared { deps: Arc::new(deps), room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))) };
    axum::Router::new()
        .route("/webhook", post(webhook))
        .route("/healthz", get(async || "ok\n"))
        .layer(DefaultBodyLimit::disable())
        .with_state(shared)
}

async fn webhook(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let headers = headers_of(&parts.headers);
    let limit = shared.deps.limit;
    let read = tokio::time::timeout(BODY_DEADLINE, read(&shared, &parts.headers, body)).await;
    let why = match read {
        Ok(Ok((body, _room))) => {
            let answer = handle(&shared.deps, headers, &body).await;
            return response(answer.status, answer.body);
        }
        Ok(Err(why)) => why,
        Err(_) => Unread::Slow,
    };
    match why {
        Unread::TooLarge => {
            let decision = Decision::too_large(limit);
            log(&decision, headers);
            response(decision.status, decision.body)
        }
        Unread::Slow | Unread::Broken => {
            tracing::warn!(
                delivery.id = word(headers.delivery),
                delivery.event = word(headers.event),
                outcome = if why == Unread::Slow { "body_slow" } else { "body_broken" },
                "webhook delivery refused",
            );
            response(408, String::new())
        }
    }
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unread {
    TooLarge,
    /// Not complete in time, or no room for it in time.
    Slow,
    /// The connection ended in the middle.
    Broken,
}

/// The body and the room it takes. Nothing is read of a body that says itself that it is too large, and not more than the limit of
/// one that does not.
async fn read(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Unread> {
    let limit = shared.deps.limit;
    let announced: Option<u64> =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length| length > u64::try_from(limit).unwrap_or(u64::MAX)) {
        return Err(Unread::TooLarge);
    }
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut room: Option<OwnedSemaphorePermit> = None;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Unread::Broken)?;
        if bytes.len() + chunk.len() > limit {
            return Err(Unread::TooLarge);
        }
        let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let needed = (bytes.len() + chunk.len()).div_ceil(UNIT) - held;
        if needed > 0 {
            let needed = u32::try_from(needed).map_err(|_| Unread::TooLarge)?;
            let more = Arc::clone(&shared.room).acquire_many_owned(needed).await.map_err(|_| Unread::Slow)?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes, room))
}

/// The headers we read; one that is not text counts as missing.
fn headers_of(headers: &HeaderMap) -> Headers<'_> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    Headers {
        event: text("x-github-event"),
        delivery: text("x-github-delivery"),
        signature: text("x-hub-signature-256"),
        content_type: text("content-type"),
    }
}

fn response(status: u16, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if body.is_empty() {
        return status.into_response();
    }
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
