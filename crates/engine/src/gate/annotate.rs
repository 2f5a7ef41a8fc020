//! Annotations: texts that jobs attach to their build. The text is a blob, because it may be larger than a record.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_core::ids::{AttemptId, BuildId};
use tidegate_core::time::Timestamp;
use tidegate_core::wire::job::{Annotate, AnnotateAnswer, AnnotateAsk, AnnotationStyle};

use super::upload::uuid_like;
use super::{Caller, GateError};
use crate::engine::{Engine, Loaded, open};
use crate::error::Error;
use crate::keys;
use crate::ports::{Expect, PortError};

/// Largest text, in bytes (`spec/pipeline.md` 1.19).
const MAX_BODY: usize = 1 << 20;
/// Longest context, in characters.
const MAX_CONTEXT: usize = 100;
/// Where an annotation stands when nobody says.
const PRIORITY: u8 = 3;
/// How many requests are remembered, so that a repeated one does not append twice.
const REMEMBERED: usize = 16;

/// An annotation as it is stored.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct AnnotationRecord {
    pub(crate) style: AnnotationStyle,
    pub(crate) priority: u8,
    /// The blob with the text.
    pub(crate) body: String,
    /// The attempt that wrote it last.
    pub(crate) by: AttemptId,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// Ids of the latest requests that are part of it.
    requests: Vec<String>,
}

impl Engine {
    /// Writes or removes an annotation of the build of the caller's attempt.
    ///
    /// # Errors
    /// Refused unless the caller holds the attempt; invalid over the limits.
    pub async fn annotate(&self, caller: &Caller, request: &Annotate) -> Result<AnnotateAnswer, GateError> {
        self.held(caller, &request.boot, &request.attempt).await?;
        let context = &request.context;
        if context.trim().is_empty() || context.chars().count() > MAX_CONTEXT || context.contains(char::is_control) {
            let why = format!(
                "`{}` is no context of an annotation: 1 to {MAX_CONTEXT} characters, not blank",
                context.escape_debug()
            );
            return Err(GateError::Invalid(why));
        }
        if uuid_like(&request.uuid).is_none() {
            return Err(GateError::Invalid(format!("`{}` is not a UUID", request.uuid.escape_debug())));
        }
        let key = keys::annotation(&request.attempt.build, context);
        loop {
            let known = self.load::<AnnotationRecord>(&key).await?;
            let existed = known.is_some();
            let AnnotateAsk::Write { body, style, append, priority } = &request.ask else {
                self.ports.store.delete_if(&key, Expect::Any).await?;
                return Ok(AnnotateAnswer { existed });
            };
            if known.as_ref().is_some_and(|known| known.body.requests.contains(&request.uuid)) {
                return Ok(AnnotateAnswer { existed });
            }
            let mut text = match &known {
                Some(known) if *append => match self.ports.blobs.get(&known.body.body, None).await? {
                    Some(text) => text.to_vec(),
                    // Replaced just now: look again.
                    None => continue,
                },
                _ => Vec::new(),
            };
            text.extend_from_slice(body.as_bytes());
            if text.len() > MAX_BODY {
                let why = format!("the annotation `{context}` would have {} bytes; at most 1 MiB is kept", text.len());
                return Err(GateError::Invalid(why));
            }
            let before = known.as_ref().map(|known| &known.body);
            let priority = priority.or_else(|| before.map(|b| b.priority)).unwrap_or(PRIORITY);
            if !(1..=10).contains(&priority) {
                return Err(GateError::Invalid(format!("the priority {priority} is not one of 1 to 10")));
            }
            let now = self.now();
            let mut requests = before.map(|b| b.requests.clone()).unwrap_or_default();
            requests.push(request.uuid.clone());
            requests.drain(..requests.len().saturating_sub(REMEMBERED));
            // A text of its own for each version of the record: readers never see half of anything.
            let blob = format!("annotations/{}/{:032x}", request.attempt.build, self.fresh_version().0);
            let next = AnnotationRecord {
                style: style.or_else(|| before.map(|b| b.style)).unwrap_or_default(),
                priority,
                body: blob.clone(),
                by: request.attempt.clone(),
                created_at: before.map_or(now, |b| b.created_at),
                updated_at: now,
                requests,
            };
            self.ports.blobs.put(&blob, Bytes::from(text)).await?;
            let expect = known.as_ref().map_or(Expect::Absent, |known| Expect::Version(known.version));
            match self.save(key.clone(), &next, expect).await {
                Ok(_) => {
                    if let Some(before) = before {
                        self.ports.blobs.delete(&before.body).await?;
                    }
                    return Ok(AnnotateAnswer { existed });
                }
                Err(Error::Port(PortError::Conflict)) => self.ports.blobs.delete(&blob).await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The annotations of a build with their texts, the most important first.
    pub(crate) async fn annotations(&self, build: &BuildId) -> Result<Vec<(String, AnnotationRecord, String)>, Error> {
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.store.query(&keys::annotations(build), "", after.as_deref(), 1000).await?;
            for record in page.records {
                let body: AnnotationRecord = open(&record.key, &record.body)?;
                if let Some((record_body, text)) = self.text_of(&record.key, body).await? {
                    found.push((record.key.sk, record_body, text));
                }
            }
            match page.last.filter(|_| page.more) {
                Some(last) => after = Some(last),
                None => break,
            }
        }
        found.sort_by(|(_, a, _), (_, b, _)| (b.priority, a.created_at).cmp(&(a.priority, b.created_at)));
        Ok(found)
    }

    /// An annotation with its text; a newer one if it was replaced meanwhile, none if it was removed.
    async fn text_of(
        &self,
        key: &crate::ports::Key,
        mut record: AnnotationRecord,
    ) -> Result<Option<(AnnotationRecord, String)>, Error> {
        loop {
            if let Some(text) = self.ports.blobs.get(&record.body, None).await? {
                return Ok(Some((record, String::from_utf8_lossy(&text).into_owned())));
            }
            match self.load::<AnnotationRecord>(key).await? {
                Some(Loaded { body, .. }) if body.body != record.body => record = body,
                _ => return Ok(None),
            }
        }
    }
}
