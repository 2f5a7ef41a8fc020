//! Conditions that have the same value whatever the build is: almost always a mistake of their author.

use std::ops::Range;

use super::ast::{Compare, Expr, ExprKind, Logic};
use super::eval::{self, Value};
use super::shell;

/// Why a condition, or a part of it, never changes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Constant {
    pub(crate) value: bool,
    /// The part that decides it.
    pub(crate) span: Range<usize>,
    pub(crate) why: String,
}

/// The value that the condition always has, if it has one.
pub(super) fn constant(expr: &Expr) -> Option<Constant> {
    let found = |value: bool, why: String| Constant { value, span: expr.span.clone(), why };
    if let Some(value) = literal(expr) {
        let value = matches!(value, Value::Bool(true));
        // `if: false` is how people switch a step off, and they know.
        return (!matches!(expr.kind, ExprKind::Bool(_))).then(|| found(value, "it looks at nothing".to_owned()));
    }
    match &expr.kind {
        ExprKind::Not(inner) => constant(inner).map(|inner| Constant { value: !inner.value, ..inner }),
        ExprKind::Logic { op, terms } => {
            // A term that decides the whole.
            let decisive = *op == Logic::Or;
            let constants: Vec<Option<Constant>> = terms.iter().map(constant).collect();
            if let Some(term) = constants.iter().flatten().find(|term| term.value == decisive) {
                return Some(term.clone());
            }
            clash(*op, terms).map(|why| found(decisive, why))
        }
        _ => None,
    }
}

/// The value of an expression that looks at nothing.
fn literal(expr: &Expr) -> Option<Value> {
    match &expr.kind {
        ExprKind::Null => Some(Value::Null),
        ExprKind::Bool(value) => Some(Value::Bool(*value)),
        ExprKind::Int(value) => Some(Value::Int(*value)),
        ExprKind::Str(text) if text.double && (text.raw.contains("$$") || shell::has_expansion(&text.raw)) => None,
        ExprKind::Str(text) => Some(Value::Str(text.value.clone())),
        ExprKind::Regex(pattern) => Some(Value::Regex(std::rc::Rc::clone(pattern))),
        ExprKind::Compare { op, left, right } => {
            eval::compare(*op, &literal(left)?, &literal(right)?).ok().map(Value::Bool)
        }
        ExprKind::Not(inner) => match literal(inner)? {
            Value::Bool(value) => Some(Value::Bool(!value)),
            _ => None,
        },
        _ => None,
    }
}

/// Two terms about one subject that cannot both hold (in `&&`), or one of which always holds (in `||`).
fn clash(op: Logic, terms: &[Expr]) -> Option<String> {
    let facts: Vec<(String, Compare, Value)> = terms.iter().filter_map(statement).collect();
    for (at, (subject, first, one)) in facts.iter().enumerate() {
        for (_, second, other) in facts[at + 1..].iter().filter(|(name, ..)| name == subject) {
            let clashes = match op {
                Logic::And => exclude(*first, one, *second, other),
                // `a || b` is always true where `!a && !b` never is.
                Logic::Or => exclude(opposite(*first)?, one, opposite(*second)?, other),
            };
            if clashes {
                return Some(match op {
                    Logic::And => format!("`{subject}` cannot meet both tests at once"),
                    Logic::Or => format!("`{subject}` always meets one of the two tests"),
                });
            }
        }
    }
    None
}

/// `subject op value`.
fn statement(expr: &Expr) -> Option<(String, Compare, Value)> {
    let ExprKind::Compare { op, left, right } = &expr.kind else { return None };
    let subject = match &left.kind {
        ExprKind::Name(_) | ExprKind::Call { .. } | ExprKind::Shell(_) => left.to_string(),
        _ => return None,
    };
    (*op != Compare::Includes).then_some(())?;
    Some((subject, *op, literal(right)?))
}

fn opposite(op: Compare) -> Option<Compare> {
    match op {
        Compare::Equal => Some(Compare::NotEqual),
        Compare::NotEqual => Some(Compare::Equal),
        Compare::Matches => Some(Compare::MatchesNot),
        Compare::MatchesNot => Some(Compare::Matches),
        Compare::Includes => None,
    }
}

/// Whether no value meets both tests.
fn exclude(first: Compare, one: &Value, second: Compare, other: &Value) -> bool {
    // If one test pins the value down, the other can be tried on it.
    let tried = |pin: &Value, op: Compare, value: &Value| eval::compare(op, pin, value) == Ok(false);
    match (first, second) {
        (Compare::Equal, op) => tried(one, op, other),
        (op, Compare::Equal) => tried(other, op, one),
        (Compare::Matches, Compare::MatchesNot) | (Compare::MatchesNot, Compare::Matches) => one == other,
        _ => false,
    }
}
