//! What GitHub's answers mean for who asked.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};
use serde::Deserialize;
use tidegate_engine::ports::PortError;

/// What GitHub asks clients to wait when it limits them and does not say for how long (`spec/github.md` 6.3).
const UNSTATED_PAUSE: Duration = Duration::from_secs(60);
/// Longest pause believed: the primary limit resets every hour.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How much of an error's body is read, in bytes.
const ERROR_LIMIT: usize = 16 * 1024;

/// Who asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Who {
    /// Somebody with a token.
    Token,
    /// An App, for itself or for one of its installations.
    App,
}

/// What was asked for, for people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) who: Who,
    /// Begins the message of a failure.
    pub(crate) what: &'a str,
    /// The permission without which it is forbidden, such as `write access to commit statuses`.
    pub(crate) needs: &'a str,
}

/// An answer other than success.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// GitHub's own words, or nothing.
    pub(crate) message: String,
}

impl Refusal {
    /// Reads an answer that is not a success.
    pub(crate) async fn read(answer: reqwest::Response) -> Self {
        let (status, headers) = (answer.status(), answer.headers().clone());
        Self { status, headers, message: message_of(answer).await }
    }

    /// What it means for the caller.
    pub(crate) fn classify(&self, wish: Wish<'_>) -> PortError {
        let Self { status, headers, message } = self;
        let what = wish.what;
        let said = if message.is_empty() {
            format!("{what}: GitHub answered {status}")
        } else {
            format!("{what}: GitHub answered {status}: {message}")
        };
        let exhausted = header(headers, "x-ratelimit-remaining") == Some("0");
        let limited = *status == StatusCode::TOO_MANY_REQUESTS
            || *status == StatusCode::FORBIDDEN
                && (headers.contains_key(RETRY_AFTER)
                    || exhausted
                    || message.to_ascii_lowercase().contains("rate limit"));
        match *status {
            _ if limited => {
                PortError::Retry { after: Some(asked_pause(headers, exhausted).unwrap_or(UNSTATED_PAUSE)), why: said }
            }
            _ if status.is_server_error() || *status == StatusCode::REQUEST_TIMEOUT => {
                PortError::Retry { after: asked_pause(headers, false), why: said }
            }
            StatusCode::UNAUTHORIZED => PortError::fatal(match wish.who {
                Who::Token => format!("{said}: the token is wrong, revoked or expired, set a new one"),
                Who::App => {
                    format!("{said}: the App's id or private key is wrong, or the clock: see `tidegate github doctor`")
                }
            }),
            StatusCode::FORBIDDEN => PortError::reject(match wish.who {
                Who::Token => format!("{said}: the token needs {}", wish.needs),
                Who::App => format!("{said}: the App needs {}", wish.needs),
            }),
            StatusCode::NOT_FOUND => PortError::reject(match wish.who {
                Who::Token => format!("{said}: there is no such repository, or the token may not see it"),
                Who::App => format!("{said}: there is no such repository, or the App is not installed there"),
            }),
            _ if status.is_redirection() => PortError::reject(format!(
                "{said}: it points to `{}`, which is not followed: correct `full_name` of the repository",
                header(headers, LOCATION.as_str()).map_or_else(String::new, |to| cut(to, 200))
            )),
            _ => PortError::reject(said),
        }
    }
}

/// How long GitHub asks us to wait: `retry-after`, or, when the budget is used up, `x-ratelimit-reset`, measured from GitHub's own
/// `date`, so that our clock does not matter.
fn asked_pause(headers: &HeaderMap, exhausted: bool) -> Option<Duration> {
    let seconds = |name: &str| header(headers, name)?.trim().parse::<u64>().ok();
    let pause = seconds(RETRY_AFTER.as_str()).or_else(|| {
        let reset = seconds("x-ratelimit-reset").filter(|_| exhausted)?;
        let now = u64::try_from(date_of(headers)?).ok()?;
        // One more, because both are whole seconds.
        Some(reset.saturating_sub(now) + 1)
    })?;
    Some(Duration::from_secs(pause).min(LONGEST_PAUSE))
}

/// GitHub's clock when it answered, in seconds since 1970.
pub(crate) fn date_of(headers: &HeaderMap) -> Option<i64> {
    let date = jiff::fmt::rfc2822::parse(header(headers, DATE.as_str())?).ok()?;
    Some(date.timestamp().as_second())
}

pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[derive(Deserialize)]
struct ErrorBody {
    message: String,
    #[serde(default)]
    errors: Vec<serde_json::Value>,
}

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
pub(crate) fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit - 1).chain(['…']).collect()
}

/// An error with its causes: reqwest's own words say only that sending failed.
pub(crate) fn causes(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        words += &format!(": {inner}");
        cause = inner.source();
    }
    cut(&words, 400)
}
