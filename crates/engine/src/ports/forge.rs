use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_core::ids::{CommitSha, RepositoryId, RepositoryName};
pub use tidegate_core::report::StatusState;

use super::PortError;

/// How to reach a repository, from configuration and never from a payload (`spec/security.md` S6).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RepositorySource {
    /// Its id.
    pub id: RepositoryId,
    /// Its name.
    pub full_name: RepositoryName,
    /// Where to clone from: a URL or a path, without credentials.
    pub clone_url: String,
}

/// A file of a commit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileAt {
    /// Its path.
    pub path: String,
    /// Its content, or `None` when the commit has no such file.
    pub content: Option<Bytes>,
}

/// Repositories, read-only.
#[async_trait]
pub trait Repositories: fmt::Debug + Send + Sync {
    /// These files at this commit, in the order asked for. `git_ref` is the full ref it was pushed to, for servers that
    /// do not hand out commits by id.
    ///
    /// Errors: [`PortError::Reject`] when there is no such repository or commit or no access (with the other side's own
    /// words), or when a file is over 1 MiB.
    async fn files(
        &self,
        repository: &RepositorySource,
        commit: &CommitSha,
        git_ref: Option<&str>,
        paths: &[&str],
    ) -> Result<Vec<FileAt>, PortError>;

    /// The commit that a branch, tag or commit name means now; `None` when there is none.
    async fn resolve(&self, repository: &RepositorySource, name: &str) -> Result<Option<CommitSha>, PortError>;

    /// Paths that `head` changes, compared with where its history left that of `base`; where it is a part of that history,
    /// the paths that its last commit changes (`spec/pipeline.md` 1.10). Refused where the two have nothing in common.
    async fn changed_files(
        &self,
        repository: &RepositorySource,
        base: &CommitSha,
        head: &CommitSha,
    ) -> Result<Vec<String>, PortError>;
}

/// A commit status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CommitStatus {
    /// Its name, such as `tidegate/web`.
    pub context: String,
    /// Its state.
    pub state: StatusState,
    /// At most 140 characters.
    pub description: String,
    /// Link, if there is a page to link to.
    pub target_url: Option<String>,
}

/// Where results are shown.
#[async_trait]
pub trait Forge: fmt::Debug + Send + Sync {
    /// Sets a commit status; the last one of a context counts.
    async fn set_status(
        &self,
        repository: &RepositorySource,
        commit: &CommitSha,
        status: &CommitStatus,
    ) -> Result<(), PortError>;
}
