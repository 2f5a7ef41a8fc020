//! `tidegate demo`.
use crate::args::{Demo, Global};
pub(crate) async fn run(_: &Global, _: &Demo) -> anyhow::Result<u8> {
    anyhow::bail!("not yet")
}
