//! Command steps (`spec/pipeline.md` 1.4), and the attributes that they share with the top level.

use std::collections::HashSet;

use serde_json::Value as Json;
use tidegate_core::plan::{CommandStep, Concurrency, JobSpec, Notify, Retry};

use super::fields::{Field, Fields};
use super::{CommandDraft, Reader, Spanned};
use crate::attributes::{Kind, SETTINGS_NOT_YET};
use crate::codes::Code;
use crate::condition::EntryPoint;
use crate::json;
use crate::limits::Limits;
use crate::plugin;
use crate::source::Span;
use crate::yaml::{Map, Node, Value};

/// Names of services that may be notified, and whether a step may name them.
const SERVICES: [(&str, bool); 8] = [
    ("email", false),
    ("slack", true),
    ("webhook", false),
    ("basecamp_campfire", true),
    ("pagerduty_change_event", false),
    ("github_commit_status", true),
    ("github_check", true),
    // The name in older documents.
    ("basecamp", true),
];

impl Reader<'_, '_> {
    /// The draft, and the label of a step that has none: its command, or its first plugin.
    pub(super) fn command(&mut self, fields: &Fields<'_>, map: &Map) -> (CommandDraft, Option<String>) {
        let mut spec = JobSpec::default();
        // Of `command` and `commands` the other implementation takes the latter.
        let command = fields.take(self, &["commands", "command", "script"]);
        if let Some(field) = command {
            spec.command = self.script(field);
        }
        spec.env = fields.take_one("env").map(|field| self.variables(field)).unwrap_or_default();
        let agents = fields.take(self, &["agents", "agent_query_rules"]);
        spec.agents = agents.map(|field| self.agents(field)).unwrap_or_default();
        if let Some(field) = agents {
            self.agents_replaced(field, &spec.agents);
        }
        if let Some(field) = fields.take(self, &["artifact_paths", "artifacts"]) {
            let texts = self.texts(field);
            let paths = texts.iter().flat_map(|text| text.split(';')).map(str::trim);
            spec.artifact_paths = paths.filter(|path| !path.is_empty()).map(str::to_owned).collect();
        }
        let plugins = fields.take_one("plugins");
        spec.plugins = plugins.map(|field| self.plugins(field)).unwrap_or_default();
        spec.secrets = fields.take_one("secrets").map(|field| self.secrets(field)).unwrap_or_default();
        spec.soft_fail = fields.take_one("soft_fail").map(|field| self.soft_fail(field)).unwrap_or_default();
        spec.cache = fields.take_one("cache").and_then(|field| self.cache(field));
        spec.checkout = fields.take_one("checkout").and_then(|field| self.checkout(field, Kind::Command));
        spec.image = fields.take_one("image").and_then(|field| self.text(field));
        fields.take_one("signature");

        if spec.command.trim().is_empty()
            && spec.plugins.is_empty()
            && !command.is_some_and(|field| field.node.unknown)
            && !plugins.is_some_and(|field| field.node.unknown)
        {
            // Accepted elsewhere: such a step passes at once. Worth a word, since nobody means it.
            if self.lint {
                let place = command.map_or(fields.span, |field| field.key_span);
                self.report
                    .warn(Code::NoCommand, place, "this step has no command and no plugin, so it does nothing")
                    .help("write `command: …`");
            }
        }

        let priority = fields.take_one("priority");
        let step = CommandStep {
            jobs: Vec::new(),
            retry: fields.take_one("retry").map_or_else(Retry::default, |field| self.retry(field)),
            timeout_in_minutes: fields
                .take(self, &["timeout_in_minutes", "timeout"])
                .and_then(|field| self.count(field, 1..=u32::MAX)),
            priority: priority.and_then(|field| self.integer(field, i64::MIN..=i64::MAX)).unwrap_or(0),
            concurrency: self.concurrency(fields),
            cancel_on_build_failing: fields
                .take_one("cancel_on_build_failing")
                .and_then(|field| self.boolean(field))
                .unwrap_or(false),
            notify: fields.take_one("notify").map(|field| self.notify(field, Kind::Command)).unwrap_or_default(),
            spec,
        };
        let parallelism = fields.take_one("parallelism").and_then(|field| {
            let value = self.count(field, 0..=u32::MAX)?;
            self.job_cap(value, field);
            Some(Spanned { value, span: field.value_span(), unknown: field.node.unknown })
        });
        let matrix = fields.take_one("matrix").filter(|field| !field.node.is_null()).map(|field| {
            if fields.has("parallelism") {
                self.report
                    .error(
                        Code::ConflictingAttributes,
                        field.key_span,
                        "a step cannot have both `matrix` and `parallelism`",
                    )
                    .help("make the copies a dimension of the matrix");
            }
            self.matrix(field)
        });
        // A matrix that could not be read says nothing about the tokens.
        let matrix = match matrix {
            Some(None) => None,
            matrix => {
                let matrix = matrix.flatten();
                self.matrix_tokens(map, matrix.as_ref());
                matrix
            }
        };
        let label = first_line(&step.spec.command).or_else(|| step.spec.plugins.first().map(|p| p.source.clone()));
        let own_agents = agents.is_some();
        let own_priority = priority.is_some_and(|field| !field.node.is_null());
        (CommandDraft { step, parallelism, matrix, own_agents, own_priority }, label)
    }

