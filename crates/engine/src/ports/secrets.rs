use std::fmt;

use async_trait::async_trait;
use tidegate_core::secret::{SecretName, SecretScope, SecretValue};

use super::PortError;

/// What there is under a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// A secret that this scope may have.
    Value(SecretValue),
    /// Nothing.
    Nothing,
    /// A secret that only trusted work may have, and this is none.
    Withheld,
}

/// Secrets of the owner. Writing them is no business of the engine's.
///
/// A secret is for one pipeline or for all of them; of two under one name the one for the pipeline is the one that is
/// meant, also when it is withheld. A secret may be kept for trusted work.
#[async_trait]
pub trait Secrets: fmt::Debug + Send + Sync {
    /// Looks one up.
    async fn get(&self, name: &SecretName, scope: &SecretScope) -> Result<Found, PortError>;
}
