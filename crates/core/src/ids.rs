//! Names of things, as types. Each is parsed once at the edge and carries its rule.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A text that is not a valid identifier of its kind.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{value}` is not a valid {kind}: {rule}")]
pub struct InvalidId {
    /// What was expected, for people.
    pub kind: &'static str,
    /// The offending text, truncated to 80 characters.
    pub value: String,
    /// The rule it breaks, for people.
    pub rule: &'static str,
}

impl InvalidId {
    pub(crate) fn new(kind: &'static str, value: &str, rule: &'static str) -> Self {
        Self { kind, value: value.chars().take(80).collect(), rule }
    }
}

macro_rules! text_id {
    ($(#[$meta:meta])* $name:ident, $kind:literal, $rule:literal, $valid:expr) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses a text; an error names the text and the rule.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) { Ok(Self(text)) } else { Err(InvalidId::new($kind, &text, $rule)) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

/// Letters, digits, dash, underscore and dot, at most `max` characters, not empty.
fn is_slug(text: &str, max: usize) -> bool {
    !text.is_empty()
        && text.len() <= max
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

text_id!(
    /// The id of a build: a UUID in its usual text form, lower case.
    BuildId,
    "build id",
    "a UUID in lower case",
    |t| uuid::Uuid::try_parse(t).is_ok_and(|u| u.to_string() == t)
);
text_id!(
    /// The id of a machine: on AWS the instance id, locally `i-` and 17 hex digits.
    InstanceId,
    "instance id",
    "letters, digits, `-`, `_` and `.`, at most 64 characters",
    |t| is_slug(t, 64)
);
text_id!(
    /// The name of a pipeline, unique in a stack.
    PipelineSlug,
    "pipeline slug",
    "letters, digits, `-`, `_` and `.`, at most 100 characters",
    |t| is_slug(t, 100)
);
text_id!(
    /// The name of a pool of machines.
    PoolName,
    "pool name",
    "letters, digits, `-`, `_` and `.`, at most 64 characters",
    |t| is_slug(t, 64)
);
text_id!(
    /// The id of a webhook delivery as GitHub gave it (`X-GitHub-Delivery`).
    DeliveryId,
    "delivery id",
    "letters, digits, `-`, `_` and `.`, at most 100 characters",
    |t| is_slug(t, 100)
);
text_id!(
    /// A commit id: 40 or 64 lower-case hex digits (sha-1 or sha-256 repositories).
    CommitSha,
    "commit id",
    "40 or 64 lower-case hex digits",
    |t| matches!(t.len(), 40 | 64) && t.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
);
text_id!(
    /// `owner/name` of a repository. For people and for URLs only: decisions use [`RepositoryId`].
    RepositoryName,
    "repository name",
    "`owner/name` of letters, digits, `-`, `_` and `.`",
    |t| t.split_once('/').is_some_and(|(owner, name)| {
        is_slug(owner, 100) && is_slug(name, 100) && !matches!(name, "." | "..") && !matches!(owner, "." | "..")
    })
);

impl CommitSha {
    /// Whether this is the all-zero id that GitHub sends for "no commit".
    pub fn is_zero(&self) -> bool {
        self.0.bytes().all(|b| b == b'0')
    }

    /// The id that stands for "no commit".
    pub fn zero() -> Self {
        Self("0".repeat(40))
    }

    /// The first 8 digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..8]
    }
}

/// A forge's numeric id of a repository. Names change, this does not.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RepositoryId(pub u64);

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A job's place in its build: counted from 0 in the order in which jobs were added, never reused.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobIndex(pub u32);

impl fmt::Display for JobIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One try at a job: build, job and number, counted from 1. Its text form is `<build>/<job>/<number>`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttemptId {
    /// The build.
    pub build: BuildId,
    /// The job.
    pub job: JobIndex,
    /// Counted from 1; never reused.
    pub number: u32,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.build, self.job, self.number)
    }
}

impl std::str::FromStr for AttemptId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new("attempt id", text, "`<build>/<job>/<number>`");
        let mut parts = text.split('/');
        let (Some(build), Some(job), Some(number), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        Ok(Self {
            build: BuildId::new(build)?,
            job: JobIndex(job.parse().map_err(|_| invalid())?),
            number: number.parse().map_err(|_| invalid())?,
        })
    }
}

impl TryFrom<String> for AttemptId {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<AttemptId> for String {
    fn from(id: AttemptId) -> String {
        id.to_string()
    }
}

/// A UUID that is a function of a name: the first 16 bytes of SHA-256 over `namespace`, a NUL and `name`, marked as
/// version 8 (RFC 9562, section 5.8). The same name always gives the same id, so that making a thing twice makes it once.
pub fn derived_uuid(namespace: &str, name: &str) -> uuid::Uuid {
    use sha2::{Digest, Sha256};
    let digest = Sha256::new().chain_update(namespace).chain_update([0]).chain_update(name).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The id that users see for a job: derived from the build and the job's place.
pub fn job_uuid(build: &BuildId, job: JobIndex) -> uuid::Uuid {
    derived_uuid("job", &format!("{build}/{job}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_keep_their_rules() {
        assert!(BuildId::new("0197a7c0-0000-7000-8000-000000000001").is_ok());
        assert!(BuildId::new("0197A7C0-0000-7000-8000-000000000001").is_err());
        assert!(CommitSha::new("a".repeat(40)).is_ok());
        assert!(CommitSha::new("A".repeat(40)).is_err());
        assert!(CommitSha::new("0".repeat(40)).is_ok_and(|s| s.is_zero()));
        assert!(RepositoryName::new("octo/hello").is_ok());
        for bad in ["octo", "octo/../etc", "octo/a/b", "/x", "octo/.."] {
            assert!(RepositoryName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn attempt_ids_round_trip() {
        let id = AttemptId {
            build: BuildId::new(derived_uuid("t", "1").to_string()).unwrap_or_else(|e| panic!("{e}")),
            job: JobIndex(7),
            number: 2,
        };
        assert_eq!(id.to_string().parse::<AttemptId>().as_ref(), Ok(&id));
        assert!("x/1/2".parse::<AttemptId>().is_err());
    }
}
