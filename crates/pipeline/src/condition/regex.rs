//! Regular expressions of conditions. The syntax is that of `spec/pipeline.md` 1.8 and 10: unanchored, one line, with
//! look-ahead and back-references; look-behind, atomic and named groups, conditionals and possessive quantifiers are
//! rejected. The engine is `fancy-regex`, so the few places where its syntax differs are rewritten.

use std::fmt;
use std::ops::Range;

use fancy_regex::{Regex, RegexBuilder};

use super::error::{ConditionError, ErrorKind};
use crate::limits::Limits;

/// A regular expression, compiled.
pub(super) struct Pattern {
    pub(super) source: String,
    pub(super) flags: String,
    regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.flags == other.flags
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/{}", self.source, self.flags)
    }
}

/// The most memory that a compiled expression may take, in bytes.
const COMPILED: usize = 1 << 20;

impl Pattern {
    pub(super) fn new(
        source: String,
        flags: String,
        span: Range<usize>,
        limits: &Limits,
    ) -> Result<Self, ConditionError> {
        let fail = |message: String| ConditionError::new(ErrorKind::Parse, span.clone(), message);
        if let Some(flag) = flags.chars().find(|flag| *flag != 'i') {
            return Err(fail(format!("`{flag}` is not a flag of a regular expression")).help("the only flag is `i`"));
        }
        if let Some(feature) = unsupported(&source) {
            return Err(fail(format!("regular expressions here have no {feature}"))
                .help("write it with look-ahead, or as two tests joined by `&&`"));
        }
        let regex = RegexBuilder::new(&rewrite(&source))
            .case_insensitive(!flags.is_empty())
            .backtrack_limit(limits.regex_backtracks)
            .delegate_size_limit(COMPILED)
            .delegate_dfa_size_limit(COMPILED)
            .build()
            .map_err(|error| {
                let error = error.to_string();
                let said = error.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
                fail(format!("not a regular expression: {}", said.trim_start_matches("error: ")))
                    .help("a sign that is meant as itself has a backslash in front")
            })?;
        Ok(Self { source, flags, regex })
    }

    /// Whether it matches anywhere in the text.
    pub(super) fn matches(&self, text: &str) -> Result<bool, String> {
        self.regex.is_match(text).map_err(|_| {
            format!(
                "the regular expression `/{}/` takes too many steps on this text; {}",
                self.source,
                Limits::raise("regex_backtracks")
            )
        })
    }
}

/// The name of a feature that is rejected, if the expression uses one.
fn unsupported(source: &str) -> Option<&'static str> {
    let text = source.as_bytes();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 1,
            b'[' => at = class_end(text, at),
            b'(' if text.get(at + 1) == Some(&b'?') => {
                let rest = &text[at..];
                if rest.starts_with(b"(?#") {
                    at += rest.iter().position(|byte| *byte == b')')?;
                } else if rest.starts_with(b"(?<=") || rest.starts_with(b"(?<!") {
                    return Some("look-behind");
                } else if rest.starts_with(b"(?>") {
                    return Some("atomic groups");
                } else if rest.starts_with(b"(?<") || rest.starts_with(b"(?P<") || rest.starts_with(b"(?'") {
                    return Some("named groups");
                } else if rest.starts_with(b"(?(") {
                    return Some("conditionals");
                }
            }
            b'?' | b'*' | b'+' if text.get(at + 1) == Some(&b'+') => return Some("possessive quantifiers"),
            b'{' => {
                if let Some(end) = quantifier_end(text, at) {
                    if text.get(end + 1) == Some(&b'+') {
                        return Some("possessive quantifiers");
                    }
                    at = end;
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The byte of the `}` of a quantifier such as `{2,3}` that begins at `at`.
fn quantifier_end(text: &[u8], at: usize) -> Option<usize> {
    let length = text[at..].iter().position(|byte| *byte == b'}')?;
    let bounds = &text[at + 1..at + length];
    let mut parts = bounds.splitn(2, |byte| *byte == b',');
    let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    let first = parts.next().filter(|first| !first.is_empty() && digits(first));
    let second = parts.next().unwrap_or_default();
    first.filter(|_| digits(second)).map(|_| at + length)
}

/// The byte of the `]` that closes the class beginning at `at`, or the last byte.
fn class_end(text: &[u8], at: usize) -> usize {
    let last = text.len().saturating_sub(1);
    let mut at = at + 1;
    if text.get(at) == Some(&b'^') {
        at += 1;
    }
    let first = at;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 1,
            b'[' => {
                if let Some(end) = named_class_end(text, at) {
                    at = end;
                }
            }
            b']' if at > first => return at,
            _ => {}
        }
        at += 1;
    }
    last
}

/// The last byte of a class such as `[:digit:]` that begins at `at`.
fn named_class_end(text: &[u8], at: usize) -> Option<usize> {
    let marker = *text.get(at + 1).filter(|byte| matches!(byte, b':' | b'.' | b'='))?;
    let rest = text.get(at + 2..)?;
    let length = rest.windows(2).position(|pair| pair == [marker, b']'])?;
    Some(at + 2 + length + 1)
}

