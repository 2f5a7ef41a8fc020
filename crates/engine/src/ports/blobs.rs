use std::fmt;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::PortError;

/// What a listing says of a blob.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BlobMeta {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
}

/// What a presigned URL allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// Reading.
    Get,
    /// Writing, at most this many bytes.
    Put {
        /// Largest body that is accepted.
        max_bytes: u64,
    },
}

/// A URL that allows one method on one exact key for a time. It is a secret while it lives.
#[derive(Clone, Eq, PartialEq)]
pub struct Presigned(pub String);

impl fmt::Debug for Presigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presigned(…)")
    }
}

/// A blob that is being written in parts: the upload `id` of `key`, as [`Blobs::begin_parts`] named it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InParts<'a> {
    /// The key of the blob that the parts become.
    pub key: &'a str,
    /// Which upload of that key. It comes from outside: an adapter treats what it does not know as gone.
    pub id: &'a str,
}

/// Parts are numbered from 1 to this.
pub const MOST_PARTS: u32 = 10_000;

/// The least that each part but the last one has, in bytes.
pub const LEAST_PART: u64 = 5 << 20;

/// Bytes under keys. Keys are ours: parts of letters, digits, `-`, `_`, `.`, joined by `/`, no part `.` or `..`, at most
/// 512 bytes. A blob is there as a whole or not at all.
#[async_trait]
pub trait Blobs: fmt::Debug + Send + Sync {
    /// Writes a blob, replacing what was there; durable when this returns.
    async fn put(&self, key: &str, body: Bytes) -> Result<(), PortError>;

    /// Writes a blob unless one is there. Returns whether it wrote; a repetition after a lost answer returns `false`.
    async fn put_if_absent(&self, key: &str, body: Bytes) -> Result<bool, PortError>;

    /// Reads a blob or a part of it (a range beyond the end is cut); `None` when there is none.
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<Bytes>, PortError>;

    /// Blobs whose key begins with `prefix`, in the order of keys, after `after` (exclusive), at most `limit` (1 to 1,000).
    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<BlobMeta>, PortError>;

    /// Removes a blob; removing what is not there succeeds.
    async fn delete(&self, key: &str) -> Result<(), PortError>;

    /// A URL for one method on one key, valid for `lifetime` (at most 15 minutes).
    async fn presign(&self, method: Method, key: &str, lifetime: Duration) -> Result<Presigned, PortError>;

    /// Begins to write a blob in parts, and answers the id of the upload. Nothing is at the key before
    /// [`Blobs::complete_parts`]. What is neither completed nor aborted is dropped after two days or more: by
    /// [`Blobs::drop_abandoned`], or by a rule of the store itself (S3: `AbortIncompleteMultipartUpload`).
    async fn begin_parts(&self, key: &str) -> Result<String, PortError>;

    /// A URL to `PUT` part `number` (1 to [`MOST_PARTS`]) of an upload to, as [`Blobs::presign`] makes them. `from` is where
    /// in the blob the part begins; a store that keeps parts one by one need not look at it. The answer to the `PUT` carries
    /// the part's tag in its `ETag`. A part that is put again replaces what it was, from its first byte on.
    async fn presign_part(
        &self,
        upload: InParts<'_>,
        number: u32,
        from: u64,
        max_bytes: u64,
        lifetime: Duration,
    ) -> Result<Presigned, PortError>;

    /// Makes the parts with these tags, from number 1 on and in order, the blob of the key; replaces what was there. Each
    /// part but the last has at least [`LEAST_PART`] bytes. Returns `false`, and does nothing, when there is no such upload:
    /// also when it was completed before, so that a repetition after a lost answer looks at what is at the key.
    ///
    /// # Errors
    /// Rejected when a part with this tag is not there, and when there are no parts.
    async fn complete_parts(&self, upload: InParts<'_>, tags: &[String]) -> Result<bool, PortError>;

    /// Drops an upload and its parts; dropping what is not there succeeds.
    async fn abort_parts(&self, upload: InParts<'_>) -> Result<(), PortError>;

    /// Drops uploads that nobody has added to for two days, in stores that do not do so by themselves.
    async fn drop_abandoned(&self) -> Result<(), PortError> {
        Ok(())
    }
}
