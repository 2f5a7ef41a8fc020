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
}
