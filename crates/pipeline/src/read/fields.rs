//! The attributes of one map, each asked for once.

use std::cell::Cell;

use super::Reader;
use crate::codes::Code;
use crate::source::Span;
use crate::yaml::{Entry, Map, Node};

/// The entries of a map, with a note of which have been asked for.
pub(super) struct Fields<'n> {
    entries: &'n [Entry],
    used: Vec<Cell<bool>>,
    /// Where to point when the map as a whole is meant.
    pub(super) span: Span,
}

/// An attribute's value and the key that it stood under.
#[derive(Clone, Copy)]
pub(super) struct Field<'n> {
    pub(super) key: &'n str,
    pub(super) key_span: Span,
    pub(super) node: &'n Node,
}

impl Field<'_> {
    /// Where to point at the value; where it is missing, at the key.
    pub(super) fn value_span(&self) -> Span {
        if self.node.is_null() && self.node.span.start >= self.node.span.end { self.key_span } else { self.node.span }
    }
}

impl<'n> Fields<'n> {
    pub(super) fn new(map: &'n Map, span: Span) -> Self {
        Self { entries: map, used: map.iter().map(|_| Cell::new(false)).collect(), span }
    }

    /// The attribute under the first of its names that is there; what stands under its other names is reported.
    pub(super) fn take(&self, reader: &mut Reader<'_, '_>, names: &[&str]) -> Option<Field<'n>> {
        let mut found: Option<Field<'n>> = None;
        for name in names {
            let Some(field) = self.take_one(name) else { continue };
            if let Some(first) = found {
                reader
                    .report
                    .warn(
                        Code::DuplicateAttribute,
                        field.key_span,
                        format!("`{}` and `{}` are the same attribute; `{0}` counts", first.key, field.key),
                    )
                    .help(format!("keep `{}`", first.key));
            } else {
                found = Some(field);
            }
        }
        found
    }

    /// Like [`Fields::take`], where the first name that is there wins and the others are of no account.
    pub(super) fn take_first(&self, names: &[&str]) -> Option<Field<'n>> {
        let found: Vec<Field<'n>> = names.iter().filter_map(|name| self.take_one(name)).collect();
        found.first().copied()
    }

    pub(super) fn take_one(&self, name: &str) -> Option<Field<'n>> {
        let (entry, used) = self.entries.iter().zip(&self.used).find(|(entry, _)| &*entry.key == name)?;
        used.set(true);
        Some(Field { key: &entry.key, key_span: entry.key_span, node: &entry.node })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| &*entry.key == name)
    }

    /// What nobody has asked for.
    pub(super) fn rest(&self) -> impl Iterator<Item = &'n Entry> {
        self.entries.iter().zip(&self.used).filter(|(_, used)| !used.get()).map(|(entry, _)| entry)
    }
}
