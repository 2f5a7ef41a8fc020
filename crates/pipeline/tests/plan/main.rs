//! What a pipeline means: its jobs, what they wait for, and why steps are left out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use tidegate_core::plan::{
    CommandStep, DependsOn, ExitStatusMatch, LeftOutKind, RetryRule, Segment, SoftFail, Step, StepKind,
};
use tidegate_pipeline::condition::{Build, Facts};
use tidegate_pipeline::{Context, FindError, Source, expand, find, plan_view, render, view};

fn on(branch: &str) -> Context {
    let build = Build { branch: Some(branch.to_owned()), ..Build::default() };
    Context { facts: Facts { build, ..Facts::default() }, ..Context::default() }
}

fn plan(text: &str, context: &Context) -> Segment {
    let expansion = expand(Source::new("pipeline.yml", text), context);
    expansion.segment.unwrap_or_else(|| panic!("{}", render::text(&expansion.diagnostics, false)))
}

fn steps(text: &str) -> Vec<Step> {
    plan(text, &on("main")).steps
}

fn command(step: &Step) -> &CommandStep {
    let StepKind::Command(command) = &step.kind else { panic!("{step:?}") };
    command
}

const WHOLE: &str = r#"
env:
  STAGE: beta
  TARGET: app-$STAGE
