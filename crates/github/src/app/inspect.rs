//! What an App knows of itself: for whoever sets it up and looks after it.

use std::collections::BTreeMap;

use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use tidegate_engine::ports::{PortError, RepositorySource};

use super::tokens::{App, Purpose};
use crate::client::SetUpError;
use crate::client::answer::{Refusal, Who, Wish, date_of};
use crate::client::api::{Api, next_page};
use crate::client::bearer;

/// What an App needs to be permitted, and why.
pub const PERMISSIONS: [(&str, &str, &str); 6] = [
    ("checks", "write", "to show results"),
    ("statuses", "write", "for `notify: github_commit_status`"),
    ("contents", "read", "to read pipeline files and to let jobs check out"),
    ("metadata", "read", "to ask what people may do"),
    ("pull_requests", "read", "to build pull requests"),
    ("merge_queues", "read", "to build merge queues"),
];

/// What an App needs to be told of.
pub const EVENTS: [&str; 9] = [
    "push",
    "pull_request",
    "merge_group",
    "check_run",
    "check_suite",
    "issue_comment",
    "create",
    "delete",
    "repository",
];

/// An App as GitHub has it.
#[derive(Clone, Debug, Deserialize)]
pub struct About {
    /// Its id.
    pub id: u64,
    /// Its name in addresses.
    #[serde(default)]
    pub slug: String,
    /// Its name.
    pub name: String,
    /// Its page.
    pub html_url: String,
    /// What it is permitted.
    pub permissions: BTreeMap<String, String>,
    /// What it is told of.
    pub events: Vec<String>,
}

/// An installation of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Installed {
    /// Its id.
    pub id: u64,
    /// Whose repositories it sees.
    pub account: Account,
    /// What was accepted there.
    #[serde(default)]
    pub permissions: BTreeMap<String, String>,
    /// Set while it is suspended.
    #[serde(default)]
    pub suspended_at: Option<String>,
}

/// Somebody with repositories.
#[derive(Clone, Debug, Deserialize)]
pub struct Account {
    /// Their name.
    pub login: String,
}

/// Where its deliveries go.
#[derive(Clone, Debug, Deserialize)]
pub struct Hook {
    /// The address; `None` or empty where there is none.
    #[serde(default)]
    pub url: Option<String>,
    /// `json` or `form`.
    #[serde(default)]
    pub content_type: String,
}

/// A primary rate limit.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Rate {
    /// Requests an hour.
    pub limit: u64,
    /// How many are left.
    pub remaining: u64,
}

#[derive(Deserialize)]
struct Rates {
    rate: Rate,
}

/// An App that was just made from a manifest.
#[derive(Deserialize)]
struct Made {
    id: u64,
    slug: String,
    name: String,
    html_url: String,
    #[serde(default)]
    webhook_secret: Option<String>,
    pem: String,
}

/// An App that was just made, with what only this answer tells.
#[derive(Clone, Debug)]
pub struct NewApp {
    /// Its id.
    pub id: u64,
    /// Its name in addresses.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// Its page.
    pub html_url: String,
    /// What its deliveries are signed with.
    pub webhook_secret: Option<SecretString>,
    /// Its private key, PEM.
    pub private_key: SecretString,
}

impl App {
    async fn ask<T: serde::de::DeserializeOwned>(&self, what: &str, segments: &[&str]) -> Result<T, PortError> {
        let wish = Wish { who: Who::App, what, needs: "to exist" };
        Api::read(wish, self.send(wish, self.api.call(Method::GET, segments)).await?).await
    }

    /// Itself.
    ///
    /// # Errors
    /// [`PortError::Fatal`] where its id or its key is wrong.
    pub async fn about(&self) -> Result<About, PortError> {
        self.ask("the App", &["app"]).await
    }

