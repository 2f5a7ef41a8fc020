use tidegate_engine::api::{BuildAnswer, CreateBuild};

use super::me;
use crate::args::{Build, Global};
use crate::client::{Access, Backend};
use crate::{exit, out, show};

/// `tidegate build …`.
pub(super) async fn run(global: &Global, command: Build) -> anyhow::Result<u8> {
    let build = match command {
        Build::Show { build } => Backend::open(global, Access::Read).await?.build(&build).await?,
        Build::Rebuild(rebuild) => return super::change::rebuild(global, &rebuild).await,
        Build::Create(create) => {
            let wish = CreateBuild {
                pipeline: create.pipeline,
                branch: create.branch,
                commit: create.commit,
                message: create.message,
                env: create.env,
                idempotency_key: create.idempotency_key,
                by: me(),
            };
            Backend::open(global, Access::Server).await?.create(&wish).await?
        }
    };
    print(global, &build)?;
    Ok(exit::DONE)
}

/// Prints a build for whoever asked.
pub(super) fn print(global: &Global, build: &BuildAnswer) -> anyhow::Result<()> {
    if global.json { out::json(build) } else { out::text(&show::build(build, jiff::Timestamp::now(), out::width())) }
}
