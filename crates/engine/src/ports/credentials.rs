use std::fmt;

use async_trait::async_trait;
use tidegate_core::trust::Trust;
pub use tidegate_core::wire::credential::Credential;

use super::{PortError, RepositorySource};

/// Credentials by which git reads repositories.
#[async_trait]
pub trait GitCredentials: fmt::Debug + Send + Sync {
    /// Whether there is one for this repository. Git is told to ask only then; otherwise what the owner of a machine has
    /// configured for git counts.
    fn has(&self, repository: &RepositorySource) -> bool;

    /// A credential that reads exactly this repository, for work that is trusted so far; `None` when there is none.
    ///
    /// Errors: [`PortError::Reject`] when work of this trust gets none.
    async fn for_reading(&self, repository: &RepositorySource, trust: Trust) -> Result<Option<Credential>, PortError>;
}

/// No credentials at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCredentials;

#[async_trait]
impl GitCredentials for NoCredentials {
    fn has(&self, _: &RepositorySource) -> bool {
        false
    }

    async fn for_reading(&self, _: &RepositorySource, _: Trust) -> Result<Option<Credential>, PortError> {
        Ok(None)
    }
}
