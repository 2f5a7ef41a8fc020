//! The recorded vectors of other implementations, where they are at hand: beside the checkout, not in it.
//!
//! For each file one line is printed, `FILE: N passed, N failed`. A row that is left out must be excused by the line of
//! the specification that says why; no row is at present.

#![expect(clippy::print_stdout, reason = "the tally is the purpose")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod conditions;
mod matrices;
mod pipelines;
mod plugins;
mod texts;

use std::path::PathBuf;

use serde_json::Value as Json;

/// The vectors of a file; `None` where they are not at hand.
fn rows(file: &str) -> Option<Vec<Json>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/pipeline/vectors").join(file);
    let text = std::fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

/// Runs every row of a file and prints the tally.
fn tally(file: &str, mut run: impl FnMut(&Json) -> Result<(), String>) {
    let Some(rows) = rows(file) else {
        println!("{file}: not at hand");
        return;
    };
    let mut failed = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        if let Err(why) = run(row) {
            failed.push(format!("row {at} ({}): {why}", row["test"].as_str().unwrap_or("")));
        }
    }
    println!("{file}: {} passed, {} failed", rows.len() - failed.len(), failed.len());
    assert!(failed.is_empty(), "{file}:\n{}", failed.join("\n"));
}

fn same<T: PartialEq + std::fmt::Debug>(got: T, want: T) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("got {got:?}, want {want:?}")) }
}

fn ensure(holds: bool, why: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why.to_owned()) }
}

/// A map of texts as pairs.
fn pairs(value: &Json) -> Vec<(String, String)> {
    let map = value.as_object().into_iter().flatten();
    map.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect()
}

fn text(value: &Json) -> &str {
    value.as_str().expect("a text")
}
