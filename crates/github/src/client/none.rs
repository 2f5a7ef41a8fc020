use async_trait::async_trait;
use tidegate_core::event::{GitRef, HeadCommit};
use tidegate_core::ids::CommitSha;
use tidegate_core::report::Check;
use tidegate_engine::ports::{
    CommitStatus, DeliveryPage, Forge, KnownCheck, ListedRef, Permission, PortError, PullRequest, RepositorySource,
    Shows,
};

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

    fn shows(&self) -> Shows {
        Shows::Statuses
    }

    async fn lane(&self, _: &RepositorySource) -> Result<String, PortError> {
        Ok("nowhere".to_owned())
    }

    async fn find_check(
        &self,
        _: &RepositorySource,
        _: &CommitSha,
        _: &Check,
    ) -> Result<Option<KnownCheck>, PortError> {
        Ok(None)
    }

    async fn create_check(&self, _: &RepositorySource, _: &CommitSha, _: &Check) -> Result<KnownCheck, PortError> {
        Err(PortError::reject("there is no forge"))
    }

    async fn update_check(
        &self,
        _: &RepositorySource,
        _: KnownCheck,
        _: &Check,
    ) -> Result<Option<KnownCheck>, PortError> {
        Ok(None)
    }

    async fn refs(&self, _: &RepositorySource) -> Result<Vec<ListedRef>, PortError> {
        Ok(Vec::new())
    }

    async fn head_commit(&self, _: &RepositorySource, _: &GitRef) -> Result<Option<HeadCommit>, PortError> {
        Ok(None)
    }

    async fn deliveries(&self, _: Option<&str>) -> Result<DeliveryPage, PortError> {
        Ok(DeliveryPage::default())
    }

    async fn redeliver(&self, _: u64) -> Result<(), PortError> {
        Err(PortError::reject("there is no forge"))
    }
}
