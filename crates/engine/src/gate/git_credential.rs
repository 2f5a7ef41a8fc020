//! Credentials for the repository of a job.

use tidegate_core::attempt::Refused;
use tidegate_core::build::Build;
use tidegate_core::wire::credential::{GitCredential, GitCredentialAnswer};
use tidegate_git::credential::Asked;

use super::{Caller, GateError};
use crate::engine::Engine;
use crate::keys;
use crate::ports::PortError;

impl Engine {
    /// What git needs to read the repository of the caller's attempt, and no other one.
    ///
    /// # Errors
    /// Refused unless the caller holds the attempt; invalid for another repository, and where work of this trust gets no
    /// credential.
    pub async fn git_credential(
        &self,
        caller: &Caller,
        request: &GitCredential,
    ) -> Result<GitCredentialAnswer, GateError> {
        let known = self.held(caller, &request.boot, &request.attempt).await?.body;
        let build = self.load::<Build>(&keys::build(&known.id.build)).await?.ok_or(Refused::Ended)?.body;
        let Some(repository) = self.repository(build.facts.repository).await? else {
            return Err(GateError::Invalid("the repository of the job is not configured any more".to_owned()));
        };
        let asked =
            Asked { protocol: request.protocol.clone(), host: request.host.clone(), path: request.path.clone() };
        if !asked.is_of(&repository.clone_url) {
            return Err(GateError::Invalid(format!(
                "a job of `{}` gets a credential for its own repository only, not for `{}://{}/{}`",
                repository.full_name,
                asked.protocol.escape_debug(),
                asked.host.escape_debug(),
                asked.path.escape_debug()
            )));
        }
        match self.ports.credentials.for_reading(&repository, known.trust).await {
            Ok(credential) => {
                tracing::info!(
                    attempt.id = %known.id,
                    repository = %repository.full_name,
                    given = credential.is_some(),
                    "a job asked for the credential of its repository"
                );
                Ok(GitCredentialAnswer { credential })
            }
            Err(PortError::Reject { why }) => Err(GateError::Invalid(why)),
            Err(error) => Err(error.into()),
        }
    }
}
