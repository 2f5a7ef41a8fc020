//! `$NAME`, `${NAME:-default}` and the like (`spec/pipeline.md` 1.9).

mod parse;
mod tree;

use parse::{Handler, Operation};
use thiserror::Error;

pub(crate) use tree::{interpolate_tree, place_within};

/// Why a text could not be interpolated.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{message}")]
pub struct InterpolateError {
    /// What is wrong.
    pub message: String,
    /// First byte of the part of the text that is wrong.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
    /// Whether a `${NAME?}` had no value, rather than that the text is malformed.
    pub required: bool,
}

/// What an interpolation knows of a variable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Known<'v> {
    Set(&'v str),
    Unset,
    /// It may have a value when the text is used in earnest.
    Unknown,
}

/// Where values come from.
pub(crate) trait Lookup {
    fn lookup(&self, name: &str) -> Known<'_>;
}

impl<F: Fn(&str) -> Option<&'static str>> Lookup for F {
    fn lookup(&self, name: &str) -> Known<'_> {
        self(name).map_or(Known::Unset, Known::Set)
    }
}

/// A slice of variables; the last of several with one name counts.
impl Lookup for [(String, String)] {
    fn lookup(&self, name: &str) -> Known<'_> {
        self.iter().rev().find(|(key, _)| key == name).map_or(Known::Unset, |(_, value)| Known::Set(value))
    }
}

/// The most that braces may be nested where no [`Limits`](crate::Limits) are at hand.
const DEPTH: usize = 64;

/// Interpolates a text with the given variables, as `pipeline upload` does.
///
/// # Errors
///
/// When the text is malformed, such as `${`, or a variable that `${NAME?}` requires is not set.
pub fn interpolate(text: &str, env: &[(String, String)]) -> Result<String, InterpolateError> {
    expand(text, env, DEPTH).map(|done| done.text)
}

/// The names of the variables in a text, in order. One that is escaped has a `$` in front.
///
/// # Errors
///
/// When the text is malformed.
pub fn identifiers(text: &str) -> Result<Vec<String>, InterpolateError> {
    let mut names = Names { text, found: Vec::new() };
    parse::parse(text, DEPTH, &mut names)?;
    Ok(names.found)
}

/// Collects names as the other implementation does, which looks into the default of `:-` alone.
struct Names<'t> {
    text: &'t str,
    found: Vec<String>,
}

impl Handler for Names<'_> {
    fn text(&mut self, _: &str) {}

    fn escaped(&mut self, at: usize) {
        self.found.push(format!("${}", parse::after_escape(self.text, at, DEPTH)));
    }

    fn enter(&mut self, name: &str, operation: Operation, _: usize) -> bool {
        self.found.push(name.to_owned());
        operation == Operation::IfEmpty
    }

    fn leave(&mut self, _: &str, _: Operation, _: usize, _: usize) {}
}

/// The first variables that are replaced in a text, defaults included, and the bytes at which each expansion begins
/// and its name ends.
pub(crate) fn identifier_places(
    text: &str,
    most: usize,
) -> Result<Vec<(String, std::ops::Range<usize>)>, InterpolateError> {
    let mut places = Places { found: Vec::new(), most };
    parse::parse(text, DEPTH, &mut places)?;
    Ok(places.found)
}

struct Places {
    found: Vec<(String, std::ops::Range<usize>)>,
    most: usize,
}

impl Handler for Places {
    fn text(&mut self, _: &str) {}

    fn escaped(&mut self, _: usize) {}

    fn enter(&mut self, _: &str, _: Operation, _: usize) -> bool {
        true
    }

    fn leave(&mut self, name: &str, _: Operation, start: usize, end: usize) {
        if self.found.len() < self.most {
            self.found.push((name.to_owned(), start..end));
        }
    }
}

/// An interpolated text.
pub(crate) struct Expanded {
    pub(crate) text: String,
    /// Whether a variable of unknown value went into it.
    pub(crate) unknown: bool,
}

/// Interpolates, or says at which bytes of the text it went wrong.
pub(crate) fn expand<L: Lookup + ?Sized>(text: &str, env: &L, depth: usize) -> Result<Expanded, InterpolateError> {
    let out = Expanded { text: String::with_capacity(text.len()), unknown: false };
    let mut expander = Expander { env, out, messages: Vec::new(), failed: None };
    // That a text is malformed comes before that a variable is missing.
    parse::parse(text, depth, &mut expander)?;
    expander.failed.map_or(Ok(expander.out), Err)
}

struct Expander<'e, L: ?Sized> {
    env: &'e L,
    out: Expanded,
    /// Where the messages of required variables without a value begin in the result.
    messages: Vec<usize>,
    /// The first required variable without a value.
    failed: Option<InterpolateError>,
}

impl<L: Lookup + ?Sized> Handler for Expander<'_, L> {
    fn text(&mut self, text: &str) {
        self.out.text.push_str(text);
    }

    fn escaped(&mut self, _: usize) {
        self.out.text.push('$');
    }

    fn enter(&mut self, name: &str, operation: Operation, _: usize) -> bool {
        let known = self.env.lookup(name);
        let value = match known {
            Known::Set(value) => value,
            Known::Unset | Known::Unknown => "",
        };
        let unknown = known == Known::Unknown;
        match operation {
            // A default makes the text complete without the variable, so it can be checked.
            Operation::IfEmpty if value.is_empty() => return true,
            Operation::IfUnset if !matches!(known, Known::Set(_)) => return true,
            Operation::IfEmpty | Operation::IfUnset => self.out.text.push_str(value),
            Operation::Required if known == Known::Unset => {
                self.messages.push(self.out.text.len());
                return true;
            }
            Operation::Plain | Operation::Required => {
                self.out.unknown |= unknown;
                self.out.text.push_str(value);
            }
            Operation::Substring { offset, length } => {
                self.out.unknown |= unknown;
                self.out.text.push_str(substring(value, offset, length));
            }
        }
        false
    }

    fn leave(&mut self, name: &str, operation: Operation, start: usize, end: usize) {
        if operation != Operation::Required || self.env.lookup(name) != Known::Unset {
            return;
        }
        let begin = self.messages.pop().unwrap_or(0);
        let said = self.out.text.get(begin..).filter(|said| !said.is_empty()).unwrap_or("not set");
        let message = format!("${name}: {said}");
        self.failed.get_or_insert(InterpolateError { message, start, end, required: true });
    }
}

/// A part of a value. Offsets count bytes, from the end where negative; everything is cut to fit, and a cut inside a
/// character moves to the character's beginning.
fn substring(value: &str, offset: i64, length: Option<i64>) -> &str {
    let size = i64::try_from(value.len()).unwrap_or(i64::MAX);
    let from = if offset < 0 { offset.saturating_add(size).max(0) } else { offset.min(size) };
    let to = match length {
        None => size,
        Some(length) if length >= 0 => from.saturating_add(length).min(size),
        Some(length) => length.saturating_add(size).clamp(from, size),
    };
    let boundary = |at: i64| {
        let mut at = usize::try_from(at).unwrap_or(0).min(value.len());
        while !value.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    value.get(boundary(from)..boundary(to)).unwrap_or("")
}
