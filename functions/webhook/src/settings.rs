//! The function's environment.

use std::time::Duration;

/// What the environment says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Settings {
    /// Address of the queues without their names.
    pub(crate) queue_base: String,
    /// Parameter of the current secret.
    pub(crate) secret: String,
    /// Parameter of the previous secret.
    pub(crate) previous: Option<String>,
    /// How long secrets are kept.
    pub(crate) keep: Duration,
    /// What is logged.
    pub(crate) level: tracing::Level,
}

/// A variable that is missing or wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("the environment variable `{0}` is not set")]
    Missing(&'static str),
    #[error("the environment variable `{name}` is `{value}`, not {expected}")]
    Wrong { name: &'static str, value: String, expected: &'static str },
}

impl Settings {
    /// Reads variables; an empty one counts as not set.
    pub(crate) fn from_env(variable: impl Fn(&'static str) -> Option<String>) -> Result<Self, SettingsError> {
        let get = |name| variable(name).filter(|value| !value.is_empty());
        let need = |name| get(name).ok_or(SettingsError::Missing(name));
        let wrong = |name, value, expected| SettingsError::Wrong { name, value, expected };
        Ok(Self {
            queue_base: need("TIDEGATE_QUEUE_BASE")?,
            secret: need("TIDEGATE_WEBHOOK_SECRET_PARAMETER")?,
            previous: get("TIDEGATE_WEBHOOK_PREVIOUS_SECRET_PARAMETER"),
            keep: match get("TIDEGATE_WEBHOOK_SECRET_SECONDS") {
                None => Duration::from_secs(60),
                Some(value) => match value.parse() {
                    Ok(seconds) => Duration::from_secs(seconds),
                    Err(_) => return Err(wrong("TIDEGATE_WEBHOOK_SECRET_SECONDS", value, "a number of seconds")),
                },
            },
            level: match get("TIDEGATE_LOG") {
                None => tracing::Level::INFO,
                Some(value) => match value.parse() {
                    Ok(level) => level,
                    Err(_) => {
                        return Err(wrong("TIDEGATE_LOG", value, "`error`, `warn`, `info`, `debug` or `trace`"));
                    }
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let with = |changed: &'static str, value: &'static str| {
            Settings::from_env(move |name| match name {
                _ if name == changed => Some(value.to_owned()),
                "TIDEGATE_QUEUE_BASE" | "TIDEGATE_WEBHOOK_SECRET_PARAMETER" => Some("x".to_owned()),
                _ => None,
            })
            .map_err(|error| error.to_string())
        };
        let usual = with("", "");
        assert_eq!(usual.map(|s| (s.keep, s.previous)), Ok((Duration::from_secs(60), None)));
        let secret = "TIDEGATE_WEBHOOK_SECRET_PARAMETER";
        assert_eq!(with(secret, ""), Err(format!("the environment variable `{secret}` is not set")));
        let seconds = "TIDEGATE_WEBHOOK_SECRET_SECONDS";
        assert_eq!(
            with(seconds, "1m"),
            Err(format!("the environment variable `{seconds}` is `1m`, not a number of seconds"))
        );
        assert!(with("TIDEGATE_LOG", "loud").is_err());
    }
}
