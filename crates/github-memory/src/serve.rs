//! The state machine behind a real socket, with a real clock and deliveries over HTTP.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use axum::body::to_bytes;
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

use crate::hub::Hub;
use crate::rest::{Answer, Request};

/// GitHub gives up on a hook after this.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest body that is read, in bytes.
const LARGEST: usize = 1 << 20;

/// A GitHub that listens on loopback. It ends with its runtime.
#[derive(Clone, Debug)]
pub struct Server {
    hub: Arc<Mutex<Hub>>,
    url: String,
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Server {
    /// Starts it.
    ///
    /// # Errors
    /// No socket can be had.
    pub async fn start() -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let hub = Hub { web: url.clone(), api: url.clone(), ..Hub::default() };
        let server = Self { hub: Arc::new(Mutex::new(hub)), url };
        let app = axum::Router::new().fallback(handle).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        tokio::spawn(server.clone().post_deliveries());
        Ok(server)
    }

    /// Where its API is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Acts on it, with the time.
    pub fn with<T>(&self, act: impl FnOnce(&mut Hub, u64) -> T) -> T {
        act(&mut self.lock(), now())
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Posts what lies in the outbox, one after the other. Ends when nobody else holds the state.
    async fn post_deliveries(self) {
        let client = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build();
        let Ok(client) = client else { return };
        while Arc::strong_count(&self.hub) > 1 {
            let Some(outgoing) = self.with(|hub, _| hub.take_outgoing()) else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let mut request = client
                .post(&outgoing.url)
                .header("user-agent", "GitHub-Hookshot/memory")
                .header("content-type", "application/json")
                .header("x-github-event", &outgoing.event)
                .header("x-github-delivery", &outgoing.guid);
            if let Some(signature) = &outgoing.signature {
                request = request.header("x-hub-signature-256", signature);
            }
            let status = match request.body(outgoing.body).send().await {
                Ok(answer) => Some(answer.status().as_u16()),
                Err(_) => None,
            };
            self.with(|hub, _| hub.answered(outgoing.id, status));
        }
    }
}

async fn handle(State(server): State<Server>, request: HttpRequest) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LARGEST).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let authorization = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
    let request = Request {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        authorization,
        body: &body,
    };
    let Answer { status, headers, body } = server.with(|hub, now| hub.answer(now, &request));
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut response =
        (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body).into_response();
    let ours = response.headers_mut();
    ours.insert("content-type", HeaderValue::from_static("application/json; charset=utf-8"));
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            ours.insert(HeaderName::from_static(name), value);
        }
    }
    response
}
