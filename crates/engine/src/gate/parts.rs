//! Large artifacts in parts, so that what breaks goes on where it broke. Nothing is recorded of an upload: the key is
//! that of the registered artifact, and the store knows the rest.

use tidegate_core::ids::AttemptId;
use tidegate_core::wire::gate::{ArtifactParts, ArtifactPartsAnswer, PartsAsk, artifact_key};

use super::{ArtifactRecord, Caller, GateError, URL_LIFETIME};
use crate::engine::Engine;
use crate::keys;
use crate::ports::{InParts, LEAST_PART, MOST_PARTS};

/// Bytes of a part: what is lost at most when a connection breaks. The largest artifact has 640 of them.
pub(super) const PART_BYTES: u64 = 16 << 20;
/// Most bytes of a part that is asked for.
const MOST_PART_BYTES: u64 = 1 << 30;

impl Engine {
    /// Begins, goes on with, completes or drops the upload of a large artifact in parts.
    ///
    /// # Errors
    /// Refused unless the caller holds the attempt; invalid for an artifact that is not registered, for parts that it does
    /// not have, and when what was uploaded is not of the size that was registered.
    pub async fn artifact_parts(
        &self,
        caller: &Caller,
        request: &ArtifactParts,
    ) -> Result<ArtifactPartsAnswer, GateError> {
        self.held(caller, &request.boot, &request.attempt).await?;
        let (attempt, number) = (&request.attempt, request.number);
        let known = self.load::<ArtifactRecord>(&keys::artifact(attempt, number)).await?;
        let size = known.ok_or_else(|| invalid("the artifact is not registered"))?.body.file.size;
        let key = artifact_key(attempt, number);
        let of = |upload| InParts { key: &key, id: upload };
        let blobs = &self.ports.blobs;
        match &request.ask {
            PartsAsk::Begin => {
                let upload = Some(blobs.begin_parts(&key).await?);
                Ok(ArtifactPartsAnswer { upload, ..ArtifactPartsAnswer::default() })
            }
            PartsAsk::Part { upload, part, part_bytes } => {
                let (from, max) =
                    part_of(size, *part, *part_bytes).ok_or_else(|| invalid("the artifact has no such part"))?;
                let url = blobs.presign_part(of(upload), *part, from, max, URL_LIFETIME).await?;
                Ok(ArtifactPartsAnswer { url: Some(url.0), ..ArtifactPartsAnswer::default() })
            }
            PartsAsk::Complete { upload, tags } => {
                if tags.len() > MOST_PARTS as usize {
                    return Err(invalid("too many parts"));
                }
                blobs.complete_parts(of(upload), tags).await.map_err(rejected)?;
                self.check_size(attempt, number, size).await?;
                Ok(ArtifactPartsAnswer::default())
            }
            PartsAsk::Abort { upload } => {
                blobs.abort_parts(of(upload)).await?;
                Ok(ArtifactPartsAnswer::default())
            }
        }
    }

    /// Whether an earlier call completed the upload or this one: it counts what is there.
    async fn check_size(&self, attempt: &AttemptId, number: u32, size: u64) -> Result<(), GateError> {
        let key = artifact_key(attempt, number);
        let found = self.ports.blobs.list(&key, None, 1).await?.into_iter().find(|blob| blob.key == key);
        match found {
            Some(blob) if blob.size == size => Ok(()),
            Some(blob) => Err(GateError::Invalid(format!("{} of {size} bytes were uploaded", blob.size))),
            None => Err(invalid("the upload was dropped before it was complete")),
        }
    }
}

fn invalid(why: &str) -> GateError {
    GateError::Invalid(why.to_owned())
}

/// What the store refuses for good is wrong with the request.
fn rejected(error: crate::ports::PortError) -> GateError {
    match error {
        crate::ports::PortError::Reject { .. } => GateError::Invalid(error.to_string()),
        other => other.into(),
    }
}

/// Where a part of a file of `size` bytes begins, and how many bytes it has: the last one may have fewer.
fn part_of(size: u64, part: u32, part_bytes: u64) -> Option<(u64, u64)> {
    if !(LEAST_PART..=MOST_PART_BYTES).contains(&part_bytes) || part == 0 || part > MOST_PARTS {
        return None;
    }
    let begin = u64::from(part - 1) * part_bytes;
    (begin < size).then(|| (begin, part_bytes.min(size - begin)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_the_whole() {
        const MIB: u64 = 1 << 20;
        for (size, part_bytes) in [(1, 5 * MIB), (40 * MIB, 16 * MIB), (32 * MIB, 16 * MIB), (10 << 30, PART_BYTES)] {
            let parts: Vec<_> = (1..).map_while(|part| part_of(size, part, part_bytes)).collect();
            assert_eq!(parts.iter().fold(0, |at, (from, bytes)| if at == *from { at + bytes } else { 0 }), size);
            assert!(parts.iter().rev().skip(1).all(|(_, bytes)| *bytes == part_bytes));
        }
        for (part, part_bytes) in [(0, 16 * MIB), (4, 16 * MIB), (1, MIB), (1, 2 << 30), (u32::MAX, 16 * MIB)] {
            assert_eq!(part_of(40 * MIB, part, part_bytes), None, "{part} of {part_bytes}");
        }
    }
}
