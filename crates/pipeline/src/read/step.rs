//! Steps: which kind one is, and the attributes that all kinds share (`spec/pipeline.md` 1.3).

use tidegate_core::plan::ManualStep;

use super::fields::{Field, Fields};
use super::{Filters, GroupDraft, IfChanged, KindDraft, Reader, Spanned, StepDraft};
use crate::attributes::{self, ATTRIBUTES, Kind};
use crate::codes::Code;
use crate::condition::EntryPoint;
use crate::glob::Glob;
use crate::interpolate::place_within;
use crate::limits::Limits;
use crate::source::Span;
use crate::yaml::{Entry, Map, Node, Value, get};

/// Attributes by which the kind of a step is told, in the order in which they are looked for.
const TELLING: [(&str, Kind); 11] = [
    ("command", Kind::Command),
    ("commands", Kind::Command),
    ("plugins", Kind::Command),
    ("wait", Kind::Wait),
    ("waiter", Kind::Wait),
    ("block", Kind::Block),
    ("input", Kind::Input),
    ("manual", Kind::Block),
    ("trigger", Kind::Trigger),
    ("group", Kind::Group),
    // Our reading of the schema's alias; it is asked last, so that it changes no other step.
    ("script", Kind::Command),
];

impl Reader<'_, '_> {
    pub(super) fn steps(&mut self, items: &[Node], group: Option<u32>) {
        let limit = self.context.limits.jobs;
        for item in items {
            // Each step is a job at least, so that what lies beyond the cap is not even read.
            self.items += 1;
            if self.items > limit {
                if self.items == limit + 1 {
                    let message = format!("the file makes more than {limit} jobs, here at the latest");
                    self.report.error(Code::TooManyJobs, item.span, message).help(Limits::raise("jobs"));
                }
                return;
            }
            match &item.value {
                Value::Str(word) => self.word_step(word, item, group),
                Value::Map(map) => self.map_step(map, item.span, group),
                _ => {
                    let is = item.describe();
                    self.report
                        .error(Code::BadStep, item.span, format!("a step is a map or a word such as `wait`, not {is}"))
                        .help("write `- command: …`");
                }
            }
        }
    }

