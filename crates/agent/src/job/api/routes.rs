//! The answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidegate_core::build::StepChange;
use tidegate_core::ids::AttemptId;
use tidegate_core::wire::credential::{GitCredential, GitCredentialAnswer};
use tidegate_core::wire::gate::{Refusal, Upload, UploadAnswer};
use tidegate_core::wire::job::{
    Annotate, AnnotateAnswer, AnnotateAsk, CancelOwnBuild, Canceled, FetchArtifacts, FetchArtifactsAnswer,
    FindArtifacts, FindArtifactsAnswer, MetaData, MetaDataAnswer, MetaDataAsk, Step, StepAnswer, UpdateStep,
};
use tidegate_core::wire::secret::{Secrets, SecretsAnswer};
use tidegate_pipeline::Limits;

use super::super::env::{is_agent_only, is_possible};
use super::Shared;
use crate::artifacts::{self, Voice};
use crate::gate::Refused;
use crate::job_cli::wire;
use crate::output::secret_values;

/// The largest request but for a pipeline.
const LIMIT: usize = 8 << 20;
/// The largest request with a pipeline: JSON makes up to six bytes of one, and the variables come on top.
const PIPELINE_LIMIT: usize = 6 * Limits::CEILING.bytes + (8 << 20);

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(wire::UPLOAD, post(upload).layer(DefaultBodyLimit::max(PIPELINE_LIMIT)))
        .route(wire::META_DATA, post(meta_data))
        .route(wire::KEEP, post(keep))
        .route(wire::FIND, post(find))
        .route(wire::FETCH, post(fetch))
        .route(wire::ANNOTATE, post(annotate))
        .route(wire::STEP, post(step))
        .route(wire::SECRETS, post(secrets))
        .route(wire::LOCK, post(lock))
        .route(wire::UPDATE_STEP, post(update_step))
        .route(wire::CANCEL_STEP, post(cancel_step))
        .route(wire::CANCEL_BUILD, post(cancel_build))
        .route(wire::TIMEOUT, post(timeout))
        .route(wire::ENV, get(env).patch(change_env).delete(unset_env))
        .route(wire::REDACTIONS, post(redact))
        .route(wire::GIT_CREDENTIAL, post(git_credential))
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
    if shared.redactions.clean(&asked.pipeline).is_some()
        || asked.env.iter().any(|(_, value)| shared.redactions.clean(value).is_some())
    {
        let why = "the pipeline holds the value of a secret of this job, which would be stored with the build; write \
                   `$$NAME`, so that the job reads the variable when it runs";
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, why);
    }
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

impl Shared {
    fn boot(&self) -> String {
        self.host.boot.clone()
    }

    /// Takes what the log must not show out of a text that is stored with the build, and says so.
    async fn keep_secret(&self, text: &mut String, what: &str) {
        if let Some(clean) = self.redactions.clean(text) {
            *text = clean;
            self.redactions.say(format!("Secrets were replaced by [REDACTED] in {what}.")).await;
        }
    }

    async fn ask<Q: Serialize + Sync, A: DeserializeOwned + Serialize>(&self, verb: &'static str, ask: Q) -> Response {
        answer(self.host.gate.call::<_, A>(verb, &ask).await)
    }
}

async fn meta_data(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match read::<MetaDataAsk>(&body) {
        Ok(mut ask) => {
            if let MetaDataAsk::Set(entries) = &mut ask {
                for (name, value) in entries {
                    shared.keep_secret(value, &format!("the meta-data `{name}`")).await;
                }
            }
            let request = MetaData { boot: shared.boot(), attempt: shared.attempt.clone(), ask };
            shared.ask::<_, MetaDataAnswer>("meta_data", request).await
        }
        Err(refusal) => *refusal,
    }
}

