//! GitHub's REST API, as far as the engine needs it.

mod answer;
mod api;
mod forge;
mod none;

use reqwest::Url;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use tidegate_engine::ports::PortError;

pub use none::NoForge;

use answer::{Refusal, Wish};
use api::{Api, Call};

/// GitHub, with a token.
#[derive(Clone, Debug)]
pub struct GitHub {
    api: Api,
    // Marked as sensitive: it shows as such in Debug.
    authorization: HeaderValue,
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
        Ok(Self { api: Api::new(api_base)?, authorization: bearer(token)? })
    }

    /// Sends it; `Ok(Err(_))` is an answer other than success.
    async fn try_send(&self, wish: Wish<'_>, call: Call) -> Result<Result<reqwest::Response, Refusal>, PortError> {
        self.api.send(wish, call, &self.authorization).await
    }

    /// Sends it and wants success.
    async fn send(&self, wish: Wish<'_>, call: Call) -> Result<reqwest::Response, PortError> {
        self.try_send(wish, call).await?.map_err(|refusal| refusal.classify(wish))
    }
}

/// The header that carries a token.
fn bearer(token: &SecretString) -> Result<HeaderValue, SetUpError> {
    let mut value =
        HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).map_err(|_| SetUpError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}
