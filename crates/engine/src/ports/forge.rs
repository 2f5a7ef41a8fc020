use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_core::event::{GitRef, HeadCommit};
use tidegate_core::ids::{CommitSha, RepositoryId, RepositoryName};
use tidegate_core::report::Check;
pub use tidegate_core::report::StatusState;
use tidegate_core::time::Timestamp;

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

/// What a commit says of itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CommitInfo {
    /// Its whole message; bytes that are no UTF-8 are replaced.
    pub message: String,
    /// Author's name.
    pub author_name: String,
    /// Author's address.
    pub author_email: String,
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

    /// What a commit says of itself. `git_ref` as for [`Repositories::files`].
    ///
    /// Errors: [`PortError::Reject`] when there is no such repository or commit or no access.
    async fn commit(
        &self,
        repository: &RepositorySource,
        commit: &CommitSha,
        git_ref: Option<&str>,
    ) -> Result<CommitInfo, PortError>;

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

/// What somebody may do in a repository. Ordered: more is greater.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Permission {
    /// Nothing, or nobody knows them.
    None,
    /// Read. Everybody may that, where a repository is public.
    Read,
    /// Manage issues, without writing.
    Triage,
    /// Push.
    Write,
    /// Manage the repository, without what is dangerous.
    Maintain,
    /// Everything.
    Admin,
}

impl Permission {
    /// Whether it lets somebody push: what approving and running again ask for.
    pub fn can_write(self) -> bool {
        self >= Permission::Write
    }
}

/// A pull request as it is now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PullRequest {
    /// Its number.
    pub number: u64,
    /// Whether it is open.
    pub state: PullRequestState,
    /// Marked as not ready.
    pub draft: bool,
    /// What its author calls it.
    pub title: String,
    /// Names of its labels.
    pub labels: Vec<String>,
    /// What is to be merged.
    pub head: PullRequestSide,
    /// Into what.
    pub base: PullRequestSide,
}

/// Whether a pull request is open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PullRequestState {
    /// It is.
    Open,
    /// Closed without being merged.
    Closed,
    /// Merged.
    Merged,
}

/// One side of a pull request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PullRequestSide {
    /// The commit at its end.
    pub sha: CommitSha,
    /// The branch, by its short name.
    pub branch: String,
    /// The repository; `None` when the fork was deleted. Two sides are of one repository when these are equal, whatever
    /// their names are (`spec/github.md` 6.2).
    pub repository: Option<RepositoryId>,
    /// What that repository is called today.
    pub repository_name: Option<RepositoryName>,
}

/// How results are shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shows {
    /// As check runs: GitHub lets Apps alone make them.
    Checks,
    /// As commit statuses.
    Statuses,
}

/// A check run that is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KnownCheck {
    /// The forge's id of it.
    pub id: u64,
    /// How many annotations it has.
    pub annotations: usize,
}

/// A ref as a forge lists it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedRef {
    /// The full name.
    pub name: String,
    /// What it points to: a commit, or the object of an annotated tag.
    pub target: CommitSha,
}

/// A delivery as a forge lists it: one try.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedDelivery {
    /// The forge's id of this try.
    pub id: u64,
    /// The same for every try of one delivery.
    pub guid: String,
    /// When it was tried.
    pub at: Timestamp,
    /// What it tells of, such as `push`.
    pub event: String,
    /// What happened, such as `opened`.
    pub action: Option<String>,
    /// The repository that it is about, if it is about one.
    pub repository: Option<RepositoryId>,
    /// Whether it arrived.
    pub arrived: bool,
    /// The HTTP status that we answered; 0 when we did not.
    pub status: u16,
    /// What the forge says of it.
    pub words: String,
    /// It was asked for again.
    pub again: bool,
}

/// Deliveries, newest first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DeliveryPage {
    /// This page.
    pub deliveries: Vec<ListedDelivery>,
    /// By what the next one is asked for, if there is one.
    pub next: Option<String>,
}

/// Where results are shown, and who knows what people may do.
#[async_trait]
pub trait Forge: fmt::Debug + Send + Sync {
    /// Sets a commit status; the last one of a context counts.
    async fn set_status(
        &self,
        repository: &RepositorySource,
        commit: &CommitSha,
        status: &CommitStatus,
    ) -> Result<(), PortError>;

    /// What a person may do in a repository, asked now and never taken from a payload: anybody can comment. Who is not known
    /// may nothing.
    ///
    /// Errors: [`PortError::Reject`] when there is no such repository or no access.
    async fn permission(&self, repository: &RepositorySource, login: &str) -> Result<Permission, PortError>;

    /// A pull request as it is now; `None` when there is none of this number.
    ///
    /// Errors: [`PortError::Reject`] when access is refused.
    async fn pull_request(&self, repository: &RepositorySource, number: u64) -> Result<Option<PullRequest>, PortError>;

    /// How results are shown.
    fn shows(&self) -> Shows;

    /// Whose limits requests about a repository count against: an installation of an App, or a token.
    ///
    /// Errors: [`PortError::Reject`] where there is no access.
    async fn lane(&self, repository: &RepositorySource) -> Result<String, PortError>;

    /// The newest check run of this name on a commit with this `external_id`: whether one whose answer was lost was made.
    async fn find_check(
        &self,
        repository: &RepositorySource,
        commit: &CommitSha,
        check: &Check,
    ) -> Result<Option<KnownCheck>, PortError>;

    /// Makes a check run, with as many annotations as one request may carry. Not to be repeated blindly: ask
    /// [`Forge::find_check`] after a lost answer.
    ///
    /// Errors: [`PortError::Reject`] when the forge does not know the commit, or does not let us.
    async fn create_check(
        &self,
        repository: &RepositorySource,
        commit: &CommitSha,
        check: &Check,
    ) -> Result<KnownCheck, PortError>;

    /// Brings a check run up to date, and adds as many of its annotations as one request may carry, after those that it has.
    /// `None` when it is not there any more.
    ///
    /// Errors: [`PortError::Reject`] when the forge does not let us.
    async fn update_check(
        &self,
        repository: &RepositorySource,
        known: KnownCheck,
        check: &Check,
    ) -> Result<Option<KnownCheck>, PortError>;

    /// Every branch and tag as it is now.
    ///
    /// Errors: [`PortError::Reject`] where there is no access.
    async fn refs(&self, repository: &RepositorySource) -> Result<Vec<ListedRef>, PortError>;

    /// The commit that a branch or a tag leads to now, as a push would tell of it; `None` when there is no such ref any more.
    ///
    /// Errors: [`PortError::Reject`] where there is no access.
    async fn head_commit(
        &self,
        repository: &RepositorySource,
        git_ref: &GitRef,
    ) -> Result<Option<HeadCommit>, PortError>;

    /// Deliveries of the last days, newest first; empty where the forge does not tell us of them. `after` is
    /// [`DeliveryPage::next`] of the page before.
    async fn deliveries(&self, after: Option<&str>) -> Result<DeliveryPage, PortError>;

    /// Asks for a delivery once more, by the id of one of its tries. It comes with the same guid.
    ///
    /// Errors: [`PortError::Reject`] when it is not kept any more.
    async fn redeliver(&self, id: u64) -> Result<(), PortError>;
}
