//! Interpolation.

use tidegate_pipeline::interpolate::{identifiers, interpolate};

use crate::{pairs, same, tally, text};

#[test]
fn interpolation() {
    tally("interpolate.json", |row| {
        let input = text(&row["input"]);
        if let Some(names) = row.get("identifiers") {
            let want: Vec<String> = serde_json::from_value(names.clone()).unwrap();
            return same(identifiers(input).map_err(|error| error.to_string())?, want);
        }
        // Rows that list the names of the row before, one by one: each is a text without a dollar.
        if text(&row["test"]) == "TestExtractingIdentifiers" {
            return same(identifiers(input).map_err(|error| error.to_string())?, Vec::new());
        }
        match (interpolate(input, &pairs(&row["env"])), row.get("error")) {
            (Err(error), Some(want)) => same(error.to_string().as_str(), text(want)),
            (Ok(got), None) => same(got.as_str(), text(&row["expected"])),
            (got, _) => Err(format!("{got:?}")),
        }
    });
}
