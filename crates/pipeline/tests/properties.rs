//! What holds for every text.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value as Json, json};
use tidegate_core::plan::Segment;
use tidegate_pipeline::condition::{Build, Condition, EntryPoint, Facts, evaluate};
use tidegate_pipeline::interpolate::interpolate;
use tidegate_pipeline::{Context, Glob, Limits, PlanView, Source, expand, lint, normalize, plan_view, render, view};

/// A step, as JSON; some have a key, some depend on keys that may be anywhere or nowhere.
fn step() -> impl Strategy<Value = Json> {
    let key = || select(vec!["a", "b", "c", "d", "e", "f"]);
    let command = (
        "[ -~]{0,20}",
        proptest::option::of(key()),
        proptest::option::of(vec(key(), 0..3)),
        proptest::option::of(select(vec!["build.branch == \"main\"", "build.tag != null", "build.branch =~ /^rel/"])),
        proptest::option::of(0u32..4),
        proptest::option::of(any::<bool>()),
    )
        .prop_map(|(command, key, depends_on, condition, parallelism, skip)| {
            let mut step = Map::new();
            step.insert("command".to_owned(), json!(command.replace('$', "S")));
            let fields = [
                ("key", key.map(|key| json!(key))),
                ("depends_on", depends_on.map(|keys| json!(keys))),
                ("if", condition.map(|condition| json!(condition))),
                ("parallelism", parallelism.map(|copies| json!(copies))),
                ("skip", skip.map(|skip| json!(skip))),
            ];
            step.extend(fields.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), value))));
            Json::Object(step)
        });
    let matrix = (vec("[a-z]{1,3}", 1..4), vec("[a-z]{1,3}", 1..4)).prop_map(
        |(os, arch)| json!({"command": "make {{matrix.os}} {{matrix.arch}}", "matrix": {"setup": {"os": os, "arch": arch}}}),
    );
    let gate = select(vec![json!("wait"), json!({"wait": null, "continue_on_failure": true}), json!({"block": "go"})]);
    prop_oneof![6 => command, 1 => matrix, 2 => gate]
}

fn pipeline() -> impl Strategy<Value = Json> {
    let group = (vec(step(), 1..4), proptest::option::of(select(vec!["g", "h"])))
        .prop_map(|(steps, key)| json!({"group": "tests", "steps": steps, "key": key.unwrap_or("i")}));
    let item = prop_oneof![5 => step(), 1 => group];
    (vec(item, 0..12), any::<bool>()).prop_map(|(steps, bare)| {
        if bare { json!(steps) } else { json!({"env": {"A": 1, "B": true}, "steps": steps, "x-common": [1, 2.5]}) }
    })
}

fn context(branch: &str) -> Context {
    let build = Build { branch: Some(branch.to_owned()), ..Build::default() };
    Context { facts: Facts { build, ..Facts::default() }, ..Context::default() }
}

/// The plan without its findings, which show the text.
fn plan(pipeline: &Json, branch: &str) -> Option<Segment> {
    let segment = expand(Source::new("p", &pipeline.to_string()), &context(branch)).segment?;
    Some(Segment { diagnostics: Vec::new(), ..segment })
}

/// What is left when everything that waits for nothing is taken away, again and again.
fn circle(view: &PlanView) -> HashSet<&str> {
    let jobs = view.jobs.iter().map(|job| (job.step.as_str(), &job.depends_on));
    let arrows: Vec<_> = jobs.chain(view.gates.iter().map(|gate| (gate.step.as_str(), &gate.depends_on))).collect();
    let mut left: HashSet<&str> = arrows.iter().map(|(step, _)| *step).collect();
    loop {
        let waits = |step: &str| {
            arrows
                .iter()
                .filter(|(to, _)| *to == step)
                .any(|(_, from)| from.iter().any(|from| left.contains(from.as_str())))
        };
        let free: Vec<&str> = left.iter().copied().filter(|step| !waits(step)).collect();
        if free.is_empty() {
            return left;
        }
        for step in free {
            left.remove(step);
        }
    }
}

