//! The grammar of interpolation.

use super::InterpolateError;

/// A piece of a text and the bytes it came from.
#[derive(Debug)]
pub(super) struct Item<'t> {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) piece: Piece<'t>,
}

#[derive(Debug)]
pub(super) enum Piece<'t> {
    Text(&'t str),
    /// `$$` or `\$`: a dollar that is no expansion. What follows is read as text.
    Escaped,
    Variable {
        name: &'t str,
        operation: Operation<'t>,
    },
}

#[derive(Debug)]
pub(super) enum Operation<'t> {
    /// `$NAME`, `${NAME}`.
    Plain,
    /// `${NAME:-…}`.
    IfEmpty(Vec<Item<'t>>),
    /// `${NAME-…}`.
    IfUnset(Vec<Item<'t>>),
    /// `${NAME:offset}`, `${NAME:offset:length}`.
    Substring { offset: i64, length: Option<i64> },
    /// `${NAME?…}`.
    Required(Vec<Item<'t>>),
}

pub(super) fn parse(text: &str, depth: usize) -> Result<Vec<Item<'_>>, InterpolateError> {
    let mut parser = Parser { text, at: 0, depth };
    parser.items(false)
}

/// What an escaped dollar would have referred to: the name, or the braces with everything in them, or nothing.
/// `at` is the byte after the dollar.
pub(super) fn after_escape(text: &str, at: usize) -> &str {
    let mut parser = Parser { text, at, depth: super::DEPTH };
    match parser.peek() {
        Some('{') if parser.braces(at).is_ok() => {}
        Some(c) if c.is_alphabetic() => {
            parser.name();
        }
        _ => return "",
    }
    text.get(at..parser.at).unwrap_or("")
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn until(&mut self, stop: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(stop).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn error<T>(&self, start: usize, message: impl Into<String>) -> Result<T, InterpolateError> {
        let end = self.at.max(start + 1).min(self.text.len());
        Err(InterpolateError { message: message.into(), start, end, required: false })
    }

    /// Text and expansions up to the end, or up to a `}` where `braced`.
    fn items(&mut self, braced: bool) -> Result<Vec<Item<'t>>, InterpolateError> {
        let mut out: Vec<Item<'t>> = Vec::new();
        loop {
            let rest = self.rest();
            let start = self.at;
            let piece = match rest.as_bytes().first() {
                None => break,
                Some(b'}') if braced => break,
                Some(b'\\') if rest.starts_with(r"\\") => self.text(2),
                Some(b'\\') if rest.starts_with(r"\$") => self.escaped(),
                Some(b'$') if rest.starts_with("$$") => self.escaped(),
                Some(b'$') if rest.starts_with("$(") => self.text(2),
                Some(b'$') if rest.len() > 1 => self.expansion()?,
                Some(_) => {
                    self.next();
                    self.until(|c| c == '$' || c == '\\' || (braced && c == '}'));
                    Piece::Text(self.text.get(start..self.at).unwrap_or(""))
                }
            };
            out.push(Item { start, end: self.at, piece });
        }
        Ok(out)
    }

    fn text(&mut self, bytes: usize) -> Piece<'t> {
        let start = self.at;
        self.at += bytes;
        Piece::Text(self.text.get(start..self.at).unwrap_or(""))
    }

    fn escaped(&mut self) -> Piece<'t> {
        self.at += 2;
        Piece::Escaped
    }

    fn expansion(&mut self) -> Result<Piece<'t>, InterpolateError> {
        let start = self.at;
        self.at += 1;
        match self.peek() {
            Some('{') => self.braces(start),
            Some(c) if c.is_alphabetic() => Ok(Piece::Variable { name: self.name(), operation: Operation::Plain }),
            _ => Ok(Piece::Text("$")),
        }
    }

    fn name(&mut self) -> &'t str {
        self.until(|c| !(c.is_alphabetic() || c.is_numeric() || c == '_'))
    }

    /// From a `{` to its `}`; `start` is where the expansion began.
    fn braces(&mut self, start: usize) -> Result<Piece<'t>, InterpolateError> {
        if self.depth == 0 {
            return self.error(start, "expansions are nested too deep");
        }
        self.depth -= 1;
        self.at += 1;
        match self.peek() {
            Some(c) if c.is_alphabetic() => {}
            Some(c) => return self.error(start, format!("a variable's name cannot begin with `{c}`")),
            None => return self.error(start, "`${` is never closed"),
        }
        let name = self.name();
        let operation = match self.next() {
            Some('}') => {
                self.depth += 1;
                return Ok(Piece::Variable { name, operation: Operation::Plain });
            }
            Some(':') if self.peek() == Some('-') => {
                self.at += 1;
                Operation::IfEmpty(self.items(true)?)
            }
            Some(':') => self.substring(start)?,
            Some('-') => Operation::IfUnset(self.items(true)?),
            Some('?') => Operation::Required(self.items(true)?),
            Some(c) => {
                return self.error(start, format!("after `${{{name}` comes `}}`, `:-`, `-`, `:` or `?`, not `{c}`"));
            }
            None => return self.error(start, format!("`${{{name}` is never closed")),
        };
        if self.next() != Some('}') {
            return self.error(start, format!("`${{{name}` is never closed"));
        }
        self.depth += 1;
        Ok(Piece::Variable { name, operation })
    }

    fn substring(&mut self, start: usize) -> Result<Operation<'t>, InterpolateError> {
        let offset = self.until(|c| c == ':' || c == '}').trim();
        let Ok(offset) = offset.parse() else {
            return self.error(start, format!("the offset `{offset}` is not a number"));
        };
        if self.peek() != Some(':') {
            return Ok(Operation::Substring { offset, length: None });
        }
        self.at += 1;
        let length = self.until(|c| c == '}').trim();
        let Ok(length) = length.parse() else {
            return self.error(start, format!("the length `{length}` is not a number"));
        };
        Ok(Operation::Substring { offset, length: Some(length) })
    }
}
