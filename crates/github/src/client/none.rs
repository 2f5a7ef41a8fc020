use async_trait::async_trait;
use tidegate_core::ids::CommitSha;
use tidegate_engine::ports::{CommitStatus, Forge, Permission, PortError, PullRequest, RepositorySource};

/// No forge: statuses are not shown anywhere, nobody is known, there are no pull requests. For repositories without a token.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoForge;

#[async_trait]
impl Forge for NoForge {
    async fn set_status(&self, _: &RepositorySource, _: &CommitSha, _: &CommitStatus) -> Result<(), PortError> {
        Ok(())
    }

    async fn permission(&self, _: &RepositorySource, _: &str) -> Result<Permission, PortError> {
        Ok(Permission::None)
    }

    async fn pull_request(&self, _: &RepositorySource, _: u64) -> Result<Option<PullRequest>, PortError> {
        Ok(None)
    }
}
