//! Nodes as JSON, with the values that the other implementation writes.

use serde_json::{Map, Value as Json};

use crate::yaml::{Node, Number, Value};

/// The value, keys in the order of the file.
pub(crate) fn plain(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Number(number) => self::number(number),
        Value::Str(text) => Json::String(text.to_string()),
        Value::Seq(items) => Json::Array(items.iter().map(plain).collect()),
        Value::Map(map) => Json::Object(map.iter().map(|entry| (entry.key.to_string(), plain(&entry.node))).collect()),
    }
}

/// The value, keys sorted: a plugin's configuration has no order (`BUILDKITE_PLUGINS` must be stable).
pub(crate) fn sorted(node: &Node) -> Json {
    sort(plain(node))
}

fn sort(value: Json) -> Json {
    match value {
        Json::Array(items) => Json::Array(items.into_iter().map(sort).collect()),
        Json::Object(map) => {
            let mut entries: Vec<(String, Json)> = map.into_iter().map(|(key, value)| (key, sort(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Json::Object(entries.into_iter().collect::<Map<_, _>>())
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value,
    }
}

fn number(number: &Number) -> Json {
    match number {
        Number::Int(value) => Json::from(*value),
        Number::Uint(value) => Json::from(*value),
        // Infinities have no number in JSON; the other implementation fails there, we write their text.
        Number::Float(value) => serde_json::Number::from_f64(*value)
            .map_or_else(|| Json::String(number.to_string()), |n| whole(*value).unwrap_or(Json::Number(n))),
    }
}

/// `1.0` is written `1`, as Go does.
fn whole(value: f64) -> Option<Json> {
    #[expect(clippy::cast_possible_truncation, reason = "guarded by the bound, below which floats are exact integers")]
    (value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0).then(|| Json::from(value as i64))
}

/// JSON as Go's `encoding/json` writes it: keys sorted, no blanks, and `<`, `>`, `&` escaped.
pub(crate) fn go_text(value: &Json) -> String {
    let text = sort(value.clone()).to_string();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}
