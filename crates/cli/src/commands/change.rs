//! Commands that change a build.

use super::{build, me};
use tidegate_engine::api;

use crate::args::{Approve, Cancel, Global, Rebuild, Retry, Unblock};
use crate::client::{Access, Backend};
use crate::exit;

/// `tidegate cancel`.
pub(super) async fn cancel(global: &Global, arguments: &Cancel) -> anyhow::Result<u8> {
    let backend = Backend::open(global, Access::Server).await?;
    build::print(global, &backend.cancel(&arguments.build, &me()).await?)?;
    Ok(exit::DONE)
}

/// `tidegate approve`.
pub(super) async fn approve(global: &Global, arguments: &Approve) -> anyhow::Result<u8> {
    let backend = Backend::open(global, Access::Server).await?;
    build::print(global, &backend.approve(&arguments.build, &me()).await?)?;
    Ok(exit::DONE)
}

/// `tidegate retry`.
pub(super) async fn retry(global: &Global, arguments: &Retry) -> anyhow::Result<u8> {
    let backend = Backend::open(global, Access::Server).await?;
    build::print(global, &backend.retry(&arguments.build, arguments.job.as_deref(), &me()).await?)?;
    Ok(exit::DONE)
}

/// `tidegate unblock`.
pub(super) async fn unblock(global: &Global, arguments: &Unblock) -> anyhow::Result<u8> {
    let backend = Backend::open(global, Access::Server).await?;
    let wish = api::Unblock { step: arguments.step.clone(), fields: arguments.fields.clone(), by: me() };
    build::print(global, &backend.unblock(&arguments.build, &wish).await?)?;
    Ok(exit::DONE)
}

/// `tidegate rebuild`.
pub(super) async fn rebuild(global: &Global, arguments: &Rebuild) -> anyhow::Result<u8> {
    let backend = Backend::open(global, Access::Server).await?;
    let wish = api::Rebuild { idempotency_key: arguments.idempotency_key.clone(), by: me() };
    build::print(global, &backend.rebuild(&arguments.build, &wish).await?)?;
    Ok(exit::DONE)
}
