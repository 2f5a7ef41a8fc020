//! The grammar of conditions, by operator precedence: `?:`, `||`, `&&`, comparisons, `!`.

use std::ops::Range;
use std::rc::Rc;

use super::ast::{Compare, Expr, ExprKind, Literal, Logic};
use super::error::{ConditionError, ErrorKind};
use super::lexer::{Lexer, Token};
use super::regex::Pattern;
use crate::limits::Limits;

pub(super) fn parse(text: &str, limits: &Limits) -> Result<Expr, ConditionError> {
    if text.len() > limits.condition_bytes {
        let message =
            format!("the condition has {} bytes, more than the cap of {}", text.len(), limits.condition_bytes);
        return Err(ConditionError::new(ErrorKind::Parse, 0..0, message).help(Limits::raise("condition_bytes")));
    }
    let mut lexer = Lexer::new(text);
    let (token, span) = lexer.next()?;
    let mut parser = Parser { lexer, token, span, limits, depth: 0 };
    if parser.token == Token::End {
        return Err(ConditionError::new(ErrorKind::Parse, 0..0, "the condition is blank"));
    }
    let expr = parser.expression(Power::Lowest)?;
    match &parser.token {
        Token::End => Ok(expr),
        token => {
            let message = format!("expected an operator or the end, found {}", token.describe());
            Err(ConditionError::new(ErrorKind::Parse, parser.span.clone(), message))
        }
    }
}

/// How strongly an operator binds.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Power {
    Lowest,
    Choice,
    Or,
    And,
    Compare,
    Not,
    Call,
}

struct Parser<'t, 'l> {
    lexer: Lexer<'t>,
    /// The word that is read next.
    token: Token,
    span: Range<usize>,
    limits: &'l Limits,
    depth: usize,
}

impl Parser<'_, '_> {
    fn advance(&mut self) -> Result<(Token, Range<usize>), ConditionError> {
        let (token, span) = self.lexer.next()?;
        Ok((std::mem::replace(&mut self.token, token), std::mem::replace(&mut self.span, span)))
    }

    fn expect(&mut self, sign: &'static str) -> Result<Range<usize>, ConditionError> {
        if self.token == Token::Sign(sign) {
            return self.advance().map(|(_, span)| span);
        }
        let message = format!("expected `{sign}`, found {}", self.token.describe());
        Err(ConditionError::new(ErrorKind::Parse, self.span.clone(), message))
    }

    fn deeper(&mut self, by: usize) -> Result<(), ConditionError> {
        self.depth += by;
        if self.depth > self.limits.expression_depth {
            let message = format!("the condition is nested more than {} deep", self.limits.expression_depth);
            return Err(ConditionError::new(ErrorKind::Parse, self.span.clone(), message)
                .help(Limits::raise("expression_depth")));
        }
        Ok(())
    }

    fn power(&self) -> Power {
        match &self.token {
            Token::Sign("?") => Power::Choice,
            Token::Sign("||") => Power::Or,
            Token::Sign("&&") => Power::And,
            Token::Sign("==" | "!=" | "=~" | "!~") => Power::Compare,
            Token::Name(name) if name == "includes" => Power::Compare,
            Token::Sign("(") => Power::Call,
            _ => Power::Lowest,
        }
    }

    fn expression(&mut self, least: Power) -> Result<Expr, ConditionError> {
        self.deeper(1)?;
        let before = self.depth;
        let mut left = self.prefix()?;
        while least < self.power() {
            left = self.infix(left)?;
        }
        self.depth = before - 1;
        Ok(left)
    }

