//! A pipeline as `buildkite-agent pipeline upload --dry-run --format json` prints it: the same keys and values.
//!
//! This is a view of the tree, made by the rules of go-pipeline (`spec/pipeline.md` 1.2 to 1.6, 1.14), and shapes
//! nothing else. What that library does not understand it passes on as it is, and so do we.

use serde_json::{Map as Object, Value as Json};
use tidegate_core::diagnostic::Diagnostic;

use crate::context::Context;
use crate::expand::{decode, read_tree};
use crate::filter::{Decider, UNCHANGED};
use crate::json::{plain, sorted};
use crate::plugin;
use crate::read::IfChanged;
use crate::source::{Report, Source, Text};
use crate::yaml::{Map, Node, Number, Value, get};

/// A pipeline in its normal form.
#[derive(Clone, Debug)]
pub struct Normalized {
    /// `None` exactly when one of the diagnostics is an error.
    pub json: Option<Json>,
    /// What is wrong with the text. Only what `pipeline upload` rejects is an error here.
    pub diagnostics: Vec<Diagnostic>,
}

/// Normalises a text: aliases and merge keys followed, variables replaced where the context says so, attributes under
/// one name, plugins with their full source.
pub fn normalize(source: Source<'_>, context: &Context) -> Normalized {
    let text = match decode(source, &context.limits) {
        Ok(text) => text,
        Err(report) => return Normalized { json: None, diagnostics: report.finish() },
    };
    let mut report = Report::new(Text::new(source.name, text));
    let tree = read_tree(&mut report, context, false);
    let json = tree.filter(|_| !report.failed()).and_then(|tree| {
        let mut normalizer = Normalizer { decider: Decider::new(context) };
        normalizer.pipeline(&tree, &mut report)
    });
    Normalized { json, diagnostics: report.finish() }
}

/// The library would not read the attribute, so the step is passed on as it is.
struct Unreadable;

type Read<T> = Result<T, Unreadable>;

struct Normalizer<'c> {
    decider: Decider<'c>,
}

