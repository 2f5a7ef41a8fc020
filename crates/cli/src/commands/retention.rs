use crate::args::{Global, Retention};
use crate::client::{Access, Backend};
use crate::{exit, out, show};

/// `tidegate retention`.
pub(super) async fn run(global: &Global, arguments: &Retention) -> anyhow::Result<u8> {
    let access = if arguments.dry_run { Access::Read } else { Access::Server };
    let answer = Backend::open(global, access).await?.retention(arguments.dry_run).await?;
    if global.json {
        out::json(&answer)?;
    } else {
        out::text(&show::retention(&answer, jiff::Timestamp::now()))?;
    }
    Ok(exit::DONE)
}
