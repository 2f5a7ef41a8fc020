//! Block and input steps (`spec/pipeline.md` 1.5).

use tidegate_core::plan::{BlockedState, Field as FormField, FieldInput, ManualStep};

use super::Reader;
use super::fields::{Field, Fields};
use crate::codes::Code;
use crate::yaml::Value;

impl Reader<'_, '_> {
    pub(super) fn manual(&mut self, fields: &Fields<'_>) -> ManualStep {
        let mut step = ManualStep {
            prompt: fields.take_one("prompt").and_then(|field| self.text(field)),
            submit: fields.take_one("submit").and_then(|field| self.text(field)),
            ..ManualStep::default()
        };
        if let Some(field) = fields.take_one("fields") {
            step.fields = self.form(field);
        }
        if let Some(field) = fields.take_one("blocked_state") {
            step.blocked_state = match self.word(field, &["passed", "failed", "running"]) {
                Some("failed") => BlockedState::Failed,
                Some("running") => BlockedState::Running,
                _ => BlockedState::Passed,
            };
        }
        if let Some(field) = fields.take_one("allowed_teams") {
            step.allowed_teams = self.texts(field);
            if step.allowed_teams.len() > 100 {
                self.report
                    .error(Code::BadValue, field.value_span(), "`allowed_teams` names more than 100 teams")
                    .help("make a team of teams");
            }
        }
        step
    }

    fn form(&mut self, field: Field<'_>) -> Vec<FormField> {
        match &field.node.value {
            Value::Null => Vec::new(),
            Value::Seq(items) => {
                let form: Vec<FormField> =
                    items.iter().filter_map(|node| self.form_field(Field { node, ..field })).collect();
                form
            }
            _ => self.wrong_type(field, "a list of fields").unwrap_or_default(),
        }
    }

    fn form_field(&mut self, item: Field<'_>) -> Option<FormField> {
        let Value::Map(map) = &item.node.value else {
            return self.wrong_type(item, "a field such as `{text: …, key: …}`");
        };
        let fields = Fields::new(map, map.first().map_or(item.node.span, |first| first.key_span));
        let text = fields.take_one("text");
        let select = fields.take_one("select");
        let key = fields.take_one("key");
        let hint = fields.take_one("hint").and_then(|field| self.text(field));
        let required = fields.take_one("required").and_then(|field| self.boolean(field)).unwrap_or(true);
        let options = fields.take_one("options");
        let multiple = fields.take_one("multiple");
        let format = fields.take_one("format");
        let default = fields.take_one("default");
        let known = ["text", "select", "key", "hint", "required", "default", "format", "options", "multiple"];
        self.mostly(&fields, "fields", &known);

        let key = match key {
            Some(field) => self.field_key(field)?,
            None => {
                self.report
                    .error(Code::MissingAttribute, fields.span, "a field needs a `key`")
                    .help("the value is kept as meta-data under that key");
                return None;
            }
        };
        let is_select = match (text, select) {
            (Some(_), Some(select)) => {
                self.report
                    .error(Code::ConflictingAttributes, select.key_span, "a field has either `text` or `select`")
                    .help("make two fields of it");
                return None;
            }
            (None, None) if options.is_none() => false,
            (text, _) => text.is_none(),
        };
        let label = text.or(select).and_then(|field| self.text(field));
        let defaults = default.map(|field| self.texts(field)).unwrap_or_default();
        let input = if is_select {
            let options = match options {
                Some(field) => self.options(field),
                None => {
                    self.report
                        .error(Code::MissingAttribute, fields.span, "a `select` needs `options`")
                        .help("write a list of `{label: …, value: …}`");
                    return None;
                }
            };
            let multiple = multiple.and_then(|field| self.boolean(field)).unwrap_or(false);
            if let Some(field) = default {
                self.default_choice(field, &defaults, &options, multiple);
            }
            FieldInput::Select { options, multiple }
        } else {
            let format = format.and_then(|field| self.format(field));
            FieldInput::Text { format }
        };
        Some(FormField { key, label, hint, required, default: defaults, input })
    }

    fn field_key(&mut self, field: Field<'_>) -> Option<String> {
        let key = self.name(field)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
        if !field.node.unknown && !key.chars().all(allowed) {
            self.report
                .error(Code::BadValue, field.value_span(), format!("`{key}` cannot be the key of a field"))
                .help("a field's key is made of letters, digits, `-`, `_` and `/`");
            return None;
        }
        Some(key)
    }

    fn options(&mut self, field: Field<'_>) -> Vec<(String, String)> {
        let items = match &field.node.value {
            Value::Seq(items) if !items.is_empty() => items,
            Value::Seq(_) | Value::Null => {
                self.report
                    .error(Code::BadValue, field.value_span(), "`options` is empty")
                    .help("write a list of `{label: …, value: …}`");
                return Vec::new();
            }
            _ => return self.wrong_type(field, "a list of `{label: …, value: …}`").unwrap_or_default(),
        };
        items.iter().filter_map(|node| self.option(Field { node, ..field })).collect()
    }

    fn option(&mut self, item: Field<'_>) -> Option<(String, String)> {
        let Value::Map(map) = &item.node.value else {
            return self.wrong_type(item, "a list of `{label: …, value: …}`");
        };
        let fields = Fields::new(map, map.first().map_or(item.node.span, |first| first.key_span));
        let label = fields.take_one("label").and_then(|field| self.text(field));
        let value = fields.take_one("value").and_then(|field| self.text(field));
        fields.take_one("hint");
        fields.take_one("required");
        self.mostly(&fields, "options", &["label", "value", "hint", "required"]);
        match (label, value) {
            (Some(label), Some(value)) => Some((label, value)),
            (label, _) => {
                let missing = if label.is_none() { "label" } else { "value" };
                self.report
                    .error(Code::MissingAttribute, fields.span, format!("an option needs a `{missing}`"))
                    .help("write `{label: …, value: …}`");
                None
            }
        }
    }

    fn default_choice(&mut self, field: Field<'_>, defaults: &[String], options: &[(String, String)], multiple: bool) {
        if defaults.len() > 1 && !multiple {
            self.report
                .error(Code::BadValue, field.value_span(), "several defaults, but only one may be chosen")
                .help("write `multiple: true`, or keep one default");
        }
        let unknown = defaults.iter().find(|default| !options.iter().any(|(_, value)| value == *default));
        if let Some(default) = unknown.filter(|default| !field.node.unknown && !default.is_empty()) {
            self.report
                .warn(Code::BadValue, field.value_span(), format!("the default `{default}` is not among the options"))
                .help("name the `value` of one of the options");
        }
    }

    fn format(&mut self, field: Field<'_>) -> Option<String> {
        let text = self.text(field)?;
        if !field.node.unknown
            && let Err(error) = fancy_regex::Regex::new(&text)
        {
            let error = error.to_string();
            let first = error.lines().last().unwrap_or_default().trim().to_owned();
            self.report
                .error(Code::BadValue, field.value_span(), format!("`format` is not a regular expression: {first}"))
                .help_if(None);
            return None;
        }
        Some(text)
    }
}
