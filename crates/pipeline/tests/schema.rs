//! The schema for editors agrees with the reader: what it reads without an error fits, and wrong types do not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use serde_json::{Value as Json, json};
use tidegate_pipeline::{Context, Source, normalize, schema};

fn validator() -> jsonschema::Validator {
    jsonschema::validator_for(schema().as_value()).unwrap()
}

#[test]
fn what_is_read_without_an_error_fits() {
    let validator = validator();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/pipeline");
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tidegate");
    for directory in [fixtures.join("corpus"), fixtures.join("schema-valid"), own] {
        let Ok(entries) = std::fs::read_dir(directory) else { continue };
        let paths = entries.map(|entry| entry.unwrap().path());
        for path in paths.filter(|path| path.extension().is_some_and(|kind| kind == "yml" || kind == "yaml")) {
            let text = std::fs::read(&path).unwrap();
            let context = Context { interpolate: false, ..Context::default() };
            let json = normalize(Source { name: "p", text: &text }, &context).json.unwrap();
            let errors: Vec<String> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{}: {errors:?}", path.display());
        }
    }
}

#[test]
fn what_an_editor_should_mark_does_not_fit() {
    let validator = validator();
    let fits = |step: Json| validator.is_valid(&json!({ "steps": [step] }));
    assert!(fits(json!({"command": "make"})));
    assert!(fits(json!({"command": ["a", 1, true], "timeout_in_minutes": "${T}", "soft_fail": "true"})));
    assert!(fits(json!({"wait": null, "continue_on_failure": true})));
    assert!(fits(json!("wait")));
    assert!(fits(json!({"group": null, "steps": [{"command": "a"}]})));
    assert!(fits(json!({"command": {"command": "a"}})));
    for wrong in [
        json!("make"),
        json!({"comand": "make"}),
        json!({"command": "a", "timeout_in_minutes": []}),
        json!({"command": "a", "retry": {"automatic": {"exit_code": 1}}}),
        json!({"command": "a", "depends_on": {"step": "b"}}),
        json!({"command": "a", "checkout": false}),
        json!({"command": "a", "skip": "x".repeat(71)}),
        json!({"group": "a"}),
        json!({"input": "a", "fields": [{"text": "no key"}]}),
    ] {
        assert!(!fits(wrong.clone()), "{wrong}");
    }
    assert!(validator.is_valid(&json!([{"command": "make"}])));
    assert!(!validator.is_valid(&json!("make")));
}
