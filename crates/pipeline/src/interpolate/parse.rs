//! The grammar of interpolation. Nothing is built: what is read is handed on at once, so that a text of a megabyte
//! costs no more memory than its result.

use super::InterpolateError;

/// What stands behind a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operation {
    /// `$NAME`, `${NAME}`.
    Plain,
    /// `${NAME:-…}`.
    IfEmpty,
    /// `${NAME-…}`.
    IfUnset,
    /// `${NAME:offset}`, `${NAME:offset:length}`.
    Substring { offset: i64, length: Option<i64> },
    /// `${NAME?…}`.
    Required,
}

/// Takes what is read, in order.
pub(super) trait Handler {
    /// Text that stands for itself.
    fn text(&mut self, text: &str);
    /// A dollar that is no expansion; what follows from byte `at` on is read as text.
    fn escaped(&mut self, at: usize);
    /// An expansion begins. Whether its inside, where it has one, is handed on.
    fn enter(&mut self, name: &str, operation: Operation, start: usize) -> bool;
    /// The expansion ends.
    fn leave(&mut self, name: &str, operation: Operation, start: usize, end: usize);
}

pub(super) fn parse(text: &str, depth: usize, handler: &mut dyn Handler) -> Result<(), InterpolateError> {
    Parser { text, at: 0, depth, skip: 0, handler }.items(false)
}

/// What an escaped dollar would have referred to: the name, or the braces with everything in them, or nothing.
/// `at` is the byte after the dollar.
pub(super) fn after_escape(text: &str, at: usize, depth: usize) -> &str {
    let mut parser = Parser { text, at, depth, skip: 1, handler: &mut Nobody };
    match parser.peek() {
        Some('{') if parser.braces(at).is_ok() => {}
        Some(c) if c.is_alphabetic() => {
            parser.name();
        }
        _ => return "",
    }
    text.get(at..parser.at).unwrap_or("")
}

struct Nobody;

impl Handler for Nobody {
    fn text(&mut self, _: &str) {}
    fn escaped(&mut self, _: usize) {}
    fn enter(&mut self, _: &str, _: Operation, _: usize) -> bool {
        false
    }
    fn leave(&mut self, _: &str, _: Operation, _: usize, _: usize) {}
}

struct Parser<'t, 'h> {
    text: &'t str,
    at: usize,
    depth: usize,
    /// Insides that are not handed on.
    skip: usize,
    handler: &'h mut dyn Handler,
}

impl<'t> Parser<'t, '_> {
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
    fn items(&mut self, braced: bool) -> Result<(), InterpolateError> {
        loop {
            let rest = self.rest();
            let start = self.at;
            match rest.as_bytes().first() {
                None => return Ok(()),
                Some(b'}') if braced => return Ok(()),
                Some(b'\\') if rest.starts_with(r"\\") => self.text(2),
                Some(b'\\') if rest.starts_with(r"\$") => self.escaped(),
                Some(b'$') if rest.starts_with("$$") => self.escaped(),
                Some(b'$') if rest.starts_with("$(") => self.text(2),
                Some(b'$') if rest.len() > 1 => self.expansion()?,
                Some(_) => {
                    self.next();
                    self.until(|c| c == '$' || c == '\\' || (braced && c == '}'));
                    let length = self.at - start;
                    self.at = start;
                    self.text(length);
                }
            }
        }
    }

    fn text(&mut self, bytes: usize) {
        let start = self.at;
        self.at += bytes;
        if self.skip == 0 {
            self.handler.text(self.text.get(start..self.at).unwrap_or(""));
        }
    }

    fn escaped(&mut self) {
        self.at += 2;
        if self.skip == 0 {
            self.handler.escaped(self.at);
        }
    }

    fn expansion(&mut self) -> Result<(), InterpolateError> {
        let start = self.at;
        self.at += 1;
        match self.peek() {
            Some('{') => self.braces(start),
            Some(c) if c.is_alphabetic() => {
                let name = self.name();
                self.simple(name, Operation::Plain, start);
                Ok(())
            }
            _ => {
                self.at = start;
                self.text(1);
                Ok(())
            }
        }
    }

    fn name(&mut self) -> &'t str {
        self.until(|c| !(c.is_alphabetic() || c.is_numeric() || c == '_'))
    }

    /// An expansion without an inside.
    fn simple(&mut self, name: &str, operation: Operation, start: usize) {
        if self.skip == 0 {
            self.handler.enter(name, operation, start);
            self.handler.leave(name, operation, start, self.at);
        }
    }

    /// From a `{` to its `}`; `start` is where the expansion began.
    fn braces(&mut self, start: usize) -> Result<(), InterpolateError> {
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
                self.simple(name, Operation::Plain, start);
                return Ok(());
            }
            Some(':') if self.peek() == Some('-') => {
                self.at += 1;
                Operation::IfEmpty
            }
            Some(':') => self.substring(start)?,
            Some('-') => Operation::IfUnset,
            Some('?') => Operation::Required,
            Some(c) => {
                return self.error(start, format!("after `${{{name}` comes `}}`, `:-`, `-`, `:` or `?`, not `{c}`"));
            }
            None => return self.error(start, format!("`${{{name}` is never closed")),
        };
        let wanted = self.skip == 0 && self.handler.enter(name, operation, start);
        if !matches!(operation, Operation::Substring { .. }) {
            self.skip += usize::from(!wanted);
            self.items(true)?;
            self.skip -= usize::from(!wanted);
        }
        if self.next() != Some('}') {
            return self.error(start, format!("`${{{name}` is never closed"));
        }
        self.depth += 1;
        if self.skip == 0 {
            self.handler.leave(name, operation, start, self.at);
        }
        Ok(())
    }

    fn substring(&mut self, start: usize) -> Result<Operation, InterpolateError> {
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