    fn prefix(&mut self) -> Result<Expr, ConditionError> {
        let (token, span) = self.advance()?;
        let kind = match token {
            Token::Name(name) => match name.as_str() {
                "true" => ExprKind::Bool(true),
                "false" => ExprKind::Bool(false),
                "null" => ExprKind::Null,
                "includes" => return self.unexpected(&Token::Name(name), span),
                _ => ExprKind::Name(name),
            },
            Token::Int(digits) => match integer(&digits) {
                Some(value) => ExprKind::Int(value),
                None => {
                    let message = format!("`{digits}` is not a number");
                    return Err(ConditionError::new(ErrorKind::Parse, span, message));
                }
            },
            Token::Str { value, raw, double } => ExprKind::Str(Literal { value, raw, double }),
            Token::Regex { source, flags } => {
                ExprKind::Regex(Rc::new(Pattern::new(source, flags, span.clone(), self.limits)?))
            }
            Token::Shell(raw) => ExprKind::Shell(raw),
            Token::Sign("!") => {
                let inner = self.expression(Power::Not)?;
                let span = span.start..inner.span.end;
                return Ok(Expr { span, kind: ExprKind::Not(Box::new(inner)) });
            }
            Token::Sign("(") => {
                let inner = self.expression(Power::Lowest)?;
                let end = self.expect(")")?.end;
                return Ok(Expr { span: span.start..end, ..inner });
            }
            Token::Sign("[") => {
                let (items, end) = self.list("]")?;
                return Ok(Expr { span: span.start..end, kind: ExprKind::Array(items) });
            }
            token @ (Token::Sign(_) | Token::End) => return self.unexpected(&token, span),
        };
        Ok(Expr { span, kind })
    }

    fn unexpected<T>(&self, token: &Token, span: Range<usize>) -> Result<T, ConditionError> {
        let message = format!("expected a value, found {}", token.describe());
        Err(ConditionError::new(ErrorKind::Parse, span, message))
    }

    fn infix(&mut self, left: Expr) -> Result<Expr, ConditionError> {
        let power = self.power();
        let (token, sign) = self.advance()?;
        let start = left.span.start;
        match token {
            Token::Sign("?") => {
                let then = self.expression(Power::Lowest)?;
                self.expect(":")?;
                let otherwise = self.expression(Power::Lowest)?;
                let span = start..otherwise.span.end;
                let (condition, then, otherwise) = (Box::new(left), Box::new(then), Box::new(otherwise));
                Ok(Expr { span, kind: ExprKind::Choice { condition, then, otherwise } })
            }
            Token::Sign(text @ ("&&" | "||")) => {
                let op = if text == "&&" { Logic::And } else { Logic::Or };
                let right = self.expression(power)?;
                let span = start..right.span.end;
                // A chain is one list, so that its length costs no depth.
                let terms = match left.kind {
                    ExprKind::Logic { op: same, mut terms } if same == op => {
                        terms.push(right);
                        terms
                    }
                    kind => vec![Expr { span: left.span, kind }, right],
                };
                Ok(Expr { span, kind: ExprKind::Logic { op, terms } })
            }
            Token::Sign("(") => {
                let ExprKind::Name(name) = left.kind else {
                    let message = "only a function can be called";
                    return Err(ConditionError::new(ErrorKind::Parse, sign, message));
                };
                let (arguments, end) = self.list(")")?;
                Ok(Expr { span: start..end, kind: ExprKind::Call { name, arguments } })
            }
            Token::Sign(text @ ("==" | "!=" | "=~" | "!~")) => {
                let op = match text {
                    "==" => Compare::Equal,
                    "!=" => Compare::NotEqual,
                    "=~" => Compare::Matches,
                    _ => Compare::MatchesNot,
                };
                self.compare(op, left, power)
            }
            _ => self.compare(Compare::Includes, left, power),
        }
    }

    fn compare(&mut self, op: Compare, left: Expr, power: Power) -> Result<Expr, ConditionError> {
        // A chain of comparisons leans to the left and grows deeper with each.
        self.deeper(1)?;
        let right = self.expression(power)?;
        let span = left.span.start..right.span.end;
        Ok(Expr { span, kind: ExprKind::Compare { op, left: Box::new(left), right: Box::new(right) } })
    }

    fn list(&mut self, close: &'static str) -> Result<(Vec<Expr>, usize), ConditionError> {
        let mut items = Vec::new();
        if self.token == Token::Sign(close) {
            return Ok((items, self.advance()?.1.end));
        }
        loop {
            items.push(self.expression(Power::Lowest)?);
            if self.token != Token::Sign(",") {
                break;
            }
            self.advance()?;
        }
        Ok((items, self.expect(close)?.end))
    }
}

/// A number as Go reads it: one that begins with 0 is octal.
fn integer(digits: &str) -> Option<i64> {
    if digits.len() > 1 && digits.starts_with('0') {
        return i64::from_str_radix(digits, 8).ok();
    }
    digits.parse().ok()
}
