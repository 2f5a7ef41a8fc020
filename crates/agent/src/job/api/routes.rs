//! The answers.

use std::sync::{Arc, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidegate_core::wire::gate::{Refusal, Upload, UploadAnswer};

use super::Shared;
use crate::gate::Refused;
use crate::job_cli::wire;

/// The largest request: a pipeline.
const LIMIT: usize = 8 << 20;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(wire::UPLOAD, post(upload))
        .layer(DefaultBodyLimit::max(LIMIT))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), only_the_job))
        .with_state(shared)
}

async fn only_the_job(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let presented = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if presented.and_then(|value| value.strip_prefix("Bearer ")) == Some(&*shared.token) {
        next.run(request).await
    } else {
        refuse(StatusCode::UNAUTHORIZED, "this is not the token of this job")
    }
}

fn refuse(status: StatusCode, error: impl Into<String>) -> Response {
    (status, axum::Json(Refusal { error: error.into() })).into_response()
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Box<Response>> {
    serde_json::from_slice(body)
        .map_err(|error| Box::new(refuse(StatusCode::BAD_REQUEST, format!("the request cannot be read: {error}"))))
}

fn answer<T: Serialize>(result: Result<T, Refused>) -> Response {
    match result {
        Ok(answer) => axum::Json(answer).into_response(),
        Err(refused) => {
            let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
            refuse(status, refused.why)
        }
    }
}

/// Sends a pipeline on. Tried until the gate answers: the id makes a repetition harmless.
async fn upload(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let asked: wire::Upload = match read(&body) {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let request = Upload {
        boot: shared.host.boot.clone(),
        attempt: shared.attempt.clone(),
        uuid: asked.uuid.clone(),
        pipeline: asked.pipeline,
        replace: asked.replace,
        env: asked.env,
        no_interpolation: asked.no_interpolation,
    };
    let result = shared.host.gate.call::<_, UploadAnswer>("upload", &request).await;
    if result.as_ref().is_ok_and(|answer| answer.accepted) {
        shared.uploads.lock().unwrap_or_else(PoisonError::into_inner).insert(asked.uuid);
    }
    answer(result)
}
