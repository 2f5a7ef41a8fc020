//! `$NAME` and `${NAME…}` inside conditions, with the operators of a shell: `:-`, `-`, `:+`, `+`, `:?`, `?`, `:`.
//!
//! This is not the interpolation of the file: it happens when the condition is evaluated, with the build's variables.

use std::collections::HashMap;

/// What `$` sees.
pub(super) type Env = HashMap<String, String>;

/// Bytes that an escape stands for and where it ends.
type Escape = Result<(Vec<u8>, usize), String>;

/// The escape in a text in single quotes at the backslash `at`.
pub(super) fn single_escape(text: &[u8], at: usize) -> Escape {
    match text.get(at + 1) {
        None => Err("a text ends with a backslash".to_owned()),
        Some(byte @ (b'\\' | b'\'')) => Ok((vec![*byte], at + 2)),
        Some(byte) => Ok((vec![b'\\', *byte], at + 2)),
    }
}

/// The escape in a text in double quotes at the backslash `at`.
pub(super) fn double_escape(text: &[u8], at: usize) -> Escape {
    let Some(byte) = text.get(at + 1).copied() else { return Err("a text ends with a backslash".to_owned()) };
    let one = |byte: u8| Ok((vec![byte], at + 2));
    match byte {
        b'n' => one(b'\n'),
        b's' => one(b' '),
        b'r' => one(b'\r'),
        b't' => one(b'\t'),
        b'v' => one(0x0b),
        b'f' => one(0x0c),
        b'b' => one(0x08),
        b'a' => one(0x07),
        b'e' => one(0x1b),
        b'x' => match digits(text, at + 2, 2, 16) {
            Some((value, end)) if end == at + 4 => Ok((vec![value.to_le_bytes()[0]], end)),
            _ => one(b'x'),
        },
        b'0'..=b'7' => match digits(text, at + 1, 3, 8) {
            Some((value, end)) if value <= 0xff => Ok((vec![value.to_le_bytes()[0]], end)),
            _ => Err("an octal escape is beyond `\\377`".to_owned()),
        },
        other => one(other),
    }
}

/// A number of at most `most` digits, and where it ends.
fn digits(text: &[u8], at: usize, most: usize, base: u32) -> Option<(u32, usize)> {
    let mut value = 0;
    let mut end = at;
    while end < at + most {
        let Some(digit) = text.get(end).and_then(|byte| char::from(*byte).to_digit(base)) else { break };
        value = value * base + digit;
        end += 1;
    }
    (end > at).then_some((value, end))
}

fn name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn name_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where the expansion that begins at the dollar `at` ends; `None` where it is none.
pub(super) fn expansion(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at + 1)? {
        byte if name_start(*byte) => {
            // Dots are taken along and stay what they are, behind the value.
            let length = text[at + 2..].iter().take_while(|byte| name_part(**byte) || **byte == b'.').count();
            Some(at + 2 + length)
        }
        b'{' => braces(text, at + 2),
        _ => None,
    }
}

