//! `tidegate run`.
use crate::args::{Global, Run};
pub(crate) async fn run(_: &Global, _: &Run) -> anyhow::Result<u8> {
    anyhow::bail!("not yet")
}
