//! GitHub's REST API, as far as the engine needs it.

pub(crate) mod answer;
pub(crate) mod api;
mod checks;
mod forge;
mod lost;
mod none;

use std::sync::Arc;

use reqwest::header::HeaderValue;
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use tidegate_engine::ports::{PortError, RepositorySource};

pub use none::NoForge;

use answer::{Refusal, Who, Wish};
use api::{Api, Call};

use crate::app::{App, Purpose, Scope};

/// GitHub: with a token, or as an App.
#[derive(Clone, Debug)]
pub struct GitHub {
    auth: Auth,
}

#[derive(Clone, Debug)]
enum Auth {
    Token {
        api: Api,
        // Marked as sensitive: it shows as such in Debug.
        authorization: HeaderValue,
    },
    App(Arc<App>),
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
        Ok(Self { auth: Auth::Token { api: Api::new(api_base)?, authorization: bearer(token)? } })
    }

    /// A client that asks as an App: with a token of the installation, for what is asked and for nothing else.
    pub fn with_app(app: Arc<App>) -> Self {
        Self { auth: Auth::App(app) }
    }

    fn api(&self) -> &Api {
        match &self.auth {
            Auth::Token { api, .. } => api,
            Auth::App(app) => &app.api,
        }
    }

    fn wish<'a>(&self, what: &'a str, needs: &'a str) -> Wish<'a> {
        let who = match self.auth {
            Auth::Token { .. } => Who::Token,
            Auth::App(_) => Who::App,
        };
        Wish { who, what, needs }
    }

    /// Sends it about a repository; `Ok(Err(_))` is an answer other than success. A token of an App that is refused, because
    /// somebody revoked it, is replaced once.
    async fn try_send(
        &self,
        repository: &RepositorySource,
        purpose: Purpose,
        wish: Wish<'_>,
        call: Call,
    ) -> Result<Result<reqwest::Response, Refusal>, PortError> {
        let app = match &self.auth {
            Auth::Token { api, authorization } => return api.send(wish, call, authorization).await,
            Auth::App(app) => app,
        };
        let authorization = || async {
            let token = app.token(repository, purpose).await?;
            bearer(&token).map_err(|error| PortError::fatal(error.to_string()))
        };
        let first = authorization().await?;
        match app.api.send(wish, call.clone(), &first).await? {
            Err(refusal) if refusal.status == StatusCode::UNAUTHORIZED => {
                app.forget(Scope { repository: repository.id, purpose }, &first).await;
                app.api.send(wish, call, &authorization().await?).await
            }
            answer => Ok(answer),
        }
    }

    /// Sends it and wants success.
    async fn send(
        &self,
        repository: &RepositorySource,
        purpose: Purpose,
        wish: Wish<'_>,
        call: Call,
    ) -> Result<reqwest::Response, PortError> {
        self.try_send(repository, purpose, wish, call).await?.map_err(|refusal| refusal.classify(wish))
    }
}

/// The header that carries a token.
pub(crate) fn bearer(token: &SecretString) -> Result<HeaderValue, SetUpError> {
    let mut value =
        HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).map_err(|_| SetUpError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}
