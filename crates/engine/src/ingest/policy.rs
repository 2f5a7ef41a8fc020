//! The policy of a repository: what it says of forks.

use tidegate_core::diagnostic::Diagnostic;
use tidegate_core::trust::Policy;
use tidegate_pipeline::{POLICY_PATH, Source, policy};

use crate::engine::Engine;
use crate::error::Error;
use crate::expand::errors_in_words;
use crate::ports::{PortError, RepositorySource};

impl Engine {
    /// The policy, read from the default branch and from nowhere else: what a pull request says of itself does not count. What
    /// is wrong with it is an answer, and then no fork is built.
    pub(super) async fn policy_of(
        &self,
        repository: &RepositorySource,
    ) -> Result<Result<Policy, (String, Vec<Diagnostic>)>, Error> {
        let branch = self.default_branch(repository).await?;
        if branch.is_empty() {
            return Ok(Ok(Policy::default()));
        }
        let full = format!("refs/heads/{branch}");
        let wrong =
            |why: String| (format!("the policy of the default branch `{branch}` cannot be read: {why}"), Vec::new());
        let commit = match self.ports.repositories.resolve(repository, &full).await {
            Ok(Some(commit)) => commit,
            Ok(None) => return Ok(Err(wrong("there is no such branch".to_owned()))),
            Err(PortError::Reject { why }) => return Ok(Err(wrong(why))),
            Err(error) => return Err(error.into()),
        };
        let files = match self.ports.repositories.files(repository, &commit, Some(&full), &[POLICY_PATH]).await {
            Ok(files) => files,
            Err(PortError::Reject { why }) => return Ok(Err(wrong(why))),
            Err(error) => return Err(error.into()),
        };
        let Some(text) = files.into_iter().find_map(|file| file.content) else { return Ok(Ok(Policy::default())) };
        let source = Source { name: POLICY_PATH, text: &text };
        Ok(policy(source, self.settings.pipeline).map_err(|findings| {
            let why =
                format!("{} in `{POLICY_PATH}` of the default branch: no fork is built", errors_in_words(&findings));
            (why, findings)
        }))
    }
}
