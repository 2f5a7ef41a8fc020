use crate::args::{Global, Why};
use crate::client::{Access, Backend};
use crate::{exit, out, show};

/// `tidegate why`.
pub(super) async fn run(global: &Global, arguments: &Why) -> anyhow::Result<u8> {
    let backend = Backend::open(global, Access::Read).await?;
    let answer = backend.why(&arguments.build, arguments.job.as_deref()).await?;
    if global.json {
        out::json(&answer)?;
    } else {
        out::text(&show::why(&answer, arguments.job.is_some(), jiff::Timestamp::now()))?;
    }
    Ok(exit::DONE)
}

/// `tidegate groups`.
pub(super) async fn groups(global: &Global) -> anyhow::Result<u8> {
    let answer = Backend::open(global, Access::Read).await?.groups().await?;
    if global.json {
        out::json(&answer)?;
    } else {
        out::text(&show::groups(&answer.groups, jiff::Timestamp::now()))?;
    }
    Ok(exit::DONE)
}
