//! The `matrix` of a command step, and the places where its values are used.

use std::rc::Rc;

use super::Reader;
use super::fields::{Field, Fields};
use crate::codes::Code;
use crate::interpolate::place_within;
use crate::limits::Limits;
use crate::matrix::{Adjustment, Matrix, tokens};
use crate::source::Span;
use crate::yaml::{Entry, Map, Node, Value};

/// Tokens of one text that are reported; further ones are wrong in the same way.
const MOST_TOKENS: usize = 10;

/// Attributes in which tokens are replaced. In `env` only the values, not the names.
const REPLACED: [&str; 15] = [
    "command",
    "commands",
    "script",
    "label",
    "name",
    "env",
    "plugins",
    "agents",
    "agent_query_rules",
    "secrets",
    "cache",
    "checkout",
    "artifact_paths",
    "artifacts",
    "matrix",
];

impl Reader<'_, '_> {
    pub(super) fn matrix(&mut self, field: Field<'_>) -> Option<Matrix> {
        let matrix = match &field.node.value {
            Value::Seq(_) => Matrix { dimensions: vec![self.dimension("", field)], adjustments: Vec::new() },
            Value::Map(map) => self.matrix_map(map, field)?,
            _ => return self.wrong_type(field, "a list of values or a map with `setup`"),
        };
        if self.too_large(&matrix, field.key_span) {
            return None;
        }
        let empty = matrix.dimensions.iter().any(|(_, values)| values.is_empty()) && matrix.adjustments.is_empty();
        if empty && !field.node.unknown {
            self.report
                .error(Code::BadMatrix, field.key_span, "the matrix makes no job: a dimension has no values")
                .help("give each dimension at least one value");
            return None;
        }
        if self.lint && matrix.size() > 24 {
            self.report
                .warn(Code::LargeMatrix, field.key_span, format!("this matrix makes {} jobs", matrix.size()))
                .help("drop combinations that tell nothing new, with `skip` in `adjustments`");
        }
        Some(matrix)
    }

    fn matrix_map(&mut self, map: &Map, field: Field<'_>) -> Option<Matrix> {
        let fields = Fields::new(map, field.key_span);
        let setup = fields.take_one("setup");
        let adjustments = fields.take_one("adjustments");
        self.only(&fields, "matrix", &["setup", "adjustments"]);
        let Some(setup) = setup else {
            self.report
                .error(Code::BadMatrix, field.key_span, "a matrix that is a map needs `setup`")
                .help("write the dimensions under `setup`");
            return None;
        };
        let mut matrix = Matrix::default();
        match &setup.node.value {
            Value::Map(dimensions) => {
                for entry in dimensions {
                    self.dimension_name(entry);
                    let inner = Field { key: &entry.key, key_span: entry.key_span, node: &entry.node };
                    let dimension = self.dimension(&entry.key, inner);
                    matrix.dimensions.push(dimension);
                }
            }
            _ => matrix.dimensions.push(self.dimension("", setup)),
        }
        if let Some(adjustments) = adjustments
            && !adjustments.node.is_null()
        {
            let Value::Seq(items) = &adjustments.node.value else {
                return self.wrong_type(adjustments, "a list");
            };
            let limit = self.context.limits.matrix_adjustments;
            if items.len() > limit {
                self.report
                    .error(
                        Code::MatrixTooLarge,
                        adjustments.key_span,
                        format!("{} adjustments, more than the cap of {limit}", items.len()),
                    )
                    .help(Limits::raise("matrix_adjustments"));
                return None;
            }
            for node in items {
                let adjustment = self.adjustment(Field { node, ..adjustments }, &matrix);
                matrix.adjustments.extend(adjustment);
            }
        }
        Some(matrix)
    }

    fn dimension_name(&mut self, entry: &Entry) {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let valid = !entry.key.is_empty() && entry.key.chars().all(fits);
        if !valid && !entry.key_unknown {
            self.report
                .error(Code::BadMatrix, entry.key_span, format!("`{}` cannot be the name of a dimension", entry.key))
                .help("a name is made of letters, digits and `_`");
        }
    }

    fn dimension(&mut self, name: &str, field: Field<'_>) -> (String, Vec<String>) {
        let items = match &field.node.value {
            Value::Seq(items) => items.as_slice(),
            // One value is a list of one.
            Value::Str(_) | Value::Bool(_) | Value::Number(_) => std::slice::from_ref(field.node),
            Value::Null | Value::Map(_) => {
                self.wrong_type::<()>(field, "a list of values");
                return (name.to_owned(), Vec::new());
            }
        };
        let (most, longest) = (self.context.limits.matrix_values, self.context.limits.matrix_value_bytes);
        if items.len() > most {
            self.report
                .error(
                    Code::MatrixTooLarge,
                    field.key_span,
                    format!("{} values in one dimension, more than the cap of {most}", items.len()),
                )
                .help(Limits::raise("matrix_values"));
            return (name.to_owned(), Vec::new());
        }
        let mut values: Vec<String> = Vec::with_capacity(items.len());
        for node in items {
            let Some(value) = self.matrix_value(Field { node, ..field }) else { continue };
            if value.len() > longest {
                self.report
                    .error(
                        Code::MatrixTooLarge,
                        node.span,
                        format!("a value of {} bytes, more than the cap of {longest}", value.len()),
                    )
                    .help(Limits::raise("matrix_value_bytes"));
            }
            if values.contains(&value) && self.lint && !node.unknown {
                self.report
                    .warn(Code::BadMatrix, node.span, format!("the value `{value}` is given twice"))
                    .help("the two jobs would be equal; drop one");
            }
            values.push(value);
        }
        (name.to_owned(), values)
    }

