//! Matrices: combinations and tokens.

use serde_json::{Value as Json, json};
use tidegate_pipeline::matrix::{Declared, PermutationError, check_permutation, substitute};
use tidegate_pipeline::{Context, Source, expand};

use crate::{ensure, pairs, same, tally, text};

pub(crate) fn permutation(value: &Json) -> Vec<(String, String)> {
    pairs(value)
}

fn declared(setup: &Json, adjustments: &[Json]) -> Declared {
    let list = |value: &Json| serde_json::from_value::<Vec<String>>(value.clone()).unwrap();
    Declared {
        setup: setup.as_object().unwrap().iter().map(|(name, values)| (name.clone(), list(values))).collect(),
        adjustments: adjustments.iter().map(|one| (pairs(&one["With"]), one["Skip"] == json!(true))).collect(),
    }
}

/// The matrices that the tests of these names share; the rows hold only what differs.
fn shared(test: &str) -> Declared {
    let families = json!(["Brassicas", "Rose family", "Nightshades"]);
    if test.ends_with("Simple") {
        declared(&json!({ "": families }), &[])
    } else if test.ends_with("AdjustmentOnly") {
        declared(&json!({"arch": []}), &[json!({"With": {"arch": "amd64"}})])
    } else {
        let setup = json!({"family": families, "plot": ["1", "2", "3", "4", "5"], "treatment": ["false", "true"]});
        let skipped = json!({"With": {"family": "Nightshades", "plot": "7", "treatment": "false"}, "Skip": true});
        let adjustments: &[Json] = if test.contains("Skip") { &[skipped] } else { &[] };
        declared(&setup, adjustments)
    }
}

#[test]
fn combinations() {
    tally("matrix.json", |row| {
        let case = &row["case"];
        let matrix = match case.get("matrix") {
            Some(matrix) => declared(&matrix["Setup"], matrix["Adjustments"].as_array().map_or(&[], Vec::as_slice)),
            None => shared(text(&row["test"])),
        };
        // A row about the matrix itself has no job; any of the right size will do.
        let job = match case.get("perm") {
            Some(job) => permutation(job),
            None => matrix.setup.iter().map(|(name, values)| (name.clone(), values[0].clone())).collect(),
        };
        let got = match check_permutation(&matrix, &job) {
            Ok(()) => Json::Null,
            Err(error) => json!({"$id": match error {
                PermutationError::WrongLength { .. } => "errPermutationLengthMismatch",
                PermutationError::UnknownDimension(_) => "errPermutationUnknownDimension",
                PermutationError::AdjustmentWrongLength { .. } => "errAdjustmentLengthMismatch",
                PermutationError::AdjustmentUnknownDimension(_) => "errAdjustmentUnknownDimension",
                PermutationError::Skipped => "errPermutationSkipped",
                PermutationError::NoMatch => "errPermutationNoMatch",
            }}),
        };
        same(got, case["want"].clone())
    });
}

#[test]
fn tokens() {
    let nested = json!({
        "mountain": "cotopaxi", "country": "ecuador", "food": "bolon de verde", "animal": "andean condor",
        "currency": "usd", "language": "spanish",
    });
    tally("matrix_interp.json", |row| {
        let case = &row["case"];
        let test = text(&row["test"]);
        if test == "TestMatrixInterpolator_Errors" {
            let job = permutation(&case["transform"]["args"][0]);
            return ensure(substitute(&case["input"], &job).is_err(), "an unknown token was let through");
        }
        if let Some(input) = case.get("input") {
            let job = match test {
                "TestMatrixInterpolater_Simple" => permutation(&json!({"": "llama"})),
                _ => permutation(&json!({"animal": "llama", "weapon": "poison"})),
            };
            let got = substitute(input, &job).map_err(|error| error.to_string())?;
            return same(got, case["want"].clone());
        }
        let Some(value) = case.get("interpolate") else {
            // Parts of the values of the rows before, one by one: nothing of a token is left.
            let got = substitute(case, &permutation(&nested)).map_err(|error| error.to_string())?;
            return ensure(!got.to_string().contains("{{"), &got.to_string());
        };
        match text(&case["name"]) {
            "structs don't get interpolated" => untouched(value, &case["ms"]),
            "matrix doesn't interpolate itself" => matrix_untouched(value),
            _ => {
                let got = substitute(value, &permutation(&case["ms"])).map_err(|error| error.to_string())?;
                same(got, case["want"].clone())
            }
        }
    });
}

/// Typed attributes outside the list of `spec/pipeline.md` 1.6 keep their tokens.
fn untouched(value: &Json, job: &Json) -> Result<(), String> {
    let setup: serde_json::Map<String, Json> =
        job.as_object().unwrap().iter().map(|(name, value)| (name.clone(), json!([value]))).collect();
    let pipeline = json!({"steps": [{
        "command": "true", "matrix": {"setup": setup}, "concurrency": 1,
        "concurrency_group": value["Name"], "image": value["Altitude"],
    }]});
    let text = pipeline.to_string();
    let segment = expand(Source::new("row", &text), &Context::default()).segment.ok_or("no plan")?;
    let tidegate_core::plan::StepKind::Command(step) = &segment.steps[0].kind else { return Err("no command".into()) };
    same(step.concurrency.as_ref().map(|group| group.group.as_str()), value["Name"].as_str())?;
    same(step.spec_of(0).image.as_deref(), value["Altitude"].as_str())
}

/// The values of a matrix are no place for tokens.
fn matrix_untouched(value: &Json) -> Result<(), String> {
    let with = &value["Adjustments"][0]["With"];
    let pipeline = json!({"steps": [{
        "command": "{{matrix.fruit}}-{{matrix.shape}}",
        "matrix": {"setup": value["Setup"], "adjustments": [{"with": with}]},
    }]});
    let text = pipeline.to_string();
    let segment = expand(Source::new("row", &text), &Context::default()).segment.ok_or("no plan")?;
    let tidegate_core::plan::StepKind::Command(step) = &segment.steps[0].kind else { return Err("no command".into()) };
    let last = step.spec_of(step.jobs.len() - 1).command.clone();
    same(last.as_str(), format!("{}-{}", text_of(&with["fruit"]), text_of(&with["shape"])).as_str())
}

fn text_of(value: &Json) -> &str {
    value.as_str().unwrap()
}