    /// A number of copies beyond the cap is reported here, before they are made.
    pub(super) fn job_cap(&mut self, count: u32, field: Field<'_>) {
        let limit = self.context.limits.jobs;
        if count as usize > limit {
            self.report
                .error(
                    Code::TooManyJobs,
                    field.value_span(),
                    format!("`{}` makes {count} jobs, and a file at most {limit}", field.key),
                )
                .help(Limits::raise("jobs"));
        }
    }

    fn script(&mut self, field: Field<'_>) -> String {
        match &field.node.value {
            Value::Seq(_) => self.texts(field).join("\n"),
            _ => self.text(field).unwrap_or_default(),
        }
    }

    /// `agents`: which machines. Tag and value, in the order of the file; value `*` is any.
    pub(super) fn agents(&mut self, field: Field<'_>) -> Vec<(String, String)> {
        let mut out: Vec<(String, String)> = Vec::new();
        let mut add = |key: &str, value: Option<&str>| {
            let value = value.map(str::trim).filter(|value| !value.is_empty()).unwrap_or("*");
            out.push((key.trim().to_owned(), value.to_owned()));
        };
        match &field.node.value {
            Value::Map(map) => {
                for entry in map {
                    self.number_trap(&entry.node);
                    match entry.node.text() {
                        Some(text) => add(&entry.key, Some(&text)),
                        None if entry.node.is_null() => add(&entry.key, None),
                        None => {
                            let field = Field { key: &entry.key, key_span: entry.key_span, node: &entry.node };
                            self.wrong_type::<()>(field, "a text");
                        }
                    }
                }
            }
            _ => {
                for item in self.nodes(field) {
                    let Some(text) = self.text(item) else { continue };
                    match text.split_once('=') {
                        Some((key, value)) => add(key, Some(value)),
                        None if text.trim().is_empty() => {}
                        None => add(&text, None),
                    }
                }
            }
        }
        out
    }

    /// Whether a step's `agents` replace the default block or are merged into it is not settled elsewhere; here they
    /// replace it (docs/decisions/0101). Said where the two readings differ.
    fn agents_replaced(&mut self, field: Field<'_>, own: &[(String, String)]) {
        if !self.lint {
            return;
        }
        let own: HashSet<&str> = own.iter().map(|(tag, _)| tag.as_str()).collect();
        let dropped = self.draft.defaults.agents.iter().filter(|(tag, _)| !own.contains(tag.as_str()));
        let dropped: Vec<String> = dropped.take(10).map(|(tag, value)| format!("`{tag}={value}`")).collect();
        if !dropped.is_empty() {
            self.report
                .warn(
                    Code::AgentsReplaced,
                    field.key_span,
                    format!("these `agents` replace the default block, so {} does not hold here", dropped.join(", ")),
                )
                .help("repeat in the step what it should keep");
        }
    }