    fn matrix_value(&mut self, item: Field<'_>) -> Option<String> {
        match item.node.text() {
            Some(text) => {
                self.number_trap(item.node);
                Some(text.to_string())
            }
            None => {
                let is = item.node.describe();
                self.report
                    .error(Code::BadMatrix, item.value_span(), format!("{is} cannot be a value of a matrix"))
                    .help("a value is a text, a number or a boolean");
                None
            }
        }
    }

    fn adjustment(&mut self, item: Field<'_>, matrix: &Matrix) -> Option<Adjustment> {
        let Value::Map(map) = &item.node.value else {
            return self.wrong_type(item, "a list of `{with: …, skip: …}`");
        };
        let fields = Fields::new(map, map.first().map_or(item.node.span, |first| first.key_span));
        let with = fields.take_one("with");
        let skip = fields.take_one("skip").and_then(|field| self.skip(field));
        let soft_fail = fields.take_one("soft_fail").map(|field| self.soft_fail(field));
        self.only(&fields, "adjustments", &["with", "skip", "soft_fail"]);
        let Some(with) = with else {
            self.report
                .error(Code::BadAdjustment, fields.span, "an adjustment needs `with`")
                .help("name the combination that it is for");
            return None;
        };
        let with = self.with(with, matrix)?;
        Some(Adjustment { with, skip, soft_fail })
    }

    /// The values of an adjustment, one for each dimension; `None` for one that is not named.
    fn with(&mut self, field: Field<'_>, matrix: &Matrix) -> Option<Vec<Option<String>>> {
        let anonymous = matches!(matrix.dimensions.as_slice(), [(name, _)] if name.is_empty());
        let Value::Map(map) = &field.node.value else {
            let item = match &field.node.value {
                Value::Seq(items) if items.len() == 1 => Field { node: &items[0], ..field },
                _ => field,
            };
            if !anonymous {
                let names: Vec<&str> = matrix.dimensions.iter().map(|(name, _)| name.as_str()).collect();
                self.report
                    .error(Code::BadAdjustment, field.value_span(), "`with` must name every dimension")
                    .help(format!("give a value for each of {}", super::values::quoted(&names)));
                return None;
            }
            return self.matrix_value(item).map(|value| vec![Some(value)]);
        };
        let names: Vec<&str> = matrix.dimensions.iter().map(|(name, _)| name.as_str()).collect();
        let mut strange = map.iter().any(|entry| entry.key_unknown);
        for entry in map.iter().filter(|entry| !entry.key_unknown && !names.contains(&&*entry.key)) {
            strange = true;
            let help = match crate::attributes::suggest(&entry.key, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if anonymous => "the matrix has no named dimension: write `with: VALUE`".to_owned(),
                None => format!("the matrix has {}", super::values::quoted(&names)),
            };
            self.report
                .error(Code::BadAdjustment, entry.key_span, format!("the matrix has no dimension `{}`", entry.key))
                .help(help);
        }
        let mut out = Vec::with_capacity(names.len());
        for name in names {
            let Some(entry) = crate::yaml::get(map, name) else {
                if self.lint && !anonymous && !strange {
                    self.report
                        .warn(
                            Code::OpenPoint,
                            field.key_span,
                            format!("`with` does not name `{name}`, so it is for every value of it"),
                        )
                        .help("name every dimension; other implementations may reject this");
                }
                out.push(None);
                continue;
            };
            let item = Field { key: &entry.key, key_span: entry.key_span, node: &entry.node };
            out.push(Some(self.matrix_value(item)?));
        }
        Some(out)
    }

    fn too_large(&mut self, matrix: &Matrix, span: Span) -> bool {
        let limits = self.context.limits;
        let dimensions = matrix.dimensions.len();
        if dimensions > limits.matrix_dimensions {
            self.report
                .error(
                    Code::MatrixTooLarge,
                    span,
                    format!("{dimensions} dimensions, more than the cap of {}", limits.matrix_dimensions),
                )
                .help(Limits::raise("matrix_dimensions"));
            return true;
        }
        // What adjustments repeat does not count twice, so the product decides first.
        let product = matrix.dimensions.iter().map(|(_, values)| values.len()).fold(1usize, usize::saturating_mul);
        let jobs = if product > limits.matrix_jobs { product } else { matrix.combinations().len() };
        if jobs > limits.matrix_jobs {
            self.report
                .error(
                    Code::MatrixTooLarge,
                    span,
                    format!("the matrix makes {jobs} jobs, more than the cap of {}", limits.matrix_jobs),
                )
                .help(Limits::raise("matrix_jobs"));
            return true;
        }
        false
    }

