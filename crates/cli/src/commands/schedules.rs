use crate::args::Global;
use crate::client::{Access, Backend};
use crate::{exit, out, show};

/// `tidegate schedules`.
pub(super) async fn run(global: &Global) -> anyhow::Result<u8> {
    let answer = Backend::open(global, Access::Read).await?.schedules().await?;
    if global.json {
        out::json(&answer)?;
    } else {
        out::text(&show::schedules(&answer.schedules, jiff::Timestamp::now()))?;
    }
    Ok(exit::DONE)
}
