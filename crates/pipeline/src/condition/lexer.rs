//! Words of a condition.

use std::ops::Range;

use super::error::{ConditionError, ErrorKind};
use super::shell;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Int(String),
    Str {
        value: String,
        raw: String,
        double: bool,
    },
    Regex {
        source: String,
        flags: String,
    },
    Shell(String),
    /// An operator, a bracket or a comma.
    Sign(&'static str),
    End,
}

impl Token {
    /// For messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Name(text) | Self::Int(text) | Self::Shell(text) => format!("`{text}`"),
            Self::Str { raw, double: true, .. } => format!("`\"{raw}\"`"),
            Self::Str { raw, double: false, .. } => format!("`'{raw}'`"),
            Self::Regex { source, flags } => format!("`/{source}/{flags}`"),
            Self::Sign(sign) => format!("`{sign}`"),
            Self::End => "the end".to_owned(),
        }
    }
}

/// Signs, longer ones first.
const SIGNS: [&str; 16] = ["==", "!=", "=~", "!~", "&&", "||", "?", ":", "!", "(", ")", "[", "]", ",", ".", "="];

pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn blank(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
            self.at += blank;
            if !self.rest().starts_with("//") {
                return;
            }
            let rest = self.rest();
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
    }

    pub(super) fn next(&mut self) -> Result<(Token, Range<usize>), ConditionError> {
        self.blank();
        let start = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok((Token::End, start..start)) };
        let token = match first {
            '"' | '\'' => self.string(first)?,
            '/' => self.regex()?,
            '$' => self.shell()?,
            c if c.is_ascii_alphabetic() || c == '_' => Token::Name(self.name()?),
            c if c.is_ascii_digit() => {
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                self.at += end;
                Token::Int(rest[..end].to_owned())
            }
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(&"=") => {
                    return self.fail(1, "`=` is not a comparison", Some("write `==`"));
                }
                Some(sign) => {
                    self.at += sign.len();
                    Token::Sign(sign)
                }
                None if first == '&' => return self.fail(1, "`&` is not an operator", Some("write `&&`")),
                None if first == '|' => return self.fail(1, "`|` is not an operator", Some("write `||`")),
                None => return self.fail(first.len_utf8(), &format!("`{first}` has no meaning here"), None),
            },
        };
        Ok((token, start..self.at))
    }

    fn fail<T>(&self, length: usize, message: &str, help: Option<&str>) -> Result<T, ConditionError> {
        let mut error = ConditionError::new(ErrorKind::Parse, self.at..self.at + length, message);
        error.help = help.map(str::to_owned);
        Err(error)
    }

    fn name(&mut self) -> Result<String, ConditionError> {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(rest.len());
        let name = &rest[..end];
        if name.ends_with('.') || name.contains("..") {
            return self.fail(end, &format!("`{name}` is not a name"), Some("between two dots stands a word"));
        }
        self.at += end;
        Ok(name.to_owned())
    }

    fn string(&mut self, quote: char) -> Result<Token, ConditionError> {
        let bytes = self.text.as_bytes();
        let begin = self.at + 1;
        let mut at = begin;
        let mut value = Vec::new();
        loop {
            match bytes.get(at) {
                None => return self.fail(self.text.len() - self.at, "a text is not closed", Some("add the quote")),
                Some(byte) if *byte == quote as u8 => break,
                Some(b'\\') => {
                    let escape =
                        if quote == '"' { shell::double_escape(bytes, at) } else { shell::single_escape(bytes, at) };
                    match escape {
                        Ok((bytes, next)) => {
                            value.extend(bytes);
                            at = next;
                        }
                        Err(message) => return self.fail(self.text.len() - self.at, &message, None),
                    }
                }
                Some(byte) => {
                    value.push(*byte);
                    at += 1;
                }
            }
        }
        let raw = self.text.get(begin..at).unwrap_or("").to_owned();
        self.at = at + 1;
        Ok(Token::Str { value: String::from_utf8_lossy(&value).into_owned(), raw, double: quote == '"' })
    }

    fn regex(&mut self) -> Result<Token, ConditionError> {
        let rest = self.rest();
        let mut escaped = false;
        let mut end = None;
        for (at, c) in rest.char_indices().skip(1) {
            if c == '/' && !escaped {
                end = Some(at);
                break;
            }
            escaped = c == '\\' && !escaped;
        }
        let Some(end) = end else {
            return self.fail(rest.len(), "a regular expression is not closed", Some("add the `/`"));
        };
        let source = rest[1..end].to_owned();
        let flags = &rest[end + 1..];
        let length = flags.find(|c: char| !(c.is_ascii_alphabetic() || c == '_')).unwrap_or(flags.len());
        self.at += end + 1 + length;
        Ok(Token::Regex { source, flags: flags[..length].to_owned() })
    }

    fn shell(&mut self) -> Result<Token, ConditionError> {
        match shell::expansion(self.text.as_bytes(), self.at) {
            Some(end) => {
                let raw = self.text.get(self.at..end).unwrap_or("").to_owned();
                self.at = end;
                Ok(Token::Shell(raw))
            }
            None => {
                let length = if self.rest().starts_with("${") { self.rest().len() } else { 1 };
                self.fail(length, "`$` is not followed by a name", Some("write `$NAME` or `build.env(\"NAME\")`"))
            }
        }
    }
}