    /// Where it is installed.
    ///
    /// # Errors
    /// See [`App::about`].
    pub async fn installed(&self) -> Result<Vec<Installed>, PortError> {
        let wish = Wish { who: Who::App, what: "installations", needs: "to exist" };
        let (mut all, mut page) = (Vec::new(), "1".to_owned());
        loop {
            let call =
                self.api.call(Method::GET, &["app", "installations"]).query("per_page", "100").query("page", &page);
            let answer = self.send(wish, call).await?;
            let next = next_page(answer.headers(), "page");
            all.extend(Api::read::<Vec<Installed>>(wish, answer).await?);
            match next {
                Some(next) => page = next,
                None => return Ok(all),
            }
        }
    }

    /// Where its deliveries go.
    ///
    /// # Errors
    /// See [`App::about`].
    pub async fn hook(&self) -> Result<Hook, PortError> {
        self.ask("the webhook", &["app", "hook", "config"]).await
    }

    /// Its deliveries are signed with this secret from now on.
    ///
    /// # Errors
    /// See [`App::about`].
    pub async fn set_hook_secret(&self, secret: &SecretString) -> Result<(), PortError> {
        let wish = Wish { who: Who::App, what: "the webhook's secret", needs: "a webhook" };
        let body = json!({ "secret": secret.expose_secret() });
        let call = self.api.call(Method::PATCH, &["app", "hook", "config"]).json(&body)?;
        self.send(wish, call).await.map(|_| ())
    }

    /// How many requests are left for a repository's installation.
    ///
    /// # Errors
    /// [`PortError::Reject`] where it is not installed.
    pub async fn rate(&self, repository: &RepositorySource) -> Result<Rate, PortError> {
        let wish = Wish { who: Who::App, what: "the rate limit", needs: "to be installed" };
        let token = self.token(repository, Purpose::People).await?;
        let authorization = bearer(&token).map_err(|error| PortError::fatal(error.to_string()))?;
        let answer = self.api.send(wish, self.api.call(Method::GET, &["rate_limit"]), &authorization).await?;
        let answer = answer.map_err(|refusal| refusal.classify(wish))?;
        Ok(Api::read::<Rates>(wish, answer).await?.rate)
    }

    /// The id of the installation that sees a repository.
    ///
    /// # Errors
    /// [`PortError::Reject`] where there is none.
    pub async fn installation_of(&self, repository: &RepositorySource) -> Result<u64, PortError> {
        self.installation(repository).await
    }

    /// GitHub's clock minus ours, in seconds; to the second.
    ///
    /// # Errors
    /// GitHub was not reached, or does not say.
    pub async fn clock_difference(&self) -> Result<i64, PortError> {
        let wish = Wish { who: Who::App, what: "GitHub's clock", needs: "to exist" };
        let before = self.own_now();
        let answer = self.try_send(wish, self.api.call(Method::GET, &["app"])).await?;
        let headers = match &answer {
            Ok(answer) => answer.headers(),
            Err(Refusal { headers, .. }) => headers,
        };
        date_of(headers).map(|theirs| theirs - before).ok_or_else(|| PortError::reject("GitHub does not say its time"))
    }
}

/// Exchanges the code that GitHub gives when somebody has made an App from a manifest: once, within an hour.
///
/// # Errors
/// [`PortError::Reject`] where the code is wrong, used or old.
pub async fn exchange(api_base: Url, code: &str) -> Result<NewApp, PortError> {
    let api = Api::new(api_base).map_err(|error: SetUpError| PortError::reject(error.to_string()))?;
    let wish = Wish { who: Who::App, what: "the code of the new App", needs: "to exist" };
    // Nobody is known yet: GitHub takes the code for the proof.
    let call = api.call(Method::POST, &["app-manifests", code, "conversions"]);
    let answer = match api.send(wish, call, &HeaderValue::from_static("")).await? {
        Ok(answer) => answer,
        Err(refusal) if refusal.status == StatusCode::NOT_FOUND => {
            return Err(PortError::reject("GitHub does not know the code: it was used, or is older than an hour"));
        }
        Err(refusal) => return Err(refusal.classify(wish)),
    };
    let made: Made = Api::read(wish, answer).await?;
    Ok(NewApp {
        id: made.id,
        slug: made.slug,
        name: made.name,
        html_url: made.html_url,
        webhook_secret: made.webhook_secret.map(SecretString::from),
        private_key: SecretString::from(made.pem),
    })
}
