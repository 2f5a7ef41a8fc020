//! Conditions: the `if` of a step or of a notification (`spec/pipeline.md` 1.8).
//!
//! A condition is parsed, checked against the types of its variables, and evaluated. The language is total: every
//! condition ends, and what it costs is bounded by its length and by the cap on regular expressions.

mod ast;
mod check;
mod error;
mod eval;
mod facts;
mod lexer;
mod logic;
mod parser;
mod regex;
mod shell;
mod variables;

use std::fmt;

use serde::Serialize;

pub use error::{ConditionError, ErrorKind};
pub use facts::{
    Actor, Build, EntryPoint, Facts, MergeQueue, Organization, Pipeline, PullRequest, RebuiltFrom, Scm, Step,
    TriggeredFrom, Variables,
};

use crate::limits::Limits;
use ast::Expr;

/// A condition that parses. Printed, it parses to the same condition again.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    expr: Expr,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt(f)
    }
}

impl Condition {
    /// Parses a condition.
    ///
    /// # Errors
    ///
    /// When it is malformed, blank, or beyond a cap.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, ConditionError> {
        parser::parse(text, limits).map(|expr| Self { expr })
    }

    /// Everything in it that does not fit: unknown variables and functions, wrong types, a result that is no boolean.
    pub fn check(&self, entry_point: EntryPoint) -> Vec<ConditionError> {
        check::check(&self.expr, entry_point, false)
    }

    /// Like [`Condition::check`], for conditions in pipeline files: our own additions are allowed.
    pub(crate) fn check_own(&self, entry_point: EntryPoint) -> Vec<ConditionError> {
        check::check(&self.expr, entry_point, true)
    }

    /// Whether it names the changed files, which are our own addition.
    pub(crate) fn names_changed_files(&self) -> bool {
        self.expr.names(variables::CHANGED_FILES.name)
    }

    /// Its value. It must have passed [`Condition::check`].
    ///
    /// # Errors
    ///
    /// When something fails that cannot be known before, such as `${X?}`.
    pub fn evaluate(&self, facts: &Facts) -> Result<bool, ConditionError> {
        eval::Scope::new(facts).truth(&self.expr)
    }

    /// The variables and functions it looks at, with their values, each once: `build.branch is "main"`.
    pub fn values(&self, facts: &Facts) -> Vec<String> {
        eval::Scope::new(facts).values(&self.expr)
    }

    /// Whether it has the same value whatever the build is.
    pub(crate) fn constant(&self) -> Option<logic::Constant> {
        logic::constant(&self.expr)
    }

    /// The names of the variables of the environment that it reads by a literal name, with their places.
    pub(crate) fn reads(&self) -> Vec<(String, std::ops::Range<usize>)> {
        self.expr.reads()
    }
}

/// Parses, checks and evaluates a condition, as `pipeline eval` does.
///
/// # Errors
///
/// The first thing that is wrong. For a notification an error is `false` instead, and a blank condition `true`.
pub fn evaluate(text: &str, facts: &Facts, limits: &Limits) -> Result<bool, ConditionError> {
    let notification = facts.entry_point.is_notification();
    if notification && text.trim().is_empty() {
        return Ok(true);
    }
    let result = Condition::parse(text, limits).and_then(|condition| {
        match condition.check(facts.entry_point).into_iter().next() {
            Some(error) => Err(error),
            None => condition.evaluate(facts),
        }
    });
    match result {
        Err(_) if notification => Ok(false),
        result => result,
    }
}

/// What `pipeline eval` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Evaluation {
    /// It has a value.
    Value(bool),
    /// It has none.
    Error {
        /// At which stage it went wrong.
        kind: ErrorKind,
        /// What is wrong.
        message: String,
        /// Where, from 1, in characters; of a text of several lines, in the line that is wrong.
        column: usize,
    },
}

/// Evaluates a condition for `pipeline eval`.
pub fn eval(text: &str, facts: &Facts, limits: &Limits) -> Evaluation {
    match evaluate(text, facts, limits) {
        Ok(value) => Evaluation::Value(value),
        Err(error) => Evaluation::Error { kind: error.kind, column: error.column(text), message: error.message },
    }
}

/// Parses and checks a condition. A blank one is valid.
///
/// # Errors
///
/// Everything that is wrong, at least one.
pub fn validate(text: &str, entry_point: EntryPoint, limits: &Limits) -> Result<(), Vec<ConditionError>> {
    if text.trim().is_empty() {
        return Ok(());
    }
    let condition = Condition::parse(text, limits).map_err(|error| vec![error])?;
    let errors = condition.check(entry_point);
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