agents: {queue: big, os: linux}
priority: 3
steps:
  - label: ":hammer: Build"
    key: build
    command: [make deps, "make $TARGET"]
    artifact_paths: "out/*;log/**"
  - label: "Test {{matrix.os}}/{{matrix.arch}}"
    key: test
    depends_on: build
    command: make test OS={{matrix.os}}
    env: {ARCH: "{{matrix.arch}}", STAGE: test}
    matrix:
      setup: {os: [linux, macos], arch: [x, y]}
      adjustments:
        - with: {os: macos, arch: x}
          skip: too slow
        - with: {os: windows, arch: x}
          soft_fail: true
  - wait
  - group: Checks
    key: checks
    steps:
      - command: make lint
        parallelism: 2
        priority: 7
      - command: make docs
        if: build.branch == "docs" || build.tag != null
  - wait: ~
    continue_on_failure: true
  - trigger: deploy
    label: Deploy
    build: {branch: main, env: {FROM: $TARGET}}
    branches: main release/*
  - command: make report
    depends_on: [checks, {step: test, allow_failure: true}]
    agents: [gpu=*, fast]
"#;

#[test]
fn a_whole_pipeline() {
    let view = plan_view(&plan(WHOLE, &on("main")));
    insta::assert_snapshot!("text", view::text(&view));
    insta::assert_snapshot!("mermaid", view::mermaid(&view));
    insta::assert_json_snapshot!("json", view);
}

#[test]
fn what_is_left_out_says_why_with_the_values() {
    let why = |text: &str, context: &Context| {
        let segment = plan(&format!("steps:\n  - command: make\n    {text}\n"), context);
        segment.steps[0].left_out.clone().map(|left_out| (left_out.kind, left_out.why))
    };
    let broken = |why: &str| Some((LeftOutKind::Broken, why.to_owned()));
    let skipped = |why: &str| Some((LeftOutKind::Skipped, why.to_owned()));
    let dev = on("dev");
    assert_eq!(why("if: build.branch == 'dev'", &dev), None);
    assert_eq!(
        why("if: build.branch == 'main' && build.tag == null", &dev),
        broken(
            "`if` is false: build.branch == 'main' && build.tag == null, where build.branch is \"dev\", build.tag is null"
        )
    );
    assert_eq!(
        why("if: build.env('A') == '1'", &Context { env: vec![("A".to_owned(), "2".to_owned())], ..on("dev") }),
        broken("`if` is false: build.env('A') == '1', where build.env('A') is \"2\"")
    );
    assert_eq!(why("branches: main", &dev), broken("`branches` is `main`, and the branch is `dev`"));
    assert_eq!(why("branches: '!main de*'", &dev), None);
    assert_eq!(why("skip: broken today", &dev), skipped("broken today"));
    assert_eq!(why("skip: true", &dev), skipped("`skip` is true"));
    assert_eq!(why("skip: false", &dev), None);
    let changed = |files: &[&str]| Context {
        changed_files: Some(files.iter().map(|file| (*file).to_owned()).collect()),
        ..on("dev")
    };
    let unchanged = skipped("if_changed matched no unexcluded changed files in this build");
    assert_eq!(why("if_changed: src/**", &changed(&["src/a.rs"])), None);
    assert_eq!(why("if_changed: src/**", &changed(&["doc/a.md"])), unchanged);
    assert_eq!(why("if_changed: {include: '**', exclude: '*.md'}", &changed(&["a.md"])), unchanged);
    assert_eq!(why("if_changed: src/**", &dev), None, "not known");
    assert_eq!(why("if: build.changed_files =~ /^src/", &changed(&["src/a.rs"])), None);
    assert!(why("if: build.changed_files =~ /^src/", &changed(&["a.md"])).is_some());
    assert_eq!(why("if: build.changed_files =~ /^src/", &dev), None, "not known");
}

#[test]
fn what_a_group_says_holds_for_its_children() {
    let steps = steps(
        "
steps:
  - command: first
    key: a
  - group: G
    depends_on: a
    if: build.branch == 'main'
    allow_dependency_failure: true
    steps:
      - command: b
      - command: c
        depends_on: []
      - wait
      - command: d
      - command: e
        skip: not now
",
    );
    let depends: Vec<&DependsOn> = steps.iter().skip(1).map(|step| &step.depends_on).collect();
    let on_a =
        |depends: &DependsOn| matches!(depends, DependsOn::Explicit(list) if list.len() == 1 && list[0].key == "a");
    assert!(on_a(depends[0]) && on_a(depends[1]));
    // The gate inside holds what is behind it, and is held by what is before it.
    assert_eq!(depends[2..], [&DependsOn::Implicit; 3]);
    assert!(steps.iter().skip(1).all(|step| step.group == Some(0) && step.allow_dependency_failure));
    let left_out: Vec<bool> = steps.iter().map(|step| step.left_out.is_some()).collect();
    assert_eq!(left_out, [false, false, false, false, false, true]);
    let other = plan("steps: [{group: G, if: build.tag != null, steps: [wait, {command: a}]}]", &on("main"));
    assert!(other.steps.iter().all(|step| step.left_out.is_some()));
}

#[test]
fn a_wait_next_to_a_block_is_ignored_after_conditions_are_decided() {
    let left_out = |text: &str| {
        let segment = plan(text, &on("main"));
        segment.steps.iter().map(|step| step.left_out.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(left_out("[{command: a}, wait, block, wait, {command: b}]"), [false, true, false, true, false]);
    // Without the block both waits stand.
    assert_eq!(
        left_out("[{command: a}, wait, {block: go, if: build.tag != null}, wait, {command: b}]"),
        [false, false, true, false, false]
    );
    // Without the step between them they are neighbours.
    assert_eq!(left_out("[wait, {command: a, if: build.tag != null}, block]"), [true, true, false]);
}

#[test]
fn an_input_waits_for_nothing_and_gates_wait_for_it() {
    let view = plan_view(&plan("[{command: a}, wait, {input: which}, {command: b}, wait, {command: c}]", &on("main")));
    let waits: Vec<(&str, &[String])> =
        view.jobs.iter().map(|job| (job.label.as_str(), job.depends_on.as_slice())).collect();
    let step = |number: usize| format!("step-{number}");
    assert_eq!(waits, [("a", &[][..]), ("which", &[]), ("b", &[step(2)]), ("c", &[step(5)])]);
    assert_eq!(view.gates[1].depends_on, [step(2), step(3), step(4)]);
}

#[test]
fn defaults_of_the_top_are_below_what_steps_say() {
    let segment = plan(
        "
agents: {queue: big, os: linux}
image: base
secrets: [A, B]
checkout: {depth: 5, submodules: false}
cache: [vendor]
steps:
  - command: a
  - command: b
    agents: {arch: arm}
    image: own
    secrets: {B: OTHER}
    checkout: {depth: 1}
    cache: false
",
        &on("main"),
    );
    let (one, two) = (&command(&segment.steps[0]).spec, &command(&segment.steps[1]).spec);
    let pairs = |list: &[(String, String)]| list.iter().map(|(a, b)| format!("{a}={b}")).collect::<Vec<_>>();
    assert_eq!(pairs(&one.agents), ["os=linux", "queue=big"]);
    assert_eq!(pairs(&two.agents), ["arch=arm", "queue=default"]);
    assert_eq!((one.image.as_deref(), two.image.as_deref()), (Some("base"), Some("own")));
    assert_eq!(pairs(&one.secrets), ["A=A", "B=B"]);
    assert_eq!(pairs(&two.secrets), ["B=OTHER", "A=A"]);
    assert_eq!(two.checkout, Some(serde_json::json!({"depth": 1, "submodules": false})));
    assert_eq!(one.cache, Some(serde_json::json!({"paths": ["vendor"]})));
    assert_eq!(two.cache, Some(serde_json::json!(false)));

    let pool = Context { default_queue: "pool".to_owned(), ..on("main") };
    let segment = plan("agents: {os: linux, arch: x}\nsteps: [{command: a, agents: {arch: arm}}]", &pool);
    assert_eq!(pairs(&command(&segment.steps[0]).spec.agents), ["arch=arm", "queue=pool"]);
}

#[test]
fn retries_and_soft_failures_are_read_in_all_their_forms() {
    let read = |text: &str| command(&steps(&format!("[{{command: a, {text}}}]"))[0]).clone();
    let rule = |exit_status, limit| RetryRule {
        exit_status,
        signal: vec!["*".to_owned()],
        signal_reason: vec!["*".to_owned()],
        limit,
    };
    assert_eq!(read("label: x").retry.automatic, None);
    assert_eq!(read("retry: {automatic: false}").retry.automatic, Some(vec![]));
    assert_eq!(read("retry: {automatic: true}").retry.automatic, Some(vec![rule(ExitStatusMatch::Any, 2)]));
    assert_eq!(
        read("retry: {automatic: [{exit_status: -1, limit: 0}, {exit_status: [1, \"2\"]}, {exit_status: \"*\", limit: 10}]}")
            .retry
            .automatic,
        Some(vec![
            rule(ExitStatusMatch::OneOf(vec![-1]), 0),
            rule(ExitStatusMatch::OneOf(vec![1, 2]), 2),
            rule(ExitStatusMatch::Any, 10)
        ])
    );
    let signals =
        read("retry: {automatic: {signal: [sigterm, Kill, none], signal_reason: agent_stop}}").retry.automatic;
    let signals = signals.unwrap().remove(0);
    assert_eq!(signals.signal, ["TERM", "KILL", "none"]);
    assert_eq!(signals.signal_reason, ["agent_stop"]);
    let manual = read("retry: {manual: {allowed: \"false\", reason: no}}").retry.manual;
    assert_eq!((manual.allowed, manual.permit_on_passed, manual.reason.as_deref()), (false, true, Some("no")));
    assert_eq!(read("soft_fail: \"true\"").spec.soft_fail, SoftFail::Always);
    assert_eq!(
        read("soft_fail: [{exit_status: 1}, {exit_status: \"*\"}]").spec.soft_fail,
        SoftFail::On(vec![Some(1), None])
    );
}

#[test]
fn numbers_and_booleans_may_come_by_way_of_variables() {
    let env =
        [("T", "15"), ("S", "true"), ("N", "2"), ("E", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let context = Context { env: env.to_vec(), ..on("main") };
    let text =
        "[{command: a, timeout_in_minutes: $T, soft_fail: $S, parallelism: $N, skip: $E, priority: \"${P:-4}\"}]";
    let segment = plan(text, &context);
    let step = command(&segment.steps[0]);
    assert_eq!((step.timeout_in_minutes, step.jobs.len(), step.priority), (Some(15), 2, 4));
    assert_eq!(step.spec.soft_fail, SoftFail::Always);
    assert!(segment.steps[0].left_out.is_none());
}

#[test]
fn the_environment_of_the_file_is_interpolated_first_and_in_order() {
    let context = Context { env: vec![("A".to_owned(), "outer".to_owned())], ..on("dev") };
    let text =
        "env: {B: \"$A-$BUILDKITE_BRANCH\", A: inner, C: \"$A\", \"X_$A\": 1}\nsteps: [{command: \"$B $C $X_inner\"}]";
    let segment = plan(text, &context);
    let shown: Vec<String> = segment.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(shown, ["B=outer-dev", "A=inner", "C=inner", "X_inner=1"]);
    assert_eq!(command(&segment.steps[0]).spec.command, "outer-dev inner 1");
    // The build's variables may be preferred.
    let segment = plan(text, &Context { prefer_build_env: true, ..context.clone() });
    assert_eq!(command(&segment.steps[0]).spec.command, "outer-dev outer ");
    // Or nothing is replaced.
    let segment = plan(text, &Context { interpolate: false, ..context });
    assert_eq!(command(&segment.steps[0]).spec.command, "$B $C $X_inner");
}

#[test]
fn the_file_is_found_where_it_may_be() {
    let found = |files: &[&str]| find(|path| files.contains(&path));
    assert_eq!(found(&[".buildkite/pipeline.yml"]), Ok(".buildkite/pipeline.yml"));
    assert_eq!(found(&[".buildkite/pipeline.yml", ".tidegate/pipeline.yaml"]), Ok(".tidegate/pipeline.yaml"));
    assert_eq!(
        found(&["buildkite.yml", "buildkite/pipeline.json"]),
        Err(FindError::Several(vec!["buildkite.yml", "buildkite/pipeline.json"]))
    );
    let missing = found(&[]).unwrap_err();
    assert!(
        missing.to_string().contains(".tidegate/pipeline.yml, .tidegate/pipeline.yaml, buildkite.yml"),
        "{missing}"
    );
}

#[test]
fn findings_have_forms_for_programs() {
    let text = "steps:\n  - comand: 100%\n";
    let found = expand(Source::new("a,b:c.yml", text), &Context::default()).diagnostics;
    insta::assert_json_snapshot!("findings", render::json(&found));
    assert_eq!(
        render::github(&found),
        "::error file=a%2Cb%3Ac.yml,line=2,col=5,title=unknown-step::nothing tells what kind of step this is%0Adid you \
         mean `command` where it says `comand`?\n"
    );
    assert!(render::text(&found, true).contains("\u{1b}["));
}
