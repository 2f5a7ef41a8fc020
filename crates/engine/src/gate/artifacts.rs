//! Artifacts: keys are ours, names are the job's.

use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use tidegate_core::ids::AttemptId;
use tidegate_core::time::Timestamp;
use tidegate_core::wire::gate::{ArtifactFile, Artifacts, ArtifactsAnswer, artifact_key};

use super::{Caller, GateError, URL_LIFETIME};
use crate::engine::Engine;
use crate::keys;
use crate::ports::{Expect, Method};

/// Most artifacts of one attempt, and largest one (`spec/pipeline.md` 1.21).
const MAX_ARTIFACTS: u32 = 5_000;
const MAX_SIZE: u64 = 10 << 30;

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
        Ok(ArtifactsAnswer { urls })
    }
}
