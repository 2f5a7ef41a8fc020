//! YAML to a tree that knows where each piece stands in the text.
//!
//! The tree is what `gopkg.in/yaml.v3` makes of a text (`spec/pipeline.md` 1.2): the same scalars, the same merge
//! keys, the same coercion of map keys to strings. Aliases are followed while the tree is built, under a budget.

mod read;
mod scalar;

use std::rc::Rc;

use crate::source::Span;

pub(crate) use read::parse;
pub(crate) use scalar::Number;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// Where it was written; through an alias, where the anchor is.
    pub(crate) span: Span,
    /// Depends on a variable whose value is not known here, so that checks of the value have to wait.
    pub(crate) unknown: bool,
    /// Written in quotes or as a block: a string whatever it looks like.
    pub(crate) quoted: bool,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Str(Rc<str>),
    Seq(Vec<Node>),
    Map(Map),
}

/// Entries in the order of the text, keys unique.
pub(crate) type Map = Vec<Entry>;

/// A key and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Rc<str>,
    pub(crate) key_span: Span,
    /// The key holds a variable whose value is not known here.
    pub(crate) key_unknown: bool,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn new(value: Value, span: Span) -> Self {
        Self { value, span, unknown: false, quoted: false }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The text of a scalar as the other implementation prints it; `None` for null, lists and maps.
    pub(crate) fn text(&self) -> Option<Rc<str>> {
        match &self.value {
            Value::Str(text) => Some(Rc::clone(text)),
            Value::Bool(value) => Some(Rc::from(if *value { "true" } else { "false" })),
            Value::Number(number) => Some(Rc::from(number.to_string())),
            Value::Null | Value::Seq(_) | Value::Map(_) => None,
        }
    }

    /// What it is, for messages: `a list`, `the number 3`.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("`{value}`"),
            Value::Number(number) => format!("the number `{number}`"),
            Value::Str(text) if text.is_empty() => "an empty text".to_owned(),
            Value::Str(text) => format!("`{}`", shorten(text)),
            Value::Seq(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

/// The first line of a text, at most 40 characters of it.
pub(crate) fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    let mut out: String = line.chars().take(40).collect();
    if out.len() < text.trim_end().len() {
        out.push('…');
    }
    out
}

/// The entry of a key.
pub(crate) fn get<'m>(map: &'m Map, key: &str) -> Option<&'m Entry> {
    map.iter().find(|entry| &*entry.key == key)
}
