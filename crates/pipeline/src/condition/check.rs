//! Types of conditions. Everything that does not fit is found at once.

use super::ast::{Compare, Expr, ExprKind};
use super::error::{ConditionError, ErrorKind};
use super::facts::EntryPoint;
use super::shell;
use super::variables::{self, READABLE, Type};
use crate::attributes::suggest;

/// `own` allows our own additions to the variables.
pub(super) fn check(expr: &Expr, entry_point: EntryPoint, own: bool) -> Vec<ConditionError> {
    let mut checker = Checker { with_step: entry_point.has_step(), own, errors: Vec::new() };
    let kind = checker.kind(expr);
    if checker.errors.is_empty() && !matches!(kind, Type::Bool | Type::Unknown) {
        let message = format!("a condition is true or false, and this is {}", kind.describe());
        let error = ConditionError::new(ErrorKind::Result, expr.span.clone(), message);
        checker.errors.push(error.help("compare it with something, such as `!= null`"));
    }
    checker.errors
}

struct Checker {
    with_step: bool,
    own: bool,
    errors: Vec<ConditionError>,
}

impl Checker {
    fn error(&mut self, expr: &Expr, message: impl Into<String>) -> &mut ConditionError {
        let at = self.errors.len();
        self.errors.push(ConditionError::new(ErrorKind::Validation, expr.span.clone(), message));
        &mut self.errors[at]
    }

    fn kind(&mut self, expr: &Expr) -> Type {
        match &expr.kind {
            ExprKind::Null => Type::Null,
            ExprKind::Bool(_) => Type::Bool,
            ExprKind::Int(_) => Type::Number,
            ExprKind::Str(_) | ExprKind::Shell(_) => Type::String,
            ExprKind::Regex(_) => Type::Regex,
            ExprKind::Name(name) => self.variable(expr, name),
            ExprKind::Not(inner) => {
                self.want(inner, &[Type::Bool]);
                Type::Bool
            }
            ExprKind::Logic { terms, .. } => {
                for term in terms {
                    self.want(term, &[Type::Bool]);
                }
                Type::Bool
            }
            ExprKind::Compare { op, left, right } => {
                self.compare(*op, left, right);
                Type::Bool
            }
            ExprKind::Choice { condition, then, otherwise } => {
                self.want(condition, &[Type::Bool]);
                self.alike(then, otherwise)
            }
            ExprKind::Call { name, arguments } => self.call(expr, name, arguments),
            ExprKind::Array(items) => {
                for item in items {
                    self.want(item, &[Type::String]);
                }
                Type::Strings
            }
        }
    }

    fn variable(&mut self, expr: &Expr, name: &str) -> Type {
        if let Some(variable) = variables::find(name, self.with_step) {
            return variable.kind;
        }
        if self.own && name == variables::CHANGED_FILES.name {
            return variables::CHANGED_FILES.kind;
        }
        let help = if variables::find(name, true).is_some() || name.starts_with("step.") || name == "step" {
            Some("variables of the step are there only in a notification of a step".to_owned())
        } else if matches!(name, "env" | "build.env") {
            Some(format!("it is a function: write `{name}(\"NAME\")`"))
        } else {
            let names = variables::names_of(self.with_step).map(|variable| variable.name);
            suggest(name, names).map(|near| format!("did you mean `{near}`?"))
        };
        self.error(expr, format!("`{name}` is not a variable")).help = help;
        Type::Unknown
    }

    /// Checks an expression whose type must be one of these.
    fn want(&mut self, expr: &Expr, wanted: &[Type]) {
        let kind = self.kind(expr);
        if kind == Type::Unknown || wanted.contains(&kind) {
            return;
        }
        let wanted: Vec<String> =
            wanted.iter().filter(|kind| **kind != Type::Files).map(|kind| kind.describe()).collect();
        self.error(expr, format!("expected {}, found {}", wanted.join(" or "), kind.describe()));
    }

    fn compare(&mut self, op: Compare, left: &Expr, right: &Expr) {
        // `!a =~ /b/` is `(!a) =~ /b/`, which nobody means where `a` is a text.
        if let ExprKind::Not(inner) = &left.kind
            && is_small(inner)
        {
            let before = self.errors.len();
            if matches!(self.kind(inner), Type::String | Type::Enum(_) | Type::Strings | Type::Files) {
                self.errors.truncate(before);
                self.kind(right);
                self.error(left, "`!` binds more tightly than a comparison, and what it negates here is no boolean")
                    .help = Some(match op {
                    Compare::Matches => format!("write `{inner} !~ {right}`"),
                    Compare::Equal => format!("write `{inner} != {right}`"),
                    _ => format!("put what `!` is for into parentheses: `!({inner} …)`"),
                });
                return;
            }
            self.errors.truncate(before);
        }
        match op {
            Compare::Matches | Compare::MatchesNot => {
                self.want(left, &[Type::String, Type::Null, Type::Files]);
                let before = self.errors.len();
                self.want(right, &[Type::Regex]);
                if let (Some(error), ExprKind::Str(literal)) = (self.errors.get_mut(before), &right.kind) {
                    error.help = Some(format!("write `/{}/`", literal.raw.replace('/', "\\/")));
                }
            }
            Compare::Includes => {
                self.want(left, &[Type::Strings, Type::Null, Type::Files]);
                self.want(right, &[Type::String, Type::Regex, Type::Null]);
            }
            Compare::Equal | Compare::NotEqual => {
                self.alike(left, right);
            }
        }
    }

