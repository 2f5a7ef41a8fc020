//! Files with one planted trap each, found at the right line and column; and every code, as people see it.
//!
//! The first line of each file says what is to be found: `# LINE:COLUMN code`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod caps;

use std::collections::BTreeSet;
use std::path::Path;

use tidegate_core::diagnostic::Diagnostic;
use tidegate_pipeline::{Code, Context, Source, lint, render};

/// Name and text of each file, in the order of the names.
fn files() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traps/files");
    let mut out: Vec<(String, String)> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    out.sort();
    out
}

/// What is found; that something is not yet acted on is no trap, unless it is the one that is planted.
fn found(name: &str, text: &str, planted: &str) -> Vec<Diagnostic> {
    let found = lint(Source::new(name, text), &Context::for_lint());
    found.into_iter().filter(|finding| planted == "unsupported" || finding.code != "unsupported").collect()
}

#[test]
fn each_trap_is_found_at_its_place_and_nothing_else() {
    let files = files();
    assert!(files.len() >= 60, "{} files", files.len());
    let mut wrong = Vec::new();
    for (name, text) in &files {
        let (place, code) = text.lines().next().unwrap().trim_start_matches("# ").split_once(' ').unwrap();
        let findings = found(name, text, code);
        let got: Vec<String> =
            findings.iter().map(|finding| format!("{}:{} {}", finding.line, finding.column, finding.code)).collect();
        if got != [format!("{place} {code}")] {
            wrong.push(format!("{name}: {got:?}, want {place} {code}\n{}", render::text(&findings, false)));
        }
        if findings.iter().any(|finding| finding.help.is_none()) {
            wrong.push(format!("{name}: no way out"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_finding_reads_well() {
    let mut shown = String::new();
    let mut codes = BTreeSet::new();
    for (name, text) in files() {
        let code = text.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
        shown += &render::text(&found(&name, &text, &code), false);
        codes.insert(code);
    }
    for finding in caps::findings() {
        shown += &render::text(std::slice::from_ref(&finding), false);
        codes.insert(finding.code);
    }
    insta::assert_snapshot!("every_finding", shown);
    let missing: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).filter(|code| !codes.contains(*code)).collect();
    assert!(missing.is_empty(), "no file shows {missing:?}");
}
