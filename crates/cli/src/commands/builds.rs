use crate::args::{Builds, Global};
use crate::client::{Access, Backend};
use crate::{exit, out, show};

/// `tidegate builds`.
pub(super) async fn run(global: &Global, arguments: &Builds) -> anyhow::Result<u8> {
    let backend = Backend::open(global, Access::Read).await?;
    let builds = backend.builds(arguments.pipeline.as_deref(), arguments.limit).await?;
    if global.json {
        out::json(&builds)?;
    } else {
        out::text(&show::builds(&builds, jiff::Timestamp::now(), out::width()))?;
    }
    Ok(exit::DONE)
}
