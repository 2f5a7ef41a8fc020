//! The tree of a condition, and how it is printed.

use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use super::regex::Pattern;

/// An expression and the bytes it stands at.
#[derive(Clone, Debug)]
pub(super) struct Expr {
    pub(super) span: Range<usize>,
    pub(super) kind: ExprKind,
}

/// Two expressions are the same wherever they stand.
impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum ExprKind {
    Null,
    Bool(bool),
    Int(i64),
    Str(Literal),
    Regex(Rc<Pattern>),
    /// `$NAME` or `${…}`, as written.
    Shell(String),
    /// A variable, dots and all.
    Name(String),
    Not(Box<Expr>),
    /// `&&` or `||` over two or more terms, from left to right.
    Logic {
        op: Logic,
        terms: Vec<Expr>,
    },
    Compare {
        op: Compare,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Choice {
        condition: Box<Expr>,
        then: Box<Expr>,
        otherwise: Box<Expr>,
    },
    Call {
        name: String,
        arguments: Vec<Expr>,
    },
    Array(Vec<Expr>),
}

/// A text in quotes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Literal {
    /// What it stands for, escapes applied, nothing expanded.
    pub(super) value: String,
    /// What stands between the quotes.
    pub(super) raw: String,
    pub(super) double: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Logic {
    And,
    Or,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Compare {
    Equal,
    NotEqual,
    Matches,
    MatchesNot,
    Includes,
}

impl Logic {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::And => "&&",
            Self::Or => "||",
        }
    }
}

impl Compare {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::MatchesNot => "!~",
            Self::Includes => "includes",
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Null => f.write_str("null"),
            ExprKind::Bool(value) => write!(f, "{value}"),
            ExprKind::Int(value) => write!(f, "{value}"),
            ExprKind::Str(literal) if literal.double => write!(f, "\"{}\"", literal.raw),
            ExprKind::Str(literal) => write!(f, "'{}'", literal.raw),
            ExprKind::Regex(pattern) => write!(f, "/{}/{}", pattern.source, pattern.flags),
            ExprKind::Shell(raw) => f.write_str(raw),
            ExprKind::Name(name) => f.write_str(name),
            ExprKind::Not(inner) => write!(f, "(!{inner})"),
            ExprKind::Logic { op, terms } => {
                for _ in 1..terms.len() {
                    f.write_str("(")?;
                }
                for (at, term) in terms.iter().enumerate() {
                    match at {
                        0 => write!(f, "{term}")?,
                        _ => write!(f, " {} {term})", op.text())?,
                    }
                }
                Ok(())
            }
            ExprKind::Compare { op, left, right } => write!(f, "({left} {} {right})", op.text()),
            ExprKind::Choice { condition, then, otherwise } => write!(f, "({condition} ? {then} : {otherwise})"),
            ExprKind::Call { name, arguments } => {
                write!(f, "{name}(")?;
                list(f, arguments)?;
                f.write_str(")")
            }
            ExprKind::Array(items) => {
                f.write_str("[")?;
                list(f, items)?;
                f.write_str("]")
            }
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, items: &[Expr]) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

impl Expr {
    /// The expressions directly inside.
    pub(super) fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            ExprKind::Null
            | ExprKind::Bool(_)
            | ExprKind::Int(_)
            | ExprKind::Str(_)
            | ExprKind::Regex(_)
            | ExprKind::Shell(_)
            | ExprKind::Name(_) => Vec::new(),
            ExprKind::Not(inner) => vec![inner],
            ExprKind::Logic { terms, .. } => terms.iter().collect(),
            ExprKind::Compare { left, right, .. } => vec![left, right],
            ExprKind::Choice { condition, then, otherwise } => vec![condition, then, otherwise],
            ExprKind::Call { arguments, .. } => arguments.iter().collect(),
            ExprKind::Array(items) => items.iter().collect(),
        }
    }

    /// Whether a variable is named anywhere inside.
    pub(super) fn names(&self, name: &str) -> bool {
        matches!(&self.kind, ExprKind::Name(own) if own == name)
            || self.children().iter().any(|child| child.names(name))
    }

    /// The variables of the environment that are read by a literal name.
    pub(super) fn reads(&self) -> Vec<(String, Range<usize>)> {
        let mut out = Vec::new();
        self.collect_reads(&mut out);
        out
    }

    fn collect_reads(&self, out: &mut Vec<(String, Range<usize>)>) {
        match &self.kind {
            ExprKind::Call { name, arguments } if matches!(name.as_str(), "env" | "build.env") => {
                if let [Expr { kind: ExprKind::Str(literal), span }] = arguments.as_slice() {
                    out.push((literal.value.clone(), span.clone()));
                }
            }
            ExprKind::Shell(raw) => {
                let name = raw.trim_start_matches(['$', '{']);
                let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(name.len());
                out.push((name[..end].to_owned(), self.span.clone()));
            }
            _ => {}
        }
        for child in self.children() {
            child.collect_reads(out);
        }
    }
}
