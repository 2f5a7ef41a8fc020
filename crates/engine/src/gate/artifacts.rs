//! Artifacts: keys are ours, names are the job's.

use std::collections::HashSet;

use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use tidegate_core::ids::AttemptId;
use tidegate_core::time::Timestamp;
use tidegate_core::wire::gate::{ArtifactFile, Artifacts, ArtifactsAnswer, artifact_key};

use super::parts::PART_BYTES;
use super::{Caller, GateError, URL_LIFETIME};
use crate::engine::{Engine, open};
use crate::keys;
use crate::ports::{Expect, Method};

/// Most artifacts of one attempt, and largest one (`spec/pipeline.md` 1.21).
const MAX_ARTIFACTS: u32 = 5_000;
const MAX_SIZE: u64 = 10 << 30;
/// Most bytes of all artifacts of one attempt.
const MAX_TOTAL: u64 = 10 << 30;

/// An artifact as it is listed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ArtifactRecord {
    /// The attempt that made it.
    pub attempt: AttemptId,
    /// The file.
    pub file: ArtifactFile,
    /// Its content is there.
    pub uploaded: bool,
    /// When it was registered.
    pub at: Timestamp,
}

fn check(file: &ArtifactFile) -> Result<(), String> {
    let path = &file.path;
    let bad = path.is_empty()
        || path.len() > 4096
        || path.starts_with('/')
        || path.contains('\0')
        || path.split('/').any(|part| matches!(part, "" | "." | ".."));
    if bad {
        return Err(format!("`{}` is not a relative path below the checkout", path.escape_debug()));
    }
    if file.number >= MAX_ARTIFACTS {
        return Err(format!("a job may keep at most {MAX_ARTIFACTS} files"));
    }
    if file.size > MAX_SIZE {
        return Err(format!("`{path}` is larger than 10 GiB"));
    }
    if file.sha256.len() != 64 || !file.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(format!("`{path}` has no valid SHA-256"));
    }
    Ok(())
}

impl Engine {
    /// Registers artifacts and answers where their contents go, or lists those whose contents are there.
    ///
    /// # Errors
    /// Refused unless the caller holds the attempt; invalid for bad paths and over the limits.
    pub async fn artifacts(&self, caller: &Caller, request: &Artifacts) -> Result<ArtifactsAnswer, GateError> {
        self.held(caller, &request.boot, &request.attempt).await?;
        if request.files.len() > 100 {
            return Err(GateError::Invalid("at most 100 files in one request".to_owned()));
        }
        request.files.iter().try_for_each(check).map_err(GateError::Invalid)?;
        if !request.done {
            self.check_total(request).await?;
        }
        let now = self.now();
        let records = request.files.iter().map(|file| {
            let record = ArtifactRecord {
                attempt: request.attempt.clone(),
                file: file.clone(),
                uploaded: request.done,
                at: now,
            };
            async move { self.save(keys::artifact(&record.attempt, record.file.number), &record, Expect::Any).await }
        });
        try_join_all(records).await?;
        if request.done {
            return Ok(ArtifactsAnswer::default());
        }
        let urls = request.files.iter().map(|file| async move {
            let key = artifact_key(&request.attempt, file.number);
            self.ports.blobs.presign(Method::Put { max_bytes: file.size }, &key, URL_LIFETIME).await
        });
        let urls = try_join_all(urls).await?.into_iter().map(|url| url.0).collect();
        Ok(ArtifactsAnswer { urls, part_bytes: Some(PART_BYTES) })
    }

    /// What the attempt has registered before counts: a repetition replaces its own numbers.
    async fn check_total(&self, request: &Artifacts) -> Result<(), GateError> {
        let numbers: HashSet<u32> = request.files.iter().map(|file| file.number).collect();
        let mut total: u64 = request.files.iter().map(|file| file.size).fold(0, u64::saturating_add);
        let prefix = keys::artifacts_of_attempt(&request.attempt);
        let partition = keys::artifacts(&request.attempt.build);
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.store.query(&partition, &prefix, after.as_deref(), 1000).await?;
            for record in page.records {
                let known: ArtifactRecord = open(&record.key, &record.body)?;
                if !numbers.contains(&known.file.number) {
                    total = total.saturating_add(known.file.size);
                }
            }
            match page.last.filter(|_| page.more) {
                Some(last) => after = Some(last),
                None => break,
            }
        }
        if total > MAX_TOTAL {
            let why =
                format!("a job may keep at most 10 GiB in all, and this would be {total} bytes: keep less, or pack it");
            return Err(GateError::Invalid(why));
        }
        Ok(())
    }
}
