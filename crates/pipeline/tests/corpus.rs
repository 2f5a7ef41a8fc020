//! Real pipeline files, where they are at hand: `lint` finds no error in them, and `plan` gives a graph.

#![expect(clippy::print_stdout, reason = "the tally is the purpose")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use tidegate_core::plan::Segment;
use tidegate_pipeline::{Context, PlanView, Source, Unset, expand, lint, normalize, plan_view, render};

/// The files of a directory of fixtures; none where they are not at hand.
fn files(directory: &str) -> Vec<PathBuf> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/pipeline");
    let Ok(entries) = std::fs::read_dir(fixtures.join(directory)) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut out: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|kind| kind != "tsv")).collect();
    out.sort();
    out
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// What a plan is made with where the build's environment is not known.
fn planning() -> Context {
    Context { unset: Unset::Unknown, ..Context::default() }
}

#[test]
fn lint_finds_no_error() {
    let mut bad = Vec::new();
    let files = files("corpus");
    for path in &files {
        let text = std::fs::read(path).unwrap();
        let name = name(path);
        let found = lint(Source { name: &name, text: &text }, &Context::for_lint());
        let errors: Vec<_> = found.into_iter().filter(|finding| finding.is_error()).collect();
        if !errors.is_empty() {
            bad.push(render::text(&errors, false));
        }
    }
    println!("lint: {} passed, {} failed", files.len() - bad.len(), bad.len());
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// What the schema allows is no error, but for what a schema cannot see.
#[test]
fn lint_finds_no_error_in_what_the_schema_allows() {
    for path in files("schema-valid") {
        let text = std::fs::read(&path).unwrap();
        let name = name(&path);
        let found = lint(Source { name: &name, text: &text }, &Context::for_lint());
        let errors: Vec<_> =
            found.into_iter().filter(|finding| finding.is_error() && finding.code != "duplicate-step-key").collect();
        assert!(errors.is_empty(), "{}", render::text(&errors, false));
    }
}

#[test]
fn plan_gives_a_graph_and_always_the_same() {
    let files = files("corpus");
    for path in &files {
        let text = std::fs::read(path).unwrap();
        let name = name(path);
        let source = Source { name: &name, text: &text };
        let expansion = expand(source, &planning());
        let segment = expansion.segment.unwrap_or_else(|| panic!("{}", render::text(&expansion.diagnostics, false)));
        let view = plan_view(&segment);
        assert_graph(&name, &segment, &view);
        let again = expand(source, &planning()).segment.unwrap();
        assert_eq!(segment, again, "{name}");
        let stored = serde_json::to_string(&segment).unwrap();
        assert_eq!(serde_json::from_str::<Segment>(&stored).unwrap(), segment, "{name}");
    }
    println!("plan: {} passed, 0 failed", files.len());
}

/// Every step is planned or explained, every arrow begins at something that is there, and nothing leads back.
fn assert_graph(file: &str, segment: &Segment, view: &PlanView) {
    let planned: HashSet<&str> =
        view.jobs.iter().map(|job| job.step.as_str()).chain(view.gates.iter().map(|gate| gate.step.as_str())).collect();
    let keys: HashSet<&str> = segment.steps.iter().filter_map(|step| step.key.as_deref()).collect();
    let explained = segment.steps.iter().filter(|step| step.left_out.is_some()).count();
    assert!(planned.len() + explained >= segment.steps.len() || !view.left_out.is_empty(), "{file}");
    let arrows = view.jobs.iter().map(|job| (&job.step, &job.depends_on));
    let arrows: Vec<_> = arrows.chain(view.gates.iter().map(|gate| (&gate.step, &gate.depends_on))).collect();
    // Takes away what waits for nothing that is left, until nothing changes.
    let mut left: HashSet<&str> = planned.clone();
    loop {
        let free: Vec<&str> = left
            .iter()
            .filter(|step| {
                arrows
                    .iter()
                    .filter(|(to, _)| to == *step)
                    .all(|(_, from)| from.iter().all(|f| !left.contains(f.as_str())))
            })
            .copied()
            .collect();
        if free.is_empty() {
            break;
        }
        for step in free {
            left.remove(step);
        }
    }
    assert!(left.is_empty(), "{file}: a circle through {left:?}");
    for (to, from) in arrows {
        for from in from.iter().filter(|from| from.starts_with("step-")) {
            assert!(planned.contains(from.as_str()) || keys.contains(from.as_str()), "{file}: {to} waits for {from}");
        }
    }
}

#[test]
fn the_normal_form_is_its_own_normal_form() {
    for path in files("corpus").into_iter().chain(files("schema-valid")) {
        let text = std::fs::read(&path).unwrap();
        let name = name(&path);
        let context = Context { interpolate: false, ..Context::default() };
        let once = normalize(Source { name: &name, text: &text }, &context).json.unwrap();
        let written = serde_json::to_string(&once).unwrap();
        let twice = normalize(Source::new(&name, &written), &context).json.unwrap();
        assert_eq!(once, twice, "{name}");
    }
}
