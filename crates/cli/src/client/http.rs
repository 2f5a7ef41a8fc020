//! The API of a server, as `tidegate-console` serves it.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use reqwest::{Method, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidegate_console::{ArtifactUrl, By, RetryRequest};
use tidegate_engine::Schedules;
use tidegate_engine::api::{
    ArtifactAnswer, BuildAnswer, Builds, CreateBuild, Deliveries, DeliveryAnswer, Groups, LogPart, LogPosition,
    Rebuild, Unblock, WhyAnswer,
};
use tidegate_engine::{DeliveryRecord, RetentionAnswer};

use super::{Artifacts, Instances, NotThere};
use crate::exit::Expected;

const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(60);

/// A client of one server.
pub(crate) struct Http {
    base: Url,
    token: String,
    client: reqwest::Client,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Failure {
    error: String,
}

/// A client that connects to `url`: not through a proxy when that is this machine.
pub(crate) fn client(url: &Url) -> anyhow::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder().connect_timeout(CONNECT);
    let local = match url.host_str() {
        Some("localhost") | None => true,
        Some(host) => {
            host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    };
    if local {
        builder = builder.no_proxy();
    }
    builder.build().context("cannot make an HTTP client")
}

/// A base URL that a person wrote.
pub(crate) fn base_url(text: &str) -> anyhow::Result<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| Expected::usage(format!("`{text}` is no URL of a server: write `http://HOST:PORT`")))
}

impl Http {
    pub(crate) fn new(url: &str, token: String) -> anyhow::Result<Self> {
        let base = base_url(url)?;
        let client = client(&base)?;
        Ok(Self { base, token, client })
    }

