//! The JSON API.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidegate_core::ids::{AttemptId, DeliveryId};
use tidegate_engine::Engine;
use tidegate_engine::api::{ApiError, BuildName, CreateBuild, JobName, LogPosition, Rebuild, Unblock};
use tidegate_engine::ports::Method;

use crate::token::ApiToken;

/// Most builds of one answer.
const MAX_BUILDS: usize = 10_000;
const URL_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Who asks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct By {
    /// For people.
    #[serde(default)]
    pub by: String,
}

/// A wish to run again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RetryRequest {
    /// Which job; all that failed when not given.
    #[serde(default)]
    pub job: Option<String>,
    /// Who asks.
    #[serde(default)]
    pub by: String,
}

/// Which log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LogQuery {
    /// The job.
    pub job: String,
    /// The attempt; the latest when not given.
    #[serde(default)]
    pub attempt: Option<u32>,
}

/// Where an artifact's content is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ArtifactUrl {
    /// For one `GET`, for 15 minutes.
    pub url: String,
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default)]
    pipeline: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

#[derive(Deserialize)]
struct JobQuery {
    #[serde(default)]
    job: Option<String>,
}

#[derive(Deserialize)]
struct PartQuery {
    attempt: AttemptId,
    chunk: u32,
}

#[derive(Deserialize)]
struct KeyQuery {
    key: String,
}

/// An error as JSON.
struct Failure(ApiError);

impl<E: Into<ApiError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            ApiError::NotFound(_) => StatusCode::NOT_FOUND,
            ApiError::Refused(_) => StatusCode::CONFLICT,
            ApiError::Engine(error) => {
                tracing::warn!(%error, "a request could not be answered");
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        (status, Json(json!({ "error": self.0.to_string() }))).into_response()
    }
}

type Answer = Result<Response, Failure>;

/// The routes of the API. Every one needs the token.
pub fn routes(engine: Arc<Engine>, token: ApiToken) -> Router {
    Router::new()
        .route("/api/builds", get(list).post(create))
        .route("/api/builds/{build}", get(show))
        .route("/api/builds/{build}/cancel", post(cancel))
        .route("/api/builds/{build}/approve", post(approve))
        .route("/api/builds/{build}/retry", post(retry))
        .route("/api/builds/{build}/rebuild", post(rebuild))
        .route("/api/builds/{build}/unblock", post(unblock))
        .route("/api/builds/{build}/why", get(why))
        .route("/api/groups", get(groups))
        .route("/api/schedules", get(schedules))
        .route("/api/retention", get(old).post(delete_old))
        .route("/api/builds/{build}/log", get(log_position))
        .route("/api/builds/{build}/artifacts", get(artifacts))
        .route("/api/log", get(log_part))
        .route("/api/artifact", get(artifact))
        .route("/api/instances", get(instances))
        .route("/api/deliveries", get(deliveries))
        .route("/api/deliveries/{id}", get(delivery))
        .route("/api/deliveries/{id}/details", get(delivery_details))
        .route("/api/deliveries/{id}/replay", post(replay))
        .with_state(engine)
        .layer(from_fn_with_state(token, only_with_token))
}

async fn only_with_token(State(token): State<ApiToken>, request: Request, next: Next) -> Response {
    let presented = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    if presented.is_some_and(|presented| token.is(presented)) {
        next.run(request).await
    } else {
        let why = "the token of the state directory is needed: `Authorization: Bearer …`";
        (StatusCode::UNAUTHORIZED, Json(json!({ "error": why }))).into_response()
    }
}

fn name(text: &str) -> Result<BuildName, Failure> {
    Ok(text.parse::<BuildName>()?)
}

async fn list(State(engine): State<Arc<Engine>>, Query(query): Query<ListQuery>) -> Answer {
    let limit = query.limit.unwrap_or(50).min(MAX_BUILDS);
    Ok(Json(engine.list_builds(query.pipeline.as_deref(), limit).await?).into_response())
}

async fn create(State(engine): State<Arc<Engine>>, Json(wish): Json<CreateBuild>) -> Answer {
    let id = engine.create_build(&wish).await?;
    let build = engine.show_build(&BuildName::Id(id)).await?;
    Ok((StatusCode::CREATED, Json(build)).into_response())
}

async fn show(State(engine): State<Arc<Engine>>, Path(build): Path<String>) -> Answer {
    Ok(Json(engine.show_build(&name(&build)?).await?).into_response())
}

async fn cancel(State(engine): State<Arc<Engine>>, Path(build): Path<String>, Json(by): Json<By>) -> Answer {
    let id = engine.cancel_build(&name(&build)?, &by.by).await?;
    Ok(Json(engine.show_build(&BuildName::Id(id)).await?).into_response())
}

async fn approve(State(engine): State<Arc<Engine>>, Path(build): Path<String>, Json(by): Json<By>) -> Answer {
    let id = engine.approve(&name(&build)?, &by.by).await?;
    Ok(Json(engine.show_build(&BuildName::Id(id)).await?).into_response())
}

