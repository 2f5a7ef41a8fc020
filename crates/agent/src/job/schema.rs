//! The configuration of a plugin against the schema in its `plugin.yml`: the part of JSON Schema that plugins use. What is
//! beyond it is passed over, as JSON Schema says of words that are not known.

use serde_json::{Map, Value};

/// Most findings of one plugin: the first few say what is wrong.
const MOST: usize = 10;
/// How deep schemas are followed.
const DEEPEST: usize = 32;

/// What is wrong with a configuration, each a clause that names the property.
pub(super) fn check(schema: &Value, config: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    let empty = Value::Object(Map::new());
    look(schema, if config.is_null() { &empty } else { config }, "", DEEPEST, &mut findings);
    findings.truncate(MOST);
    findings
}

fn look(schema: &Value, value: &Value, path: &str, depth: usize, findings: &mut Vec<String>) {
    let Some(rules) = schema.as_object() else {
        if schema == &Value::Bool(false) {
            findings.push(format!("{} is not allowed", called(path)));
        }
        return;
    };
    if depth == 0 || findings.len() >= MOST {
        return;
    }
    if let Some(wanted) = rules.get("type")
        && !types(wanted).iter().any(|name| is(name, value))
    {
        findings.push(format!("{} must be {}, not {}", called(path), types(wanted).join(" or "), describe(value)));
        return;
    }
    if let Some(Value::Array(options)) = rules.get("enum")
        && !options.contains(value)
    {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        findings.push(format!("{} must be one of {}, not {value}", called(path), options.join(", ")));
    }
    if let Some(only) = rules.get("const")
        && only != value
    {
        findings.push(format!("{} must be {only}, not {value}", called(path)));
    }
    several(rules, value, path, depth, findings);
    match value {
        Value::Object(map) => object(rules, map, path, depth, findings),
        Value::Array(items) => {
            bounds(rules, "Items", items.len(), "entries", path, findings);
            if let Some(schema @ (Value::Object(_) | Value::Bool(_))) = rules.get("items") {
                for (index, item) in items.iter().enumerate() {
                    look(schema, item, &format!("{path}[{index}]"), depth - 1, findings);
                }
            }
        }
        Value::String(text) => {
            bounds(rules, "Length", text.chars().count(), "characters", path, findings);
            if let Some(pattern) = rules.get("pattern").and_then(Value::as_str)
                && fancy_regex::Regex::new(pattern).is_ok_and(|regex| matches!(regex.is_match(text), Ok(false)))
            {
                findings.push(format!("{} must match `{pattern}`", called(path)));
            }
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(0.0);
            for (word, wrong) in [("minimum", f64::lt as fn(&f64, &f64) -> bool), ("maximum", f64::gt)] {
                if let Some(bound) = rules.get(word).and_then(Value::as_f64)
                    && wrong(&number, &bound)
                {
                    let least = if word == "minimum" { "at least" } else { "at most" };
                    findings.push(format!("{} must be {least} {bound}, not {number}", called(path)));
                }
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn object(rules: &Map<String, Value>, map: &Map<String, Value>, path: &str, depth: usize, findings: &mut Vec<String>) {
    let properties = rules.get("properties").and_then(Value::as_object);
    for name in rules.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !map.contains_key(name) {
            findings.push(format!("{} is missing", called(&below(path, name))));
        }
    }
    for (name, value) in map {
        let path = below(path, name);
        match (properties.and_then(|known| known.get(name)), rules.get("additionalProperties")) {
            (Some(schema), _) => look(schema, value, &path, depth - 1, findings),
            (None, Some(Value::Bool(false))) => {
                let mut known: Vec<&str> = properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                known.sort_unstable();
                findings.push(format!("{} is unknown; there are {}", called(&path), known.join(", ")));
            }
            (None, Some(schema)) => look(schema, value, &path, depth - 1, findings),
            (None, None) => {}
        }
    }
}

/// `oneOf`, `anyOf`, `allOf` and `not`.
fn several(rules: &Map<String, Value>, value: &Value, path: &str, depth: usize, findings: &mut Vec<String>) {
    let of = |word: &str| rules.get(word).and_then(Value::as_array);
    let tried = |schema: &Value| {
        let mut found = Vec::new();
        look(schema, value, path, depth - 1, &mut found);
        found
    };
    for schema in of("allOf").into_iter().flatten() {
        findings.extend(tried(schema));
    }
    for word in ["anyOf", "oneOf"] {
        let Some(schemas) = of(word).filter(|schemas| !schemas.is_empty()) else { continue };
        let mut fewest: Option<Vec<String>> = None;
        for found in schemas.iter().map(tried) {
            if fewest.as_ref().is_none_or(|fewest| found.len() < fewest.len()) {
                fewest = Some(found);
            }
        }
        // What comes nearest says best what is wrong. Several that fit at once do no harm.
        findings.extend(fewest.into_iter().flatten());
    }
    if rules.get("not").is_some_and(|schema| tried(schema).is_empty()) {
        findings.push(format!("{} has a form that is ruled out", called(path)));
    }
}

fn bounds(rules: &Map<String, Value>, of: &str, is: usize, what: &str, path: &str, findings: &mut Vec<String>) {
    let bound = |word: &str| rules.get(&format!("{word}{of}")).and_then(Value::as_u64);
    if let Some(least) = bound("min").filter(|least| (is as u64) < *least) {
        findings.push(format!("{} must have at least {least} {what}, not {is}", called(path)));
    }
    if let Some(most) = bound("max").filter(|most| (is as u64) > *most) {
        findings.push(format!("{} must have at most {most} {what}, not {is}", called(path)));
    }
}

fn types(wanted: &Value) -> Vec<&str> {
    match wanted {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A text that variables were put into stands for what it says: `${RETRIES}` is a text even where it is a number.
fn is(name: &str, value: &Value) -> bool {
    match (name, value) {
        ("string", Value::String(_))
        | ("number", Value::Number(_))
        | ("boolean", Value::Bool(_))
        | ("array", Value::Array(_))
        | ("object", Value::Object(_))
        | ("null", Value::Null) => true,
        ("integer", Value::Number(number)) => {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        ("integer", Value::String(text)) => text.parse::<i64>().is_ok(),
        ("number", Value::String(text)) => text.parse::<f64>().is_ok(),
        ("boolean", Value::String(text)) => matches!(text.as_str(), "true" | "false"),
        // A word that is not known forbids nothing.
        (name, _) => !matches!(name, "string" | "number" | "boolean" | "array" | "object" | "null" | "integer"),
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) => format!("the boolean {value}"),
        Value::Number(_) => format!("the number {value}"),
        // Its content may be a secret.
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn called(path: &str) -> String {
    if path.is_empty() { "the configuration".to_owned() } else { format!("`{path}`") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn findings_name_the_property() {
        let schema = json!({
            "properties": {
                "image": { "type": "string", "minLength": 2, "pattern": "^[a-z]+" },
                "volumes": { "type": "array", "items": { "type": "string" }, "maxItems": 2 },
                "tty": { "type": "boolean" },
                "retries": { "type": "integer", "minimum": 0, "maximum": 3 },
                "mode": { "enum": ["fast", "safe"] },
                "build": { "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] },
                "env": { "type": "object", "additionalProperties": { "type": ["string", "number"] } },
            },
            "required": ["image"],
            "additionalProperties": false,
        });
        let fine = json!({
            "image": "node", "volumes": ["a"], "tty": "true", "retries": "2", "mode": "safe", "build": ["x"], "env": { "A": 1 },
        });
        assert_eq!(check(&schema, &fine), Vec::<String>::new());
        for (config, wanted) in [
            (json!(null), "`image` is missing"),
            (json!({ "image": 5 }), "`image` must be string, not the number 5"),
            (json!({ "image": "x" }), "`image` must have at least 2 characters, not 1"),
            (json!({ "image": "Node" }), "`image` must match `^[a-z]+`"),
            (
                json!({ "image": "no", "imag": 1 }),
                "`imag` is unknown; there are build, env, image, mode, retries, tty, volumes",
            ),
            (json!({ "image": "no", "volumes": ["a", 1] }), "`volumes[1]` must be string, not the number 1"),
            (json!({ "image": "no", "volumes": ["a", "b", "c"] }), "`volumes` must have at most 2 entries, not 3"),
            (json!({ "image": "no", "tty": "maybe" }), "`tty` must be boolean, not a text"),
            (json!({ "image": "no", "retries": 9 }), "`retries` must be at most 3, not 9"),
            (json!({ "image": "no", "mode": "slow" }), "`mode` must be one of \"fast\", \"safe\", not \"slow\""),
            (json!({ "image": "no", "build": { "a": 1 } }), "`build` must be string, not a map"),
            (json!({ "image": "no", "env": { "A": true } }), "`env.A` must be string or number, not the boolean true"),
            (json!("text"), ""),
        ] {
            let findings = check(&schema, &config);
            assert_eq!(findings.first().map_or("", String::as_str), wanted, "{config}: {findings:?}");
        }
    }

    #[test]
    fn strange_schemas_forbid_nothing_and_end() {
        for schema in
            [json!(true), json!({ "type": 5 }), json!({ "properties": [] }), json!({ "pattern": "(" }), json!(null)]
        {
            let findings = check(&schema, &json!({ "a": "b" }));
            assert!(findings.len() <= 1, "{schema}: {findings:?}");
        }
        let mut deep = json!({});
        let mut value = json!(1);
        for _ in 0..100 {
            deep = json!({ "items": deep, "allOf": [{}] });
            value = json!([value]);
        }
        assert!(check(&deep, &value).is_empty());
    }
}
