use async_trait::async_trait;
use bytes::Bytes;
use tidegate_engine::ports::{Outbound, PortError};

use crate::world::{Side, World};

#[async_trait]
impl Outbound for World {
    async fn post(&self, url: &str, headers: Vec<(String, String)>, body: Bytes) -> Result<(), PortError> {
        let fate = self.before(Side::Outbound).await?;
        self.observe_post(url, &headers, &body);
        self.after(fate).await
    }
}
