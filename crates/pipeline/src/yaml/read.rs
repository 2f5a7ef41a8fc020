//! Events of the YAML parser to a tree, under a budget.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Tag};

use super::scalar::{Number, resolve, resolve_tagged};
use super::{Entry, Map, Node, Value};
use crate::codes::Code;
use crate::limits::Limits;
use crate::source::{Report, Span};

/// Reads the first document of a text (`spec/pipeline.md` 1.2). `None` when it could not be read; the report says why.
pub(crate) fn parse(report: &mut Report<'_>, limits: &Limits) -> Option<Node> {
    let text = report.text.text.clone();
    let nesting = limits.depth + 1;
    let options = granit_parser::options! {
        // As libyaml, and so `yaml.v3`, reads it.
        block_scalar_eof_without_line_feed: true,
        emit_unresolved_aliases: true,
        emit_comments: false,
        flow_nesting_limit: nesting,
        block_nesting_limit: nesting,
    };
    let mut reader = Reader {
        report,
        limits,
        frames: Vec::new(),
        anchors: HashMap::new(),
        open: Vec::new(),
        root: None,
        nodes: 0,
        bytes: 0,
        aliases: 0,
        kept: 0,
    };
    let mut documents = 0;
    for event in Parser::new_from_str_with_options(&text, options) {
        let (event, span) = match event {
            Ok(found) => found,
            // What is wrong with a later document does not concern the first.
            Err(_) if documents > 0 => break,
            Err(error) => {
                reader.scan_error(&error);
                return None;
            }
        };
        let place = span.byte_range().map_or_else(Span::default, |range| Span::new(range.start, range.end));
        match event {
            Event::DocumentStart(..) if documents > 0 => {
                reader
                    .report
                    .warn(Code::ExtraDocument, place, "only the first YAML document is read")
                    .help("remove the `---` or put the steps into one document");
                break;
            }
            Event::DocumentEnd => documents += 1,
            event => reader.event(event, place).ok()?,
        }
    }
    let root = reader.root.take();
    if root.is_none() {
        report
            .error_anywhere(Code::EmptyFile, "the file is empty")
            .help("write `steps:` and at least one step, such as `- command: make test`");
    }
    root
}

/// A budget was used up: what follows is not read.
#[derive(Debug)]
struct Stop;

struct Reader<'r, 'a, 'l> {
    report: &'r mut Report<'a>,
    limits: &'l Limits,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Anchor>,
    /// Anchors whose node is not complete yet.
    open: Vec<usize>,
    root: Option<Node>,
    nodes: usize,
    bytes: usize,
    aliases: usize,
    /// Values in the copies that anchors keep.
    kept: usize,
}

/// A complete node with an anchor, and what a copy of it costs.
struct Anchor {
    node: Node,
    nodes: usize,
    bytes: usize,
}

/// A list or a map that is not complete yet.
struct Frame {
    start: Span,
    anchor: usize,
    nodes_before: usize,
    bytes_before: usize,
    content: Content,
}

enum Content {
    Seq(Vec<Node>),
    Map { entries: Map, index: HashSet<Rc<str>>, merges: Vec<(usize, Node)>, key: Option<Key> },
}

enum Key {
    Plain {
        key: Rc<str>,
        span: Span,
    },
    Merge(Span),
    /// Reported already; its value is dropped.
    Bad,
}