impl Normalizer<'_> {
    fn pipeline(&mut self, root: &Node, report: &mut Report<'_>) -> Option<Json> {
        let mut out = Object::new();
        match &root.value {
            Value::Seq(items) => {
                out.insert("steps".to_owned(), self.steps(items));
            }
            Value::Map(map) => {
                let mut steps = Json::Array(Vec::new());
                for entry in map {
                    let value = match &*entry.key {
                        "steps" => {
                            if let Value::Seq(items) = &entry.node.value {
                                steps = self.steps(items);
                            }
                            continue;
                        }
                        "env" => entry.node.as_map().and_then(|map| variables(map).ok()).map(Json::Object),
                        "secrets" => secrets(&entry.node).ok().flatten(),
                        "checkout" => checkout(&entry.node).ok().flatten(),
                        _ => Some(plain(&entry.node)),
                    };
                    out.extend(value.map(|value| (entry.key.to_string(), value)));
                }
                out.insert("steps".to_owned(), steps);
            }
            _ => {
                report
                    .error(
                        crate::codes::Code::BadPipeline,
                        root.span,
                        format!("a pipeline is a map with `steps` or a list of steps, not {}", root.describe()),
                    )
                    .help("write `steps:` and at least one step, such as `- command: make test`");
                return None;
            }
        }
        Some(Json::Object(out))
    }

    fn steps(&mut self, items: &[Node]) -> Json {
        Json::Array(items.iter().map(|item| self.step(item)).collect())
    }

    fn step(&mut self, item: &Node) -> Json {
        let Value::Map(map) = &item.value else { return plain(item) };
        let has = |names: &[&str]| names.iter().any(|name| get(map, name).is_some());
        let kind = match get(map, "type").map(|entry| entry.node.as_str()) {
            Some(Some("command" | "script")) => "command",
            Some(Some("wait" | "waiter")) => "wait",
            Some(Some("trigger")) => "trigger",
            Some(Some("group")) => "group",
            Some(_) => "",
            None if has(&["command", "commands", "plugins"]) => "command",
            None if has(&["wait", "waiter"]) => "wait",
            None if has(&["block", "input", "manual"]) => "input",
            None if has(&["trigger"]) => "trigger",
            None if has(&["group"]) => "group",
            None => "",
        };
        let read = match kind {
            "command" => self.command(map),
            "group" => self.group(map),
            "trigger" => Ok(self.contents(map, &[])),
            "wait" if map.is_empty() => return Json::String("wait".to_owned()),
            _ => return plain(item),
        };
        read.map_or_else(|Unreadable| plain(item), Json::Object)
    }

    fn command(&mut self, map: &Map) -> Read<Object<String, Json>> {
        let mut taken: Vec<&str> = vec!["command", "commands"];
        let mut known = Object::new();
        let mut set = |name: &str, value: Option<Json>| known.extend(value.map(|value| (name.to_owned(), value)));
        for (name, aliases) in [("key", &["key", "id", "identifier"][..]), ("label", &["label", "name"][..])] {
            if let Some(entry) = aliases.iter().find_map(|alias| get(map, alias)) {
                taken.push(aliases.iter().find(|alias| **alias == &*entry.key).copied().unwrap_or(name));
                set(name, Some(text(&entry.node)?).filter(|text| !text.is_empty()).map(Json::String));
            }
        }
        let command = get(map, "commands").or_else(|| get(map, "command"));
        let command = command.map(|entry| texts(&entry.node)).transpose()?.unwrap_or_default();
        set("command", Some(Json::String(command.join("\n"))));
        for name in ["plugins", "secrets", "env", "signature", "matrix", "cache", "checkout"] {
            let Some(entry) = get(map, name) else { continue };
            taken.push(name);
            let node = &entry.node;
            let value = match name {
                "plugins" => plugins(node)?,
                "secrets" => secrets(node)?,
                "env" if node.is_null() => None,
                "env" => {
                    let env = variables(node.as_map().ok_or(Unreadable)?)?;
                    (!env.is_empty()).then_some(Json::Object(env))
                }
                "matrix" => matrix(node)?,
                "cache" => cache(node)?,
                "checkout" => checkout(node)?,
                _ => Some(plain(node)).filter(|value| !value.is_null()),
            };
            set(name, value);
        }
        let mut out = self.contents(map, &taken);
        out.extend(known);
        Ok(out)
    }

    fn group(&mut self, map: &Map) -> Read<Object<String, Json>> {
        let mut taken: Vec<&str> = vec!["steps"];
        let mut known = Object::new();
        if let Some((alias, entry)) =
            ["key", "id", "identifier"].iter().find_map(|alias| get(map, alias).map(|entry| (*alias, entry)))
        {
            taken.push(alias);
            let key = text(&entry.node)?;
            if !key.is_empty() {
                known.insert("key".to_owned(), Json::String(key));
            }
        }
        let label = ["group", "label", "name"].iter().find_map(|alias| get(map, alias).map(|entry| (*alias, entry)));
        let shown = match label {
            Some((alias, entry)) => {
                taken.push(alias);
                if entry.node.is_null() { Json::Null } else { Json::String(text(&entry.node)?) }
            }
            None => Json::Null,
        };
        known.insert("group".to_owned(), shown);
        let steps = match get(map, "steps").map(|entry| &entry.node.value) {
            Some(Value::Seq(items)) => self.steps(items),
            None | Some(Value::Null) => Json::Array(Vec::new()),
            Some(_) => return Err(Unreadable),
        };
        known.insert("steps".to_owned(), steps);
        let mut out = self.contents(map, &taken);
        out.extend(known);
        Ok(out)
    }

    /// The other attributes as they are; `if_changed` becomes `skip`, or nothing.
    fn contents(&mut self, map: &Map, taken: &[&str]) -> Object<String, Json> {
        let mut out: Object<String, Json> = map
            .iter()
            .filter(|entry| !taken.contains(&&*entry.key) && &*entry.key != "if_changed")
            .map(|entry| (entry.key.to_string(), plain(&entry.node)))
            .collect();
        let globs = get(map, "if_changed").and_then(|entry| if_changed(&entry.node));
        if globs.is_some_and(|globs| self.decider.unchanged(&globs)) {
            out.insert("skip".to_owned(), Json::String(UNCHANGED.to_owned()));
        }
        out
    }
}

