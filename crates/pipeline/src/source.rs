//! A text, places in it, and the findings about it.

use std::borrow::Cow;

use tidegate_core::diagnostic::{Diagnostic, Severity, Snippet};

use crate::codes::Code;

/// A pipeline text and the name that findings call it by.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Path as the user named it, or a name such as `<stdin>`.
    pub name: &'a str,
    /// The bytes as read.
    pub text: &'a [u8],
}

impl<'a> Source<'a> {
    /// A source from a text that is already UTF-8.
    pub fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, text: text.as_bytes() }
    }
}

/// A range of bytes of the text.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Span {
    /// First byte.
    pub(crate) start: u32,
    /// One past the last byte.
    pub(crate) end: u32,
}

impl Span {
    /// The range from `start` to `end`, in bytes. Texts are limited to far below 4 GiB before spans are made.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        let clamp = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: clamp(start), end: clamp(end.max(start)) }
    }

    /// The part of the span from `start` to `end`, counted from its beginning.
    pub(crate) fn part(self, start: usize, end: usize) -> Self {
        let base = self.start as usize;
        Self::new((base + start).min(self.end as usize), (base + end).min(self.end as usize))
    }
}

/// The longest piece of a line that a finding carries, in characters.
const SNIPPET: usize = 160;

/// A text with the beginnings of its lines.
#[derive(Debug)]
pub(crate) struct Text<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: Cow<'a, str>,
    lines: Vec<u32>,
}

impl<'a> Text<'a> {
    pub(crate) fn new(name: &'a str, text: Cow<'a, str>) -> Self {
        let mut lines = vec![0];
        lines.extend(
            text.bytes()
                .enumerate()
                .filter(|(_, byte)| *byte == b'\n')
                .map(|(at, _)| u32::try_from(at + 1).unwrap_or(u32::MAX)),
        );
        Self { name, text, lines }
    }

    /// Line and column of a byte, both from 1, the column in characters.
    fn place(&self, at: u32) -> (u32, u32) {
        let line = self.lines.partition_point(|start| *start <= at);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.slice(start, at).chars().count();
        (clamp(line), clamp(column + 1))
    }

    fn slice(&self, start: u32, end: u32) -> &str {
        let floor = |at: u32| {
            let mut at = (at as usize).min(self.text.len());
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        self.text.get(floor(start)..floor(end)).unwrap_or("")
    }

    /// The text of a span.
    pub(crate) fn get(&self, span: Span) -> &str {
        self.slice(span.start, span.end)
    }

    fn line(&self, line: u32) -> &str {
        let index = (line as usize).saturating_sub(1);
        let start = self.lines.get(index).copied().unwrap_or(0);
        let end = self.lines.get(index + 1).map_or(self.text.len(), |next| *next as usize - 1);
        let text = self.slice(start, u32::try_from(end).unwrap_or(u32::MAX));
        text.strip_suffix('\r').unwrap_or(text)
    }

    fn snippet(&self, line: u32, column: u32) -> Option<Snippet> {
        let text = self.line(line);
        // Two thirds of the window lie behind the place: what follows it usually explains it.
        let skip =
            if text.chars().nth(SNIPPET).is_none() { 0 } else { (column as usize).saturating_sub(1 + SNIPPET / 3) };
        let piece: String = text.chars().skip(skip).take(SNIPPET).collect();
        Some(Snippet { text: piece, column: clamp(skip + 1) })
    }
}

fn clamp(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The findings about one text, gathered while it is read.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) text: Text<'a>,
    found: Vec<Finding>,
    errors: usize,
    /// Whether there was more to say.
    dropped: bool,
}

/// A finding before its place is worked out.
#[derive(Debug)]
struct Finding {
    code: Code,
    severity: Severity,
    span: Option<Span>,
    message: String,
    help: Option<String>,
}

/// Findings beyond this many are dropped: a text that is wrong in so many places is wrong in one.
const MOST_FINDINGS: usize = 500;

impl<'a> Report<'a> {
    pub(crate) fn new(text: Text<'a>) -> Self {
        Self { text, found: Vec::new(), errors: 0, dropped: false }
    }

    /// Whether anything made the text unusable.
    pub(crate) fn failed(&self) -> bool {
        self.errors > 0
    }

    /// Whether there are so many findings that further warnings are dropped: then none need be worked out.
    pub(crate) fn full(&self) -> bool {
        self.found.len() >= MOST_FINDINGS
    }

    pub(crate) fn error(&mut self, code: Code, span: Span, message: impl Into<String>) -> Help<'_> {
        self.add(code, Severity::Error, Some(span), message.into())
    }

    pub(crate) fn warn(&mut self, code: Code, span: Span, message: impl Into<String>) -> Help<'_> {
        self.add(code, Severity::Warning, Some(span), message.into())
    }

    /// An error about the text as a whole.
    pub(crate) fn error_anywhere(&mut self, code: Code, message: impl Into<String>) -> Help<'_> {
        self.add(code, Severity::Error, None, message.into())
    }

    fn add(&mut self, code: Code, severity: Severity, span: Option<Span>, message: String) -> Help<'_> {
        if severity == Severity::Error {
            self.errors += 1;
        }
        // Errors are kept before warnings, because they are what must be mended.
        if self.found.len() >= 2 * MOST_FINDINGS || (self.found.len() >= MOST_FINDINGS && severity == Severity::Warning)
        {
            self.dropped = true;
            return Help(None);
        }
        let same = |f: &Finding| f.code == code && f.span == span && f.message == message;
        if self.found.iter().rev().take(64).any(same) {
            // The same node read twice through an alias, or once per job of a matrix.
            return Help(None);
        }
        self.found.push(Finding { code, severity, span, message, help: None });
        Help(self.found.last_mut())
    }

    /// The findings in the order of the text, errors and warnings together.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|f| (f.span, f.severity));
        let mut out = Vec::with_capacity(self.found.len());
        for finding in self.found {
            let mut diagnostic = Diagnostic::new(finding.severity, finding.code.as_str(), finding.message);
            diagnostic.file = self.text.name.to_owned();
            diagnostic.help = finding.help;
            if let Some(span) = finding.span {
                let (line, column) = self.text.place(span.start);
                let marked = self.text.get(span);
                let marked = marked.split(['\n', '\r']).next().unwrap_or("");
                diagnostic.line = line;
                diagnostic.column = column;
                diagnostic.length = clamp(marked.trim_end().chars().count());
                diagnostic.snippet = self.text.snippet(line, column);
            }
            out.push(diagnostic);
        }
        if self.dropped {
            let message = format!("only the first {} findings are listed, and there are more", out.len());
            let mut diagnostic = Diagnostic::new(Severity::Warning, Code::MoreFindings.as_str(), message);
            diagnostic.file = self.text.name.to_owned();
            diagnostic.help = Some("mend these, and look again".to_owned());
            out.push(diagnostic);
        }
        out
    }
}

/// What [`Report::error`] and [`Report::warn`] return, to add a way out to the finding.
#[derive(Debug)]
pub(crate) struct Help<'r>(Option<&'r mut Finding>);

impl Help<'_> {
    pub(crate) fn help(self, help: impl Into<String>) {
        if let Some(finding) = self.0 {
            finding.help = Some(help.into());
        }
    }

    pub(crate) fn help_if(self, help: Option<String>) {
        if let (Some(finding), Some(help)) = (self.0, help) {
            finding.help = Some(help);
        }
    }
}
