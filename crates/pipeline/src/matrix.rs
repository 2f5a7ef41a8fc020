//! Matrices: one step, many jobs (`spec/pipeline.md` 1.6).

use serde_json::Value as Json;
use thiserror::Error;
use tidegate_core::plan::{JobSpec, Plugin, SoftFail};

/// A value for each dimension of a matrix, by name; the name of an anonymous one is empty.
pub type Permutation = [(String, String)];

/// Why a job's values do not belong to its matrix.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum PermutationError {
    /// There are more or fewer values than dimensions.
    #[error("{found} values for a matrix of {wanted} dimensions")]
    WrongLength {
        /// Values of the job.
        found: usize,
        /// Dimensions of the matrix.
        wanted: usize,
    },
    /// A value for a dimension that the matrix does not have.
    #[error("the matrix has no dimension `{0}`")]
    UnknownDimension(String),
    /// An adjustment names more or fewer dimensions than there are.
    #[error("an adjustment names {found} of {wanted} dimensions")]
    AdjustmentWrongLength {
        /// Dimensions that it names.
        found: usize,
        /// Dimensions of the matrix.
        wanted: usize,
    },
    /// An adjustment names a dimension that the matrix does not have.
    #[error("an adjustment names the dimension `{0}`, which the matrix does not have")]
    AdjustmentUnknownDimension(String),
    /// The combination is skipped.
    #[error("an adjustment skips this combination")]
    Skipped,
    /// The combination is neither in the product nor in an adjustment.
    #[error("the matrix makes no such combination")]
    NoMatch,
}

/// A matrix as a signed step carries it: what [`check_permutation`] needs of it.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// Dimensions and their values.
    pub setup: Vec<(String, Vec<String>)>,
    /// The values of each adjustment by dimension, and whether it skips.
    pub adjustments: Vec<(Vec<(String, String)>, bool)>,
}

/// Checks that a job's values are a combination of the matrix, as an agent does before it runs a signed job
/// (`spec/pipeline.md` 1.6). Stricter than the expansion: every adjustment must name every dimension.
///
/// # Errors
///
/// The first thing that does not fit.
pub fn check_permutation(matrix: &Declared, job: &Permutation) -> Result<(), PermutationError> {
    let wanted = matrix.setup.len();
    let dimension = |name: &str| matrix.setup.iter().find(|(own, _)| own == name);
    if job.len() != wanted {
        return Err(PermutationError::WrongLength { found: job.len(), wanted });
    }
    if let Some((name, _)) = job.iter().find(|(name, _)| dimension(name).is_none()) {
        return Err(PermutationError::UnknownDimension(name.clone()));
    }
    let mut valid = job.iter().all(|(name, value)| dimension(name).is_some_and(|(_, values)| values.contains(value)));
    for (with, skip) in &matrix.adjustments {
        if let Some((name, _)) = with.iter().find(|(name, _)| dimension(name).is_none())
            && with.len() == wanted
        {
            return Err(PermutationError::AdjustmentUnknownDimension(name.clone()));
        }
        if with.len() != wanted {
            return Err(PermutationError::AdjustmentWrongLength { found: with.len(), wanted });
        }
        if job.iter().all(|pair| with.contains(pair)) {
            if *skip {
                return Err(PermutationError::Skipped);
            }
            valid = true;
        }
    }
    if valid { Ok(()) } else { Err(PermutationError::NoMatch) }
}

/// Tokens that name no dimension of the job.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("unknown matrix tokens: {}", .0.join(", "))]
pub struct UnknownTokens(pub Vec<String>);

/// Replaces `{{matrix}}` and `{{matrix.name}}` in every text of a value; keys stay.
///
/// # Errors
///
/// When a token names no dimension of the job.
pub fn substitute(value: &Json, job: &Permutation) -> Result<Json, UnknownTokens> {
    let mut unknown = Vec::new();
    collect_unknown(value, job, &mut unknown);
    if !unknown.is_empty() {
        return Err(UnknownTokens(unknown));
    }
    let mut out = value.clone();
    Substitution { values: job }.json(&mut out);
    Ok(out)
}