    /// Checks the tokens of a step: their dimensions, the dimensions that no token names, and tokens that stand where
    /// they are not replaced. `matrix` is `None` where the step has none.
    pub(super) fn matrix_tokens(&mut self, map: &Map, matrix: Option<&Matrix>) {
        let mut used: Vec<Rc<str>> = Vec::new();
        for entry in map {
            if &*entry.key == "matrix" {
                continue;
            }
            let replaced = REPLACED.contains(&&*entry.key);
            self.tokens_in(&entry.node, matrix, replaced, &entry.key, &mut used);
        }
        let Some(matrix) = matrix else { return };
        if !self.lint {
            return;
        }
        let span = crate::yaml::get(map, "matrix").map_or_else(Span::default, |entry| entry.key_span);
        for (name, values) in &matrix.dimensions {
            if values.len() > 1 && !used.iter().any(|other| **other == **name) {
                let (shown, token) = if name.is_empty() {
                    ("the matrix".to_owned(), "{{matrix}}".to_owned())
                } else {
                    (format!("the dimension `{name}`"), format!("{{{{matrix.{name}}}}}"))
                };
                self.report
                    .warn(Code::UnusedDimension, span, format!("{shown} is used nowhere, so its jobs are equal"))
                    .help(format!("write `{token}` where its value is meant"));
            }
        }
    }

    fn tokens_in(
        &mut self,
        node: &Node,
        matrix: Option<&Matrix>,
        replaced: bool,
        attribute: &str,
        used: &mut Vec<Rc<str>>,
    ) {
        match &node.value {
            Value::Str(text) => self.tokens_of(text, node.span, matrix, replaced, attribute, used),
            Value::Seq(items) => {
                for item in items {
                    self.tokens_in(item, matrix, replaced, attribute, used);
                }
            }
            Value::Map(map) => {
                for entry in map {
                    // In plugins and agents the keys are replaced too; in `env` they are not.
                    let keys = replaced && attribute != "env";
                    self.tokens_of(&entry.key, entry.key_span, matrix, keys, attribute, used);
                    self.tokens_in(&entry.node, matrix, replaced, attribute, used);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn tokens_of(
        &mut self,
        text: &Rc<str>,
        span: Span,
        matrix: Option<&Matrix>,
        replaced: bool,
        attribute: &str,
        used: &mut Vec<Rc<str>>,
    ) {
        if !text.contains("{{") {
            return;
        }
        let known = |name: &str| matrix.is_some_and(|matrix| matrix.dimensions.iter().any(|(own, _)| own == name));
        let mut reported = 0;
        for token in tokens(text) {
            if replaced && known(token.dimension) {
                if !used.iter().any(|name| **name == *token.dimension) {
                    used.push(Rc::from(token.dimension));
                }
                continue;
            }
            reported += 1;
            if reported > MOST_TOKENS {
                continue;
            }
            let place = place_within(self.report, span, text, token.start, token.end);
            let shown = &text[token.start..token.end];
            let Some(matrix) = matrix else {
                if self.lint {
                    self.report
                        .warn(
                            Code::MatrixNotReplaced,
                            place,
                            format!("`{shown}` is not replaced: the step has no matrix"),
                        )
                        .help("give the step a `matrix`");
                }
                continue;
            };
            if !replaced {
                if self.lint {
                    self.report
                        .warn(Code::MatrixNotReplaced, place, format!("`{shown}` is not replaced in `{attribute}`"))
                        .help(
                            "it is replaced in `command`, `label`, `env` values, `plugins`, `agents`, `artifact_paths`, \
                             `secrets`, `cache` and `checkout`",
                        );
                }
                continue;
            }
            let names: Vec<&str> = matrix.dimensions.iter().map(|(name, _)| name.as_str()).collect();
            let help = match names.as_slice() {
                [""] => "the matrix has no named dimension: write `{{matrix}}`".to_owned(),
                names => match crate::attributes::suggest(token.dimension, names.iter().copied()) {
                    Some(near) => format!("did you mean `{{{{matrix.{near}}}}}`?"),
                    None => format!("the matrix has {}", super::values::quoted(names)),
                },
            };
            let message = format!("`{shown}` names no dimension of the matrix");
            // In a label it does no harm, and files in the wild have it there; see docs/decisions/0106.
            if matches!(attribute, "label" | "name") {
                self.report.warn(Code::UnknownDimension, place, message).help(help);
            } else {
                self.report.error(Code::UnknownDimension, place, message).help(help);
            }
        }
    }
}
