//! Evaluation of conditions.

use std::collections::HashMap;

use super::ast::{Compare, Expr, ExprKind, Logic};
use super::error::{ConditionError, ErrorKind};
use super::facts::Facts;
use super::regex::Pattern;
use super::shell::{self, Env, Shell};
use super::variables;

/// The value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Str(String),
    Strings(Vec<String>),
    Regex(std::rc::Rc<Pattern>),
}

impl Value {
    /// What `&&`, `||`, `?` and a result make of it.
    fn truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => *value,
            Self::Int(_) | Self::Str(_) | Self::Strings(_) | Self::Regex(_) => true,
        }
    }

    /// For people: short, and on one line.
    fn describe(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Str(text) => format!("\"{}\"", crate::yaml::shorten(text)),
            Self::Strings(texts) => {
                let shown: Vec<String> =
                    texts.iter().take(5).map(|text| format!("\"{}\"", crate::yaml::shorten(text))).collect();
                let more = if texts.len() > 5 { ", …" } else { "" };
                format!("[{}{more}]", shown.join(", "))
            }
            Self::Regex(pattern) => format!("{pattern:?}"),
        }
    }
}

/// What a condition is evaluated against.
pub(super) struct Scope<'f> {
    facts: &'f Facts,
    env: Env,
}

impl<'f> Scope<'f> {
    pub(super) fn new(facts: &'f Facts) -> Self {
        let mut env: Env = HashMap::new();
        // The pipeline's variables are below those of the build, and both below the standard ones.
        for (name, value) in facts.project_env.iter().chain(&facts.build_env) {
            if !variables::unreadable(name) {
                env.insert(name.clone(), value.clone());
            }
        }
        env.extend(facts.standard_env(true));
        Self { facts, env }
    }

    /// The value of a whole condition.
    pub(super) fn truth(&self, expr: &Expr) -> Result<bool, ConditionError> {
        match self.value(expr)? {
            Value::Bool(value) => Ok(value),
            Value::Null => Ok(false),
            other => {
                let message = format!("a condition is true or false, and this is {}", other.describe());
                Err(ConditionError::new(ErrorKind::Result, expr.span.clone(), message))
            }
        }
    }