/// An expression that fits its variables, as text.
fn expression() -> impl Strategy<Value = String> {
    let text = || {
        prop_oneof![
            "[a-z/ ]{0,6}".prop_map(|text| format!("\"{text}\"")),
            "[a-z\\\\n]{0,4}[a-z]".prop_map(|text| format!("'{text}'")),
            Just("\"${NAME:-x}\"".to_owned()),
            Just("build.env(\"NAME\")".to_owned()),
            Just("build.branch".to_owned()),
            Just("$NAME".to_owned()),
            Just("null".to_owned()),
        ]
    };
    let compare = (text(), select(vec!["==", "!="]), text()).prop_map(|(a, op, b)| format!("{a} {op} {b}"));
    let matches =
        (text(), select(vec!["=~", "!~"]), "[a-z.]{1,4}[*+?]?").prop_map(|(a, op, r)| format!("{a} {op} /{r}/i"));
    let includes = text().prop_map(|text| format!("[\"a\", \"b\"] includes {text}"));
    let leaf =
        prop_oneof![compare, matches, includes, Just("build.pull_request.draft".to_owned()), Just("true".to_owned())];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} && {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || {b}")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("(({a}) ? ({b}) : ({c}))")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_normal_form_is_its_own_normal_form(pipeline in pipeline()) {
        let context = Context { interpolate: false, ..Context::default() };
        let text = pipeline.to_string();
        let once = normalize(Source::new("p", &text), &context).json.unwrap();
        let twice = normalize(Source::new("p", &once.to_string()), &context).json.unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn a_plan_is_the_same_every_time(pipeline in pipeline()) {
        let text = pipeline.to_string();
        let (one, two) = (expand(Source::new("p", &text), &context("main")), expand(Source::new("p", &text), &context("main")));
        prop_assert_eq!(one.segment, two.segment);
        prop_assert_eq!(one.diagnostics, two.diagnostics);
    }

    #[test]
    fn there_is_a_plan_exactly_where_there_is_no_error(pipeline in pipeline()) {
        let text = pipeline.to_string();
        let expansion = expand(Source::new("p", &text), &context("main"));
        prop_assert_eq!(expansion.segment.is_none(), expansion.diagnostics.iter().any(|finding| finding.is_error()));
    }

    #[test]
    fn an_unknown_key_changes_no_job(mut pipeline in pipeline(), name in "x-[a-z]{1,8}", value in any::<Option<i32>>()) {
        let before = plan(&pipeline, "main");
        let steps = if pipeline.is_array() { &mut pipeline } else { &mut pipeline["steps"] };
        for step in steps.as_array_mut().unwrap().iter_mut().filter_map(Json::as_object_mut) {
            step.insert(name.clone(), json!(value));
        }
        prop_assert_eq!(before, plan(&pipeline, "main"));
    }

    #[test]
    fn the_graph_has_no_circle_and_every_step_is_planned_or_explained(pipeline in pipeline(), branch in select(vec!["main", "rel/1", ""])) {
        if let Some(segment) = plan(&pipeline, branch) {
            let view = plan_view(&segment);
            prop_assert!(circle(&view).is_empty());
            let named: HashSet<&str> = view.jobs.iter().map(|job| job.step.as_str())
                .chain(view.gates.iter().map(|gate| gate.step.as_str())).collect();
            let explained = segment.steps.iter().filter(|step| step.left_out.is_some()).count();
            prop_assert_eq!(named.len() + explained, segment.steps.len());
            prop_assert!(view.left_out.iter().all(|left_out| !left_out.why.is_empty()));
            let jobs = view.jobs.len() + view.gates.len() + view.left_out.len();
            prop_assert!(jobs >= segment.steps.len());
            // What people see of it is there for each job.
            prop_assert!(view::text(&view).contains("job"));
            let chart = view::mermaid(&view);
            let nodes = chart.lines().filter(|line| line.trim_start_matches(|c: char| c == ' ' || c == 'n' || c.is_ascii_digit()).starts_with('['));
            prop_assert_eq!(nodes.count(), named.len() - view.gates.len());
        }
    }

    #[test]
    fn a_condition_prints_and_parses_to_itself(text in expression()) {
        let limits = Limits::default();
        let condition = Condition::parse(&text, &limits).unwrap();
        let printed = condition.to_string();
        let again = Condition::parse(&printed, &limits).unwrap();
        prop_assert_eq!(&condition, &again, "{} printed {}", text, printed);
        prop_assert_eq!(again.to_string(), printed);
        // And means the same.
        let facts = context("main").facts;
        if condition.check(EntryPoint::BuildCondition).is_empty() {
            prop_assert_eq!(condition.evaluate(&facts).ok(), again.evaluate(&facts).ok());
        }
    }

    #[test]
    fn any_condition_ends(text in "\\PC{0,60}") {
        let _ = evaluate(&text, &Facts::default(), &Limits::default());
        let _ = evaluate(&format!("build.branch =~ /{text}/"), &Facts::default(), &Limits::default());
    }

    #[test]
    fn any_text_is_read_without_panic(bytes in vec(any::<u8>(), 0..300)) {
        let source = Source { name: "p", text: &bytes };
        let expansion = expand(source, &Context::default());
        let _ = render::text(&expansion.diagnostics, true);
        let _ = lint(source, &Context::for_lint());
        let _ = normalize(source, &Context::default());
    }

    #[test]
    fn any_yaml_like_text_is_read_without_panic(lines in vec("[ ]{0,6}[-:a-z{}\\[\\]&*<>|\"'#$!%@`?,\t ]{0,12}", 0..20)) {
        let text = lines.join("\n");
        let source = Source::new("p", &text);
        let found = lint(source, &Context::for_lint());
        let shown = render::text(&found, false);
        prop_assert_eq!(shown.is_empty(), found.is_empty());
        for finding in &found {
            // Every place is in the text, and its line is the one that is shown.
            let line = text.split('\n').nth((finding.line as usize).saturating_sub(1));
            prop_assert!(finding.line == 0 || line.is_some_and(|line| finding.column as usize <= line.chars().count() + 1));
        }
        let _ = render::github(&found);
        let _ = normalize(source, &Context::default());
    }

    #[test]
    fn interpolation_leaves_what_has_no_dollar_and_undoes_escapes(text in "[^$\\\\]{0,40}", name in "[A-Za-z][A-Za-z0-9_]{0,8}") {
        prop_assert_eq!(interpolate(&text, &[]).unwrap(), text.clone());
        let env = [(name.clone(), text.clone())];
        prop_assert_eq!(interpolate(&format!("${{{name}}}"), &env).unwrap(), text.clone());
        prop_assert_eq!(interpolate(&format!("$${name}"), &env).unwrap(), format!("${name}"));
        prop_assert_eq!(interpolate(&format!("\\${name}"), &env).unwrap(), format!("${name}"));
        // A value is not read again.
        let env = [(name.clone(), format!("${name}"))];
        prop_assert_eq!(interpolate(&format!("${name}"), &env).unwrap(), format!("${name}"));
    }

    #[test]
    fn any_interpolation_ends(text in "[$\\\\{}:?A-C 0-9-]{0,60}") {
        let _ = interpolate(&text, &[("A".to_owned(), "\u{e9}\u{e9}".to_owned())]);
    }

    #[test]
    fn a_glob_without_signs_matches_itself_alone(path in "[a-z./_-]{1,20}", other in "[a-z./_-]{1,20}") {
        let glob = Glob::new(&path).unwrap();
        prop_assert!(glob.matches(&path));
        prop_assert_eq!(glob.matches(&other), path == other);
        prop_assert!(Glob::new("**").unwrap().matches(&path));
    }

    #[test]
    fn any_glob_ends(pattern in "[*?{},\\[\\]^/a\\\\]{0,40}", path in "[a/]{0,40}") {
        if let Ok(glob) = Glob::new(&pattern) {
            let _ = glob.matches(&path);
        }
    }
}
