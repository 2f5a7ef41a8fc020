//! What the fuzz targets have found, replayed. `fuzz/run` adds to it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../fuzz/targets/checks.rs"]
mod checks;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(format!("{target}.b64"));
    let lines = std::fs::read_to_string(corpus).unwrap();
    assert!(lines.lines().count() > 100, "{target}");
    for line in lines.lines() {
        check(&STANDARD.decode(line).unwrap());
    }
}

#[test]
fn yaml() {
    replay("yaml", checks::yaml);
}

#[test]
fn interpolation() {
    replay("interpolation", checks::interpolation);
}

#[test]
fn condition() {
    replay("condition", checks::condition);
}

#[test]
fn glob() {
    replay("glob", checks::glob);
}
