//! The webhook's secrets: read when first needed, kept for a while.

use std::time::{Duration, Instant};

use tidegate_engine::ports::PortError;
use tidegate_github::webhook::{EmptySecret, Secrets};
use tokio::sync::Mutex;

/// How long secrets are used on while they cannot be read anew.
const USED_ON: Duration = Duration::from_secs(3600);
/// How long after a failure they are read anew at the earliest, while old ones are used.
const PAUSE: Duration = Duration::from_secs(5);

/// Why there are no secrets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretsError {
    #[error(transparent)]
    Port(#[from] PortError),
    #[error("there is no parameter `{0}`: put the webhook's secret there")]
    Missing(String),
    #[error(transparent)]
    Empty(#[from] EmptySecret),
}

/// Secrets with their age. A failure is never kept: the next call tries again.
#[derive(Debug)]
pub(crate) struct Cached {
    keep: Duration,
    held: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    secrets: Secrets,
    read: Instant,
    /// When they are read anew.
    due: Instant,
}

impl Cached {
    pub(crate) fn new(keep: Duration) -> Self {
        Self { keep, held: Mutex::new(None) }
    }

    /// The secrets, by `read` if they are older than they may be. When reading fails in a way that may pass, old ones are used on for an hour;
    /// when it is refused, they are not: somebody has taken them away.
    pub(crate) async fn get(
        &self,
        now: Instant,
        read: impl Future<Output = Result<Secrets, SecretsError>>,
    ) -> Result<Secrets, SecretsError> {
        let mut held = self.held.lock().await;
        if let Some(held) = &*held
            && now < held.due
        {
            return Ok(held.secrets.clone());
        }
        match (read.await, &mut *held) {
            (Ok(secrets), _) => {
                *held = Some(Held { secrets: secrets.clone(), read: now, due: now + self.keep });
                Ok(secrets)
            }
            (Err(SecretsError::Port(PortError::Retry { why, .. })), Some(held)) if now < held.read + USED_ON => {
                tracing::warn!(error = why, "the webhook's secrets cannot be read anew: the ones from before are used");
                held.due = now + PAUSE;
                Ok(held.secrets.clone())
            }
            (Err(error), _) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use tidegate_github::webhook::sign;

    use super::*;

    fn secrets(current: &str) -> Result<Secrets, SecretsError> {
        Ok(Secrets::new(current.into(), None).unwrap())
    }

    fn down() -> Result<Secrets, SecretsError> {
        Err(PortError::retry("down").into())
    }

    /// Which of the secrets these are.
    fn name(got: Result<Secrets, SecretsError>) -> &'static str {
        let Ok(secrets) = got else { return "none" };
        let is = |name: &&&str| secrets.verify(b"x", Some(&sign(&(**name).into(), b"x"))).is_ok();
        ["a", "b"].iter().find(is).unwrap()
    }

    #[tokio::test]
    async fn secrets_are_kept_renewed_and_used_on() {
        let cached = Cached::new(Duration::from_secs(60));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let never = async { panic!("read too early") };
        assert_eq!(name(cached.get(at(0), async { down() }).await), "none");
        assert_eq!(name(cached.get(at(0), async { secrets("a") }).await), "a", "a failure is not kept");
        assert_eq!(name(cached.get(at(59), never).await), "a");
        assert_eq!(name(cached.get(at(60), async { secrets("b") }).await), "b");
        assert_eq!(name(cached.get(at(120), async { down() }).await), "b");
        let never = async { panic!("read too early") };
        assert_eq!(name(cached.get(at(124), never).await), "b");
        assert_eq!(name(cached.get(at(125), async { down() }).await), "b");
        assert_eq!(name(cached.get(at(60 + 3600), async { down() }).await), "none");
    }

    #[tokio::test]
    async fn secrets_that_were_taken_away_are_not_used_on() {
        let cached = Cached::new(Duration::ZERO);
        let now = Instant::now();
        assert_eq!(name(cached.get(now, async { secrets("a") }).await), "a");
        let refused = async { Err(PortError::fatal("access denied").into()) };
        assert_eq!(name(cached.get(now, refused).await), "none");
        let gone = async { Err(SecretsError::Missing("p".into())) };
        assert_eq!(name(cached.get(now, gone).await), "none");
    }
}
