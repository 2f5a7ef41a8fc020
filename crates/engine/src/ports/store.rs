use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use super::PortError;

/// Where a record is. Records with one `pk` can be listed in the order of their `sk` (bytes).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
pub struct Key {
    /// Partition: at most 1,024 bytes, not empty.
    pub pk: String,
    /// Place in the partition: at most 1,024 bytes, not empty.
    pub sk: String,
}

impl Key {
    /// A key.
    pub fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self { pk: pk.into(), sk: sk.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {}", self.pk, self.sk)
    }
}

/// What a record is compared by. The writer chooses it, new for each write, so that it is also the nonce by which a
/// writer whose answer was lost finds out whether its write happened: repeating the same [`Put`] succeeds then.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Version(pub u128);

/// A stored record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Where it is.
    pub key: Key,
    /// Changes with each write.
    pub version: Version,
    /// At most 400 KB (DynamoDB's limit for an item, less the keys).
    pub body: Bytes,
}

/// What must hold for a write to happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expect {
    /// Nothing is there.
    Absent,
    /// This version is there.
    Version(Version),
    /// Whatever.
    Any,
}

/// A conditional write. It succeeds, without writing again, when the record has `version` already.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Put {
    /// Where.
    pub key: Key,
    /// What.
    pub body: Bytes,
    /// The condition.
    pub expect: Expect,
    /// The new version.
    pub version: Version,
}

/// A part of a transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Write {
    /// Writes a record.
    Put(Put),
    /// Removes a record. Removing what is not there succeeds, unless a version was expected and another is there.
    Delete {
        /// Which.
        key: Key,
        /// The condition; [`Expect::Absent`] is not allowed.
        expect: Expect,
    },
    /// Only checks.
    Check {
        /// Which.
        key: Key,
        /// The condition.
        expect: Expect,
    },
}

/// A part of a listing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Page {
    /// In the order of `sk`.
    pub records: Vec<Record>,
    /// Whether there may be more after the last one. An empty page may have more.
    pub more: bool,
    /// Where to go on: pass it as `after`. `None` when there is no more.
    pub last: Option<String>,
}

/// Versioned records, each write conditional. Reads see every write that was answered before they began.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// Reads one record.
    async fn get(&self, key: &Key) -> Result<Option<Record>, PortError>;

    /// Writes one record if the condition holds, or if the record has the new version already.
    ///
    /// Errors: [`PortError::Conflict`] when the condition does not hold; [`PortError::Reject`] over the size limits.
    async fn put_if(&self, put: Put) -> Result<(), PortError>;

    /// All of 1 to 100 writes to distinct records, or none. A repetition after success succeeds if every `Put` still
    /// stands. Errors as [`Store::put_if`].
    async fn transact(&self, writes: Vec<Write>) -> Result<(), PortError>;

    /// Lists the records of exactly this `pk` whose `sk` begins with `sk_prefix`, in order, after `after` (exclusive;
    /// any text, it need not exist), at most `limit` (1 to 1,000); a page may be shorter and still have `more`.
    async fn query(&self, pk: &str, sk_prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, PortError>;

    /// Removes one record if the condition holds. Removing what is not there succeeds. [`Expect::Absent`] is refused.
    async fn delete_if(&self, key: &Key, expect: Expect) -> Result<(), PortError>;
}
