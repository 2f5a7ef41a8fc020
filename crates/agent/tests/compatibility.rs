//! `docs/compatibility.md` names a test for each behaviour: they are all there.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

fn sources(directory: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            found.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn every_test_that_is_named_is_there() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in ["src", "tests", "../git/src"] {
        sources(&here.join(directory), &mut files);
    }
    let text = std::fs::read_to_string(here.join("../../docs/compatibility.md")).unwrap();
    let named: Vec<(&str, &str)> = text
        .split('`')
        .filter_map(|word| word.split_once("::"))
        .filter(|(file, name)| [file, name].iter().all(|part| part.chars().all(|c| c.is_ascii_lowercase() || c == '_')))
        .collect();
    assert!(named.len() > 30, "{}", named.len());
    for (file, name) in named {
        let function = format!("fn {name}(");
        let there = files.iter().any(|(stem, text)| stem == file && text.contains(&function));
        assert!(there, "`{file}::{name}` is named in docs/compatibility.md and does not exist");
    }
}
