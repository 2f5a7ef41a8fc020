use std::collections::BTreeMap;

use async_trait::async_trait;
use tidegate_core::event::{GitRef, HeadCommit};
use tidegate_core::ids::{CommitSha, RepositoryId};
use tidegate_core::report::Check;
use tidegate_engine::ports::{
    CommitStatus, DeliveryPage, Forge, KnownCheck, ListedRef, Permission, PortError, PullRequest, RepositorySource,
    Shows,
};

use crate::exec::lock;
use crate::sabotage::Sabotage;
use crate::world::{Side, World};

/// What is shown, and what people may do.
#[derive(Default)]
pub(crate) struct ForgeState {
    /// By build, as the link names it.
    pub(crate) by_build: BTreeMap<String, CommitStatus>,
    /// By commit and context: the build that spoke last.
    pub(crate) shown: BTreeMap<(String, String), (String, CommitStatus)>,
    /// What people may do; who is not here may nothing.
    pub(crate) people: BTreeMap<(RepositoryId, String), Permission>,
    /// Pull requests by the repository that they are to be merged into, and number.
    pub(crate) pulls: BTreeMap<(RepositoryId, u64), PullRequest>,
}

#[async_trait]
impl Forge for World {
    async fn set_status(
        &self,
        _repository: &RepositorySource,
        commit: &CommitSha,
        status: &CommitStatus,
    ) -> Result<(), PortError> {
        let fate = self.before(Side::Forge).await?;
        if self.sabotaged(Sabotage::LastStatusDropped) && status.state != tidegate_engine::ports::StatusState::Pending {
            return Ok(());
        }
        let build = status.target_url.as_deref().and_then(|u| u.rsplit('/').next()).unwrap_or_default().to_owned();
        self.event(|| format!("status {build} {:?}", status.state));
        {
            let mut state = lock(&self.forge);
            state.by_build.insert(build.clone(), status.clone());
            state.shown.insert((commit.to_string(), status.context.clone()), (build.clone(), status.clone()));
        }
        self.observe_status(&build, status.state);
        self.after(fate).await
    }

    async fn permission(&self, repository: &RepositorySource, login: &str) -> Result<Permission, PortError> {
        let fate = self.before(Side::Forge).await?;
        let known = lock(&self.forge).people.get(&(repository.id, login.to_owned())).copied();
        self.after(fate).await?;
        Ok(known.unwrap_or(Permission::None))
    }

    async fn pull_request(&self, repository: &RepositorySource, number: u64) -> Result<Option<PullRequest>, PortError> {
        let fate = self.before(Side::Forge).await?;
        let known = lock(&self.forge).pulls.get(&(repository.id, number)).cloned();
        self.after(fate).await?;
        Ok(known)
    }

    fn shows(&self) -> Shows {
        Shows::Statuses
    }

    async fn lane(&self, _: &RepositorySource) -> Result<String, PortError> {
        Ok("simulated".to_owned())
    }

    async fn find_check(
        &self,
        _: &RepositorySource,
        _: &CommitSha,
        _: &Check,
    ) -> Result<Option<KnownCheck>, PortError> {
        Err(PortError::reject("simulated: checks are for Apps"))
    }

    async fn create_check(&self, _: &RepositorySource, _: &CommitSha, _: &Check) -> Result<KnownCheck, PortError> {
        Err(PortError::reject("simulated: checks are for Apps"))
    }

    async fn update_check(
        &self,
        _: &RepositorySource,
        _: KnownCheck,
        _: &Check,
    ) -> Result<Option<KnownCheck>, PortError> {
        Err(PortError::reject("simulated: checks are for Apps"))
    }

    async fn refs(&self, repository: &RepositorySource) -> Result<Vec<ListedRef>, PortError> {
        let fate = self.before(Side::Forge).await?;
        let refs = lock(&self.git).repos.get(&repository.id).map(|repo| repo.refs.clone()).unwrap_or_default();
        self.after(fate).await?;
        let listed =
            refs.into_iter().filter_map(|(name, sha)| Some(ListedRef { name, target: CommitSha::new(sha).ok()? }));
        Ok(listed.filter(|listed| !listed.target.is_zero()).collect())
    }

    async fn head_commit(
        &self,
        repository: &RepositorySource,
        git_ref: &GitRef,
    ) -> Result<Option<HeadCommit>, PortError> {
        let fate = self.before(Side::Forge).await?;
        let at = lock(&self.git).repos.get(&repository.id).and_then(|repo| repo.refs.get(&git_ref.full()).cloned());
        self.after(fate).await?;
        let id = at.and_then(|sha| CommitSha::new(sha).ok()).filter(|sha| !sha.is_zero());
        Ok(id.map(|id| HeadCommit {
            id,
            message: "a change".to_owned(),
            author_name: "Ann".to_owned(),
            author_email: "ann@example.com".to_owned(),
            skip: None,
        }))
    }

    async fn deliveries(&self, _: Option<&str>) -> Result<DeliveryPage, PortError> {
        Ok(DeliveryPage::default())
    }

    async fn redeliver(&self, _: u64) -> Result<(), PortError> {
        Err(PortError::reject("simulated: people press the button"))
    }
}
