//! The tables of `docs/pipeline.md` and `docs/compatibility.md`, made of what the code has.
//! `TIDEGATE_UPDATE_DOCS=1 cargo test -p tidegate-pipeline docs` writes them.

use std::fmt::Write as _;
use std::path::Path;

use crate::attributes::{ATTRIBUTES, Kind};
use crate::codes::Code;
use crate::limits::Limits;

/// Writing to a text cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => { let _ = writeln!($out, $($arg)*); };
}

fn places() -> String {
    crate::SEARCH_PATHS.iter().map(|path| format!("- `{path}`\n")).collect()
}

fn attributes() -> String {
    let mut out = String::new();
    line!(out, "| attribute | other names | on |");
    line!(out, "|---|---|---|");
    for row in ATTRIBUTES {
        let names: Vec<String> = row.aliases.iter().map(|name| format!("`{name}`")).collect();
        let kinds: Vec<&str> = Kind::ALL
            .iter()
            .filter(|kind| row.kinds & **kind as u8 != 0)
            .map(|kind| kind.name().trim_start_matches("a ").trim_start_matches("an ").trim_end_matches(" step"))
            .collect();
        let kinds = if kinds == ["command", "wait", "block", "input", "trigger", "group"] {
            "every step".to_owned()
        } else {
            kinds.join(", ")
        };
        line!(out, "| `{}` | {} | {kinds} |", row.name, names.join(", "));
    }
    out
}

fn caps() -> String {
    let mut out = String::new();
    line!(out, "| setting | default | at most |");
    line!(out, "|---|---|---|");
    let limits = serde_json::to_value(Limits::default()).unwrap_or_default();
    let ceiling = serde_json::to_value(Limits::CEILING).unwrap_or_default();
    for (name, value) in limits.as_object().into_iter().flatten() {
        line!(out, "| `{name}` | {value} | {} |", ceiling[name]);
    }
    out
}

fn codes() -> String {
    let mut out = String::new();
    line!(out, "| code | about |");
    line!(out, "|---|---|");
    for code in Code::ALL {
        line!(out, "| `{code}` | {} |", code.about());
    }
    out
}

fn unsupported() -> String {
    let mut out = String::new();
    line!(out, "| attribute | what happens instead |");
    line!(out, "|---|---|");
    for row in crate::describe_unsupported() {
        line!(out, "| `{}` | {} |", row.attribute, row.instead);
    }
    out
}

#[test]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
fn docs_are_up_to_date() {
    let tables: [(&str, &str, String); 5] = [
        ("pipeline.md", "places", places()),
        ("pipeline.md", "attributes", attributes()),
        ("pipeline.md", "caps", caps()),
        ("pipeline.md", "codes", codes()),
        ("compatibility.md", "unsupported", unsupported()),
    ];
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    for (file, name, table) in tables {
        let path = directory.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let begin = format!("<!-- made by a test: {name} -->\n");
        let start = text.find(&begin).unwrap() + begin.len();
        let end = start + text[start..].find("<!-- end -->").unwrap();
        let wanted = format!("{}{table}{}", &text[..start], &text[end..]);
        if std::env::var_os("TIDEGATE_UPDATE_DOCS").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        } else {
            assert!(
                text == wanted,
                "docs/{file} is not up to date: TIDEGATE_UPDATE_DOCS=1 cargo test -p tidegate-pipeline docs"
            );
        }
    }
}
