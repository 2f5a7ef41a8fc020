//! GitHub's REST API, as far as the engine needs it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, AUTHORIZATION, DATE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use reqwest::{StatusCode, Url, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tidegate_core::ids::CommitSha;
use tidegate_engine::ports::{CommitStatus, Forge, PortError, RepositorySource, StatusState};

/// GitHub's own limit of a status description, in characters.
const DESCRIPTION_LIMIT: usize = 140;
/// The version of the API that this client is written for.
const API_VERSION: &str = "2022-11-28";
/// What GitHub asks clients to wait when it limits them and does not say for how long (`spec/github.md` 6.3).
const UNSTATED_PAUSE: Duration = Duration::from_secs(60);
/// Longest pause believed: the primary limit resets every hour.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How much of an error's body is read, in bytes.
const ERROR_LIMIT: usize = 16 * 1024;

/// GitHub, with a token.
#[derive(Clone)]
pub struct GitHub {
    api_base: Url,
    client: reqwest::Client,
}

impl fmt::Debug for GitHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitHub").field("api_base", &self.api_base.as_str()).finish_non_exhaustive()
    }
}

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The base address cannot be one.
    #[error(
        "`{0}` is no address of an API: it must start with `https://` or `http://`, and hold no user, password, query or fragment"
    )]
    Base(String),
    /// The token has characters that no header can carry.
    #[error("the GitHub token has characters that cannot be sent (a line end, perhaps)")]
    Token,
    /// TLS could not be set up.
    #[error("the HTTP client cannot be made: {0}")]
    Client(#[from] reqwest::Error),
}

impl GitHub {
    /// A client of the API at `api_base` (`https://api.github.com`, or `https://HOST/api/v3` of an enterprise server). Redirects are
    /// followed on that host only, and only those that keep the method (`spec/security.md` S6).
    ///
    /// # Errors
    /// See [`SetUpError`].
    pub fn new(api_base: Url, token: &SecretString) -> Result<Self, SetUpError> {
        let clean = matches!(api_base.scheme(), "http" | "https")
            && api_base.has_host()
            && api_base.username().is_empty()
            && api_base.password().is_none()
            && api_base.query().is_none()
            && api_base.fragment().is_none();
        if !clean {
            let mut named = api_base;
            // Both fail only for addresses that can hold neither.
            let _ = named.set_username("");
            let _ = named.set_password(None);
            return Err(SetUpError::Base(named.to_string()));
        }
        let mut bearer =
            HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).map_err(|_| SetUpError::Token)?;
        bearer.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION"))));
        headers.insert("x-github-api-version", HeaderValue::from_static(API_VERSION));
        let client = reqwest::Client::builder()
            .default_headers(headers)
            .redirect(redirect::Policy::custom(follow_at_home))
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(20))
            .build()?;
        Ok(Self { api_base, client })
    }

    /// An address below the base; segments are escaped.
    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.api_base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

/// Moved repositories answer 307; 301 and 302 would turn a POST into a GET.
fn follow_at_home(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let keeps_method = matches!(attempt.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    let at_home = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if keeps_method && at_home && attempt.previous().len() <= 3 { attempt.follow() } else { attempt.stop() }
}

#[derive(Serialize)]
struct NewStatus<'a> {
    state: &'static str,
    context: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_url: Option<&'a str>,
}

#[async_trait]
impl Forge for GitHub {
    async fn set_status(
        &self,
        repository: &RepositorySource,
        commit: &CommitSha,
        status: &CommitStatus,
    ) -> Result<(), PortError> {
        let Some((owner, name)) = repository.full_name.as_str().split_once('/') else {
            let why = format!("`{}` is not `owner/name`", repository.full_name);
            return Err(PortError::reject(why));
        };
        let what = format!("status `{}` of {}@{}", status.context, repository.full_name, commit.short());
        let answer = self
            .client
            .post(self.url(&["repos", owner, name, "statuses", commit.as_str()]))
            .json(&NewStatus {
                state: match status.state {
                    StatusState::Pending => "pending",
                    StatusState::Success => "success",
                    StatusState::Failure => "failure",
                    StatusState::Error => "error",
                },
                context: &status.context,
                description: &cut(&status.description, DESCRIPTION_LIMIT),
                target_url: status.target_url.as_deref(),
            })
            .send()
            .await
            .map_err(|error| PortError::retry(format!("{what}: GitHub was not reached: {}", causes(&error))))?;
        if answer.status().is_success() {
            return Ok(());
        }
        let (status, headers) = (answer.status(), answer.headers().clone());
        let message = message_of(answer).await;
        Err(classify(&what, status, &headers, &message))
    }
}