fn collect_unknown(value: &Json, job: &Permutation, out: &mut Vec<String>) {
    match value {
        Json::String(text) => {
            let unknown = tokens(text).into_iter().filter(|token| !job.iter().any(|(name, _)| name == token.dimension));
            out.extend(unknown.map(|token| match token.dimension {
                "" => "matrix".to_owned(),
                name => format!("matrix.{name}"),
            }));
        }
        Json::Array(items) => items.iter().for_each(|item| collect_unknown(item, job, out)),
        Json::Object(map) => map.values().for_each(|item| collect_unknown(item, job, out)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// A matrix, read and checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matrix {
    /// Name and values of each dimension; the name of an anonymous one is empty.
    pub(crate) dimensions: Vec<(String, Vec<String>)>,
    pub(crate) adjustments: Vec<Adjustment>,
}

/// A change to one combination, or a combination more.
#[derive(Clone, Debug)]
pub(crate) struct Adjustment {
    /// A value for each dimension, in the order of the dimensions; `None` where any will do
    /// (docs/decisions/0105).
    pub(crate) with: Vec<Option<String>>,
    /// The reason; empty for a bare `true`.
    pub(crate) skip: Option<String>,
    pub(crate) soft_fail: Option<SoftFail>,
}

/// A job of a matrix.
#[derive(Clone, Debug)]
pub(crate) struct Combination {
    pub(crate) values: Vec<String>,
    pub(crate) skip: Option<String>,
    pub(crate) soft_fail: Option<SoftFail>,
}

impl Matrix {
    /// How many jobs it makes at most; saturates.
    pub(crate) fn size(&self) -> usize {
        let product = self.dimensions.iter().map(|(_, values)| values.len()).fold(1usize, usize::saturating_mul);
        product.saturating_add(self.adjustments.len())
    }

    /// The combinations: the product with the first dimension slowest, then what adjustments add, in their order.
    pub(crate) fn combinations(&self) -> Vec<Combination> {
        let mut rows: Vec<Vec<String>> = vec![Vec::new()];
        for (_, values) in &self.dimensions {
            rows = rows
                .into_iter()
                .flat_map(|row| values.iter().map(move |value| row.iter().chain([value]).cloned().collect::<Vec<_>>()))
                .collect();
        }
        for adjustment in &self.adjustments {
            let Some(row) = adjustment.with.iter().cloned().collect::<Option<Vec<String>>>() else { continue };
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        rows.into_iter().map(|values| self.adjusted(values)).collect()
    }

    /// Several adjustments may fit: any skip skips, the last `soft_fail` counts.
    fn adjusted(&self, values: Vec<String>) -> Combination {
        let mut combination = Combination { values, skip: None, soft_fail: None };
        let fits = |adjustment: &&Adjustment| {
            let pairs = adjustment.with.iter().zip(&combination.values);
            pairs.into_iter().all(|(wanted, value)| wanted.as_ref().is_none_or(|wanted| wanted == value))
        };
        let fitting: Vec<&Adjustment> = self.adjustments.iter().filter(fits).collect();
        for adjustment in fitting {
            if combination.skip.is_none() {
                combination.skip.clone_from(&adjustment.skip);
            }
            if adjustment.soft_fail.is_some() {
                combination.soft_fail.clone_from(&adjustment.soft_fail);
            }
        }
        combination
    }
}

/// A `{{matrix}}` or `{{matrix.name}}` in a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Token<'t> {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The dimension; empty for an anonymous one.
    pub(crate) dimension: &'t str,
}

/// The tokens of a text: `\{\{\s*matrix(\.[\w.-]+)?\s*\}\}`.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut out = Vec::new();
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find("{{")) {
        let start = from + at;
        match token_at(text, start) {
            Some(token) => {
                from = token.end;
                out.push(token);
            }
            None => from = start + 1,
        }
    }
    out
}

fn token_at(text: &str, start: usize) -> Option<Token<'_>> {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c');
    let inner = text.get(start + 2..)?;
    let rest = inner.trim_start_matches(blank).strip_prefix("matrix")?;
    let (dimension, rest) = match rest.strip_prefix('.') {
        Some(name) => {
            let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            let length = name.find(|c| !word(c)).unwrap_or(name.len());
            (name.get(..length).filter(|name| !name.is_empty())?, &name[length..])
        }
        None => ("", rest),
    };
    let rest = rest.trim_start_matches(blank).strip_prefix("}}")?;
    Some(Token { start, end: text.len() - rest.len(), dimension })
}