    /// Checks two expressions that must be of one type; their type.
    fn alike(&mut self, left: &Expr, right: &Expr) -> Type {
        let (first, second) = (self.kind(left), self.kind(right));
        match (first, second) {
            (Type::Null | Type::Unknown, other) | (other, Type::Null | Type::Unknown) => other,
            (Type::Enum(list), Type::String) => {
                if let ExprKind::Str(literal) = &right.kind
                    && !(literal.double && shell::has_expansion(&literal.raw))
                    && !list.words.contains(&literal.value.as_str())
                {
                    let help = match suggest(&literal.value, list.words.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("a {} is one of `{}`", list.name, list.words.join("`, `")),
                    };
                    let name = left.to_string();
                    self.error(right, format!("`{}` is not a valid `{name}`", literal.value)).help = Some(help);
                }
                first
            }
            (Type::String, Type::Enum(_)) => {
                self.error(right, format!("expected a text, found {}", second.describe())).help =
                    Some(format!("write it the other way round: `{right} == {left}`"));
                first
            }
            (first, second) if first == second && !matches!(first, Type::Enum(_)) => first,
            _ => {
                let message = format!("expected {}, found {}", first.describe(), second.describe());
                self.error(right, message);
                first
            }
        }
    }

    fn call(&mut self, expr: &Expr, name: &str, arguments: &[Expr]) -> Type {
        if !matches!(name, "env" | "build.env") {
            if name.starts_with("step.") && !self.with_step {
                self.error(expr, "variables of the step are there only in a notification of a step");
            } else {
                self.error(expr, format!("`{name}` is not a function")).help =
                    Some("the functions are `env(\"NAME\")` and `build.env(\"NAME\")`".to_owned());
            }
            for argument in arguments {
                self.kind(argument);
            }
            return Type::Unknown;
        }
        let [argument] = arguments else {
            self.error(expr, format!("`{name}` takes one argument, and here are {}", arguments.len()));
            return Type::String;
        };
        if let ExprKind::Str(literal) = &argument.kind
            && !(literal.double && shell::has_expansion(&literal.raw))
        {
            self.environment_name(argument, &literal.value);
            return Type::String;
        }
        let kind = self.kind(argument);
        if !matches!(kind, Type::String | Type::Enum(_) | Type::Unknown) {
            self.error(argument, format!("expected a text, found {}", kind.describe()));
        }
        Type::String
    }

    fn environment_name(&mut self, argument: &Expr, name: &str) {
        let valid = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if name.starts_with('$') {
            let plain = name.replace('$', "");
            let error = self.error(argument, "Argument to `env` should not include `$`");
            if !plain.is_empty() {
                error.help = Some(format!("did you mean {plain}?"));
            }
        } else if !valid {
            self.error(argument, "Argument to `env` should be an environment variable name");
        } else if variables::unreadable(name) {
            let message = format!("\"{name}\" is not a valid environment variable");
            match near_environment(name) {
                Some(near) => {
                    self.error(argument, format!("{message} - did you mean \"{near}\"?"));
                }
                None => {
                    self.error(argument, format!("{message} in a condition: it has no value when the file is read"))
                        .help = Some("look at it in the command, when the job runs".to_owned());
                }
            }
        }
    }
}

/// The readable variable that a misspelt or longer name probably stands for.
fn near_environment(name: &str) -> Option<&'static str> {
    suggest(name, READABLE).or_else(|| {
        // `BUILDKITE_PULL_REQUEST_LABELS` begins like one that there is.
        let fits = |known: &&&str| name.strip_prefix(**known).is_some_and(|rest| rest.len() <= 7);
        READABLE.iter().filter(fits).max_by_key(|known| known.len()).copied()
    })
}

/// A variable, a text, or a function of texts: what may be looked at twice. With more in it, looking twice at every level
/// would double the work at every level.
fn is_small(expr: &Expr) -> bool {
    let is_leaf = |expr: &Expr| matches!(expr.kind, ExprKind::Name(_) | ExprKind::Str(_) | ExprKind::Shell(_));
    match &expr.kind {
        ExprKind::Call { arguments, .. } => arguments.iter().all(is_leaf),
        _ => is_leaf(expr),
    }
}
