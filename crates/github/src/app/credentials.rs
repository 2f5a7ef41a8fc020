use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::ExposeSecret as _;
use tidegate_core::trust::Trust;
use tidegate_engine::ports::{Credential, GitCredentials, PortError, RepositorySource};
use tidegate_git::credential::{TOKEN_USER, host, is_unread};

use super::tokens::{App, Purpose};

/// Credentials by which git reads repositories of an App: tokens that read the contents of one repository, for an hour at most. They
/// may do nothing else, so work that is not trusted gets them too.
#[derive(Clone)]
pub struct AppCredentials {
    app: Arc<App>,
    /// The host that the App's repositories are at: a token goes nowhere else.
    host: String,
    /// Asked first.
    own: Arc<dyn GitCredentials>,
}

impl fmt::Debug for AppCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppCredentials").field("app", &self.app).field("host", &self.host).finish_non_exhaustive()
    }
}

impl AppCredentials {
    /// Of an App whose repositories are at `host` (`github.com`, or that of an enterprise server), for repositories that have none of
    /// their `own`.
    pub fn new(app: Arc<App>, host: impl Into<String>, own: Arc<dyn GitCredentials>) -> Self {
        Self { app, host: host.into(), own }
    }

    fn is_there(&self, repository: &RepositorySource) -> bool {
        is_unread(&repository.clone_url) && host(&repository.clone_url) == Some(&self.host)
    }
}

#[async_trait]
impl GitCredentials for AppCredentials {
    fn has(&self, repository: &RepositorySource) -> bool {
        self.own.has(repository) || self.is_there(repository)
    }

    async fn for_reading(&self, repository: &RepositorySource, trust: Trust) -> Result<Option<Credential>, PortError> {
        if self.own.has(repository) {
            return self.own.for_reading(repository, trust).await;
        }
        if !self.is_there(repository) {
            return Ok(None);
        }
        let token = self.app.token(repository, Purpose::Git).await?;
        Ok(Some(Credential { username: TOKEN_USER.to_owned(), password: token.expose_secret().to_owned() }))
    }
}
