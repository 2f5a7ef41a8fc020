use crate::args::Global;
use crate::client::{Access, Backend};
use crate::{exit, out, show};

/// `tidegate instances`.
pub(super) async fn run(global: &Global) -> anyhow::Result<u8> {
    let answer = Backend::open(global, Access::Server).await?.instances().await?;
    if global.json {
        out::json(&answer)?;
    } else {
        out::text(&show::instances(&answer.instances, jiff::Timestamp::now()))?;
    }
    Ok(exit::DONE)
}
