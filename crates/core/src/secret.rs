//! Secrets: what they are called, who may have them, and values that do not print themselves.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{InvalidId, PipelineSlug};
use crate::trust::Trust;

/// The longest name, in bytes.
const LONGEST_NAME: usize = 255;
/// The largest value, in bytes: as the reference, and as a parameter of SSM.
pub const LARGEST_VALUE: usize = 8 * 1024;

/// The name of a secret. Case does not matter, as in the reference's `secret get`: the name is kept in upper case.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

impl SecretName {
    /// Parses a text.
    ///
    /// # Errors
    /// Names the text and the rule.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        let letters = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
        if letters && first && text.len() <= LONGEST_NAME {
            Ok(Self(text.to_ascii_uppercase()))
        } else {
            let rule = "letters, digits and `_`, a letter first, at most 255 characters";
            Err(InvalidId::new("name of a secret", text, rule))
        }
    }

    /// The name, in upper case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SecretName {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::new(&text)
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> String {
        name.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// For whom a secret is asked: what the record says of the attempt, never what a machine says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SecretScope {
    /// The pipeline of the build.
    pub pipeline: PipelineSlug,
    /// How far its work is trusted.
    pub trust: Trust,
}

/// The value of a secret. Never printed.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretValue(String);

/// A text that cannot be the value of a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidValue {
    /// Nothing.
    #[error("the value is empty")]
    Empty,
    /// More than is kept.
    #[error("the value has {0} bytes; at most {LARGEST_VALUE} are kept")]
    TooLarge(usize),
    /// A variable cannot hold it.
    #[error("the value holds a NUL byte, which no environment variable can")]
    Nul,
}

impl SecretValue {
    /// Checks a value that a person wants to keep.
    ///
    /// # Errors
    /// Says what is wrong, without the value.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidValue> {
        let text = text.into();
        if text.is_empty() {
            Err(InvalidValue::Empty)
        } else if text.len() > LARGEST_VALUE {
            Err(InvalidValue::TooLarge(text.len()))
        } else if text.contains('\0') {
            Err(InvalidValue::Nul)
        } else {
            Ok(Self(text))
        }
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_whatever_their_case() {
        assert_eq!(SecretName::new("deploy_Key2"), SecretName::new("DEPLOY_KEY2"));
        for bad in ["", "2FA", "_X", "A-B", "A B", "Ä", "a/b", &"x".repeat(256)] {
            assert!(SecretName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_have_limits_and_do_not_print_themselves() {
        assert_eq!(SecretValue::new(""), Err(InvalidValue::Empty));
        assert_eq!(SecretValue::new("a\0b"), Err(InvalidValue::Nul));
        assert_eq!(SecretValue::new("x".repeat(8_193)), Err(InvalidValue::TooLarge(8_193)));
        let value = SecretValue::new("x".repeat(8_192)).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(format!("{value:?}"), "SecretValue(…)");
        assert_eq!(value.expose().len(), 8_192);
    }
}
