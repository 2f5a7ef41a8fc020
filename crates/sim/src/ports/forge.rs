use std::collections::BTreeMap;

use async_trait::async_trait;
use tidegate_core::ids::{CommitSha, RepositoryId};
use tidegate_engine::ports::{CommitStatus, Forge, Permission, PortError, PullRequest, RepositorySource};

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
}
