//! Spans as people write them: `30s`, `5m`, `4h`, `90d`, `250ms`, or a plain number of seconds.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

#[derive(Clone, Copy, Debug)]
pub(super) struct Span(pub(super) Duration);

pub(super) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let seconds = |per: u64| number.checked_mul(per).map(Duration::from_secs);
    match text[digits..].trim() {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => seconds(1),
        "m" | "min" => seconds(60),
        "h" => seconds(3600),
        "d" => seconds(86_400),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Span;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a span such as \"30s\", \"5m\", \"4h\" or a number of seconds")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                parse(text).map(Span).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Span, E> {
                let wrong = || E::invalid_value(de::Unexpected::Signed(seconds), &self);
                u64::try_from(seconds).map(|s| Span(Duration::from_secs(s))).map_err(|_| wrong())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