/// Where the braces end whose inside begins at `at`.
fn braces(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 1;
    loop {
        match text.get(at)? {
            b'\\' => at += 2,
            b'"' | b'\'' => at = quoted(text, at)?,
            b'$' if text.get(at + 1) == Some(&b'{') => {
                depth += 1;
                at += 2;
            }
            b'}' => {
                depth -= 1;
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
}

/// Where the quoted text that begins at `at` ends.
fn quoted(text: &[u8], at: usize) -> Option<usize> {
    let quote = *text.get(at)?;
    let mut escaped = false;
    for (offset, byte) in text[at + 1..].iter().enumerate() {
        if *byte == quote && !escaped {
            return Some(at + offset + 2);
        }
        escaped = *byte == b'\\' && !escaped;
    }
    None
}

/// Whether a text in double quotes holds something that depends on the environment.
pub(super) fn has_expansion(raw: &str) -> bool {
    let text = raw.as_bytes();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at = match byte {
            b'$' if text.get(at + 1) == Some(&b'$') => at + 2,
            b'$' if expansion(text, at).is_some() => return true,
            b'\\' => double_escape(text, at).map_or(at + 1, |(_, next)| next),
            _ => at + 1,
        };
    }
    false
}

/// Evaluates expansions under a budget of nesting and of text.
pub(super) struct Shell<'e> {
    pub(super) env: &'e Env,
}

/// How deep expansions may be nested. The parser's cap on the condition's length bounds everything else.
const DEPTH: usize = 64;

impl Shell<'_> {
    /// The value of a text in double quotes.
    pub(super) fn text(&self, raw: &str) -> Result<String, String> {
        self.bytes(raw.as_bytes(), 0).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The value of an expansion; `None` where the variable is not set.
    pub(super) fn expand(&self, raw: &str) -> Result<Option<String>, String> {
        let value = self.expansion(raw.as_bytes(), 0)?;
        Ok(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn bytes(&self, raw: &[u8], depth: usize) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < raw.len() {
            at = match raw[at] {
                b'"' | b'\'' => self.quotes(raw, at, depth, &mut out)?,
                _ => self.one(raw, at, depth, &mut out)?,
            };
        }
        Ok(out)
    }

    /// One character, escape or expansion; where it ends.
    fn one(&self, raw: &[u8], at: usize, depth: usize, out: &mut Vec<u8>) -> Result<usize, String> {
        match raw[at] {
            b'$' if raw.get(at + 1) == Some(&b'$') => {
                out.push(b'$');
                Ok(at + 2)
            }
            b'$' => match expansion(raw, at) {
                Some(end) => {
                    out.extend(self.expansion(&raw[at..end], depth + 1)?.unwrap_or_default());
                    Ok(end)
                }
                None => {
                    out.push(b'$');
                    Ok(at + 1)
                }
            },
            b'\\' => {
                let (bytes, next) = double_escape(raw, at)?;
                out.extend(bytes);
                Ok(next)
            }
            byte => {
                out.push(byte);
                Ok(at + 1)
            }
        }
    }

    /// A quoted part of a default; where it ends.
    fn quotes(&self, raw: &[u8], start: usize, depth: usize, out: &mut Vec<u8>) -> Result<usize, String> {
        let quote = raw[start];
        let mut at = start + 1;
        loop {
            match raw.get(at) {
                None => return Err("a text in an expansion is not closed".to_owned()),
                Some(byte) if *byte == quote => return Ok(at + 1),
                Some(b'\\') if quote == b'\'' => {
                    let (bytes, next) = single_escape(raw, at)?;
                    out.extend(bytes);
                    at = next;
                }
                Some(byte) if quote == b'\'' => {
                    out.push(*byte);
                    at += 1;
                }
                Some(_) => at = self.one(raw, at, depth, out)?,
            }
        }
    }

    fn expansion(&self, raw: &[u8], depth: usize) -> Result<Option<Vec<u8>>, String> {
        let shown = || String::from_utf8_lossy(raw).into_owned();
        if depth > DEPTH {
            return Err(format!("expansions are nested more than {DEPTH} deep"));
        }
        if let Some(inner) = raw.strip_prefix(b"${").and_then(|inner| inner.strip_suffix(b"}")) {
            return self.braced(inner, depth).ok_or_else(|| format!("`{}` is not an expansion", shown()))?;
        }
        let inner = raw.strip_prefix(b"$").unwrap_or(raw);
        let (name, rest) = split_name(inner).ok_or_else(|| format!("`{}` is not an expansion", shown()))?;
        let value = self.env.get(name).map(|value| value.as_bytes().to_vec());
        if rest.is_empty() {
            return Ok(value);
        }
        let mut value = value.unwrap_or_default();
        value.extend(rest);
        Ok(Some(value))
    }

    /// The value of what stands between braces; `None` where that is malformed.
    fn braced(&self, inner: &[u8], depth: usize) -> Option<Result<Option<Vec<u8>>, String>> {
        let (name, rest) = split_name(inner)?;
        let value = self.env.get(name).map(String::as_str);
        if rest.is_empty() {
            return Some(Ok(value.map(|value| value.as_bytes().to_vec())));
        }
        let (colon, operator) = match rest {
            [b':', operator @ (b'-' | b'+' | b'?'), ..] => (true, *operator),
            [operator @ (b'-' | b'+' | b'?'), ..] => (false, *operator),
            [b':', ..] => return Some(self.substring(value, &rest[1..], depth)),
            _ => return None,
        };
        let word = &rest[if colon { 2 } else { 1 }..];
        // With a colon, empty counts as not set.
        let value = value.filter(|value| !(colon && value.is_empty()));
        Some(match (operator, value) {
            (b'+', None) => Ok(Some(Vec::new())),
            (b'+', Some(_)) | (b'-', None) => self.bytes(word, depth).map(Some),
            (b'?', None) => Err(format!("`{name}` is not set")),
            (_, Some(value)) => Ok(Some(value.as_bytes().to_vec())),
            (_, None) => Ok(None),
        })
    }

    /// A part of a value; offset and length count characters.
    fn substring(&self, value: Option<&str>, raw: &[u8], depth: usize) -> Result<Option<Vec<u8>>, String> {
        let parts = split_top(raw);
        if parts.len() > 2 {
            return Err(format!("`{}` is not an offset and a length", String::from_utf8_lossy(raw)));
        }
        let offset = self.integer(parts.first().copied().unwrap_or_default(), depth)?;
        let Some(value) = value else { return Ok(None) };
        let characters: Vec<char> = value.chars().collect();
        let size = i64::try_from(characters.len()).unwrap_or(i64::MAX);
        let from = if offset < 0 { size.saturating_add(offset).max(0) } else { offset };
        if from >= size {
            return Ok(Some(Vec::new()));
        }
        let to = match parts.get(1) {
            None => size,
            Some(part) => match self.integer(part, depth)? {
                length if length < 0 => size.saturating_add(length),
                length => from.saturating_add(length),
            },
        };
        let to = to.clamp(from, size);
        let index = |at: i64| usize::try_from(at).unwrap_or(0);
        let part: String = characters[index(from)..index(to)].iter().collect();
        Ok(Some(part.into_bytes()))
    }

    fn integer(&self, raw: &[u8], depth: usize) -> Result<i64, String> {
        let text = self.bytes(raw, depth)?;
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        let digits = text.strip_prefix('-').unwrap_or(&text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("`{text}` is not a whole number, in a substring"));
        }
        text.parse().map_err(|_| format!("`{text}` is too large, in a substring"))
    }
}

fn split_name(text: &[u8]) -> Option<(&str, &[u8])> {
    if !text.first().is_some_and(|byte| name_start(*byte)) {
        return None;
    }
    let end = text.iter().position(|byte| !name_part(*byte)).unwrap_or(text.len());
    Some((std::str::from_utf8(&text[..end]).ok()?, &text[end..]))
}

/// Splits at colons that stand in no quotes and in no inner braces.
fn split_top(raw: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let (mut start, mut at, mut depth) = (0, 0, 0usize);
    while let Some(byte) = raw.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' | b'\'' => {
                if let Some(end) = quoted(raw, at) {
                    at = end - 1;
                }
            }
            b'$' if raw.get(at + 1) == Some(&b'{') => {
                depth += 1;
                at += 1;
            }
            b'}' if depth > 0 => depth -= 1,
            b':' if depth == 0 => {
                parts.push(&raw[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    parts.push(raw.get(start..).unwrap_or_default());
    parts
}