    fn word_step(&mut self, word: &str, item: &Node, group: Option<u32>) {
        let (kind, label) = match word {
            "wait" | "waiter" => (KindDraft::Wait { continue_on_failure: false }, "wait"),
            "block" | "manual" => (KindDraft::Block(Box::default()), "Block"),
            "input" => (KindDraft::Input(Box::default()), "Input"),
            _ if item.unknown => return,
            _ => {
                let help = match attributes::suggest(word, ["wait", "block", "input"]) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => format!("a command is written `- command: \"{}\"`", crate::yaml::shorten(word)),
                };
                self.report.error(Code::BadStep, item.span, format!("{} is not a step", item.describe())).help(help);
                return;
            }
        };
        if let KindDraft::Block(_) | KindDraft::Input(_) = kind {
            self.unsupported_kind(if matches!(kind, KindDraft::Block(_)) { "block" } else { "input" }, item.span);
        }
        self.draft.steps.push(StepDraft {
            span: item.span,
            key: None,
            label: label.to_owned(),
            group,
            depends_on: None,
            allow_dependency_failure: false,
            filters: Filters::default(),
            kind,
        });
    }

    fn unsupported_kind(&mut self, name: &str, span: Span) {
        let row = ATTRIBUTES.iter().find(|row| row.name == name);
        if let Some(instead) = row.and_then(|row| row.not_yet) {
            self.report
                .warn(Code::Unsupported, span, format!("`{name}` is accepted but not yet acted on: {instead}"))
                .help("docs/compatibility.md lists what is acted on");
        }
    }

    fn map_step(&mut self, map: &Map, span: Span, group: Option<u32>) {
        // `- command: {command: …}`: the schema allows a step inside the attribute that tells its kind.
        if let [Entry { key, node: Node { value: Value::Map(inner), .. }, .. }] = map.as_slice()
            && matches!(&**key, "command" | "commands" | "script" | "wait" | "waiter" | "block" | "input" | "trigger")
        {
            let known = attributes::find_anywhere(key).map_or_else(|| key.as_ref(), |row| row.name);
            let kind = TELLING.iter().find(|(name, _)| name == &known).map(|(_, kind)| *kind);
            if let Some(kind) = kind {
                return self.step_of(kind, inner, span, group);
            }
        }
        let Some(kind) = self.kind(map, span) else { return };
        if kind == Kind::Group {
            return self.group(map, span, group.is_some());
        }
        self.step_of(kind, map, span, group);
    }

    fn kind(&mut self, map: &Map, span: Span) -> Option<Kind> {
        if let Some(entry) = get(map, "type") {
            let field = Field { key: "type", key_span: entry.key_span, node: &entry.node };
            const TYPES: [&str; 10] =
                ["command", "commands", "script", "wait", "waiter", "block", "input", "manual", "trigger", "group"];
            return match self.word(field, &TYPES)? {
                "command" | "commands" | "script" => Some(Kind::Command),
                "wait" | "waiter" => Some(Kind::Wait),
                "input" => Some(Kind::Input),
                "trigger" => Some(Kind::Trigger),
                "group" => Some(Kind::Group),
                _ if get(map, "input").is_some() => Some(Kind::Input),
                _ => Some(Kind::Block),
            };
        }
        let told = |names: &[(&'static str, Kind)]| {
            names.iter().find_map(|(name, kind)| get(map, name).map(|entry| (*kind, entry.key_span, *name)))
        };
        let Some((kind, _, name)) = told(&TELLING) else {
            self.unknown_step(map, span);
            return None;
        };
        let others: Vec<_> = TELLING.iter().filter(|(_, other)| *other != kind).copied().collect();
        if let Some((_, place, other)) = told(&others) {
            let message = if other == "group" {
                format!("a group cannot have `{name}` of its own")
            } else {
                format!("a step cannot have both `{name}` and `{other}`")
            };
            let help = if other == "group" {
                "put it into a step under the group's `steps`".to_owned()
            } else {
                "make two steps of it".to_owned()
            };
            self.report.error(Code::MixedStep, place, message).help(help);
            return None;
        }
        Some(kind)
    }

    fn unknown_step(&mut self, map: &Map, span: Span) {
        if map.iter().any(|entry| entry.key_unknown) {
            return;
        }
        let telling = TELLING.iter().map(|(name, _)| *name);
        let near = map
            .iter()
            .filter(|entry| attributes::find_anywhere(&entry.key).is_none())
            .find_map(|entry| attributes::meant(&entry.key, telling.clone()).map(|name| (entry, name)));
        let place = near.map_or(Span { start: span.start, end: span.start }, |(entry, _)| entry.key_span);
        let help = match near {
            Some((entry, name)) => format!("did you mean `{name}` where it says `{}`?", entry.key),
            None => "a step has `command`, `plugins`, `wait`, `block`, `input`, `trigger` or `group`".to_owned(),
        };
        self.report.error(Code::UnknownStep, place, "nothing tells what kind of step this is").help(help);
    }

    fn step_of(&mut self, kind: Kind, map: &Map, span: Span, group: Option<u32>) {
        let span = map.first().map_or(span, |first| first.key_span);
        let fields = Fields::new(map, span);
        fields.take_one("type");
        let key = self.key(&fields);
        let label = fields.take(self, &["label", "name"]).and_then(|field| self.text(field));
        let label = label.filter(|label| !label.trim().is_empty());
        let depends_on = fields.take_one("depends_on").map(|field| self.depends_on(field));
        let allow_dependency_failure =
            fields.take_one("allow_dependency_failure").and_then(|field| self.boolean(field)).unwrap_or(false);
        let filters = self.filters(&fields, kind);
        let (kind_draft, own_label) = match kind {
            Kind::Command => {
                let (draft, command) = self.command(&fields, map);
                (KindDraft::Command(Box::new(draft)), command)
            }
            Kind::Wait => {
                let own = fields.take(self, &["wait", "waiter"]).and_then(|field| self.text(field));
                let open = fields.take_one("continue_on_failure").and_then(|field| self.boolean(field));
                (
                    KindDraft::Wait { continue_on_failure: open.unwrap_or(false) },
                    own.or_else(|| Some("wait".to_owned())),
                )
            }
            Kind::Block | Kind::Input => {
                let names: &[&str] = if kind == Kind::Block { &["block", "manual"] } else { &["input"] };
                let own = fields.take(self, names).and_then(|field| self.text(field));
                let manual: Box<ManualStep> = Box::new(self.manual(&fields));
                let default = if kind == Kind::Block { "Block" } else { "Input" };
                let draft = if kind == Kind::Block { KindDraft::Block(manual) } else { KindDraft::Input(manual) };
                (draft, own.or_else(|| Some(default.to_owned())))
            }
            Kind::Trigger => {
                let trigger = self.trigger(&fields, label.as_deref());
                let own = trigger.pipeline.clone();
                (KindDraft::Trigger(Box::new(trigger)), Some(own))
            }
            // The callers handle both.
            Kind::Top | Kind::Group => return,
        };
        self.unsupported(kind, map);
        self.unknown_attributes(kind, &fields);
        let label = label
            .or(own_label)
            .filter(|label| !label.trim().is_empty())
            .unwrap_or_else(|| key.as_ref().map_or_else(|| "step".to_owned(), |key| key.value.clone()));
        self.draft.steps.push(StepDraft {
            span,
            key,
            label,
            group,
            depends_on,
            allow_dependency_failure,
            filters,
            kind: kind_draft,
        });
    }

    /// `key`, `id` or `identifier`: its form (`spec/pipeline.md` 1.3). That it is unique is checked with all steps.
    fn key(&mut self, fields: &Fields<'_>) -> Option<Spanned<String>> {
        let field = fields.take(self, &["key", "id", "identifier"])?;
        let value = self.name(field)?;
        let span = field.value_span();
        let spanned = Spanned { value, span, unknown: field.node.unknown };
        if spanned.unknown {
            return Some(spanned);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-:${}.,".contains(c);
        if let Some(bad) = spanned.value.chars().find(|c| !allowed(*c)) {
            let said = if bad == ' ' { "a space".to_owned() } else { format!("`{bad}`") };
            self.report
                .error(Code::BadStepKey, span, format!("a key cannot hold {said}"))
                .help("a key is made of letters, digits and `_-:.,`");
        } else if spanned.value.len() > 100 {
            self.report
                .error(Code::BadStepKey, span, "a key is at most 100 characters long")
                .help("give the step a shorter key; the `label` may be longer");
        } else if looks_like_uuid(&spanned.value) {
            self.report
                .error(Code::BadStepKey, span, "a key cannot look like a UUID")
                .help("give the step a key that says what it does");
        }
        Some(spanned)
    }

    fn filters(&mut self, fields: &Fields<'_>, kind: Kind) -> Filters {
        let condition = fields.take_one("if").and_then(|field| {
            let value = self.text(field)?;
            self.condition(&value, field, EntryPoint::BuildCondition);
            Some(Spanned { value, span: field.value_span(), unknown: field.node.unknown })
        });
        let branches = match kind {
            Kind::Group => None,
            _ => fields
                .take_one("branches")
                .filter(|field| !field.node.is_null())
                .map(|field| (field.key_span, self.branches(field))),
        };
        let filterable = matches!(kind, Kind::Command | Kind::Trigger | Kind::Group);
        let if_changed = fields
            .take_one("if_changed")
            .filter(|field| filterable && !field.node.is_null())
            .and_then(|field| self.if_changed(field));
        let skip = fields.take_one("skip").filter(|_| filterable).and_then(|field| self.skip(field));
        if let (Some(_), Some((place, _))) = (&condition, &branches) {
            self.report
                .error(Code::ConflictingAttributes, *place, "a step cannot have both `if` and `branches`")
                .help("write the branches into the condition, such as `build.branch == \"main\"`");
        }
        Filters { condition, branches: branches.map(|(_, branches)| branches), if_changed, skip }
    }

    fn branches(&mut self, field: Field<'_>) -> Spanned<Vec<String>> {
        let mut value = Vec::new();
        for item in self.nodes(field) {
            let Some(text) = self.text(item) else { continue };
            let mut from = 0;
            for pattern in text.split_whitespace() {
                from += text[from..].find(pattern).unwrap_or(0);
                self.branch_pattern(pattern, from, &text, item);
                from += pattern.len();
                value.push(pattern.to_owned());
            }
        }
        Spanned { value, span: field.value_span(), unknown: field.node.unknown }
    }

    /// Checks the pattern that begins at `start` of the text.
    fn branch_pattern(&mut self, pattern: &str, start: usize, text: &str, item: Field<'_>) {
        let limit = self.context.limits.pattern_bytes;
        if pattern.len() > limit {
            self.report
                .error(
                    Code::PatternTooLong,
                    item.value_span(),
                    format!("a branch pattern of {} bytes, more than the cap of {limit}", pattern.len()),
                )
                .help(Limits::raise("pattern_bytes"));
        }
        if !self.lint || item.node.unknown {
            return;
        }
        let place = place_within(self.report, item.value_span(), text, start, start + pattern.len());
        let trap = if pattern == "!" {
            Some(("`!` alone excludes nothing".to_owned(), "write the branch right behind it, such as `!main`"))
        } else if pattern.starts_with("refs/") {
            Some((
                format!("`{pattern}` never matches: branches have no `refs/heads/` in front"),
                "write the short name",
            ))
        } else if pattern.starts_with('/') || pattern.starts_with('^') || pattern.ends_with('$') {
            Some((
                format!("`{pattern}` is a pattern with `*`, not a regular expression"),
                "write the names with `*`, or use `if: build.branch =~ /…/`",
            ))
        } else if pattern.contains(',') || pattern.contains('[') || pattern.contains('?') {
            Some((
                format!("in `{pattern}` only `*` and a leading `!` have a meaning"),
                "separate patterns by spaces, and write each name",
            ))
        } else {
            None
        };
        if let Some((message, help)) = trap {
            self.report.warn(Code::BranchPattern, place, message).help(help);
        }
    }

    fn if_changed(&mut self, field: Field<'_>) -> Option<Spanned<IfChanged>> {
        let value = match &field.node.value {
            Value::Map(map) => {
                let fields = Fields::new(map, field.key_span);
                let include = fields.take_one("include").map(|field| self.globs(field));
                let exclude = fields.take_one("exclude").map(|field| self.globs(field));
                self.only(&fields, "if_changed", &["include", "exclude"]);
                let Some(include) = include else {
                    self.report
                        .warn(
                            Code::MissingAttribute,
                            field.key_span,
                            "`if_changed` without `include` leaves nothing out",
                        )
                        .help("write `include: \"**\"` for every file");
                    return None;
                };
                IfChanged { include, exclude: exclude.unwrap_or_default() }
            }
            _ => IfChanged { include: self.globs(field), exclude: Vec::new() },
        };
        Some(Spanned { value, span: field.value_span(), unknown: field.node.unknown })
    }

    /// Globs; one that is malformed leaves nothing out, so it is worth a word and no error.
    fn globs(&mut self, field: Field<'_>) -> Vec<String> {
        let mut out = Vec::new();
        let limit = self.context.limits.pattern_bytes;
        for item in self.nodes(field) {
            let Some(pattern) = self.text(item) else { continue };
            if pattern.len() > limit {
                self.report
                    .error(
                        Code::PatternTooLong,
                        item.value_span(),
                        format!("a glob of {} bytes, more than the cap of {limit}", pattern.len()),
                    )
                    .help(Limits::raise("pattern_bytes"));
                continue;
            }
            if let Err(error) = Glob::new(&pattern)
                && !item.node.unknown
            {
                self.report
                    .warn(
                        Code::BadPattern,
                        item.value_span(),
                        format!("`{pattern}` is no glob, so the step is never left out: {error}"),
                    )
                    .help("close it, or write a backslash in front");
            } else if self.lint && (pattern.starts_with('/') || pattern.starts_with("./")) {
                self.report
                    .warn(
                        Code::BadPattern,
                        item.value_span(),
                        format!("`{pattern}` never matches: paths begin at the root of the repository"),
                    )
                    .help(format!("write `{}`", pattern.trim_start_matches("./").trim_start_matches('/')));
            }
            out.push(pattern);
        }
        out
    }

    /// The reason to skip, empty for `true`; `None` where the step is not skipped.
    pub(super) fn skip(&mut self, field: Field<'_>) -> Option<String> {
        match &field.node.value {
            Value::Null => None,
            Value::Bool(skip) => skip.then(String::new),
            Value::Str(_) if field.node.unknown => None,
            Value::Str(reason) => match &**reason {
                "" => None,
                // Interpolation makes texts of booleans; see docs/decisions/0103.
                "true" | "false" => {
                    let skip = &**reason == "true";
                    if self.lint && self.report.text.get(field.node.span).trim_matches(['"', '\'']) == &**reason {
                        self.report
                            .warn(
                                Code::OpenPoint,
                                field.value_span(),
                                format!("the text `{reason}` counts as a boolean here; elsewhere it may be a reason"),
                            )
                            .help(format!("write `{reason}` without quotes, or a reason"));
                    }
                    skip.then(String::new)
                }
                reason => {
                    if self.lint && matches!(reason.to_ascii_lowercase().as_str(), "yes" | "no" | "on" | "off") {
                        self.report
                            .warn(
                                Code::BoolLikeText,
                                field.value_span(),
                                format!("`{reason}` is a text, so it is a reason, and the step is skipped"),
                            )
                            .help("write `true` or `false`; YAML 1.2 reads `yes` and `no` as texts");
                    }
                    if reason.chars().count() > 70 {
                        self.report
                            .error(Code::BadValue, field.value_span(), "a reason to skip is at most 70 characters long")
                            .help("shorten it; a comment may say the rest");
                    }
                    Some(reason.to_owned())
                }
            },
            Value::Number(_) | Value::Seq(_) | Value::Map(_) => self.wrong_type(field, "`true`, `false` or a reason"),
        }
    }

    /// Unknown attributes of a step have no effect and are no error (`spec/pipeline.md` 1.4).
    fn unknown_attributes(&mut self, kind: Kind, fields: &Fields<'_>) {
        if !self.lint {
            return;
        }
        for entry in fields.rest() {
            if self.report.full() {
                return;
            }
            if entry.key_unknown {
                continue;
            }
            let bit = kind as u8;
            let names = ATTRIBUTES
                .iter()
                .filter(|row| row.kinds & bit != 0)
                .flat_map(|row| std::iter::once(row.name).chain(row.aliases.iter().copied()));
            let message = format!("`{}` has no effect on {}", entry.key, kind.name());
            let help = if let Some(row) = attributes::find_anywhere(&entry.key) {
                let kinds: Vec<&str> =
                    Kind::ALL.iter().filter(|k| row.kinds & **k as u8 != 0).map(|k| k.name()).collect();
                Some(format!("it belongs to {}", kinds.join(", ")))
            } else {
                attributes::meant(&entry.key, names).map(|name| format!("did you mean `{name}`?"))
            };
            self.report.warn(Code::UnknownAttribute, entry.key_span, message).help_if(help);
        }
    }

    /// Reports the entries of an inner map that nobody asked for, where to ignore one would change what is meant: a
    /// rule without its misspelt condition takes everything.
    pub(super) fn only(&mut self, fields: &Fields<'_>, name: &str, known: &[&str]) {
        self.strange(fields, name, known, true);
    }

    /// Like [`Reader::only`], where to ignore one does little harm.
    pub(super) fn mostly(&mut self, fields: &Fields<'_>, name: &str, known: &[&str]) {
        self.strange(fields, name, known, false);
    }

    fn strange(&mut self, fields: &Fields<'_>, name: &str, known: &[&str], error: bool) {
        for entry in fields.rest() {
            if self.report.full() && !error {
                return;
            }
            if entry.key_unknown {
                continue;
            }
            let help = match attributes::suggest(&entry.key, known.iter().copied()) {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("it has {}", super::values::quoted(known)),
            };
            let message = format!("`{name}` has no attribute `{}`", entry.key);
            if error {
                self.report.error(Code::UnknownAttribute, entry.key_span, message).help(help);
            } else {
                self.report.warn(Code::UnknownAttribute, entry.key_span, message).help(help);
            }
        }
    }

    /// A group: its children become steps of their own (`spec/pipeline.md` 1.5).
    fn group(&mut self, map: &Map, span: Span, nested: bool) {
        let span = map.first().map_or(span, |first| first.key_span);
        let fields = Fields::new(map, span);
        if nested {
            self.report
                .error(Code::NestedGroup, span, "a group cannot stand in a group")
                .help("write its steps into the outer group, or beside it");
            return;
        }
        fields.take_one("type");
        let key = self.key(&fields);
        let label = fields.take_first(&["group", "label", "name"]).and_then(|field| self.text(field));
        let depends_on = fields.take_one("depends_on").map(|field| self.depends_on(field));
        let allow_dependency_failure =
            fields.take_one("allow_dependency_failure").and_then(|field| self.boolean(field)).unwrap_or(false);
        let filters = self.filters(&fields, Kind::Group);
        let notify = fields.take_one("notify");
        if let Some(field) = notify {
            self.not_yet(field.key_span, "group.notify", "nothing is sent");
        }
        let notify = notify.map(|field| self.notify(field, Kind::Group)).unwrap_or_default();
        let steps = fields.take_one("steps");
        self.unsupported(Kind::Group, map);
        self.unknown_attributes(Kind::Group, &fields);
        let index = u32::try_from(self.draft.groups.len()).unwrap_or(u32::MAX);
        let label = label.filter(|label| !label.trim().is_empty()).unwrap_or_else(|| "group".to_owned());
        self.draft.groups.push(GroupDraft { key, label, notify, filters, depends_on, allow_dependency_failure });
        match steps {
            Some(Field { node: Node { value: Value::Seq(items), .. }, .. }) if !items.is_empty() => {
                self.steps(items, Some(index));
            }
            Some(field) if !field.node.is_null() && !matches!(&field.node.value, Value::Seq(_)) => {
                self.wrong_type::<()>(field, "a list of steps");
            }
            found => {
                let place = found.map_or(span, |field| field.key_span);
                self.report
                    .error(Code::EmptyGroup, place, "a group needs at least one step")
                    .help("write its steps under `steps`");
            }
        }
    }
}

fn looks_like_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    lengths == [8, 4, 4, 4, 12] && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()))
}
