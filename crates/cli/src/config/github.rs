//! `[github]`: who asks GitHub, and where it is.

use std::path::PathBuf;

use serde::Deserialize;
use tidegate_engine::JobChecks;
use toml::Spanned;

use super::duration::Span;
use super::file::Reader;
use super::{ConfigError, GitHubApi, GitHubIdentity};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GitHub {
    pub(super) token: Option<Spanned<String>>,
    pub(super) token_file: Option<Spanned<PathBuf>>,
    app_id: Option<Spanned<AppId>>,
    private_key_file: Option<Spanned<PathBuf>>,
    api_url: Option<String>,
    #[serde(default)]
    job_checks: JobChecksName,
    look_for_lost: Option<Spanned<Span>>,
}

/// A number, or a client id.
#[derive(Deserialize)]
#[serde(untagged)]
enum AppId {
    Number(u64),
    Text(String),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum JobChecksName {
    Never,
    #[default]
    Failed,
    All,
}

pub(super) fn github(reader: &Reader<'_>, written: Option<&GitHub>) -> Result<Option<GitHubApi>, ConfigError> {
    let Some(written) = written else { return Ok(None) };
    let token = reader.secret("token", written.token.as_ref(), written.token_file.as_ref())?;
    let app = match (&written.app_id, &written.private_key_file) {
        (Some(id), Some(file)) => Some(GitHubIdentity::App {
            id: match id.get_ref() {
                AppId::Number(id) => id.to_string(),
                AppId::Text(id) => id.clone(),
            },
            key_file: reader.beside(file.get_ref()),
        }),
        (Some(id), None) => {
            return Err(
                reader.wrong(Some(id.span()), "`app_id` needs `private_key_file`: the key that GitHub gave out")
            );
        }
        (None, Some(file)) => return Err(reader.wrong(Some(file.span()), "`private_key_file` needs `app_id`")),
        (None, None) => None,
    };
    let identity = match (token, app) {
        (Some(_), Some(_)) => {
            let span = written.app_id.as_ref().map(Spanned::span);
            return Err(
                reader.wrong(span, "[github] has a token and an App: keep one. An App can do all that a token can")
            );
        }
        (Some(token), None) => GitHubIdentity::Token(token),
        (None, Some(app)) => app,
        (None, None) => {
            let what = "[github] names nobody: `tidegate github setup` makes an App, or give `token_file`, or leave the section out";
            return Err(reader.wrong(None, what));
        }
    };
    let job_checks = match written.job_checks {
        JobChecksName::Never => JobChecks::Never,
        JobChecksName::Failed => JobChecks::Failed,
        JobChecksName::All => JobChecks::All,
    };
    let api_url = written.api_url.clone().unwrap_or_else(|| "https://api.github.com".to_owned());
    let look_every = match &written.look_for_lost {
        None => tidegate_core::lost::EVERY,
        Some(span) if span.get_ref().0.as_secs() > 0 => span.get_ref().0,
        Some(span) => return Err(reader.wrong(Some(span.span()), "`look_for_lost` is at least a second")),
    };
    Ok(Some(GitHubApi { api_url, identity, job_checks, look_every }))
}

impl GitHubApi {
    /// The App that asks, by its id or its client id.
    pub(crate) fn app(&self) -> Option<String> {
        match &self.identity {
            GitHubIdentity::Token(_) => None,
            GitHubIdentity::App { id, .. } => Some(id.clone()),
        }
    }

    /// Where its pages are.
    pub(crate) fn web_url(&self) -> String {
        let scheme = if self.api_url.starts_with("http://") { "http" } else { "https" };
        format!("{scheme}://{}", self.git_host().unwrap_or("github.com"))
    }

    /// Where its repositories are: `api.github.com` is at `github.com`, `ghe.example.com/api/v3` beside itself.
    pub(crate) fn git_host(&self) -> Option<&str> {
        let host = tidegate_git::credential::host(&self.api_url)?;
        Some(host.strip_prefix("api.").filter(|rest| *rest == "github.com").unwrap_or(host))
    }
}
