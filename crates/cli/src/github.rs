//! GitHub as the configuration has it: who shows results, and who lets git read.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use secrecy::SecretString;
use tidegate_engine::ports::{Forge, GitCredentials};
use tidegate_github::app::{App, AppCredentials, AppKey};
use tidegate_github::client::GitHub;
use tidegate_local::{SystemClock, SystemIds};

use crate::config::{Config, GitHubApi, GitHubIdentity};

/// What the engine is given of it.
pub(crate) struct GitHubSide {
    pub(crate) forge: Option<Arc<dyn Forge>>,
    pub(crate) credentials: Arc<dyn GitCredentials>,
}

/// Both sides; `own` are the tokens of single repositories.
pub(crate) fn github(config: &Config, own: Arc<dyn GitCredentials>) -> anyhow::Result<GitHubSide> {
    let Some(api) = &config.github else { return Ok(GitHubSide { forge: None, credentials: own }) };
    match &api.identity {
        GitHubIdentity::Token(token) => {
            let client = GitHub::new(api.base()?, token).map_err(|error| anyhow!("{error}"))?;
            Ok(GitHubSide { forge: Some(Arc::new(client)), credentials: own })
        }
        GitHubIdentity::App { id, key_file } => {
            let app = Arc::new(app(api, id, key_file)?);
            let host = api.git_host().unwrap_or_default();
            let credentials = AppCredentials::new(Arc::clone(&app), host, own);
            Ok(GitHubSide { forge: Some(Arc::new(GitHub::with_app(app))), credentials: Arc::new(credentials) })
        }
    }
}

impl GitHubApi {
    fn base(&self) -> anyhow::Result<reqwest::Url> {
        self.api_url.parse().with_context(|| format!("`{}` is not a web address", self.api_url))
    }
}

/// The App that is configured.
pub(crate) fn app(api: &GitHubApi, id: &str, key_file: &Path) -> anyhow::Result<App> {
    let text = std::fs::read_to_string(key_file).with_context(|| {
        format!(
            "cannot read the App's private key `{}`: GitHub makes a new one in the App's settings",
            key_file.display()
        )
    })?;
    let key = AppKey::from_pem(&SecretString::from(text)).with_context(|| format!("`{}`", key_file.display()))?;
    if let Some(others) = readable_by_others(key_file) {
        tracing::warn!(
            file = %key_file.display(),
            mode = format!("{others:o}"),
            "others on this machine can read the App's private key: chmod 600 it"
        );
    }
    App::new(api.base()?, id, key, Arc::new(SystemClock), Arc::new(SystemIds)).map_err(|error| anyhow!("{error}"))
}

/// The permissions of a file, if others than its owner can read it.
pub(crate) fn readable_by_others(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}
