//! `POST /gate/<verb>`: what machines reach. Refusals are 403 (not yours), 409 (over) and 422 (breaks a rule); 503 asks for
//! a repetition (`tidegate_core::wire::gate`).

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidegate_core::attempt::Refused;
use tidegate_core::wire::gate::Refusal;
use tidegate_engine::Engine;
use tidegate_engine::gate::{Caller, GateError};

/// Largest request but for what a pipeline upload needs.
const LIMIT: usize = 4 << 20;
/// What an upload has besides its text: the variables that the text names.
const AROUND_A_PIPELINE: usize = 2 << 20;

/// Knows machines by what they present.
pub trait Callers: std::fmt::Debug + Send + Sync {
    /// The machine that these headers prove, if they prove one.
    fn authenticate(&self, headers: &HeaderMap) -> Option<Caller>;
}

/// What a machine presents on one machine: its id and the token that its process was given.
pub fn presented(headers: &HeaderMap) -> Option<(&str, &str)> {
    let instance = headers.get("x-tidegate-instance")?.to_str().ok()?;
    let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    Some((instance, token))
}

#[derive(Clone, Debug)]
struct Gate {
    engine: Arc<Engine>,
    callers: Arc<dyn Callers>,
}

macro_rules! verbs {
    ($($verb:ident),*) => {
        /// The routes of the gate.
        pub fn routes(engine: Arc<Engine>, callers: Arc<dyn Callers>) -> Router {
            // JSON makes up to six bytes of one.
            let text = engine.settings().pipeline.bytes.saturating_mul(6).saturating_add(AROUND_A_PIPELINE);
            Router::new()
                $(.route(concat!("/gate/", stringify!($verb)), post($verb)))*
                .layer(DefaultBodyLimit::max(text.max(LIMIT)))
                .with_state(Gate { engine, callers })
        }

        $(async fn $verb(State(gate): State<Gate>, headers: HeaderMap, body: Bytes) -> Response {
            let (caller, request) = match gate.open(&headers, &body) {
                Ok(opened) => opened,
                Err(refusal) => return *refusal,
            };
            answer(gate.engine.$verb(&caller, &request).await)
        })*
    };
}

verbs!(
    beat,
    next,
    start,
    presign,
    artifacts,
    artifact_parts,
    upload,
    result,
    meta_data,
    find_artifacts,
    fetch_artifacts,
    annotate,
    show_step,
    update_step,
    cancel_step,
    cancel_own_build,
    git_credential,
    secrets
);

impl Gate {
    fn open<T: DeserializeOwned>(&self, headers: &HeaderMap, body: &[u8]) -> Result<(Caller, T), Box<Response>> {
        let caller = self
            .callers
            .authenticate(headers)
            .ok_or_else(|| Box::new(refuse(StatusCode::FORBIDDEN, "no machine of ours".to_owned())))?;
        let request = serde_json::from_slice(body).map_err(|error| {
            Box::new(refuse(StatusCode::UNPROCESSABLE_ENTITY, format!("the request cannot be read: {error}")))
        })?;
        Ok((caller, request))
    }
}

fn refuse(status: StatusCode, error: String) -> Response {
    (status, axum::Json(Refusal { error })).into_response()
}

fn answer<T: Serialize>(result: Result<T, GateError>) -> Response {
    match result {
        Ok(body) => axum::Json(body).into_response(),
        Err(GateError::Refused(why)) => {
            let status = match why {
                Refused::NotYours | Refused::NotClaimed | Refused::Trust => StatusCode::FORBIDDEN,
                Refused::Ended => StatusCode::CONFLICT,
            };
            refuse(status, why.to_string())
        }
        Err(GateError::Invalid(why)) => refuse(StatusCode::UNPROCESSABLE_ENTITY, why),
        Err(GateError::Engine(error)) => {
            tracing::warn!(%error, "a machine has to ask again");
            refuse(StatusCode::SERVICE_UNAVAILABLE, "try again".to_owned())
        }
    }
}