    fn value(&self, expr: &Expr) -> Result<Value, ConditionError> {
        let fail = |message: String| ConditionError::new(ErrorKind::Evaluation, expr.span.clone(), message);
        match &expr.kind {
            ExprKind::Null => Ok(Value::Null),
            ExprKind::Bool(value) => Ok(Value::Bool(*value)),
            ExprKind::Int(value) => Ok(Value::Int(*value)),
            ExprKind::Str(literal) if literal.double && literal.raw.contains('$') => {
                // `$$` is a dollar even where nothing depends on the environment.
                if literal.raw.contains("$$") || shell::has_expansion(&literal.raw) {
                    return Shell { env: &self.env }.text(&literal.raw).map(Value::Str).map_err(fail);
                }
                Ok(Value::Str(literal.value.clone()))
            }
            ExprKind::Str(literal) => Ok(Value::Str(literal.value.clone())),
            ExprKind::Regex(pattern) => Ok(Value::Regex(std::rc::Rc::clone(pattern))),
            ExprKind::Shell(raw) => {
                let value = Shell { env: &self.env }.expand(raw).map_err(fail)?;
                Ok(value.map_or(Value::Null, Value::Str))
            }
            ExprKind::Name(name) if name == variables::CHANGED_FILES.name => {
                Ok((variables::CHANGED_FILES.value)(self.facts))
            }
            ExprKind::Name(name) => match variables::find(name, self.facts.entry_point.has_step()) {
                Some(variable) => Ok((variable.value)(self.facts)),
                None => Err(fail(format!("`{name}` is not a variable"))),
            },
            ExprKind::Not(inner) => Ok(Value::Bool(!self.value(inner)?.truthy())),
            ExprKind::Logic { op, terms } => {
                let mut last = Value::Null;
                for term in terms {
                    last = self.value(term)?;
                    if last.truthy() == (*op == Logic::Or) {
                        break;
                    }
                }
                Ok(last)
            }
            ExprKind::Compare { op, left, right } => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                compare(*op, &left, &right).map(Value::Bool).map_err(fail)
            }
            ExprKind::Choice { condition, then, otherwise } => {
                self.value(if self.value(condition)?.truthy() { then } else { otherwise })
            }
            ExprKind::Call { name, arguments } => {
                let argument = arguments.first().map(|argument| self.value(argument)).transpose()?;
                let Some(Value::Str(argument)) = argument else {
                    return Err(fail(format!("`{name}` takes the name of a variable")));
                };
                self.environment(name, &argument).map_err(fail)
            }
            ExprKind::Array(items) => {
                let mut texts = Vec::with_capacity(items.len());
                for item in items {
                    match self.value(item)? {
                        Value::Str(text) => texts.push(text),
                        other => return Err(fail(format!("a list holds texts, not {}", other.describe()))),
                    }
                }
                Ok(Value::Strings(texts))
            }
        }
    }

    fn environment(&self, function: &str, name: &str) -> Result<Value, String> {
        if name.is_empty() {
            return Err("Argument to `env` should be an environment variable name".to_owned());
        }
        if variables::unreadable(name) && name != variables::LABELS {
            return Err(format!("`{name}` cannot be read in a condition: it has no value when the file is read"));
        }
        Ok(match self.env.get(name) {
            Some(value) => Value::Str(value.clone()),
            None if function == "env" => Value::Str(String::new()),
            None => Value::Null,
        })
    }

    /// What the condition looks at, each once, with its value.
    pub(super) fn values(&self, expr: &Expr) -> Vec<String> {
        let mut out = Vec::new();
        self.collect(expr, &mut out);
        out
    }

    fn collect(&self, expr: &Expr, out: &mut Vec<String>) {
        if matches!(expr.kind, ExprKind::Name(_) | ExprKind::Call { .. } | ExprKind::Shell(_)) {
            let value = self.value(expr).map_or_else(|error| error.message, |value| value.describe());
            let said = format!("{expr} is {value}");
            if !out.contains(&said) {
                out.push(said);
            }
            return;
        }
        for child in expr.children() {
            self.collect(child, out);
        }
    }
}

pub(super) fn compare(op: Compare, left: &Value, right: &Value) -> Result<bool, String> {
    match (op, left, right) {
        (Compare::Equal, ..) => Ok(left == right),
        (Compare::NotEqual, ..) => Ok(left != right),
        (Compare::Matches, Value::Str(text), Value::Regex(pattern)) => pattern.matches(text),
        (Compare::MatchesNot, Value::Str(text), Value::Regex(pattern)) => Ok(!pattern.matches(text)?),
        (Compare::Matches, Value::Null, Value::Regex(_)) => Ok(false),
        (Compare::MatchesNot, Value::Null, Value::Regex(_)) => Ok(true),
        (Compare::Includes, Value::Null, _) | (Compare::Includes, Value::Strings(_), Value::Null) => Ok(false),
        (Compare::Includes, Value::Strings(texts), Value::Str(text)) => Ok(texts.contains(text)),
        (Compare::Includes, Value::Strings(texts), Value::Regex(pattern)) => any_matches(texts, pattern),
        // Only the changed files get past the types here: any of them matches, or none.
        (Compare::Matches, Value::Strings(texts), Value::Regex(pattern)) => any_matches(texts, pattern),
        (Compare::MatchesNot, Value::Strings(texts), Value::Regex(pattern)) => Ok(!any_matches(texts, pattern)?),
        _ => Err(format!("{} and {} cannot be compared with `{}`", left.describe(), right.describe(), op.text())),
    }
}

fn any_matches(texts: &[String], pattern: &Pattern) -> Result<bool, String> {
    for text in texts {
        if pattern.matches(text)? {
            return Ok(true);
        }
    }
    Ok(false)
}
