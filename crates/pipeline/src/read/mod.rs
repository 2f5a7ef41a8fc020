//! From the tree to drafts of steps: every attribute read, checked and given its place, nothing decided.

mod command;
mod condition;
mod depends;
mod fields;
mod manual;
mod matrix;
mod retry;
mod step;
mod trigger;
mod values;

use tidegate_core::plan::{CommandStep, Dependency, Env, ManualStep, Notify, TriggerStep};

use crate::attributes::{self, Kind};
use crate::codes::Code;
use crate::context::Context;
use crate::matrix::Matrix;
use crate::source::{Report, Span};
use crate::yaml::{Map, Node, Value};
use fields::{Field, Fields};

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
    /// It depends on a variable that is not known here.
    pub(crate) unknown: bool,
}

/// A pipeline, read.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) steps: Vec<StepDraft>,
    pub(crate) groups: Vec<GroupDraft>,
    pub(crate) env: Env,
    pub(crate) notify: Vec<Notify>,
    pub(crate) defaults: Defaults,
}

/// Top-level attributes that steps inherit.
#[derive(Debug, Default)]
pub(crate) struct Defaults {
    pub(crate) agents: Vec<(String, String)>,
    pub(crate) secrets: Vec<(String, String)>,
    pub(crate) checkout: Option<serde_json::Value>,
    pub(crate) cache: Option<serde_json::Value>,
    pub(crate) image: Option<String>,
    pub(crate) priority: i64,
}

/// A group, read; its children are steps that refer to it.
#[derive(Debug)]
pub(crate) struct GroupDraft {
    pub(crate) key: Option<Spanned<String>>,
    pub(crate) label: String,
    pub(crate) notify: Vec<Notify>,
    pub(crate) filters: Filters,
    pub(crate) depends_on: Option<Vec<Spanned<Dependency>>>,
    pub(crate) allow_dependency_failure: bool,
}

/// A step, read.
#[derive(Debug)]
pub(crate) struct StepDraft {
    /// Where the step begins.
    pub(crate) span: Span,
    pub(crate) key: Option<Spanned<String>>,
    pub(crate) label: String,
    pub(crate) group: Option<u32>,
    /// `None` where the step has no `depends_on`.
    pub(crate) depends_on: Option<Vec<Spanned<Dependency>>>,
    pub(crate) allow_dependency_failure: bool,
    pub(crate) filters: Filters,
    pub(crate) kind: KindDraft,
}

/// What may leave a step out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters {
    pub(crate) condition: Option<Spanned<String>>,
    pub(crate) branches: Option<Spanned<Vec<String>>>,
    pub(crate) if_changed: Option<Spanned<IfChanged>>,
    /// The reason; empty for a bare `true`.
    pub(crate) skip: Option<String>,
}

/// Which changed files a step is for.
#[derive(Clone, Debug, Default)]
pub(crate) struct IfChanged {
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum KindDraft {
    Command(Box<CommandDraft>),
    Wait { continue_on_failure: bool },
    Block(Box<ManualStep>),
    Input(Box<ManualStep>),
    Trigger(Box<TriggerStep>),
}

/// A command step, read. Its jobs are not made yet.
#[derive(Debug)]
pub(crate) struct CommandDraft {
    pub(crate) step: CommandStep,
    pub(crate) parallelism: Option<Spanned<u32>>,
    pub(crate) matrix: Option<Matrix>,
    /// Whether the step has `agents` of its own.
    pub(crate) own_agents: bool,
    pub(crate) own_priority: bool,
}

/// Reads attributes and reports what is wrong with them.
pub(crate) struct Reader<'r, 'a> {
    pub(crate) report: &'r mut Report<'a>,
    pub(crate) context: &'r Context,
    /// Traps are looked for, and everything unusual is said.
    pub(crate) lint: bool,
    pub(crate) draft: Draft,
    /// Steps read so far, groups included.
    pub(crate) items: usize,
}

impl Reader<'_, '_> {
    /// Reads a whole pipeline (`spec/pipeline.md` 1.2).
    pub(crate) fn pipeline(&mut self, root: &Node) {
        match &root.value {
            Value::Map(map) => self.top(map, root.span),
            Value::Seq(items) if items.is_empty() => self.no_steps(root.span),
            Value::Seq(items) => self.steps(items, None),
            _ => {
                let is = root.describe();
                self.report
                    .error(
                        Code::BadPipeline,
                        root.span,
                        format!("a pipeline is a map with `steps` or a list of steps, not {is}"),
                    )
                    .help("write `steps:` and at least one step, such as `- command: make test`");
            }
        }
    }

