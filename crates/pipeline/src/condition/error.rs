//! What can be wrong with a condition.

use std::ops::Range;

use serde::Serialize;
use thiserror::Error;

/// Something wrong with a condition.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{message}")]
pub struct ConditionError {
    /// At which stage.
    pub kind: ErrorKind,
    /// What is wrong, as a sentence fragment.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Which bytes of the text.
    pub span: Range<usize>,
}

/// The stages of a condition.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// It is malformed.
    Parse,
    /// It does not fit the variables, functions and types.
    Validation,
    /// Its result is no boolean. Shown to users as `validation`.
    #[serde(rename = "validation")]
    Result,
    /// It failed while it was evaluated.
    Evaluation,
}

impl ConditionError {
    pub(super) fn new(kind: ErrorKind, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), help: None, span }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The column of the place in the text, from 1, in characters; of a text of several lines, in the place's line.
    pub fn column(&self, text: &str) -> usize {
        let before = text.get(..self.span.start).unwrap_or(text);
        before.rsplit('\n').next().unwrap_or(before).chars().count() + 1
    }
}