/// The expression in the syntax of the engine: comments dropped, `\d`, `\w` and `\s` in ASCII, brackets and operators
/// that are plain characters in a class escaped, a `{` that begins no quantifier escaped.
fn rewrite(source: &str) -> String {
    let text = source.as_bytes();
    let mut out: Vec<u8> = Vec::with_capacity(text.len() + 16);
    let mut at = 0;
    while let Some(byte) = text.get(at).copied() {
        match byte {
            b'\\' => {
                at += 1;
                match text.get(at) {
                    Some(b'd') => out.extend(b"[0-9]"),
                    Some(b'D') => out.extend(b"[^0-9]"),
                    Some(b'w') => out.extend(b"[0-9A-Za-z_]"),
                    Some(b'W') => out.extend(b"[^0-9A-Za-z_]"),
                    Some(b's') => out.extend(br"[\t\n\f\r ]"),
                    Some(b'S') => out.extend(br"[^\t\n\f\r ]"),
                    Some(b'/') => out.push(b'/'),
                    Some(other) => out.extend([b'\\', *other]),
                    None => out.push(b'\\'),
                }
            }
            b'[' => {
                let end = class_end(text, at);
                class(&text[at..=end.min(text.len() - 1)], &mut out);
                at = end;
            }
            b'(' if text[at..].starts_with(b"(?#") => {
                at += text[at..].iter().position(|byte| *byte == b')').unwrap_or(text.len());
            }
            b'{' if quantifier_end(text, at).is_none() => out.extend(br"\{"),
            b'{' => {
                let end = quantifier_end(text, at).unwrap_or(at);
                out.extend(&text[at..=end]);
                at = end;
            }
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A class from its `[` to its `]`.
fn class(text: &[u8], out: &mut Vec<u8>) {
    let Some((b'[', inner)) = text.split_first() else { return };
    let (inner, closed) = match inner.split_last() {
        Some((b']', inner)) => (inner, true),
        _ => (inner, false),
    };
    out.push(b'[');
    let mut at = 0;
    if inner.first() == Some(&b'^') {
        out.push(b'^');
        at = 1;
    }
    while let Some(byte) = inner.get(at).copied() {
        match byte {
            b'\\' => {
                at += 1;
                match inner.get(at) {
                    Some(b'd') => out.extend(b"0-9"),
                    Some(b'w') => out.extend(b"0-9A-Za-z_"),
                    Some(b's') => out.extend(br"\t\n\f\r "),
                    Some(b'/') => out.push(b'/'),
                    Some(b'b') => out.extend(br"\x08"),
                    Some(other) => out.extend([b'\\', *other]),
                    None => out.extend(br"\\"),
                }
            }
            b'[' => match named_class_end(inner, at) {
                Some(end) if inner.get(at + 1) == Some(&b':') => {
                    out.extend(&inner[at..=end]);
                    at = end;
                }
                _ => out.extend(br"\["),
            },
            b']' | b'&' | b'~' => out.extend([b'\\', byte]),
            b'-' if inner.get(at + 1) == Some(&b'-') || at == 0 || at + 1 == inner.len() => out.extend(br"\-"),
            _ => out.push(byte),
        }
        at += 1;
    }
    if closed {
        out.push(b']');
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn matches(source: &str, text: &str) -> bool {
        let pattern = Pattern::new(source.to_owned(), String::new(), 0..0, &Limits::default()).unwrap();
        pattern.matches(text).unwrap()
    }

    #[test]
    fn syntax_that_the_engine_reads_otherwise_is_rewritten() {
        assert!(matches(r"^v\d+$", "v12"));
        assert!(!matches(r"^v\d+$", "v12\n"));
        assert!(!matches(r"^\d$", "٣"));
        assert!(!matches(r"^\w+$", "é"));
        assert!(matches(r"a(?# a comment)b", "ab"));
        assert!(matches(r"^(a|b)\1$", "aa"));
        assert!(matches(r"^(?!main$).*", "dev"));
        assert!(!matches(r"^(?!main$).*", "main"));
        assert!(matches(r"(?i)MAIN", "main"));
        assert!(matches("[[]", "["));
        assert!(matches("[]a]", "]"));
        assert!(matches("[a&&b]", "&"));
        assert!(matches("[[:digit:]x]", "7"));
        assert!(matches(r"{literal", "{literal"));
        assert!(matches(r"[\w-]+", "-"));
        assert!(matches(r"a\/b", "a/b"));
    }

    #[test]
    fn a_catastrophe_ends_with_the_name_of_its_cap() {
        let pattern =
            Pattern::new(r"^(?:(a|b|ab)(?!c))+\1d$".to_owned(), String::new(), 0..0, &Limits::default()).unwrap();
        let error = pattern.matches(&"ab".repeat(40)).unwrap_err();
        assert!(error.contains("`regex_backtracks`"), "{error}");
    }
}
