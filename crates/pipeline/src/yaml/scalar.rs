//! Which type a plain scalar has, as `gopkg.in/yaml.v3` decides it.

use std::fmt;

use super::Value;

/// A number as the other implementation holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Int(i64),
    Uint(u64),
    Float(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Int(value) => write!(f, "{value}"),
            Number::Uint(value) => write!(f, "{value}"),
            Number::Float(value) => f.write_str(&float_text(*value)),
        }
    }
}

/// A float the way Go's `fmt.Sprint` writes it: the shortest text that reads back, with an exponent from 1e21 on and
/// below 1e-4.
fn float_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e21).contains(&size) {
        let text = format!("{value:e}");
        let Some((mantissa, exponent)) = text.split_once('e') else { return text };
        let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |digits| ("-", digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{value}")
}

/// The value of a plain scalar without a tag.
pub(crate) fn resolve(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "true" | "True" | "TRUE" => return Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Value::Bool(false)),
        ".nan" | ".NaN" | ".NAN" => return Some(Value::Number(Number::Float(f64::NAN))),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Some(Value::Number(Number::Float(f64::INFINITY)));
        }
        "-.inf" | "-.Inf" | "-.INF" => return Some(Value::Number(Number::Float(f64::NEG_INFINITY))),
        _ => {}
    }
    number(text).map(Value::Number)
}

fn number(text: &str) -> Option<Number> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return None;
    }
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    if first == b'.' {
        return float(text);
    }
    integer(&plain).or_else(|| float(&plain))
}

/// `strconv.ParseInt(text, 0, 64)`: `0x`, `0o`, `0b` and a bare leading zero choose the base.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.get(..2).unwrap_or("").to_ascii_lowercase();
    let (base, digits) = match lower.as_str() {
        "0x" => (16, &digits[2..]),
        "0o" => (8, &digits[2..]),
        "0b" => (2, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let size = u64::from_str_radix(digits, base).ok()?;
    if negative {
        return (size <= i64::MIN.unsigned_abs()).then(|| Number::Int(0i64.wrapping_sub_unsigned(size)));
    }
    Some(i64::try_from(size).map_or(Number::Uint(size), Number::Int))
}

/// `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`
fn float(text: &str) -> Option<Number> {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (&body[..at], Some(&body[at + 1..])),
        None => (body, None),
    };
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    let exponent_fits = exponent.is_none_or(|e| digits(e.strip_prefix(['-', '+']).unwrap_or(e)));
    if !(mantissa_fits && exponent_fits) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    value.is_finite().then_some(Number::Float(value))
}

/// The value of a plain scalar with one of the core tags, such as `!!str`.
pub(crate) fn resolve_tagged(text: &str, tag: &str) -> Option<Value> {
    let value = resolve(text);
    match (tag, value) {
        ("null", Some(Value::Null)) => Some(Value::Null),
        ("bool", Some(Value::Bool(value))) => Some(Value::Bool(value)),
        ("int", Some(Value::Number(n @ (Number::Int(_) | Number::Uint(_))))) => Some(Value::Number(n)),
        ("float", Some(Value::Number(Number::Int(value)))) => {
            #[expect(clippy::cast_precision_loss, reason = "a tag asks for a float, and Go converts the same way")]
            let value = value as f64;
            Some(Value::Number(Number::Float(value)))
        }
        ("float", Some(Value::Number(n))) => Some(Value::Number(n)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn plain_scalars_are_typed_as_yaml_v3_does() {
        let cases = [
            ("yes", None),
            ("on", None),
            ("no", None),
            ("012", Some("10")),
            ("0o17", Some("15")),
            ("0x1F", Some("31")),
            ("-0x10", Some("-16")),
            ("0b11", Some("3")),
            ("1_000", Some("1000")),
            ("089", Some("89")),
            ("+5", Some("5")),
            ("3.10", Some("3.1")),
            ("1e3", Some("1000")),
            ("1e21", Some("1e+21")),
            ("1e-7", Some("1e-07")),
            (".5", Some("0.5")),
            ("5.", Some("5")),
            ("1.2.3", None),
            ("1:30", None),
            ("-", None),
            (".", None),
            ("9223372036854775808", Some("9223372036854775808")),
            ("99999999999999999999", Some("100000000000000000000")),
            ("0xZZ", None),
            ("1e999", None),
        ];
        for (text, want) in cases {
            let got = match resolve(text) {
                Some(Value::Number(number)) => Some(number.to_string()),
                None => None,
                other => panic!("{text}: {other:?}"),
            };
            assert_eq!(got.as_deref(), want, "{text}");
        }
        assert!(matches!(resolve("~").unwrap(), Value::Null));
        assert!(matches!(resolve("True").unwrap(), Value::Bool(true)));
    }
}
