use std::collections::BTreeMap;

use async_trait::async_trait;
use tidegate_core::ids::PipelineSlug;
use tidegate_core::secret::{SecretName, SecretScope, SecretValue};
use tidegate_core::trust::Trust;
use tidegate_engine::ports::{Found, PortError, Secrets};

use crate::exec::lock;
use crate::world::{Side, World};

/// What the owner keeps, and whether it is for trusted work only.
#[derive(Default)]
pub(crate) struct SecretState {
    pub(crate) kept: BTreeMap<(SecretName, Option<PipelineSlug>), (bool, SecretValue)>,
}

#[async_trait]
impl Secrets for World {
    async fn get(&self, name: &SecretName, scope: &SecretScope) -> Result<Found, PortError> {
        let fate = self.before(Side::Secrets).await?;
        let found = {
            let state = lock(&self.secrets);
            let own = state.kept.get(&(name.clone(), Some(scope.pipeline.clone())));
            match own.or_else(|| state.kept.get(&(name.clone(), None))) {
                None => Found::Nothing,
                Some((true, _)) if scope.trust < Trust::Trusted => Found::Withheld,
                Some((_, value)) => Found::Value(value.clone()),
            }
        };
        self.after(fate).await?;
        Ok(found)
    }
}
