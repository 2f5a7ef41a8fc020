//! A value as YAML. Texts are quoted wherever another reader could take them for something else.

use serde_json::Value;

/// The value as a document.
pub(super) fn document(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

/// Writes a value whose first line goes where `out` ends; the following lines are indented.
fn block(value: &Value, indent: usize, out: &mut String) {
    let mut first = true;
    let mut line = |out: &mut String| {
        if !std::mem::take(&mut first) {
            out.push_str(&" ".repeat(indent));
        }
    };
    match value {
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                line(out);
                out.push_str("- ");
                block(item, indent + 2, out);
            }
        }
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                line(out);
                out.push_str(&scalar(name));
                out.push(':');
                if is_empty(value) {
                    out.push(' ');
                    block(value, indent, out);
                } else {
                    out.push('\n');
                    out.push_str(&" ".repeat(indent + 2));
                    block(value, indent + 2, out);
                }
            }
        }
        Value::String(text) => {
            out.push_str(&scalar(text));
            out.push('\n');
        }
        other => {
            // Numbers, `true`, `null`, `[]` and `{}` are written alike.
            out.push_str(&other.to_string());
            out.push('\n');
        }
    }
}

/// Whether a value fits on the line of its key.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => true,
    }
}

fn scalar(text: &str) -> String {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_./-".contains(&b));
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    // A JSON text is a YAML text in double quotes.
    if first && rest && !word { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_look_like_pipelines() {
        let value = json!({"steps": [{"command": "echo \"a: b\"\nexit", "env": {}, "key": "yes"}, "wait", ["x", 1]], "none": null});
        insta::assert_snapshot!(document(&value), @r#"
        steps:
          - command: "echo \"a: b\"\nexit"
            env: {}
            key: "yes"
          - wait
          - - x
            - 1
        none: null
        "#);
    }
}
