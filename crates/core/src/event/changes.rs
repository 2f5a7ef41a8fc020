//! What happens to repositories themselves.

use serde::{Deserialize, Serialize};

use super::{GitRef, Repository};
use crate::ids::{RepositoryId, RepositoryName};

/// A branch or a tag is gone. The push that says the same may come before, after, or not at all.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RefDeleted {
    /// Where.
    pub repository: Repository,
    /// Which.
    pub git_ref: GitRef,
    /// Installation of the GitHub App that the delivery came through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<u64>,
}

/// The App was given repositories, or lost them.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Installation {
    /// GitHub's id of the installation.
    pub id: u64,
    /// Of which App.
    pub app: Option<u64>,
    /// The same as its client id; empty when not said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    /// What happened.
    pub change: InstallationChange,
    /// To which repositories, at most [`super::MOST_REPOSITORIES`]. What is left out is found out when something is pushed
    /// to it.
    pub repositories: Vec<(RepositoryId, RepositoryName)>,
    /// Removed repositories, where some came and others went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<(RepositoryId, RepositoryName)>,
}

/// What happened to an installation.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstallationChange {
    /// It may read these repositories now (besides others, perhaps), and not those that were removed.
    Changed,
    /// It may do nothing until further notice.
    Suspended,
    /// It may do again what it could do before.
    Unsuspended,
    /// It is gone, with access to all its repositories.
    Deleted,
}

/// A repository has another name or visibility, or is gone.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RepositoryChange {
    /// The repository, by its name of now.
    pub repository: Repository,
    /// What happened.
    pub changed: Changed,
    /// Installation of the GitHub App that the delivery came through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<u64>,
}

/// What happened to a repository.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// It has another name or another owner, or another default branch.
    Name,
    /// Everybody may read it.
    Publicized,
    /// Not everybody may read it any more.
    Privatized,
    /// It is read-only.
    Archived,
    /// It can be written to again.
    Unarchived,
    /// It is gone.
    Deleted,
}
