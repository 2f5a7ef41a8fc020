use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use tidegate_core::ids::RepositoryId;
use tidegate_engine::ports::{Clock, Ids, PortError, RepositorySource};

use super::key::AppKey;
use crate::client::answer::{Refusal, Who, Wish, date_of};
use crate::client::api::{Api, Call};
use crate::client::{SetUpError, bearer};

/// A clock that differs by more than this is why a token of ours was refused, in seconds.
const SKEW: i64 = 5;

/// What a token is for: it is asked for with nothing more than that.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Purpose {
    /// Writing check runs.
    Checks,
    /// Writing commit statuses.
    Statuses,
    /// Asking what people may do.
    People,
    /// Reading pull requests.
    Pulls,
    /// Reading refs.
    Refs,
    /// Reading the repository with git. Apart from `Refs`, because it leaves this process.
    Git,
}

impl Purpose {
    fn permissions(self) -> serde_json::Value {
        match self {
            Purpose::Checks => json!({ "checks": "write" }),
            Purpose::Statuses => json!({ "statuses": "write" }),
            Purpose::People => json!({ "metadata": "read" }),
            Purpose::Pulls => json!({ "pull_requests": "read" }),
            Purpose::Refs | Purpose::Git => json!({ "contents": "read" }),
        }
    }

    /// The permission, for people.
    fn words(self) -> &'static str {
        match self {
            Purpose::Checks => "write access to checks",
            Purpose::Statuses => "write access to commit statuses",
            Purpose::People => "read access to metadata",
            Purpose::Pulls => "read access to pull requests",
            Purpose::Refs | Purpose::Git => "read access to contents",
        }
    }

    /// A token with less time left than this is not handed out, in seconds: whoever has it must get to its end.
    fn margin(self) -> i64 {
        match self {
            Purpose::Git => 30 * 60,
            Purpose::Checks | Purpose::Statuses | Purpose::People | Purpose::Pulls | Purpose::Refs => 10 * 60,
        }
    }
}

/// What a token may do: one thing in one repository.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Scope {
    pub(crate) repository: RepositoryId,
    pub(crate) purpose: Purpose,
}

#[derive(Clone)]
struct Token {
    text: SecretString,
    /// In seconds, by GitHub's clock.
    expires: i64,
}

/// Filled by whoever comes first; whoever comes meanwhile waits for that.
type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

