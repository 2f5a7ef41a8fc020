//! What is wrong with a text that a user wrote: code, severity, place, message and way out.

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The text cannot be used.
    Error,
    /// The text can be used, but probably does not mean what its author meant.
    Warning,
}

/// One finding. `line` and `column` count from 1, the column in characters; 0 where the finding has no place.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Path of the file as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// How bad.
    pub severity: Severity,
    /// A stable short name such as `unknown-key`; the list is in the documentation.
    pub code: String,
    /// What is wrong, as a sentence fragment in lower case with names in backticks.
    pub message: String,
    /// What to write instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Length of the marked text in characters; 0 marks one place.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub length: u32,
    /// The line of the text, or the part of a long line around the place, so that a finding can be shown without the
    /// file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snippet: Option<Snippet>,
}

/// A piece of one line of a text.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Snippet {
    /// The piece, without its line end.
    pub text: String,
    /// Column of its first character, from 1.
    pub column: u32,
}

impl Diagnostic {
    /// A finding without a place; the other fields can be set afterwards.
    pub fn new(severity: Severity, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            file: String::new(),
            line: 0,
            column: 0,
            severity,
            code: code.into(),
            message: message.into(),
            help: None,
            length: 0,
            snippet: None,
        }
    }

    /// Whether it makes the text unusable.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}
