//! `$NAME`, `${NAME:-default}` and the like (`spec/pipeline.md` 1.9).

mod parse;
mod tree;

use parse::{Item, Operation, Piece};
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
    let mut out = Vec::new();
    names(&parse::parse(text, DEPTH)?, text, &mut out);
    Ok(out)
}

/// The variables that are replaced in a text, defaults included, and the bytes of each expansion.
pub(crate) fn identifier_places(text: &str) -> Result<Vec<(String, std::ops::Range<usize>)>, InterpolateError> {
    let mut out = Vec::new();
    places(&parse::parse(text, DEPTH)?, &mut out);
    Ok(out)
}

fn places(items: &[Item<'_>], out: &mut Vec<(String, std::ops::Range<usize>)>) {
    for item in items {
        let Piece::Variable { name, operation } = &item.piece else { continue };
        out.push(((*name).to_owned(), item.start..item.end));
        match operation {
            Operation::IfEmpty(items) | Operation::IfUnset(items) | Operation::Required(items) => places(items, out),
            Operation::Plain | Operation::Substring { .. } => {}
        }
    }
}

fn names(items: &[Item<'_>], text: &str, out: &mut Vec<String>) {
    for item in items {
        match &item.piece {
            Piece::Text(_) => {}
            Piece::Escaped => out.push(format!("${}", parse::after_escape(text, item.end))),
            Piece::Variable { name, operation } => {
                out.push((*name).to_owned());
                // The other implementation looks into the default of `:-` alone.
                if let Operation::IfEmpty(items) = operation {
                    names(items, text, out);
                }
            }
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
    let mut out = Expanded { text: String::with_capacity(text.len()), unknown: false };
    let items = parse::parse(text, depth)?;
    write(&items, env, &mut out)?;
    Ok(out)
}

fn write<L: Lookup + ?Sized>(items: &[Item<'_>], env: &L, out: &mut Expanded) -> Result<(), InterpolateError> {
    for item in items {
        match &item.piece {
            Piece::Text(text) => out.text.push_str(text),
            Piece::Escaped => out.text.push('$'),
            Piece::Variable { name, operation } => variable(item, name, operation, env, out)?,
        }
    }
    Ok(())
}

fn variable<L: Lookup + ?Sized>(
    item: &Item<'_>,
    name: &str,
    operation: &Operation<'_>,
    env: &L,
    out: &mut Expanded,
) -> Result<(), InterpolateError> {
    let known = env.lookup(name);
    let value = match known {
        Known::Set(value) => value,
        Known::Unset | Known::Unknown => "",
    };
    let unknown = known == Known::Unknown;
    match operation {
        Operation::Plain => {
            out.unknown |= unknown;
            out.text.push_str(value);
        }
        // A default makes the text complete without the variable, so it can be checked.
        Operation::IfEmpty(default) if value.is_empty() => write(default, env, out)?,
        Operation::IfUnset(default) if !matches!(known, Known::Set(_)) => write(default, env, out)?,
        Operation::IfEmpty(_) | Operation::IfUnset(_) => out.text.push_str(value),
        Operation::Substring { offset, length } => {
            out.unknown |= unknown;
            out.text.push_str(substring(value, *offset, *length));
        }
        Operation::Required(message) => {
            if known == Known::Unset {
                let mut said = Expanded { text: String::new(), unknown: false };
                write(message, env, &mut said)?;
                let said = if said.text.is_empty() { "not set" } else { said.text.as_str() };
                return Err(InterpolateError {
                    message: format!("${name}: {said}"),
                    start: item.start,
                    end: item.end,
                    required: true,
                });
            }
            out.unknown |= unknown;
            out.text.push_str(value);
        }
    }
    Ok(())
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
