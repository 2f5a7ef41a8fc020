//! `tidegate deliveries`: what GitHub says of webhook deliveries, and what became of them here.

use crate::args::{Deliveries, Global};
use crate::client::{Access, Backend};
use crate::{exit, out, show};

/// `tidegate deliveries …`.
pub(super) async fn run(global: &Global, command: Deliveries) -> anyhow::Result<u8> {
    let backend = Backend::open(global, Access::Server).await?;
    let now = jiff::Timestamp::now();
    match command {
        Deliveries::List { limit, failed } => {
            let mut answer = backend.deliveries(limit).await?;
            if failed {
                answer.deliveries.retain(|delivery| delivery.arrived == Some(false) && delivery.outcome.is_none());
            }
            if global.json { out::json(&answer)? } else { out::text(&show::deliveries(&answer.deliveries, now))? }
        }
        Deliveries::Show { guid } => {
            let answer = backend.delivery_details(&guid).await?;
            if global.json { out::json(&answer)? } else { out::text(&show::delivery(&answer, now))? }
        }
        Deliveries::Replay { guid } => {
            let answer = backend.replay(&guid).await?;
            if global.json {
                out::json(&answer)?;
            } else {
                out::line(&format!(
                    "asked GitHub for {guid}: `tidegate deliveries show {guid}` tells what becomes of it"
                ))?;
            }
        }
    }
    Ok(exit::DONE)
}
