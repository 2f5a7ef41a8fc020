use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use super::PortError;

/// Requests to addresses that users and owners name. An address may hold a secret: it is not part of any error.
#[async_trait]
pub trait Outbound: fmt::Debug + Send + Sync {
    /// Posts a body; done when the other side answers with success. Redirects are not followed.
    ///
    /// Errors: [`PortError::Retry`] when the other side cannot be reached, or asks for a repetition (408, 425, 429, 5xx);
    /// [`PortError::Reject`] for every other answer and for addresses that nothing is sent to.
    async fn post(&self, url: &str, headers: Vec<(String, String)>, body: Bytes) -> Result<(), PortError>;
}