    pub(super) fn plugins(&mut self, field: Field<'_>) -> Vec<tidegate_core::plan::Plugin> {
        let mut out = Vec::new();
        let mut add = |source: &str, config: Option<&Node>| {
            let config = config.map_or(Json::Null, json::sorted);
            out.push(tidegate_core::plan::Plugin {
                source: plugin::full_source(source),
                config: plugin::canonical_config(config),
            });
        };
        match &field.node.value {
            Value::Null => {}
            Value::Map(map) => map.iter().for_each(|entry| add(&entry.key, Some(&entry.node))),
            Value::Seq(items) => {
                for node in items {
                    match &node.value {
                        Value::Str(source) if source.is_empty() && node.unknown => {}
                        Value::Str(source) => add(source, None),
                        Value::Map(map) => map.iter().for_each(|entry| add(&entry.key, Some(&entry.node))),
                        _ => {
                            self.wrong_type::<()>(Field { node, ..field }, "a list of `NAME#VERSION`");
                        }
                    }
                }
            }
            _ => {
                self.wrong_type::<()>(field, "a list of `NAME#VERSION`");
            }
        }
        out
    }

    /// `secrets`: variable and name of each.
    pub(super) fn secrets(&mut self, field: Field<'_>) -> Vec<(String, String)> {
        let mut out = Vec::new();
        match &field.node.value {
            Value::Null => {
                self.report
                    .error(Code::BadType, field.key_span, "`secrets` cannot be nothing")
                    .help("leave it out, or write a list of names");
            }
            Value::Map(map) => {
                for entry in map {
                    let item = Field { key: &entry.key, key_span: entry.key_span, node: &entry.node };
                    if entry.key.is_empty() {
                        self.report
                            .error(Code::BadValue, entry.key_span, "the name of a secret's variable is empty")
                            .help("write `VARIABLE: SECRET`");
                    } else if let Some(name) = self.secret_name(item) {
                        out.push((entry.key.to_string(), name));
                    }
                }
            }
            Value::Seq(items) => {
                for node in items {
                    let item = Field { node, ..field };
                    match &node.value {
                        Value::Map(map) => out.extend(self.secret_entry(map, node)),
                        _ => out.extend(self.secret_name(item).map(|name| (name.clone(), name))),
                    }
                }
            }
            _ => {
                self.wrong_type::<()>(field, "a list of names or a map of variables to names");
            }
        }
        out
    }

    fn secret_name(&mut self, item: Field<'_>) -> Option<String> {
        match &item.node.value {
            Value::Str(text) if !text.is_empty() || item.node.unknown => Some(text.to_string()),
            Value::Str(_) => {
                self.report
                    .error(Code::BadValue, item.value_span(), "the name of a secret is empty")
                    .help("write the secret's name");
                None
            }
            _ => {
                let is = item.node.describe();
                self.report
                    .error(Code::BadType, item.value_span(), format!("the name of a secret must be a text, not {is}"))
                    .help("put it into quotes");
                None
            }
        }
    }

    /// `{key: SECRET, environment_variable: NAME}`, as the other server writes it.
    fn secret_entry(&mut self, map: &Map, node: &Node) -> Option<(String, String)> {
        let fields = Fields::new(map, map.first().map_or(node.span, |first| first.key_span));
        let Some(key) = fields.take_one("key") else {
            self.report
                .error(Code::MissingAttribute, fields.span, "a secret needs a `key`")
                .help("write the secret's name, or `{key: SECRET, environment_variable: NAME}`");
            return None;
        };
        let name = self.secret_name(key)?;
        let variable = fields.take_one("environment_variable").filter(|field| !field.node.is_null());
        let variable = variable.and_then(|field| self.secret_name(field));
        Some((variable.unwrap_or_else(|| name.clone()), name))
    }

