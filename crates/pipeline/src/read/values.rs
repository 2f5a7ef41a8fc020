//! Values of attributes. Numbers and booleans may come as texts, because interpolation makes texts
//! (`spec/pipeline.md` 1.3); a value that is not known before the build is accepted as it is.

use std::ops::RangeInclusive;

use super::Reader;
use super::fields::Field;
use crate::codes::Code;
use crate::yaml::{Map, Node, Number, Value};

impl Reader<'_, '_> {
    /// A text, a number or a boolean as a text. Nothing counts as not given.
    pub(super) fn text(&mut self, field: Field<'_>) -> Option<String> {
        if field.node.is_null() {
            return None;
        }
        match field.node.text() {
            Some(text) => Some(text.to_string()),
            None => self.wrong_type(field, "a text"),
        }
    }

    /// A text that must not be empty.
    pub(super) fn name(&mut self, field: Field<'_>) -> Option<String> {
        let text = self.text(field).unwrap_or_default();
        if text.trim().is_empty() && !field.node.unknown && field.node.as_map().is_none() {
            self.report
                .error(Code::BadValue, field.value_span(), format!("`{}` is empty", field.key))
                .help("give it a value, or leave the attribute out");
            return None;
        }
        Some(text)
    }

    pub(super) fn boolean(&mut self, field: Field<'_>) -> Option<bool> {
        match &field.node.value {
            Value::Bool(value) => Some(*value),
            Value::Null => None,
            Value::Str(text) => match &**text {
                "true" => Some(true),
                "false" => Some(false),
                _ if field.node.unknown => None,
                // `${X}` without a value.
                "" => None,
                _ => {
                    let help = match text.to_ascii_lowercase().as_str() {
                        "yes" | "on" | "y" | "true" => "write `true`: YAML 1.2 reads `yes` and `on` as texts",
                        "no" | "off" | "n" | "false" => "write `false`: YAML 1.2 reads `no` and `off` as texts",
                        _ => "write `true` or `false`",
                    };
                    self.bad_value(field, "is not a boolean", help)
                }
            },
            Value::Number(_) | Value::Seq(_) | Value::Map(_) => self.wrong_type(field, "`true` or `false`"),
        }
    }

    /// A whole number in a range.
    pub(super) fn integer(&mut self, field: Field<'_>, range: RangeInclusive<i64>) -> Option<i64> {
        let value = match &field.node.value {
            Value::Number(Number::Int(value)) => *value,
            Value::Null => return None,
            Value::Str(_) if field.node.unknown => return None,
            Value::Str(text) if text.is_empty() => return None,
            Value::Str(text) => match text.trim().parse() {
                Ok(value) => value,
                Err(_) => return self.bad_value(field, "is not a whole number", "write a number such as `10`"),
            },
            Value::Number(_) => return self.bad_value(field, "is not a whole number", "write a number such as `10`"),
            Value::Bool(_) | Value::Seq(_) | Value::Map(_) => return self.wrong_type(field, "a whole number"),
        };
        if range.contains(&value) {
            return Some(value);
        }
        let help = if *range.end() >= i64::from(u32::MAX) {
            format!("the least is {}", range.start())
        } else {
            format!("allowed is {} to {}", range.start(), range.end())
        };
        self.bad_value(field, "is out of range", &help)
    }

    pub(super) fn count(&mut self, field: Field<'_>, range: RangeInclusive<u32>) -> Option<u32> {
        let value = self.integer(field, i64::from(*range.start())..=i64::from(*range.end()))?;
        u32::try_from(value).ok()
    }

    /// One of some words.
    pub(super) fn word(&mut self, field: Field<'_>, words: &[&'static str]) -> Option<&'static str> {
        let text = self.text(field)?;
        if let Some(word) = words.iter().find(|word| **word == text) {
            return Some(word);
        }
        if field.node.unknown || text.is_empty() {
            return None;
        }
        let help = match crate::attributes::suggest(&text, words.iter().copied()) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("write one of {}", quoted(words)),
        };
        self.bad_value(field, "is not known", &help)
    }

    /// A text or a list of texts.
    pub(super) fn texts(&mut self, field: Field<'_>) -> Vec<String> {
        self.nodes(field).into_iter().filter_map(|item| self.text(item)).collect()
    }

    /// A scalar as a list of one, a list as its items; nothing is an empty list, a map is reported.
    pub(super) fn nodes<'n>(&mut self, field: Field<'n>) -> Vec<Field<'n>> {
        match &field.node.value {
            Value::Null => Vec::new(),
            Value::Seq(items) => items.iter().map(|node| Field { node, ..field }).collect(),
            Value::Map(_) => {
                self.wrong_type::<()>(field, "a text or a list");
                Vec::new()
            }
            Value::Bool(_) | Value::Number(_) | Value::Str(_) => vec![field],
        }
    }

    pub(super) fn map<'n>(&mut self, field: Field<'n>) -> Option<&'n Map> {
        match &field.node.value {
            Value::Map(map) => Some(map),
            Value::Null => None,
            _ => self.wrong_type(field, "a map"),
        }
    }

    /// Variables: keys to texts. Nothing is an empty text.
    pub(super) fn variables(&mut self, field: Field<'_>) -> Vec<(String, String)> {
        let Some(map) = self.map(field) else { return Vec::new() };
        let mut out = Vec::with_capacity(map.len());
        for entry in map {
            if entry.key.is_empty() && !entry.key_unknown {
                self.report
                    .error(Code::BadValue, entry.key_span, format!("a name in `{}` is empty", field.key))
                    .help("give the variable a name");
                continue;
            }
            self.number_trap(&entry.node);
            let item = Field { key: &entry.key, key_span: entry.key_span, node: &entry.node };
            let value = if entry.node.is_null() { Some(String::new()) } else { self.text(item) };
            out.extend(value.map(|value| (entry.key.to_string(), value)));
        }
        out
    }

    /// A number whose text changes: `3.10` becomes `3.1`, `012` becomes `10`.
    pub(super) fn number_trap(&mut self, node: &Node) {
        let Value::Number(number) = &node.value else { return };
        if !self.lint {
            return;
        }
        let written = self.report.text.get(node.span).trim().to_owned();
        let becomes = number.to_string();
        if !written.is_empty() && written != becomes && written.trim_start_matches('+') != becomes {
            self.report
                .warn(Code::Reformatted, node.span, format!("`{written}` is a number and becomes `{becomes}`"))
                .help(format!("write `\"{written}\"` to keep it as it is"));
        }
    }

    pub(super) fn wrong_type<T>(&mut self, field: Field<'_>, wanted: &str) -> Option<T> {
        if field.node.unknown {
            return None;
        }
        let is = field.node.describe();
        // `- echo "a": b` is a map to YAML.
        let slip = matches!(&field.node.value, Value::Map(map) if map.len() == 1) && wanted == "a text";
        let help = if slip {
            "a text that holds `: ` is a map to YAML: put it into quotes".to_owned()
        } else {
            format!("docs/pipeline.md says what `{}` takes", field.key)
        };
        self.report
            .error(Code::BadType, field.value_span(), format!("`{}` must be {wanted}, not {is}", field.key))
            .help(help);
        None
    }

    pub(super) fn bad_value<T>(&mut self, field: Field<'_>, what: &str, help: &str) -> Option<T> {
        let is = field.node.describe();
        self.report.error(Code::BadValue, field.value_span(), format!("`{}`: {is} {what}", field.key)).help(help);
        None
    }
}

/// `a`, `b` or `c`.
pub(super) fn quoted(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
