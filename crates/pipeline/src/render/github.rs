//! Findings as workflow commands, which GitHub shows at the lines of a pull request.

use std::fmt::Write;

use tidegate_core::diagnostic::{Diagnostic, Severity};

/// One line for each finding: `::error file=…,line=…,col=…,title=…::message`.
pub fn github(diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        let level = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut place = format!("file={}", property(&diagnostic.file));
        if diagnostic.line > 0 {
            // Writing to a text cannot fail.
            let _ = write!(place, ",line={},col={}", diagnostic.line, diagnostic.column);
        }
        let message = match &diagnostic.help {
            Some(help) => format!("{}\n{help}", diagnostic.message),
            None => diagnostic.message.clone(),
        };
        let _ = writeln!(out, "::{level} {place},title={}::{}", property(&diagnostic.code), data(&message));
    }
    out
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