/// A GitHub App: proves who it is and gets tokens for its installations.
pub struct App {
    pub(crate) api: Api,
    issuer: String,
    key: AppKey,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    /// GitHub's clock minus ours, in seconds, as far as a refusal told.
    ahead: AtomicI64,
    installations: Mutex<HashMap<RepositoryId, u64>>,
    slots: Mutex<HashMap<Scope, Slot>>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("api", &self.api).field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct InstallationAnswer {
    id: u64,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: String,
    expires_at: String,
}

impl App {
    /// An App by its id (or client id) and key, of the API at `api_base`.
    ///
    /// # Errors
    /// See [`SetUpError`].
    pub fn new(
        api_base: Url,
        issuer: impl Into<String>,
        key: AppKey,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Result<Self, SetUpError> {
        Ok(Self {
            api: Api::new(api_base)?,
            issuer: issuer.into(),
            key,
            clock,
            ids,
            ahead: AtomicI64::new(0),
            installations: Mutex::default(),
            slots: Mutex::default(),
        })
    }

    /// The time by our clock, in seconds.
    pub(super) fn own_now(&self) -> i64 {
        i64::try_from(self.clock.now().0 / 1_000).unwrap_or(i64::MAX)
    }

    /// The time by GitHub's clock, as far as we know, in seconds.
    fn github_now(&self) -> i64 {
        self.own_now().saturating_add(self.ahead.load(Ordering::Relaxed))
    }

    /// Asks as the App itself. A refusal that comes of a wrong clock is mended once, with GitHub's own.
    pub(crate) async fn try_send(
        &self,
        wish: Wish<'_>,
        call: Call,
    ) -> Result<Result<reqwest::Response, Refusal>, PortError> {
        for last in [false, true] {
            let now = self.github_now();
            let id = self.ids.random();
            let token =
                self.key.token(&self.issuer, now, id).ok_or_else(|| PortError::retry("nothing can be signed"))?;
            let authorization = bearer(&token).map_err(|error| PortError::fatal(error.to_string()))?;
            match self.api.send(wish, call.clone(), &authorization).await? {
                Err(refusal) if refusal.status == StatusCode::UNAUTHORIZED && !last => {
                    let theirs = date_of(&refusal.headers).filter(|date| (date - now).abs() > SKEW);
                    let Some(theirs) = theirs else { return Ok(Err(refusal)) };
                    tracing::warn!(seconds = theirs - now, "GitHub's clock differs from this machine's: correct it");
                    self.ahead.fetch_add(theirs - now, Ordering::Relaxed);
                }
                answer => return Ok(answer),
            }
        }
        Err(PortError::retry(format!("{}: refused twice", wish.what)))
    }

    /// The same, wanting success.
    pub(crate) async fn send(&self, wish: Wish<'_>, call: Call) -> Result<reqwest::Response, PortError> {
        self.try_send(wish, call).await?.map_err(|refusal| refusal.classify(wish))
    }

    /// The installation that sees a repository. Asked for once, and again after a refusal.
    pub(crate) async fn installation(&self, repository: &RepositorySource) -> Result<u64, PortError> {
        if let Some(known) = lock(&self.installations).get(&repository.id) {
            return Ok(*known);
        }
        let what = format!("installation on {}", repository.full_name);
        let wish = Wish { what: &what, needs: "to be installed there", who: Who::App };
        let call = self.api.of_repository(Method::GET, repository, &["installation"])?;
        let answer = match self.try_send(wish, call).await? {
            Ok(answer) => answer,
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND => {
                return Err(PortError::reject(format!(
                    "the App is not installed on `{}`, or that is not its name any more: `tidegate github doctor` says where to \
                     install it",
                    repository.full_name
                )));
            }
            Err(refusal) => return Err(refusal.classify(wish)),
        };
        let answer: InstallationAnswer = Api::read(wish, answer).await?;
        lock(&self.installations).insert(repository.id, answer.id);
        Ok(answer.id)
    }

    /// A token for one purpose in one repository, with enough time left.
    pub(crate) async fn token(
        &self,
        repository: &RepositorySource,
        purpose: Purpose,
    ) -> Result<SecretString, PortError> {
        let scope = Scope { repository: repository.id, purpose };
        let slot = Arc::clone(lock(&self.slots).entry(scope).or_default());
        // One asks, the others wait here.
        let mut slot = slot.lock().await;
        if let Some(token) = slot.as_ref().filter(|token| token.expires - purpose.margin() > self.github_now()) {
            return Ok(token.text.clone());
        }
        let token = match self.fresh_token(repository, purpose).await? {
            Some(token) => token,
            // Installed anew since we asked.
            None => {
                lock(&self.installations).remove(&repository.id);
                self.fresh_token(repository, purpose).await?.ok_or_else(|| {
                    PortError::retry(format!("the installation on `{}` has gone", repository.full_name))
                })?
            }
        };
        let text = token.text.clone();
        *slot = Some(token);
        Ok(text)
    }

    /// A new token; `None` when the installation is not there any more.
    async fn fresh_token(&self, repository: &RepositorySource, purpose: Purpose) -> Result<Option<Token>, PortError> {
        let installation = self.installation(repository).await?;
        let what = format!("token for {}", repository.full_name);
        let wish = Wish { what: &what, needs: "not to be suspended", who: Who::App };
        let call = self
            .api
            .call(Method::POST, &["app", "installations", &installation.to_string(), "access_tokens"])
            .json(&json!({ "repository_ids": [repository.id], "permissions": purpose.permissions() }))?;
        let answer = match self.try_send(wish, call).await? {
            Ok(answer) => answer,
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND => return Ok(None),
            Err(refusal) if refusal.status == StatusCode::UNPROCESSABLE_ENTITY => {
                return Err(PortError::reject(format!(
                    "{what}: GitHub answered {}: {}: the App needs {}, which its owner grants in its settings and \
                     accepts in the installation",
                    refusal.status,
                    refusal.message.trim_end_matches('.'),
                    purpose.words()
                )));
            }
            Err(refusal) => return Err(refusal.classify(wish)),
        };
        let answer: TokenAnswer = Api::read(wish, answer).await?;
        let expires: jiff::Timestamp = answer
            .expires_at
            .parse()
            .map_err(|_| PortError::retry(format!("{what}: `{}` is no time", answer.expires_at.escape_debug())))?;
        Ok(Some(Token { text: SecretString::from(answer.token), expires: expires.as_second() }))
    }

    /// Forgets a token that was refused, unless it has been replaced.
    pub(crate) async fn forget(&self, scope: Scope, refused: &HeaderValue) {
        let Some(slot) = lock(&self.slots).get(&scope).map(Arc::clone) else { return };
        let mut slot = slot.lock().await;
        let same =
            |token: &Token| refused.as_bytes().strip_prefix(b"Bearer ") == Some(token.text.expose_secret().as_bytes());
        if slot.as_ref().is_some_and(same) {
            *slot = None;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
