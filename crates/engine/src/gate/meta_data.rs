//! `meta-data`: what the jobs of a build tell each other (`spec/pipeline.md` 1.19).

use serde::{Deserialize, Serialize};
use tidegate_core::ids::AttemptId;
use tidegate_core::wire::job::{MetaData, MetaDataAnswer, MetaDataAsk};

use super::{Caller, GateError};
use crate::engine::Engine;
use crate::keys;
use crate::ports::{Expect, Write};

/// Largest value, in bytes.
const MAX_VALUE: usize = 100 * 1024;
/// Longest name, in bytes.
const MAX_NAME: usize = 1_000;
/// Most names in one request: a transaction holds no more.
const MAX_BATCH: usize = 100;

/// A value as it is stored.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct MetaDataRecord {
    pub(crate) value: String,
    /// The attempt that wrote it; none where a person or whoever made the build did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<AttemptId>,
}

fn check(name: &str) -> Result<(), GateError> {
    if name.trim().is_empty() || name.len() > MAX_NAME || name.contains(char::is_control) {
        let why = format!("`{}` is no name of meta-data: 1 to {MAX_NAME} bytes, not blank", name.escape_debug());
        return Err(GateError::Invalid(why));
    }
    Ok(())
}

impl Engine {
    /// Reads or writes meta-data of the build of the caller's attempt.
    ///
    /// # Errors
    /// Refused unless the caller holds the attempt; invalid for blank names and over the limits.
    pub async fn meta_data(&self, caller: &Caller, request: &MetaData) -> Result<MetaDataAnswer, GateError> {
        self.held(caller, &request.boot, &request.attempt).await?;
        let build = &request.attempt.build;
        match &request.ask {
            MetaDataAsk::Get(name) => {
                check(name)?;
                let known = self.load::<MetaDataRecord>(&keys::meta_data(build, name)).await?;
                Ok(MetaDataAnswer { value: known.map(|known| known.body.value), keys: Vec::new() })
            }
            MetaDataAsk::Keys => {
                let mut names = Vec::new();
                let mut after: Option<String> = None;
                loop {
                    let page = self.ports.store.query(&keys::meta_data_of(build), "", after.as_deref(), 1000).await?;
                    names.extend(page.records.into_iter().map(|record| record.key.sk));
                    match page.last.filter(|_| page.more) {
                        Some(last) => after = Some(last),
                        None => return Ok(MetaDataAnswer { value: None, keys: names }),
                    }
                }
            }
            MetaDataAsk::Set(entries) => {
                self.set_meta_data(&request.attempt, entries).await?;
                Ok(MetaDataAnswer::default())
            }
        }
    }

    async fn set_meta_data(&self, by: &AttemptId, entries: &[(String, String)]) -> Result<(), GateError> {
        if entries.is_empty() || entries.len() > MAX_BATCH {
            return Err(GateError::Invalid(format!("write 1 to {MAX_BATCH} names at once, not {}", entries.len())));
        }
        let mut writes = Vec::with_capacity(entries.len());
        for (place, (name, value)) in entries.iter().enumerate() {
            check(name)?;
            if value.len() > MAX_VALUE {
                let why = format!("the value of `{name}` has {} bytes; at most {MAX_VALUE} are kept", value.len());
                return Err(GateError::Invalid(why));
            }
            // Of several values for one name the last counts.
            if entries[place + 1..].iter().any(|(later, _)| later == name) {
                continue;
            }
            let record = MetaDataRecord { value: value.clone(), by: Some(by.clone()) };
            writes.push(Write::Put(self.put(keys::meta_data(&by.build, name), &record, Expect::Any)?));
        }
        Ok(self.ports.store.transact(writes).await?)
    }
}