impl Reader<'_, '_, '_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.spend(span, 1, text.len())?;
                let plain = style == ScalarStyle::Plain;
                let merge = plain && text == "<<" && tag.is_none();
                let value = match tag.as_deref().map(core_tag) {
                    Some("str") => Value::Str(Rc::from(&*text)),
                    Some(tag) if !tag.is_empty() => {
                        resolve_tagged(&text, tag).unwrap_or_else(|| Value::Str(Rc::from(&*text)))
                    }
                    _ if plain => resolve(&text).unwrap_or_else(|| Value::Str(Rc::from(&*text))),
                    _ => Value::Str(Rc::from(&*text)),
                };
                let mut node = Node::new(value, span);
                node.quoted = !plain;
                if anchor > 0 {
                    self.anchors.insert(anchor, Anchor { node: node.clone(), nodes: 1, bytes: text.len() });
                }
                self.put(node, merge);
            }
            Event::SequenceStart(_, anchor, _) => self.push(span, anchor, Content::Seq(Vec::new()))?,
            Event::MappingStart(_, anchor, _) => {
                let content =
                    Content::Map { entries: Vec::new(), index: HashSet::new(), merges: Vec::new(), key: None };
                self.push(span, anchor, content)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.pop(span)?,
            Event::Alias(id) => {
                self.spend_alias(span)?;
                if self.open.contains(&id) {
                    self.report
                        .error(Code::AliasCycle, span, "this alias stands inside the anchor that it refers to")
                        .help("an anchor cannot contain itself");
                    self.put(missing(span), false);
                } else if let Some(anchor) = self.anchors.get(&id) {
                    let (nodes, bytes) = (anchor.nodes, anchor.bytes);
                    // Before the copy is made: a bomb costs nothing.
                    self.spend(span, nodes, bytes)?;
                    if let Some(anchor) = self.anchors.get(&id) {
                        let node = anchor.node.clone();
                        self.put(node, false);
                    }
                }
            }
            Event::UnresolvedAlias(name) => {
                self.report
                    .error(Code::UnknownAnchor, span, format!("no anchor `&{name}` stands before this alias"))
                    .help("an anchor must be written above the aliases that use it");
                self.put(missing(span), false);
            }
            _ => {}
        }
        Ok(())
    }

    fn push(&mut self, span: Span, anchor: usize, content: Content) -> Result<(), Stop> {
        if self.frames.len() >= self.limits.depth {
            self.too_deep(span);
            return Err(Stop);
        }
        let (nodes_before, bytes_before) = (self.nodes, self.bytes);
        self.spend(span, 1, 0)?;
        if anchor > 0 {
            self.open.push(anchor);
        }
        self.frames.push(Frame { start: span, anchor, nodes_before, bytes_before, content });
        Ok(())
    }

    fn pop(&mut self, end: Span) -> Result<(), Stop> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        let span = Span { start: frame.start.start, end: end.end.max(frame.start.end) };
        let value = match frame.content {
            Content::Seq(items) => Value::Seq(items),
            Content::Map { entries, merges, .. } => Value::Map(merge(entries, merges)),
        };
        let node = Node::new(value, span);
        if frame.anchor > 0 {
            self.open.retain(|id| *id != frame.anchor);
            let (nodes, bytes) = (self.nodes - frame.nodes_before, self.bytes - frame.bytes_before);
            // Anchors within anchors are copied once a level, so the copies have a budget of the same size.
            self.kept = self.kept.saturating_add(nodes);
            if self.kept > self.limits.nodes {
                self.too_many_nodes(span);
                return Err(Stop);
            }
            self.anchors.insert(frame.anchor, Anchor { node: node.clone(), nodes, bytes });
        }
        self.put(node, false);
        Ok(())
    }

    /// Puts a complete node where it belongs.
    fn put(&mut self, node: Node, is_merge: bool) {
        let Some(frame) = self.frames.last_mut() else {
            self.root.get_or_insert(node);
            return;
        };
        match &mut frame.content {
            Content::Seq(items) => items.push(node),
            Content::Map { key: slot @ None, index, entries, .. } => {
                let span = node.span;
                if is_merge {
                    *slot = Some(Key::Merge(span));
                    return;
                }
                let Some(key) = key_text(&node) else {
                    self.report
                        .error(Code::BadKey, span, format!("{} cannot be the key of a map", node.describe()))
                        .help("a key must be a text, a number or a boolean");
                    *slot = Some(Key::Bad);
                    return;
                };
                if !is_new(entries, index, &key) {
                    self.report
                        .error(Code::DuplicateKey, span, format!("the key `{key}` is given twice in this map"))
                        .help("keep one of them; in other tools the last one silently wins");
                    *slot = Some(Key::Bad);
                    return;
                }
                *slot = Some(Key::Plain { key, span });
            }
            Content::Map { key, entries, merges, .. } => match key.take() {
                Some(Key::Plain { key, span }) => {
                    entries.push(Entry { key, key_span: span, key_unknown: false, node });
                }
                Some(Key::Merge(span)) => {
                    if mergeable(&node) {
                        merges.push((entries.len(), node));
                    } else if !node.unknown {
                        self.report
                            .error(Code::BadMerge, span, format!("`<<` cannot merge {}", node.describe()))
                            .help("write `<<: *name`, where `&name` is a map, or a list of such aliases");
                    }
                }
                Some(Key::Bad) | None => {}
            },
        }
    }

    fn spend(&mut self, span: Span, nodes: usize, bytes: usize) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.nodes > self.limits.nodes {
            self.too_many_nodes(span);
            return Err(Stop);
        }
        if self.bytes > self.limits.expanded_bytes {
            let limit = self.limits.expanded_bytes;
            self.report
                .error(Code::TooLarge, span, format!("more than {limit} bytes of text, aliases followed"))
                .help(Limits::raise("expanded_bytes"));
            return Err(Stop);
        }
        Ok(())
    }

    fn too_many_nodes(&mut self, span: Span) {
        let limit = self.limits.nodes;
        self.report
            .error(Code::TooManyNodes, span, format!("more than {limit} values, aliases followed"))
            .help(Limits::raise("nodes"));
    }

    fn spend_alias(&mut self, span: Span) -> Result<(), Stop> {
        self.aliases += 1;
        if self.aliases > self.limits.aliases {
            let limit = self.limits.aliases;
            self.report
                .error(Code::TooManyAliases, span, format!("more than {limit} aliases"))
                .help(Limits::raise("aliases"));
            return Err(Stop);
        }
        Ok(())
    }

    fn too_deep(&mut self, span: Span) {
        let limit = self.limits.depth;
        self.report
            .error(Code::TooDeep, span, format!("lists and maps are nested more than {limit} deep"))
            .help(Limits::raise("depth"));
    }

    fn scan_error(&mut self, error: &granit_parser::ScanError) {
        let at = error.marker().byte_offset().unwrap_or(0);
        // A tab is noticed when it has been read.
        let before = self.report.text.text.get(..at).unwrap_or("");
        let at = before.trim_end_matches('\t').len();
        let span = Span::new(at, at + 1);
        if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
            self.too_deep(span);
            return;
        }
        let message = error.kind().to_string();
        let help = match error.kind() {
            ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart => Some("indent with spaces; YAML does not allow tabs there".to_owned()),
            ErrorKind::UnexpectedCharacter { character: '@' | '`' } => {
                Some("put the text into quotes: `@` and backquotes cannot begin a plain text".to_owned())
            }
            ErrorKind::MappingValueNotAllowed => {
                Some("a text that holds `: ` must be put into quotes, or the line is indented wrongly".to_owned())
            }
            ErrorKind::UnclosedQuotedScalar => Some("a quote is opened and never closed".to_owned()),
            _ => Some("look at the indentation and the quotes here and on the line above".to_owned()),
        };
        self.report.error(Code::Syntax, span, format!("this is not YAML: {message}")).help_if(help);
    }
}

