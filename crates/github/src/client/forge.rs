use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use tidegate_core::event::{GitRef, HeadCommit};
use tidegate_core::ids::{CommitSha, RepositoryId, RepositoryName};
use tidegate_core::report::Check;
use tidegate_engine::ports::{
    CommitStatus, DeliveryPage, Forge, KnownCheck, ListedRef, Permission, PortError, PullRequest, PullRequestSide,
    PullRequestState, RepositorySource, Shows, StatusState,
};

use super::answer::cut;
use super::{Auth, GitHub};
use crate::app::Purpose;

/// GitHub's own limit of a status description, in characters.
const DESCRIPTION_LIMIT: usize = 140;

#[derive(Serialize)]
struct NewStatus<'a> {
    state: &'static str,
    context: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_url: Option<&'a str>,
}

#[derive(Deserialize)]
struct PermissionAnswer {
    /// One of the four that were there first: `maintain` counts as `write`, `triage` as `read`, a role that an organization
    /// made as what it is built on.
    permission: String,
    #[serde(default)]
    role_name: Option<String>,
}

#[derive(Deserialize)]
struct PullAnswer {
    number: u64,
    state: String,
    #[serde(default)]
    draft: bool,
    #[serde(default)]
    merged: bool,
    title: String,
    head: SideAnswer,
    base: SideAnswer,
    #[serde(default)]
    labels: Vec<LabelAnswer>,
}

#[derive(Deserialize)]
struct LabelAnswer {
    name: String,
}

#[derive(Deserialize)]
struct SideAnswer {
    sha: CommitSha,
    #[serde(rename = "ref")]
    name: String,
    /// `null` when the fork was deleted.
    repo: Option<RepositoryAnswer>,
}

#[derive(Deserialize)]
struct RepositoryAnswer {
    id: RepositoryId,
    full_name: RepositoryName,
}

fn side(answer: SideAnswer) -> PullRequestSide {
    PullRequestSide {
        sha: answer.sha,
        branch: answer.name,
        repository: answer.repo.as_ref().map(|repository| repository.id),
        repository_name: answer.repo.map(|repository| repository.full_name),
    }
}

/// A permission by GitHub's name of it.
fn permission_named(name: &str) -> Option<Permission> {
    Some(match name {
        "admin" => Permission::Admin,
        "maintain" => Permission::Maintain,
        "write" => Permission::Write,
        "triage" => Permission::Triage,
        "read" => Permission::Read,
        "none" => Permission::None,
        _ => return None,
    })
}

/// Whether a text is a login: nothing else may stand in an address. Bots have brackets.
fn is_login(login: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '[' | ']');
    !login.is_empty() && login.len() <= 100 && login.chars().all(allowed)
}

#[async_trait]
impl Forge for GitHub {
    async fn set_status(
        &self,
        repository: &RepositorySource,
        commit: &CommitSha,
        status: &CommitStatus,
    ) -> Result<(), PortError> {
        let what = format!("status `{}` of {}@{}", status.context, repository.full_name, commit.short());
        let wish = self.wish(&what, "write access to commit statuses");
        let call =
            self.api().of_repository(Method::POST, repository, &["statuses", commit.as_str()])?.json(&NewStatus {
                state: match status.state {
                    StatusState::Pending => "pending",
                    StatusState::Success => "success",
                    StatusState::Failure => "failure",
                    StatusState::Error => "error",
                },
                context: &status.context,
                description: &cut(&status.description, DESCRIPTION_LIMIT),
                target_url: status.target_url.as_deref(),
            })?;
        self.send(repository, Purpose::Statuses, wish, call).await.map(|_| ())
    }

    async fn permission(&self, repository: &RepositorySource, login: &str) -> Result<Permission, PortError> {
        if !is_login(login) {
            return Ok(Permission::None);
        }
        let what = format!("permission of `{login}` in {}", repository.full_name);
        let wish = self.wish(&what, "read access to metadata");
        let call = self.api().of_repository(Method::GET, repository, &["collaborators", login, "permission"])?;
        let answer: PermissionAnswer = match self.try_send(repository, Purpose::People, wish, call).await? {
            Ok(answer) => super::Api::read(wish, answer).await?,
            // Other answers with this status speak of the repository.
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND && refusal.message.ends_with("is not a user") => {
                return Ok(Permission::None);
            }
            Err(refusal) => return Err(refusal.classify(wish)),
        };
        let role = answer.role_name.as_deref().and_then(permission_named);
        // A role that nobody here knows counts as what GitHub says it is worth; what even that does not say is nothing.
        Ok(role.or_else(|| permission_named(&answer.permission)).unwrap_or(Permission::None))
    }

    async fn pull_request(&self, repository: &RepositorySource, number: u64) -> Result<Option<PullRequest>, PortError> {
        let what = format!("pull request {number} of {}", repository.full_name);
        let wish = self.wish(&what, "read access to pull requests");
        let call = self.api().of_repository(Method::GET, repository, &["pulls", &number.to_string()])?;
        let answer: PullAnswer = match self.try_send(repository, Purpose::Pulls, wish, call).await? {
            Ok(answer) => super::Api::read(wish, answer).await?,
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND => return Ok(None),
            Err(refusal) => return Err(refusal.classify(wish)),
        };
        Ok(Some(PullRequest {
            number: answer.number,
            state: match answer.state.as_str() {
                "open" => PullRequestState::Open,
                _ if answer.merged => PullRequestState::Merged,
                _ => PullRequestState::Closed,
            },
            draft: answer.draft,
            title: answer.title,
            labels: answer.labels.into_iter().map(|label| label.name).collect(),
            head: side(answer.head),
            base: side(answer.base),
        }))
    }

    fn shows(&self) -> Shows {
        match &self.auth {
            Auth::Token { .. } => Shows::Statuses,
            Auth::App(_) => Shows::Checks,
        }
    }

    async fn lane(&self, repository: &RepositorySource) -> Result<String, PortError> {
        match &self.auth {
            Auth::Token { .. } => Ok("token".to_owned()),
            Auth::App(app) => app.installation(repository).await.map(|id| format!("installation-{id}")),
        }
    }

    async fn find_check(
        &self,
        repository: &RepositorySource,
        commit: &CommitSha,
        check: &Check,
    ) -> Result<Option<KnownCheck>, PortError> {
        self.find(repository, commit, check).await
    }

    async fn create_check(
        &self,
        repository: &RepositorySource,
        commit: &CommitSha,
        check: &Check,
    ) -> Result<KnownCheck, PortError> {
        self.create(repository, commit, check).await
    }

    async fn update_check(
        &self,
        repository: &RepositorySource,
        known: KnownCheck,
        check: &Check,
    ) -> Result<Option<KnownCheck>, PortError> {
        self.update(repository, known, check).await
    }

    async fn refs(&self, repository: &RepositorySource) -> Result<Vec<ListedRef>, PortError> {
        self.list_refs(repository).await
    }

    async fn head_commit(
        &self,
        repository: &RepositorySource,
        git_ref: &GitRef,
    ) -> Result<Option<HeadCommit>, PortError> {
        self.commit_at(repository, git_ref).await
    }

    async fn deliveries(&self, after: Option<&str>) -> Result<DeliveryPage, PortError> {
        self.list_deliveries(after).await
    }

    async fn redeliver(&self, id: u64) -> Result<(), PortError> {
        self.ask_again(id).await
    }
}
