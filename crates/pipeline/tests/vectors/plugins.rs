//! Plugins: sources, names, variables.

use serde_json::Value as Json;
use tidegate_pipeline::matrix;
use tidegate_pipeline::plugin::{Definition, full_source};

use crate::{ensure, same, tally, text};

#[test]
fn plugins() {
    tally("plugin.json", |row| {
        let case = &row["case"];
        match text(&row["test"]) {
            "TestCreateFromJSON" | "TestZipPluginParsing" => {
                let listed = Definition::list(text(&case[0])).map_err(|error| error.to_string())?;
                let wanted = match &case[1] {
                    Json::Array(wanted) => wanted.clone(),
                    one => vec![one.clone()],
                };
                same(listed.len(), wanted.len())?;
                for ((got, config), want) in listed.iter().zip(&wanted) {
                    same(got, &definition(want))?;
                    same(config, &want["Configuration"])?;
                }
                Ok(())
            }
            "TestPluginNameParsedFromLocation" => {
                let got = Definition { location: text(&case["location"]).to_owned(), ..Definition::default() };
                same(got.name().as_str(), text(&case["wantName"]))
            }
            "TestIdentifier" => {
                let location = text(&case["location"]);
                let (location, version) = location.split_once('#').unwrap_or((location, ""));
                let got =
                    Definition { location: location.to_owned(), version: version.to_owned(), ..Definition::default() };
                same(got.identifier().as_str(), text(&case["wantID"]))
            }
            "TestZipPluginIdentifier" => same(definition_of(case).identifier().as_str(), text(&case["wantID"])),
            "TestRepositoryAndSubdirectory" => {
                let got = definition(&case["plugin"]);
                same(got.repository().map_err(|error| error.to_string())?.as_str(), text(&case["wantRepo"]))?;
                same(got.subdirectory().map_err(|error| error.to_string())?.as_str(), text(&case["wantSub"]))
            }
            "TestConfigurationToEnvironment" => {
                let config: Json = serde_json::from_str(text(&case["configJSON"])).unwrap();
                let got = Definition::new("github.com/buildkite-plugins/docker-compose-buildkite-plugin").unwrap();
                let mut got: Vec<(String, String)> = got.environment(&config);
                let mut want = crate::pairs(&case["wantEnvMap"]);
                got.sort();
                want.sort();
                same(got, want)
            }
            "TestIsZipPlugin" => {
                let got = Definition { scheme: text(&case["scheme"]).to_owned(), ..Definition::default() };
                same(Some(got.is_zip()), case["wantIsZip"].as_bool())?;
                same(got.base_scheme(), text(&case["wantBase"]))
            }
            "TestPluginFullSource" => same(full_source(text(&case["source"])).as_str(), text(&case["want"])),
            "TestPluginMatrixInterpolate" => {
                let job = crate::matrices::permutation(&case["ms"]);
                let got = matrix::substitute(&case["p"], &job).map_err(|error| error.to_string())?;
                same(got, case["want"].clone())
            }
            other => ensure(false, &format!("a test that is not known: {other}")),
        }
    });
}

/// A plugin by its fields.
fn definition(fields: &Json) -> Definition {
    let field = |name: &str| fields[name].as_str().unwrap_or("").to_owned();
    Definition {
        location: field("Location"),
        version: field("Version"),
        scheme: field("Scheme"),
        authentication: fields["Authentication"].as_str().map(str::to_owned),
    }
}

fn definition_of(case: &Json) -> Definition {
    let field = |name: &str| case[name].as_str().unwrap_or("").to_owned();
    Definition { location: field("location"), version: field("version"), ..Definition::default() }
}