/// Replaces the tokens of texts by the values of one job. A token of an unknown dimension was reported when the step
/// was read and stays as it is.
pub(crate) struct Substitution<'s> {
    pub(crate) values: &'s Permutation,
}

impl Substitution<'_> {
    /// The text with its tokens replaced; `None` where it has none.
    pub(crate) fn text(&self, text: &str) -> Option<String> {
        if !text.contains("{{") {
            return None;
        }
        let tokens = tokens(text);
        if tokens.is_empty() {
            return None;
        }
        let mut out = String::with_capacity(text.len());
        let mut from = 0;
        for token in tokens {
            let value = self.values.iter().find(|(name, _)| name == token.dimension);
            let Some((_, value)) = value else { continue };
            out.push_str(&text[from..token.start]);
            out.push_str(value);
            from = token.end;
        }
        out.push_str(&text[from..]);
        Some(out)
    }

    /// What the job runs; `None` where it is what the step says.
    pub(crate) fn spec(&self, spec: &JobSpec) -> Option<JobSpec> {
        let mut out = spec.clone();
        let mut changed = self.replace(&mut out.command);
        for (_, value) in &mut out.env {
            changed |= self.replace(value);
        }
        for (tag, value) in &mut out.agents {
            changed |= self.replace(tag) | self.replace(value);
        }
        // Not in the list of the documentation, harmless, and what authors expect.
        for path in &mut out.artifact_paths {
            changed |= self.replace(path);
        }
        for plugin in &mut out.plugins {
            changed |= self.plugin(plugin);
        }
        for (variable, name) in &mut out.secrets {
            changed |= self.replace(variable) | self.replace(name);
        }
        for value in out.cache.iter_mut().chain(&mut out.checkout) {
            changed |= self.json(value);
        }
        changed.then_some(out)
    }

    fn plugin(&self, plugin: &mut Plugin) -> bool {
        self.replace(&mut plugin.source) | self.json(&mut plugin.config)
    }

    fn replace(&self, text: &mut String) -> bool {
        match self.text(text) {
            Some(new) => {
                *text = new;
                true
            }
            None => false,
        }
    }

    fn json(&self, value: &mut Json) -> bool {
        match value {
            Json::String(text) => self.replace(text),
            Json::Array(items) => items.iter_mut().fold(false, |changed, item| self.json(item) | changed),
            Json::Object(map) => map.values_mut().fold(false, |changed, item| self.json(item) | changed),
            Json::Null | Json::Bool(_) | Json::Number(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_whatever_their_blanks() {
        let found = |text| tokens(text).iter().map(|token| token.dimension.to_owned()).collect::<Vec<_>>();
        assert_eq!(found("{{matrix}} {{ matrix.os\t}} {{matrix.a-b.c}}"), ["", "os", "a-b.c"]);
        assert_eq!(found("{{{matrix}}}"), [""]);
        assert!(found("{{matrixx}} {{ matrix. }} {matrix} {{matrix").is_empty());
    }

    #[test]
    fn the_first_dimension_is_the_slowest_and_adjustments_follow() {
        let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let with = |texts: &[&str]| texts.iter().map(|text| Some((*text).to_owned())).collect::<Vec<_>>();
        let matrix = Matrix {
            dimensions: vec![("os".to_owned(), strings(&["a", "b"])), ("v".to_owned(), strings(&["1", "2"]))],
            adjustments: vec![
                Adjustment { with: with(&["c", "3"]), skip: None, soft_fail: Some(SoftFail::Always) },
                Adjustment { with: with(&["a", "2"]), skip: Some("slow".to_owned()), soft_fail: None },
                Adjustment { with: vec![Some("b".to_owned()), None], skip: Some("off".to_owned()), soft_fail: None },
            ],
        };
        let rows: Vec<String> = matrix
            .combinations()
            .iter()
            .map(|row| format!("{}{}", row.values.join(""), row.skip.as_deref().unwrap_or("")))
            .collect();
        assert_eq!(rows, ["a1", "a2slow", "b1off", "b2off", "c3"]);
    }
}
