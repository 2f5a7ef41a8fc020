use std::fmt;

/// The token that opens the API. Never printed.
#[derive(Clone, Eq, PartialEq)]
pub struct ApiToken(String);

impl ApiToken {
    /// A token.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the file and the header that carry it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is the token, in a time that does not depend on where it differs.
    pub(crate) fn is(&self, presented: &str) -> bool {
        let (own, other) = (self.0.as_bytes(), presented.as_bytes());
        own.len() == other.len() && own.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken(…)")
    }
}
