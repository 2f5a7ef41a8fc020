//! Interpolation of a whole pipeline: every text, keys and values (`spec/pipeline.md` 1.9).

use std::collections::HashMap;
use std::rc::Rc;

use super::{InterpolateError, Known, Lookup, expand};
use crate::codes::Code;
use crate::context::{Context, Unset};
use crate::limits::Limits;
use crate::source::{Report, Span};
use crate::yaml::{Entry, Map, Node, Value};

/// Interpolates the tree of a pipeline. The top-level `env` comes first, entry by entry: each result is a variable for
/// what follows, and by default beats a variable of the build.
pub(crate) fn interpolate_tree(root: &mut Node, context: &Context, report: &mut Report<'_>) {
    let mut env = Variables { values: context.interpolation_env().into_iter().collect(), unset: context.unset };
    let prefer_build_env = context.prefer_build_env;
    let mut walk = Walk { report, limits: &context.limits, bytes: 0, stopped: false };
    match &mut root.value {
        Value::Map(map) => {
            if let Some(entry) = map.iter_mut().find(|entry| &*entry.key == "env") {
                walk.top_env(&mut entry.node, &mut env, prefer_build_env);
            }
            for entry in map.iter_mut().filter(|entry| &*entry.key != "env") {
                walk.entry(entry, &env);
            }
            walk.unique(map);
        }
        _ => walk.node(root, &env),
    }
}

struct Variables {
    values: HashMap<String, String>,
    unset: Unset,
}

impl Lookup for Variables {
    fn lookup(&self, name: &str) -> Known<'_> {
        match (self.values.get(name), self.unset) {
            (Some(value), _) => Known::Set(value),
            (None, Unset::Empty) => Known::Unset,
            (None, Unset::Unknown) => Known::Unknown,
        }
    }
}

struct Walk<'r, 'a, 'l> {
    report: &'r mut Report<'a>,
    limits: &'l Limits,
    bytes: usize,
    stopped: bool,
}

impl Walk<'_, '_, '_> {
    fn top_env(&mut self, node: &mut Node, env: &mut Variables, prefer_build_env: bool) {
        let Value::Map(map) = &mut node.value else {
            self.node(node, env);
            return;
        };
        for entry in map.iter_mut() {
            // A number or a boolean is a variable's value too, though there is nothing to interpolate in it.
            self.entry(entry, env);
            if prefer_build_env && env.values.contains_key(&*entry.key) {
                continue;
            }
            if entry.node.unknown {
                env.values.remove(&*entry.key);
            } else if let Some(value) = entry.node.text() {
                env.values.insert(entry.key.to_string(), value.to_string());
            } else if entry.node.is_null() {
                env.values.insert(entry.key.to_string(), String::new());
            }
        }
        self.unique(map);
    }

    fn node(&mut self, node: &mut Node, env: &Variables) {
        if self.stopped {
            return;
        }
        match &mut node.value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::Str(text) => {
                if let Some((done, unknown)) = self.text(text, node.span, env) {
                    *text = done;
                    node.unknown |= unknown;
                    node.quoted = true;
                }
            }
            Value::Seq(items) => {
                for item in items {
                    self.node(item, env);
                }
            }
            Value::Map(map) => {
                for entry in map.iter_mut() {
                    self.entry(entry, env);
                }
                self.unique(map);
            }
        }
    }

    fn entry(&mut self, entry: &mut Entry, env: &Variables) {
        if let Some((key, unknown)) = self.text(&entry.key, entry.key_span, env) {
            entry.key = key;
            entry.key_unknown |= unknown;
        }
        self.node(&mut entry.node, env);
    }

    /// The interpolated text, where it differs or had something to interpolate.
    fn text(&mut self, text: &Rc<str>, span: Span, env: &Variables) -> Option<(Rc<str>, bool)> {
        if self.stopped {
            return None;
        }
        if !text.contains('$') {
            self.spend(text.len(), span);
            return None;
        }
        match expand(text, env, self.limits.expression_depth) {
            Ok(done) => {
                self.spend(done.text.len(), span);
                Some((Rc::from(done.text), done.unknown))
            }
            Err(error) => {
                self.fail(text, span, &error);
                // Reported once; what is made of the text is not judged as well.
                Some((Rc::from(""), true))
            }
        }
    }

    fn fail(&mut self, text: &str, span: Span, error: &InterpolateError) {
        let place = place_within(self.report, span, text, error.start, error.end);
        if error.required {
            self.report
                .error(Code::RequiredVariable, place, format!("a required variable has no value: {}", error.message))
                .help("set it in the build's environment, or write `${NAME:-default}`");
        } else {
            self.report
                .error(Code::Interpolation, place, format!("cannot interpolate: {}", error.message))
                .help("write `$$` where a dollar is meant");
        }
    }

    fn spend(&mut self, bytes: usize, span: Span) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.expanded_bytes && !self.stopped {
            self.stopped = true;
            let limit = self.limits.expanded_bytes;
            self.report
                .error(Code::TooLarge, span, format!("more than {limit} bytes of text after interpolation"))
                .help(Limits::raise("expanded_bytes"));
        }
    }

    /// Two keys may have become one. The later wins, at the place of the earlier.
    fn unique(&mut self, map: &mut Map) {
        if !map.iter().any(|entry| self.report.text.get(entry.key_span).contains('$')) {
            return;
        }
        let mut seen: HashMap<Rc<str>, usize> = HashMap::new();
        let mut out: Map = Vec::with_capacity(map.len());
        for entry in map.drain(..) {
            match seen.get(&entry.key) {
                Some(place) if !entry.key_unknown => {
                    self.report
                        .warn(
                            Code::DuplicateKey,
                            entry.key_span,
                            format!("interpolation makes the key `{}` a second time; this one wins", entry.key),
                        )
                        .help("give the two keys different names");
                    if let Some(earlier) = out.get_mut(*place) {
                        *earlier = entry;
                    }
                }
                _ => {
                    seen.insert(Rc::clone(&entry.key), out.len());
                    out.push(entry);
                }
            }
        }
        *map = out;
    }
}

/// In a longer scalar a part is not looked for: the scalar as a whole is pointed at.
const SEARCHED: usize = 64 << 10;

/// Where a part of a scalar's value stands in the text. Quoting, escapes and the indentation of blocks make the two
/// differ, so the part is searched for: as often as it occurs before, so often is it skipped.
pub(crate) fn place_within(report: &Report<'_>, span: Span, value: &str, start: usize, end: usize) -> Span {
    let source = report.text.get(span);
    if source.len() > SEARCHED {
        return span;
    }
    let Some(part) = value.get(start..end).filter(|part| !part.is_empty()) else { return span };
    // A part of several lines is looked for by its first.
    let part = part.split('\n').next().unwrap_or(part);
    let earlier = value.get(..start).map_or(0, |before| before.matches(part).count());
    match source.match_indices(part).nth(earlier) {
        Some((at, found)) => span.part(at, at + found.len()),
        None => span,
    }
}