/// The globs; `None` where they cannot be read, so that nothing is left out.
fn if_changed(node: &Node) -> Option<IfChanged> {
    let list = |node: &Node| match &node.value {
        Value::Null => Some(Vec::new()),
        Value::Str(text) => Some(vec![text.to_string()]),
        Value::Seq(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        Value::Bool(_) | Value::Number(_) | Value::Map(_) => None,
    };
    if node.is_null() {
        return None;
    }
    match &node.value {
        Value::Map(map) => {
            let include = list(&get(map, "include")?.node)?;
            let exclude = get(map, "exclude").map_or(Some(Vec::new()), |entry| list(&entry.node))?;
            Some(IfChanged { include, exclude })
        }
        _ => Some(IfChanged { include: list(node)?, exclude: Vec::new() }),
    }
}

/// A scalar as a text; nothing is empty.
fn text(node: &Node) -> Read<String> {
    if node.is_null() {
        return Ok(String::new());
    }
    node.text().map(|text| text.to_string()).ok_or(Unreadable)
}

/// A scalar or a list of scalars as texts.
fn texts(node: &Node) -> Read<Vec<String>> {
    match &node.value {
        Value::Null => Ok(Vec::new()),
        Value::Seq(items) => items.iter().map(text).collect(),
        _ => Ok(vec![text(node)?]),
    }
}

fn variables(map: &Map) -> Read<Object<String, Json>> {
    map.iter().map(|entry| Ok((entry.key.to_string(), Json::String(text(&entry.node)?)))).collect()
}

fn plugins(node: &Node) -> Read<Option<Json>> {
    let one = |source: &str, config: Json| {
        let mut out = Object::new();
        out.insert(plugin::full_source(source), plugin::canonical_config(config));
        Json::Object(out)
    };
    let of_map = |map: &Map| map.iter().map(|entry| one(&entry.key, sorted(&entry.node))).collect::<Vec<_>>();
    let list = match &node.value {
        Value::Null => return Ok(None),
        Value::Map(map) => of_map(map),
        Value::Seq(items) => {
            let mut out = Vec::new();
            for item in items {
                match &item.value {
                    Value::Str(source) => out.push(one(source, Json::Null)),
                    Value::Map(map) => out.extend(of_map(map)),
                    _ => return Err(Unreadable),
                }
            }
            out
        }
        _ => return Err(Unreadable),
    };
    Ok((!list.is_empty()).then_some(Json::Array(list)))
}

fn secrets(node: &Node) -> Read<Option<Json>> {
    let name = |node: &Node| node.as_str().filter(|text| !text.is_empty()).map(str::to_owned).ok_or(Unreadable);
    let one = |key: String, variable: Option<String>| {
        let mut out = Object::new();
        out.insert("key".to_owned(), Json::String(key));
        out.extend(variable.map(|variable| ("environment_variable".to_owned(), Json::String(variable))));
        Json::Object(out)
    };
    let mut list = Vec::new();
    match &node.value {
        Value::Map(map) => {
            for entry in map {
                if entry.key.is_empty() {
                    return Err(Unreadable);
                }
                list.push(one(name(&entry.node)?, Some(entry.key.to_string())));
            }
        }
        Value::Seq(items) => {
            for item in items {
                match &item.value {
                    Value::Str(text) => list.push(one(text.to_string(), Some(text.to_string()))),
                    Value::Map(map) => {
                        let key = name(&get(map, "key").ok_or(Unreadable)?.node)?;
                        let variable = get(map, "environment_variable").filter(|entry| !entry.node.is_null());
                        let variable = variable
                            .map(|entry| entry.node.as_str().map(str::to_owned).ok_or(Unreadable))
                            .transpose()?;
                        list.push(one(key, variable.filter(|variable| !variable.is_empty())));
                    }
                    _ => return Err(Unreadable),
                }
            }
        }
        _ => return Err(Unreadable),
    }
    Ok((!list.is_empty()).then_some(Json::Array(list)))
}

/// A matrix with its values as texts; a plain list stays one.
fn matrix(node: &Node) -> Read<Option<Json>> {
    let list = |node: &Node| texts(node).map(|texts| Json::Array(texts.into_iter().map(Json::String).collect()));
    let anonymous = |node: &Node| -> Read<Json> {
        let values = list(node)?;
        if values.as_array().is_some_and(|values| !values.is_empty()) {
            return Ok(values);
        }
        let mut out = Object::new();
        out.insert(String::new(), values);
        Ok(Json::Object(out))
    };
    let map = match &node.value {
        Value::Null => return Ok(None),
        Value::Seq(_) => {
            let setup = anonymous(node)?;
            if setup.is_array() {
                return Ok(Some(setup));
            }
            let mut out = Object::new();
            out.insert("setup".to_owned(), setup);
            return Ok(Some(Json::Object(out)));
        }
        Value::Map(map) => map,
        _ => return Err(Unreadable),
    };
    let mut out = Object::new();
    let mut setup = Json::Null;
    for entry in map {
        match (&*entry.key, &entry.node.value) {
            ("setup", Value::Seq(_)) => setup = anonymous(&entry.node)?,
            ("setup", Value::Map(dimensions)) => {
                let dimensions = dimensions.iter().map(|entry| Ok((entry.key.to_string(), list(&entry.node)?)));
                setup = Json::Object(dimensions.collect::<Read<_>>()?);
            }
            ("setup", Value::Null) => {}
            ("setup", _) => return Err(Unreadable),
            ("adjustments", Value::Seq(items)) => {
                let items: Vec<Json> = items.iter().map(adjustment).collect::<Read<_>>()?;
                if !items.is_empty() {
                    out.insert("adjustments".to_owned(), Json::Array(items));
                }
            }
            ("adjustments", Value::Null) => {}
            ("adjustments", _) => return Err(Unreadable),
            (key, _) => {
                out.insert(key.to_owned(), plain(&entry.node));
            }
        }
    }
    // A map that says no more than a list is one.
    if out.is_empty() && setup.is_array() {
        return Ok(Some(setup));
    }
    out.insert("setup".to_owned(), setup);
    Ok(Some(Json::Object(out)))
}

fn adjustment(node: &Node) -> Read<Json> {
    let map = node.as_map().ok_or(Unreadable)?;
    let value = |node: &Node| match &node.value {
        Value::Bool(_) | Value::Number(Number::Int(_)) | Value::Str(_) => text(node).map(Json::String),
        _ => Err(Unreadable),
    };
    let mut out = Object::new();
    let mut with = Json::Null;
    for entry in map {
        match (&*entry.key, &entry.node.value) {
            ("with", Value::Map(map)) => {
                let values = map.iter().map(|entry| Ok((entry.key.to_string(), value(&entry.node)?)));
                with = Json::Object(values.collect::<Read<_>>()?);
            }
            ("with", Value::Null) => {}
            ("with", _) => with = value(&entry.node)?,
            // What is empty is left out.
            ("skip", Value::Bool(false) | Value::Null) => {}
            ("skip", Value::Str(reason)) if reason.is_empty() => {}
            (key, _) => {
                out.insert(key.to_owned(), plain(&entry.node));
            }
        }
    }
    out.insert("with".to_owned(), with);
    Ok(Json::Object(out))
}

/// `cache`: paths and settings under their names, or `false`.
fn cache(node: &Node) -> Read<Option<Json>> {
    let paths = |node: &Node| texts(node).map(|texts| Json::Array(texts.into_iter().map(Json::String).collect()));
    let mut out = Object::new();
    match &node.value {
        Value::Null => return Ok(None),
        Value::Bool(false) => return Ok(Some(Json::Bool(false))),
        Value::Bool(true) => {}
        Value::Str(_) | Value::Seq(_) => {
            out.insert("paths".to_owned(), paths(node)?);
        }
        Value::Number(_) => return Err(Unreadable),
        Value::Map(map) => {
            for entry in map {
                let value = match &*entry.key {
                    "paths" => paths(&entry.node)?,
                    "name" | "size" => Json::String(text(&entry.node)?),
                    _ => plain(&entry.node),
                };
                let empty = matches!(&value, Json::String(text) if text.is_empty())
                    || matches!(&value, Json::Array(items) if items.is_empty());
                if !(empty && matches!(&*entry.key, "paths" | "name" | "size")) {
                    out.insert(entry.key.to_string(), value);
                }
            }
        }
    }
    Ok(Some(Json::Object(out)))
}

/// `checkout`: settings that are nothing are left out.
fn checkout(node: &Node) -> Read<Option<Json>> {
    let map = match &node.value {
        Value::Null => return Ok(None),
        Value::Map(map) => map,
        _ => return Err(Unreadable),
    };
    let mut out = Object::new();
    for entry in map {
        let node = &entry.node;
        let fits = match &*entry.key {
            "skip" | "submodules" => matches!(node.value, Value::Bool(_) | Value::Null),
            "depth" => matches!(node.value, Value::Number(Number::Int(_)) | Value::Null),
            "ssh_secret" => !matches!(node.value, Value::Map(_) | Value::Seq(_)),
            _ => {
                out.insert(entry.key.to_string(), plain(node));
                continue;
            }
        };
        if !fits {
            return Err(Unreadable);
        }
        if !node.is_null() {
            let value = if &*entry.key == "ssh_secret" { Json::String(text(node)?) } else { plain(node) };
            out.insert(entry.key.to_string(), value);
        }
    }
    Ok(Some(Json::Object(out)))
}