    fn url(&self, path: &[&str], query: &[(&str, String)]) -> anyhow::Result<Url> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow!("`{}` is no base of URLs", self.base))?
            .pop_if_empty()
            .push("api")
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn send(&self, method: Method, url: Url, body: Option<Vec<u8>>) -> anyhow::Result<Response> {
        let mut request = self.client.request(method, url).bearer_auth(&self.token).timeout(ANSWER);
        if let Some(body) = body {
            request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        }
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let why = if error.is_timeout() {
            "it does not answer in time".to_owned()
        } else {
            // The innermost cause says it best: "connection refused".
            let mut cause: &dyn std::error::Error = error;
            while let Some(inner) = cause.source() {
                cause = inner;
            }
            cause.to_string()
        };
        Expected::unreachable(format!(
            "cannot reach the server at {}: {why}. Is it running? `tidegate up` starts it",
            self.base.as_str().trim_end_matches('/')
        ))
    }

    async fn accepted(&self, response: Response) -> anyhow::Result<Response> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let said = serde_json::from_str::<Failure>(&text).map(|failure| failure.error);
        let base = self.base.as_str().trim_end_matches('/');
        Err(match (status, said) {
            (StatusCode::UNAUTHORIZED, _) => Expected::unreachable(format!(
                "the server at {base} does not accept the token: name its state directory with `--state DIR`, or set \
                 TIDEGATE_TOKEN"
            )),
            (StatusCode::SERVICE_UNAVAILABLE, Ok(said)) => anyhow!("the server cannot answer now: {said}"),
            (StatusCode::NOT_FOUND, Ok(said)) => NotThere(said).into(),
            (_, Ok(said)) => anyhow!("{said}"),
            (status, Err(_)) => Expected::unreachable(format!("what answers at {base} is no tidegate: {status}")),
        })
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> anyhow::Result<T> {
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&body)
            .with_context(|| format!("the answer of {} cannot be read: is it of the same version?", self.base))
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> anyhow::Result<T> {
        let response = self.send(Method::GET, self.url(path, query)?, None).await?;
        self.read(self.accepted(response).await?).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> anyhow::Result<T> {
        let body = serde_json::to_vec(body)?;
        let response = self.send(Method::POST, self.url(path, &[])?, Some(body)).await?;
        self.read(self.accepted(response).await?).await
    }

    pub(super) async fn builds(&self, pipeline: Option<&str>, limit: u32) -> anyhow::Result<Builds> {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(pipeline.map(|pipeline| ("pipeline", pipeline.to_owned())));
        self.get(&["builds"], &query).await
    }

    pub(super) async fn build(&self, build: &str) -> anyhow::Result<BuildAnswer> {
        self.get(&["builds", build], &[]).await
    }

    pub(super) async fn log_position(
        &self,
        build: &str,
        job: &str,
        attempt: Option<u32>,
    ) -> anyhow::Result<LogPosition> {
        let mut query = vec![("job", job.to_owned())];
        query.extend(attempt.map(|attempt| ("attempt", attempt.to_string())));
        self.get(&["builds", build, "log"], &query).await
    }

    pub(super) async fn log_part(&self, at: &LogPosition) -> anyhow::Result<LogPart> {
        let query = [("attempt", at.attempt.to_string()), ("chunk", at.chunk.to_string())];
        let response = self.send(Method::GET, self.url(&["log"], &query)?, None).await?;
        let response = self.accepted(response).await?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let next = header("x-tidegate-next").and_then(|next| next.parse().ok());
        let chunk = next.context("the server did not say where the log goes on")?;
        let end = header("x-tidegate-end") == Some("true");
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        Ok(LogPart { bytes, next: LogPosition { attempt: at.attempt.clone(), chunk }, end })
    }

    pub(super) async fn artifacts(&self, build: &str, job: Option<&str>) -> anyhow::Result<Artifacts> {
        let query: Vec<(&str, String)> = job.map(|job| ("job", job.to_owned())).into_iter().collect();
        self.get(&["builds", build, "artifacts"], &query).await
    }

    pub(super) async fn artifact_content(
        &self,
        artifact: &ArtifactAnswer,
        mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let at: ArtifactUrl = self.get(&["artifact"], &[("key", artifact.key.clone())]).await?;
        let url = Url::parse(&at.url).context("the server named no URL")?;
        // Without the token, which the URL does not need and whoever it belongs to must not see.
        let mut response = client(&url)?.get(url).send().await.map_err(|error| self.unreachable(&error))?;
        if !response.status().is_success() {
            let status = response.status();
            let why = response.text().await.unwrap_or_default();
            return Err(anyhow!("its content cannot be had: {status} {}", why.trim()));
        }
        while let Some(piece) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            take(&piece)?;
        }
        Ok(())
    }

    pub(super) async fn create(&self, wish: &CreateBuild) -> anyhow::Result<BuildAnswer> {
        self.post(&["builds"], wish).await
    }

    pub(super) async fn cancel(&self, build: &str, by: &str) -> anyhow::Result<BuildAnswer> {
        self.post(&["builds", build, "cancel"], &By { by: by.to_owned() }).await
    }

    pub(super) async fn approve(&self, build: &str, by: &str) -> anyhow::Result<BuildAnswer> {
        self.post(&["builds", build, "approve"], &By { by: by.to_owned() }).await
    }

    pub(super) async fn retry(&self, build: &str, job: Option<&str>, by: &str) -> anyhow::Result<BuildAnswer> {
        let request = RetryRequest { job: job.map(str::to_owned), by: by.to_owned() };
        self.post(&["builds", build, "retry"], &request).await
    }

    pub(super) async fn rebuild(&self, build: &str, wish: &Rebuild) -> anyhow::Result<BuildAnswer> {
        self.post(&["builds", build, "rebuild"], wish).await
    }

    pub(super) async fn unblock(&self, build: &str, wish: &Unblock) -> anyhow::Result<BuildAnswer> {
        self.post(&["builds", build, "unblock"], wish).await
    }

    pub(super) async fn why(&self, build: &str, job: Option<&str>) -> anyhow::Result<WhyAnswer> {
        let query: Vec<(&str, String)> = job.map(|job| ("job", job.to_owned())).into_iter().collect();
        self.get(&["builds", build, "why"], &query).await
    }

    pub(super) async fn retention(&self, dry_run: bool) -> anyhow::Result<RetentionAnswer> {
        if dry_run { self.get(&["retention"], &[]).await } else { self.post(&["retention"], &()).await }
    }

    pub(super) async fn schedules(&self) -> anyhow::Result<Schedules> {
        self.get(&["schedules"], &[]).await
    }

    pub(super) async fn deliveries(&self, limit: u32) -> anyhow::Result<Deliveries> {
        self.get(&["deliveries"], &[("limit", limit.to_string())]).await
    }

    pub(super) async fn delivery_details(&self, guid: &str) -> anyhow::Result<DeliveryAnswer> {
        self.get(&["deliveries", guid, "details"], &[]).await
    }

    pub(super) async fn replay(&self, guid: &str) -> anyhow::Result<DeliveryAnswer> {
        self.post(&["deliveries", guid, "replay"], &()).await
    }

    pub(super) async fn groups(&self) -> anyhow::Result<Groups> {
        self.get(&["groups"], &[]).await
    }

    pub(super) async fn instances(&self) -> anyhow::Result<Instances> {
        self.get(&["instances"], &[]).await
    }

    pub(super) async fn delivery(&self, id: &str) -> anyhow::Result<Option<DeliveryRecord>> {
        let response = self.send(Method::GET, self.url(&["deliveries", id], &[])?, None).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.read(self.accepted(response).await?).await.map(Some)
    }
}
