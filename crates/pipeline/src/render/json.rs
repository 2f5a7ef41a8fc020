//! Findings as the JSON that `pipeline lint --format json` prints.

use serde::Serialize;
use tidegate_core::diagnostic::{Diagnostic, Severity};

/// All findings.
#[derive(Clone, Debug, Serialize)]
pub struct Findings<'d> {
    /// In the order of the files and their lines.
    pub findings: Vec<Finding<'d>>,
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
pub struct Finding<'d> {
    /// The file as the user named it.
    pub file: &'d str,
    /// From 1; 0 where it has no place.
    pub line: u32,
    /// From 1, in characters; 0 where it has no place.
    pub column: u32,
    /// `error` or `warning`.
    pub severity: Severity,
    /// From the closed list.
    pub code: &'d str,
    /// What is wrong.
    pub message: &'d str,
    /// What to write instead.
    pub help: Option<&'d str>,
    /// The line of the text, or the part of a long one around the place.
    pub snippet: Option<&'d str>,
}

/// The findings, ready to be serialised.
pub fn json(diagnostics: &[Diagnostic]) -> Findings<'_> {
    let findings = diagnostics.iter().map(|diagnostic| Finding {
        file: &diagnostic.file,
        line: diagnostic.line,
        column: diagnostic.column,
        severity: diagnostic.severity,
        code: &diagnostic.code,
        message: &diagnostic.message,
        help: diagnostic.help.as_deref(),
        snippet: diagnostic.snippet.as_ref().map(|snippet| snippet.text.as_str()),
    });
    Findings { findings: findings.collect() }
}