/// Maps of up to this many keys are searched, larger ones have an index.
const SMALL_MAP: usize = 16;

/// Whether a map does not have this key yet.
fn is_new(entries: &Map, index: &mut HashSet<Rc<str>>, key: &Rc<str>) -> bool {
    if entries.len() < SMALL_MAP {
        return !entries.iter().any(|entry| entry.key == *key);
    }
    if index.is_empty() {
        index.extend(entries.iter().map(|entry| Rc::clone(&entry.key)));
    }
    index.insert(Rc::clone(key))
}

/// Stands for what an alias should have brought: reported, and judged no further.
fn missing(span: Span) -> Node {
    Node { unknown: true, ..Node::new(Value::Null, span) }
}

fn core_tag(tag: &Tag) -> &str {
    // `!` alone, the non-specific tag, makes a string; a tag of somebody's own leaves the text as it is.
    tag.core_suffix().unwrap_or("str")
}

/// The key of a map as `canonicalMapKey` of go-pipeline writes it.
fn key_text(node: &Node) -> Option<Rc<str>> {
    match &node.value {
        Value::Number(Number::Float(value)) if value.is_finite() => {
            let text = format!("{value:.6e}");
            let (mantissa, exponent) = text.split_once('e')?;
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
            Some(Rc::from(format!("{mantissa}e{sign}{digits:0>2}")))
        }
        _ => node.text(),
    }
}

fn mergeable(node: &Node) -> bool {
    match &node.value {
        Value::Map(_) => true,
        Value::Seq(items) => items.iter().all(mergeable),
        _ => false,
    }
}

/// Puts merged entries where their `<<` stood. Keys of the map itself win, then those merged earlier.
fn merge(entries: Map, merges: Vec<(usize, Node)>) -> Map {
    if merges.is_empty() {
        return entries;
    }
    let mut taken: HashSet<Rc<str>> = entries.iter().map(|entry| Rc::clone(&entry.key)).collect();
    let mut out = Vec::with_capacity(entries.len());
    let mut merges = merges.into_iter().peekable();
    for (place, entry) in entries.into_iter().enumerate() {
        while let Some((_, node)) = merges.next_if(|(at, _)| *at <= place) {
            take(node, &mut taken, &mut out);
        }
        out.push(entry);
    }
    for (_, node) in merges {
        take(node, &mut taken, &mut out);
    }
    out
}

fn take(node: Node, taken: &mut HashSet<Rc<str>>, out: &mut Map) {
    match node.value {
        Value::Map(entries) => {
            for entry in entries {
                if taken.insert(Rc::clone(&entry.key)) {
                    out.push(entry);
                }
            }
        }
        Value::Seq(items) => {
            for item in items {
                take(item, taken, out);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Str(_) => {}
    }
}