    fn top(&mut self, map: &Map, span: Span) {
        let fields = Fields::new(map, Span { start: span.start, end: span.start });
        let known = |name: &str| attributes::find(Kind::Top, name).map_or(&[][..], |row| row.aliases);
        let names = |name: &'static str| {
            let mut names = vec![name];
            names.extend(known(name));
            names
        };
        if let Some(field) = fields.take(self, &names("env")) {
            self.draft.env = self.variables(field);
        }
        if let Some(field) = fields.take(self, &names("agents")) {
            self.draft.defaults.agents = self.agents(field);
        }
        if let Some(field) = fields.take(self, &names("notify")) {
            self.draft.notify = self.notify(field, Kind::Top);
        }
        if let Some(field) = fields.take(self, &names("secrets")) {
            self.draft.defaults.secrets = self.secrets(field);
        }
        if let Some(field) = fields.take(self, &names("checkout")) {
            self.draft.defaults.checkout = self.checkout(field, Kind::Top);
        }
        if let Some(field) = fields.take(self, &names("cache")) {
            self.draft.defaults.cache = self.cache(field);
        }
        if let Some(field) = fields.take(self, &names("image")) {
            self.draft.defaults.image = self.text(field);
        }
        if let Some(field) = fields.take(self, &names("priority")) {
            self.draft.defaults.priority = self.integer(field, i64::MIN..=i64::MAX).unwrap_or(0);
        }
        self.unsupported(Kind::Top, map);
        match fields.take_one("steps") {
            Some(Field { node: Node { value: Value::Seq(items), .. }, .. }) if !items.is_empty() => {
                self.steps(items, None);
            }
            Some(field) if matches!(&field.node.value, Value::Seq(_)) => self.no_steps(field.key_span),
            Some(field) if field.node.is_null() => self.no_steps(field.key_span),
            Some(field) => {
                self.wrong_type::<()>(field, "a list of steps");
            }
            None => self.no_steps(fields.span),
        }
        self.unknown_top(&fields);
    }

    fn no_steps(&mut self, span: Span) {
        self.report
            .warn(Code::NoSteps, span, "the pipeline has no steps")
            .help("write `steps:` and at least one step, such as `- command: make test`");
    }

    /// Keys of one's own are welcome at the top: people keep anchors there. Only a misspelt one is worth a word.
    fn unknown_top(&mut self, fields: &Fields<'_>) {
        if !self.lint {
            return;
        }
        // A name for the file is common and misleads nobody.
        for entry in fields.rest().filter(|entry| &*entry.key != "name") {
            if self.report.full() {
                return;
            }
            let names = attributes::ATTRIBUTES.iter().filter(|row| row.kinds & Kind::Top as u8 != 0);
            if let Some(name) = attributes::suggest(&entry.key, names.map(|row| row.name)) {
                self.report
                    .warn(Code::UnknownAttribute, entry.key_span, format!("`{}` has no effect here", entry.key))
                    .help(format!("did you mean `{name}`?"));
            } else if let Some(row) = attributes::find_anywhere(&entry.key) {
                self.report
                    .warn(
                        Code::UnknownAttribute,
                        entry.key_span,
                        format!("`{}` has no effect on {}", entry.key, Kind::Top.name()),
                    )
                    .help(format!("`{}` belongs to a step", row.name));
            }
        }
    }

    /// Reports what is accepted without effect.
    pub(super) fn unsupported(&mut self, kind: Kind, map: &Map) {
        for entry in map {
            let Some(row) = attributes::find(kind, &entry.key) else { continue };
            if let Some(instead) = row.not_yet {
                self.not_yet(entry.key_span, &entry.key, instead);
                continue;
            }
            for inner in entry.node.as_map().into_iter().flatten() {
                let path = format!("{}.{}", row.name, inner.key);
                let setting = attributes::SETTINGS_NOT_YET.iter().find(|(setting, _)| *setting == path);
                if let Some((_, instead)) = setting {
                    self.not_yet(inner.key_span, &path, instead);
                }
            }
        }
    }

    pub(super) fn not_yet(&mut self, span: Span, what: &str, instead: &str) {
        self.report
            .warn(Code::Unsupported, span, format!("`{what}` is accepted but not yet acted on: {instead}"))
            .help("docs/compatibility.md lists what is acted on");
    }
}
