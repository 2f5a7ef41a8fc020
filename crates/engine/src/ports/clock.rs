use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::time::Timestamp;

/// Time. The only source of it for the engine.
#[async_trait]
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time now, by the wall clock. It may jump.
    fn now(&self) -> Timestamp;

    /// Waits.
    async fn sleep(&self, span: Duration);
}

/// Randomness. The only source of it for the engine.
pub trait Ids: fmt::Debug + Send + Sync {
    /// 128 random bits.
    fn random(&self) -> u128;
}