/// What an answer other than success means for the caller.
fn classify(what: &str, status: StatusCode, headers: &HeaderMap, message: &str) -> PortError {
    let said = if message.is_empty() {
        format!("{what}: GitHub answered {status}")
    } else {
        format!("{what}: GitHub answered {status}: {message}")
    };
    let exhausted = header(headers, "x-ratelimit-remaining") == Some("0");
    let limited = status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::FORBIDDEN
            && (headers.contains_key(RETRY_AFTER) || exhausted || message.to_ascii_lowercase().contains("rate limit"));
    match status {
        _ if limited => {
            PortError::Retry { after: Some(asked_pause(headers, exhausted).unwrap_or(UNSTATED_PAUSE)), why: said }
        }
        _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
            PortError::Retry { after: asked_pause(headers, false), why: said }
        }
        StatusCode::UNAUTHORIZED => {
            PortError::fatal(format!("{said}: the token is wrong, revoked or expired, set a new one"))
        }
        StatusCode::FORBIDDEN => PortError::reject(format!("{said}: the token needs write access to commit statuses")),
        StatusCode::NOT_FOUND => {
            PortError::reject(format!("{said}: there is no such repository, or the token may not see it"))
        }
        _ if status.is_redirection() => PortError::reject(format!(
            "{said}: it points to `{}`, which is not followed: correct `full_name` of the repository",
            header(headers, LOCATION.as_str()).map_or_else(String::new, |to| cut(to, 200))
        )),
        _ => PortError::reject(said),
    }
}

/// How long GitHub asks us to wait: `retry-after`, or, when the budget is used up, `x-ratelimit-reset`, measured from GitHub's own
/// `date`, so that our clock does not matter.
fn asked_pause(headers: &HeaderMap, exhausted: bool) -> Option<Duration> {
    let seconds = |name: &str| header(headers, name)?.trim().parse::<u64>().ok();
    let pause = seconds(RETRY_AFTER.as_str()).or_else(|| {
        let reset = seconds("x-ratelimit-reset").filter(|_| exhausted)?;
        let date = jiff::fmt::rfc2822::parse(header(headers, DATE.as_str())?).ok()?;
        // One more, because both are whole seconds.
        let now = u64::try_from(date.timestamp().as_second()).ok()?;
        Some(reset.saturating_sub(now) + 1)
    })?;
    Some(Duration::from_secs(pause).min(LONGEST_PAUSE))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[derive(Deserialize)]
struct ErrorBody {
    message: String,
    #[serde(default)]
    errors: Vec<serde_json::Value>,
}

/// GitHub's own words, or nothing.
async fn message_of(mut answer: reqwest::Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > ERROR_LIMIT {
            return String::new();
        }
    }
    let Ok(ErrorBody { mut message, errors }) = serde_json::from_slice(&body) else {
        return String::new();
    };
    for error in errors {
        let words = error.as_str().or_else(|| error.get("message").and_then(|text| text.as_str()));
        match words {
            Some(words) => message += &format!("; {words}"),
            None => message += &format!("; {error}"),
        }
    }
    let line: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    cut(&line, 300)
}

/// At most `limit` characters; what is cut ends with an ellipsis.
fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit - 1).chain(['…']).collect()
}

/// An error with its causes: reqwest's own words say only that sending failed.
fn causes(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        words += &format!(": {inner}");
        cause = inner.source();
    }
    cut(&words, 400)
}

/// No forge: statuses are not shown anywhere. For repositories without a token.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoForge;

#[async_trait]
impl Forge for NoForge {
    async fn set_status(
        &self,
        _repository: &RepositorySource,
        _commit: &CommitSha,
        _status: &CommitStatus,
    ) -> Result<(), PortError> {
        Ok(())
    }
}