async fn retry(
    State(engine): State<Arc<Engine>>,
    Path(build): Path<String>,
    Json(request): Json<RetryRequest>,
) -> Answer {
    let job = request.job.map(JobName);
    let id = engine.retry(&name(&build)?, job.as_ref(), &request.by).await?;
    Ok(Json(engine.show_build(&BuildName::Id(id)).await?).into_response())
}

async fn rebuild(State(engine): State<Arc<Engine>>, Path(build): Path<String>, Json(wish): Json<Rebuild>) -> Answer {
    let id = engine.rebuild(&name(&build)?, &wish).await?;
    let build = engine.show_build(&BuildName::Id(id)).await?;
    Ok((StatusCode::CREATED, Json(build)).into_response())
}

async fn unblock(State(engine): State<Arc<Engine>>, Path(build): Path<String>, Json(wish): Json<Unblock>) -> Answer {
    let id = engine.unblock(&name(&build)?, &wish).await?;
    Ok(Json(engine.show_build(&BuildName::Id(id)).await?).into_response())
}

async fn why(State(engine): State<Arc<Engine>>, Path(build): Path<String>, Query(query): Query<JobQuery>) -> Answer {
    let job = query.job.map(JobName);
    Ok(Json(engine.why(&name(&build)?, job.as_ref()).await?).into_response())
}

async fn old(State(engine): State<Arc<Engine>>) -> Answer {
    Ok(Json(engine.retention(true).await?).into_response())
}

async fn delete_old(State(engine): State<Arc<Engine>>) -> Answer {
    Ok(Json(engine.retention(false).await?).into_response())
}

async fn schedules(State(engine): State<Arc<Engine>>) -> Answer {
    Ok(Json(engine.list_schedules().await?).into_response())
}

async fn groups(State(engine): State<Arc<Engine>>) -> Answer {
    Ok(Json(engine.list_groups().await?).into_response())
}

async fn log_position(
    State(engine): State<Arc<Engine>>,
    Path(build): Path<String>,
    Query(query): Query<LogQuery>,
) -> Answer {
    let at = engine.log_position(&name(&build)?, &JobName(query.job), query.attempt).await?;
    Ok(Json(at).into_response())
}

async fn log_part(State(engine): State<Arc<Engine>>, Query(query): Query<PartQuery>) -> Answer {
    let part = engine.log_part(&LogPosition { attempt: query.attempt, chunk: query.chunk }).await?;
    let mut response = part.bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert("x-tidegate-next", HeaderValue::from(part.next.chunk));
    headers.insert("x-tidegate-end", HeaderValue::from_static(if part.end { "true" } else { "false" }));
    Ok(response)
}

async fn artifacts(
    State(engine): State<Arc<Engine>>,
    Path(build): Path<String>,
    Query(query): Query<JobQuery>,
) -> Answer {
    let job = query.job.map(JobName);
    let artifacts = engine.list_artifacts(&name(&build)?, job.as_ref()).await?;
    Ok(Json(json!({ "artifacts": artifacts })).into_response())
}

async fn artifact(State(engine): State<Arc<Engine>>, Query(query): Query<KeyQuery>) -> Answer {
    if !query.key.starts_with("artifacts/") {
        return Err(ApiError::Refused("not the key of an artifact".to_owned()).into());
    }
    let url = engine.ports().blobs.presign(Method::Get, &query.key, URL_LIFETIME).await?;
    Ok(Json(ArtifactUrl { url: url.0 }).into_response())
}

async fn instances(State(engine): State<Arc<Engine>>) -> Answer {
    Ok(Json(json!({ "instances": engine.list_instances().await? })).into_response())
}

fn guid(id: String) -> Result<DeliveryId, Failure> {
    Ok(DeliveryId::new(id).map_err(|error| ApiError::Refused(error.to_string()))?)
}

async fn deliveries(State(engine): State<Arc<Engine>>, Query(query): Query<ListQuery>) -> Answer {
    Ok(Json(engine.list_deliveries(query.limit.unwrap_or(30).min(MAX_BUILDS)).await?).into_response())
}

async fn delivery_details(State(engine): State<Arc<Engine>>, Path(id): Path<String>) -> Answer {
    Ok(Json(engine.find_delivery(&guid(id)?).await?).into_response())
}

async fn replay(State(engine): State<Arc<Engine>>, Path(id): Path<String>) -> Answer {
    Ok(Json(engine.replay_delivery(&guid(id)?).await?).into_response())
}

async fn delivery(State(engine): State<Arc<Engine>>, Path(id): Path<String>) -> Answer {
    let id = DeliveryId::new(id).map_err(|error| ApiError::Refused(error.to_string()))?;
    Ok(Json(engine.show_delivery(&id).await?).into_response())
}
