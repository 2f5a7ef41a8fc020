//! `meta-data`: texts of the build under names.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};
use tidegate_core::wire::job::{MetaDataAnswer, MetaDataAsk};

use super::args::MetaData;
use super::client::Agent;
use super::{input, print, wire};

/// The status of `exists` for what does not exist.
const ABSENT: u8 = 100;

pub(super) fn run(command: &MetaData) -> anyhow::Result<ExitCode> {
    let agent = Agent::of_this_job()?;
    let ask = |ask: MetaDataAsk| agent.post::<_, MetaDataAnswer>(wire::META_DATA, &ask);
    match command {
        MetaData::Set { key, value, .. } => {
            let value = input::without_secrets(input::text(value.as_deref(), "the value")?);
            ask(MetaDataAsk::Set(vec![(key.clone(), value)]))?;
        }
        MetaData::SetBatch { entries } => {
            let entries = if entries.is_empty() { piped()? } else { entries.clone() };
            let entries = entries.into_iter().map(|(key, value)| (key, input::without_secrets(value))).collect();
            ask(MetaDataAsk::Set(entries))?;
        }
        MetaData::Get { key, default } => match (ask(MetaDataAsk::Get(key.clone()))?.value, default) {
            (Some(value), _) => print(value)?,
            (None, Some(default)) => print(default)?,
            (None, None) => bail!("there is no meta-data `{key}`; `--default` gives a value for that case"),
        },
        MetaData::Exists { key } => {
            if ask(MetaDataAsk::Get(key.clone()))?.value.is_none() {
                return Ok(ExitCode::from(ABSENT));
            }
        }
        MetaData::Keys => {
            for key in ask(MetaDataAsk::Keys)?.keys {
                print(format!("{key}\n"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A JSON object of texts.
fn piped() -> anyhow::Result<Vec<(String, String)>> {
    let text = input::text(None, "the batch")?;
    let map: Map<String, Value> =
        serde_json::from_str(&text).context("the batch is no JSON object; write KEY=VALUE, or pipe one in")?;
    map.into_iter()
        .map(|(key, value)| match value {
            Value::String(value) => Ok((key, value)),
            other => bail!("the value of `{key}` is no text: {other}"),
        })
        .collect()
}