    /// `cache`: `false`, or paths and their settings.
    pub(super) fn cache(&mut self, field: Field<'_>) -> Option<Json> {
        let mut out = serde_json::Map::new();
        let paths = |texts: Vec<String>| Json::Array(texts.into_iter().map(Json::String).collect());
        match &field.node.value {
            Value::Null => return None,
            Value::Bool(false) => return Some(Json::Bool(false)),
            Value::Bool(true) | Value::Number(_) => {
                return self.wrong_type(field, "`false`, a path, a list of paths or a map with `paths`");
            }
            Value::Str(text) if &**text == "false" => return Some(Json::Bool(false)),
            Value::Str(_) | Value::Seq(_) => {
                out.insert("paths".to_owned(), paths(self.texts(field)));
            }
            Value::Map(map) => {
                let fields = Fields::new(map, field.key_span);
                match fields.take_one("paths") {
                    Some(field) => {
                        out.insert("paths".to_owned(), paths(self.texts(field)));
                    }
                    None => {
                        self.report
                            .warn(Code::MissingAttribute, field.key_span, "`cache` without `paths` keeps nothing")
                            .help("write the paths to keep");
                    }
                }
                if let Some(field) = fields.take_one("name")
                    && let Some(name) = self.text(field)
                {
                    out.insert("name".to_owned(), Json::String(name));
                }
                if let Some(field) = fields.take_one("size")
                    && let Some(size) = self.text(field)
                {
                    let digits = size.strip_suffix('g').unwrap_or("");
                    if !field.node.unknown && (digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit())) {
                        self.bad_value::<()>(field, "is not a size", "write gigabytes, such as `20g`");
                    }
                    out.insert("size".to_owned(), Json::String(size));
                }
                self.keep_rest(&fields, "cache", &["paths", "name", "size"], &mut out);
            }
        }
        Some(Json::Object(out))
    }

    /// `checkout`: a map, never a boolean.
    pub(super) fn checkout(&mut self, field: Field<'_>, kind: Kind) -> Option<Json> {
        let map = match &field.node.value {
            Value::Map(map) => map,
            Value::Null => return None,
            Value::Bool(value) => {
                let help = if *value { "leave it out" } else { "write `checkout: {skip: true}` to opt out" };
                self.report
                    .error(Code::BadType, field.value_span(), format!("`checkout` must be a map, not `{value}`"))
                    .help(help);
                return None;
            }
            _ => return self.wrong_type(field, "a map"),
        };
        let fields = Fields::new(map, field.key_span);
        let mut out = serde_json::Map::new();
        for name in ["skip", "submodules", "lfs"] {
            if let Some(field) = fields.take_one(name)
                && let Some(value) = self.boolean(field)
            {
                out.insert(name.to_owned(), Json::Bool(value));
            }
        }
        if let Some(field) = fields.take_one("depth")
            && let Some(depth) = self.integer(field, 1..=i64::from(u32::MAX))
        {
            out.insert("depth".to_owned(), Json::from(depth));
        }
        if let Some(field) = fields.take_one("ssh_secret") {
            if kind == Kind::Top {
                self.report
                    .warn(Code::BadValue, field.key_span, "`ssh_secret` is meant for steps, not for the top")
                    .help("write it into the `checkout` of each step that needs it");
            }
            if let Some(secret) = self.text(field) {
                out.insert("ssh_secret".to_owned(), Json::String(secret));
            }
        }
        for (name, inner) in [("flags", &["clone", "fetch", "checkout", "clean"][..]), ("sparse", &["paths"][..])] {
            if let Some(field) = fields.take_one(name)
                && let Some(map) = self.map(field)
            {
                let inner_fields = Fields::new(map, field.key_span);
                for name in inner {
                    inner_fields.take_one(name);
                }
                self.mostly(&inner_fields, name, inner);
                out.insert(name.to_owned(), json::plain(field.node));
            }
        }
        if let Some(field) = fields.take_one("commit_verification")
            && !field.node.is_null()
        {
            out.insert("commit_verification".to_owned(), json::plain(field.node));
        }
        let known = ["skip", "submodules", "ssh_secret", "depth", "lfs", "flags", "sparse", "commit_verification"];
        self.keep_rest(&fields, "checkout", &known, &mut out);
        Some(Json::Object(out))
    }

    /// What is not known is kept and has no effect; `lint` says so.
    fn keep_rest(&mut self, fields: &Fields<'_>, name: &str, known: &[&str], out: &mut serde_json::Map<String, Json>) {
        for entry in fields.rest() {
            if self.lint && !entry.key_unknown {
                let help = crate::attributes::suggest(&entry.key, known.iter().copied());
                self.report
                    .warn(Code::UnknownAttribute, entry.key_span, format!("`{}` has no effect on `{name}`", entry.key))
                    .help_if(help.map(|word| format!("did you mean `{word}`?")));
            }
            out.insert(entry.key.to_string(), json::plain(&entry.node));
        }
    }

    fn concurrency(&mut self, fields: &Fields<'_>) -> Option<Concurrency> {
        let limit = fields.take_one("concurrency").filter(|field| !field.node.is_null());
        let group = fields.take_one("concurrency_group").filter(|field| !field.node.is_null());
        let method = fields.take_one("concurrency_method").filter(|field| !field.node.is_null());
        let eager = method.is_some_and(|field| self.word(field, &["ordered", "eager"]) == Some("eager"));
        match (limit, group) {
            (Some(limit_field), Some(group_field)) => {
                let limit = self.count(limit_field, 1..=u32::MAX);
                let group = self.name(group_field)?;
                if group.chars().count() > 200 {
                    self.report
                        .error(
                            Code::BadValue,
                            group_field.value_span(),
                            "the name of a concurrency group is at most 200 characters long",
                        )
                        .help("shorten it");
                }
                Some(Concurrency { group, limit: limit.or_else(|| limit_field.node.unknown.then_some(1))?, eager })
            }
            (Some(field), None) | (None, Some(field)) => {
                let missing = if field.key == "concurrency" { "concurrency_group" } else { "concurrency" };
                self.report
                    .error(Code::ConflictingAttributes, field.key_span, format!("`{}` needs `{missing}`", field.key))
                    .help("give both, or neither");
                None
            }
            (None, None) => {
                if let Some(field) = method
                    && self.lint
                {
                    self.report
                        .warn(
                            Code::ConflictingAttributes,
                            field.key_span,
                            "`concurrency_method` has no effect without `concurrency`",
                        )
                        .help("give `concurrency` and `concurrency_group`, or leave it out");
                }
                None
            }
        }
    }

    /// `notify` (`spec/pipeline.md` 1.18).
    pub(super) fn notify(&mut self, field: Field<'_>, kind: Kind) -> Vec<Notify> {
        match &field.node.value {
            Value::Null => Vec::new(),
            Value::Seq(items) => {
                items.iter().filter_map(|node| self.notify_entry(Field { node, ..field }, kind)).collect()
            }
            _ => self.wrong_type(field, "a list").unwrap_or_default(),
        }
    }

    fn notify_not_yet(&mut self, span: Span, service: &str) {
        let path = format!("notify.{service}");
        if let Some((_, instead)) = SETTINGS_NOT_YET.iter().find(|(setting, _)| *setting == path) {
            self.not_yet(span, &path, instead);
        }
    }

    fn notify_entry(&mut self, item: Field<'_>, kind: Kind) -> Option<Notify> {
        let names: Vec<&str> = SERVICES.iter().map(|(name, _)| *name).collect();
        if let Value::Str(word) = &item.node.value {
            let bare = ["github_check", "github_commit_status"];
            if !bare.contains(&&**word) && !item.node.unknown {
                let help = crate::attributes::suggest(word, names)
                    .map_or_else(|| "write `- SERVICE: …`".to_owned(), |name| format!("did you mean `{name}`?"));
                return self.bad_value(item, "is not a service that can be notified", &help);
            }
            self.notify_not_yet(item.value_span(), word);
            return Some(Notify { service: word.to_string(), config: Json::Null, condition: None });
        }
        let Value::Map(map) = &item.node.value else {
            return self.wrong_type(item, "a list of services");
        };
        let fields = Fields::new(map, map.first().map_or(item.node.span, |first| first.key_span));
        let entry_point = if kind == Kind::Top { EntryPoint::BuildNotification } else { EntryPoint::StepNotification };
        let condition = fields.take_one("if").and_then(|field| {
            let text = self.text(field)?;
            self.condition(&text, field, entry_point);
            Some(text)
        });
        let Some((service, found)) = names.iter().find_map(|name| fields.take_one(name).map(|found| (*name, found)))
        else {
            let known: Vec<&str> = names.clone();
            let near = fields.rest().find_map(|entry| {
                crate::attributes::suggest(&entry.key, known.iter().copied()).map(|name| (entry.key_span, name))
            });
            let help = near.map_or_else(
                || format!("it is one of {}", super::values::quoted(&names)),
                |(_, name)| format!("did you mean `{name}`?"),
            );
            self.report
                .warn(Code::BadValue, near.map_or(fields.span, |(span, _)| span), "nobody is named to be notified")
                .help(help);
            return None;
        };
        self.notify_not_yet(found.key_span, service);
        let on_steps = SERVICES.iter().any(|(name, on_steps)| *name == service && *on_steps);
        if kind == Kind::Command && !on_steps {
            self.report
                .error(Code::BadValue, found.key_span, format!("`{service}` cannot be notified of a step"))
                .help("write it into the top-level `notify`");
        }
        self.mostly(&fields, "notify", &names);
        Some(Notify { service: service.to_owned(), config: json::plain(found.node), condition })
    }
}

/// What a step without a label is called: the first line of its command.
fn first_line(command: &str) -> Option<String> {
    let line = command.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(200).collect())
}