async fn keep(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let asked: wire::Keep = match read(&body) {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let voice = Voice::Lines(Mutex::default());
    let numbers = &shared.artifacts;
    let result =
        artifacts::upload(&shared.host, &voice, &shared.attempt, &asked.directory, &asked.globs, numbers).await;
    let lines = match voice {
        Voice::Lines(lines) => lines.into_inner().unwrap_or_else(PoisonError::into_inner),
        Voice::Log(_) => Vec::new(),
    };
    axum::Json(wire::Kept { lines, error: result.err() }).into_response()
}

async fn find(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match read::<wire::Find>(&body) {
        Ok(asked) => {
            let request = FindArtifacts {
                boot: shared.boot(),
                attempt: shared.attempt.clone(),
                step: asked.step,
                retried: asked.retried,
                after: asked.after,
            };
            shared.ask::<_, FindArtifactsAnswer>("find_artifacts", request).await
        }
        Err(refusal) => *refusal,
    }
}

async fn fetch(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match read::<Vec<(AttemptId, u32)>>(&body) {
        Ok(files) => {
            let request = FetchArtifacts { boot: shared.boot(), attempt: shared.attempt.clone(), files };
            shared.ask::<_, FetchArtifactsAnswer>("fetch_artifacts", request).await
        }
        Err(refusal) => *refusal,
    }
}

async fn annotate(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match read::<wire::Annotation>(&body) {
        Ok(mut asked) => {
            if let AnnotateAsk::Write { body, .. } = &mut asked.ask {
                shared.keep_secret(body, &format!("the annotation `{}`", asked.context)).await;
            }
            let request = Annotate {
                boot: shared.boot(),
                attempt: shared.attempt.clone(),
                context: asked.context,
                uuid: asked.uuid,
                ask: asked.ask,
            };
            shared.ask::<_, AnnotateAnswer>("annotate", request).await
        }
        Err(refusal) => *refusal,
    }
}

async fn step(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match read(&body) {
        Ok(step) => {
            let request = Step { boot: shared.boot(), attempt: shared.attempt.clone(), step };
            shared.ask::<_, StepAnswer>("show_step", request).await
        }
        Err(refusal) => *refusal,
    }
}

/// The credential of the job's repository. What is given is never to be seen in the log.
async fn git_credential(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let asked: wire::Repository = match read(&body) {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let request = GitCredential {
        boot: shared.boot(),
        attempt: shared.attempt.clone(),
        protocol: asked.protocol,
        host: asked.host,
        path: asked.path,
    };
    let result = shared.host.gate.call::<_, GitCredentialAnswer>("git_credential", &request).await;
    if let Ok(GitCredentialAnswer { credential: Some(given) }) = &result {
        let pair = STANDARD.encode(format!("{}:{}", given.username, given.password));
        shared.redactions.add(vec![given.password.clone(), pair]).await;
    }
    answer(result)
}

async fn update_step(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match read::<wire::StepUpdate>(&body) {
        Ok(mut asked) => {
            if let StepChange::Label(text) | StepChange::Append(text) = &mut asked.change {
                shared.keep_secret(text, "the label of a step").await;
            }
            let request = UpdateStep {
                boot: shared.boot(),
                attempt: shared.attempt.clone(),
                step: asked.step,
                uuid: asked.uuid,
                change: asked.change,
            };
            shared.ask::<_, StepAnswer>("update_step", request).await
        }
        Err(refusal) => *refusal,
    }
}

async fn cancel_step(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match read(&body) {
        Ok(step) => {
            let request = Step { boot: shared.boot(), attempt: shared.attempt.clone(), step };
            shared.ask::<_, StepAnswer>("cancel_step", request).await
        }
        Err(refusal) => *refusal,
    }
}

async fn cancel_build(State(shared): State<Arc<Shared>>) -> Response {
    let request = CancelOwnBuild { boot: shared.boot(), attempt: shared.attempt.clone() };
    shared.ask::<_, Canceled>("cancel_own_build", request).await
}

/// The time limit is the agent's to keep: nobody else has to be asked.
async fn timeout(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let minutes: u32 = match read(&body) {
        Ok(minutes) => minutes,
        Err(refusal) => return *refusal,
    };
    shared.watch.limit(Duration::from_secs(u64::from(minutes) * 60));
    let what = if minutes == 1 { "1 minute" } else { &format!("{minutes} minutes") };
    shared.redactions.say(format!("The job now has {what} from its start on.")).await;
    axum::Json(()).into_response()
}

async fn lock(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let asked: wire::Lock = match read(&body) {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let locks = &shared.locks;
    let result = match asked {
        wire::Lock::Acquire { key, wait_ms } => locks.acquire(&key, wait_ms.map(Duration::from_millis)).await,
        wire::Lock::Release { key, token } => locks.release(&key, &token).map(|()| String::new()),
        wire::Lock::Do { key, wait_ms } => locks
            .begin(&key, wait_ms.map(Duration::from_millis))
            .await
            .map(|ours| if ours { "do" } else { "done" }.to_owned()),
        wire::Lock::Done { key } => locks.done(&key).map(|()| String::new()),
        wire::Lock::Get { key } => locks.get(&key),
    };
    match result {
        Ok(state) => axum::Json(wire::Locked { state }).into_response(),
        Err(error) => refuse(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
    }
}

/// Secrets of the owner, hidden in the log before anybody can print them.
async fn secrets(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let asked: wire::Secrets = match read(&body) {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let request = Secrets { boot: shared.boot(), attempt: shared.attempt.clone(), names: asked.names };
    let result = shared.host.gate.call::<_, SecretsAnswer>("secrets", &request).await;
    if let Ok(answer) = &result {
        shared.redactions.add(answer.values.iter().map(|value| value.expose().to_owned()).collect()).await;
    }
    answer(result)
}

async fn env(State(shared): State<Arc<Shared>>) -> Response {
    let published = shared.env.lock().unwrap_or_else(PoisonError::into_inner);
    let env = published.env.iter().map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).collect();
    axum::Json(wire::Variables { env }).into_response()
}

async fn change_env(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match read::<wire::Variables>(&body) {
        Ok(asked) => change(&shared, asked.env).await,
        Err(refusal) => *refusal,
    }
}

async fn unset_env(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match read::<wire::Names>(&body) {
        Ok(asked) => change(&shared, asked.keys.into_iter().map(|name| (name, None)).collect()).await,
        Err(refusal) => *refusal,
    }
}

/// Changes the environment of what runs next: all of it or, when the agent alone sets one of the variables, nothing.
async fn change(shared: &Shared, changes: BTreeMap<String, Option<String>>) -> Response {
    let protected: Vec<&str> = changes.keys().filter(|name| is_agent_only(name)).map(String::as_str).collect();
    if !protected.is_empty() {
        let why = format!("only the agent sets {}", protected.join(", "));
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, why);
    }
    if let Some(name) = changes.iter().find(|(n, v)| !is_possible(n, v.as_deref().unwrap_or(""))).map(|(n, _)| n) {
        let why = format!("`{}` cannot be a variable", name.escape_debug());
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, why);
    }
    let mut changed = wire::Changed::default();
    let secrets = {
        let mut guard = shared.env.lock().unwrap_or_else(PoisonError::into_inner);
        let published = &mut *guard;
        for (name, value) in changes {
            let known = published.env.get(&name).is_some();
            match &value {
                Some(value) => {
                    published.env.set(name.as_str(), value);
                    if known { changed.updated.push(name.clone()) } else { changed.added.push(name.clone()) }
                }
                None if known => {
                    published.env.unset(&name);
                    changed.deleted.push(name.clone());
                }
                None => {}
            }
            published.changes.insert(name, value);
        }
        secret_values(published.env.iter(), published.env.get("BUILDKITE_REDACTED_VARS"))
    };
    shared.redactions.add(secrets).await;
    axum::Json(changed).into_response()
}

async fn redact(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match read::<wire::Redact>(&body) {
        Ok(asked) => {
            shared.redactions.add(vec![asked.redact]).await;
            axum::Json(wire::Redacted { redacted: "[REDACTED]".to_owned() }).into_response()
        }
        Err(refusal) => *refusal,
    }
}
