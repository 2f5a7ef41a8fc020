//! Files that mean no good, and files from strange editors.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use tidegate_core::plan::{Segment, StepKind};
use tidegate_pipeline::{Context, Expansion, Limits, Source, Unset, expand};

fn read(text: &str) -> Expansion {
    expand(Source::new("p", text), &Context::default())
}

fn codes(text: &str) -> Vec<String> {
    read(text).diagnostics.into_iter().map(|finding| finding.code).collect()
}

fn command(segment: &Segment, step: usize) -> &str {
    let StepKind::Command(step) = &segment.steps[step].kind else { panic!("no command") };
    &step.spec.command
}

#[test]
fn marks_and_line_ends_of_other_editors_change_nothing() {
    let plain = "steps:\n  - command: make\n    timeout_in_minutes: x\n";
    for text in [plain.to_owned(), format!("\u{feff}{plain}"), plain.replace('\n', "\r\n"), plain.replace('\n', "\r")] {
        let found = read(&text).diagnostics;
        assert_eq!(found.len(), 1, "{text:?}: {found:?}");
        assert_eq!(found[0].code, "bad-value");
        if !text.contains('\r') || text.contains('\n') {
            assert_eq!((found[0].line, found[0].column, found[0].length), (3, 25, 1), "{text:?}");
        }
    }
    // Columns count characters.
    let found = read("steps: [{label: \"é🦀\", command: a, timeout: y}]\n").diagnostics;
    assert_eq!((found[0].line, found[0].column), (1, 44));
}

#[test]
fn merge_keys_give_way_to_keys_and_earlier_merges_win() {
    let text = "
a: &a {command: from-a, label: A, image: ia}
b: &b {command: from-b, label: B, priority: 7}
steps:
  - <<: [*a, *b]
    command: own
  - label: own
    <<: *b
    <<: *a
";
    let segment = read(text).segment.unwrap();
    let shown: Vec<_> = segment
        .steps
        .iter()
        .map(|step| {
            let StepKind::Command(command) = &step.kind else { panic!("no command") };
            (step.label.as_str(), command.spec.image.as_deref(), command.spec.command.as_str(), command.priority)
        })
        .collect();
    assert_eq!(shown, [("A", Some("ia"), "own", 7), ("own", Some("ia"), "from-b", 7)]);
}

#[test]
fn scalars_are_what_yaml_1_2_says() {
    let text = "
env: {A: yes, B: 0o17, C: 1_000, D: ~, E: 1e3, F: 12:30:45, G: 2024-01-02, H: .5, I: \"0x10\", J: 0x10}
steps: [{command: make}]
";
    let env: Vec<String> =
        read(text).segment.unwrap().env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let want = ["A=yes", "B=15", "C=1000", "D=", "E=1000", "F=12:30:45", "G=2024-01-02", "H=0.5", "I=0x10", "J=16"];
    assert_eq!(env, want);
}

#[test]
fn what_is_wrong_is_found_all_at_once() {
    let text = "
steps:
  - command: make
    key: a b
    timeout_in_minutes: 0
    if: build.brunch == 1 && step.id == 2
  - comand: make
  - trigger:
  - group: x
    steps: []
";
    assert_eq!(
        codes(text),
        ["bad-step-key", "bad-value", "bad-condition", "bad-condition", "unknown-step", "bad-value", "empty-group"]
    );
}

#[test]
fn a_bomb_of_aliases_costs_nothing() {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..40 {
        let before = vec![format!("*a{}", level - 1); 10].join(",");
        text += &format!("a{level}: &a{level} [{before}]\n");
    }
    assert_eq!(codes(&(text + "steps: []\n")), ["too-many-nodes"]);
    // And by way of merge keys, text and interpolation.
    let mut text = "m0: &m0 {k0: v}\n".to_owned();
    for level in 1..40 {
        text += &format!("m{level}: &m{level} {{<<: [*m{0}, *m{0}], k{level}: *m{0}}}\n", level - 1);
    }
    assert_eq!(codes(&(text + "steps: []\n")), ["too-many-nodes"]);
    let text = format!("a: &a {}\nb: [{}]\nsteps: []\n", "x".repeat(100_000), "*a, ".repeat(60));
    assert_eq!(codes(&text), ["too-large"]);
    let text = format!("env:\n  A: {}\n  B: {}\nsteps: [{{command: x}}]\n", "x".repeat(1000), "$A".repeat(10_000));
    assert_eq!(codes(&text), ["too-large"]);
}

#[test]
fn anchors_in_circles_are_told() {
    assert_eq!(codes("a: &a [*a]\nsteps: [{command: x}]\n"), ["alias-cycle"]);
    assert_eq!(codes("a: &a {b: &b {c: *a}, <<: *b}\nsteps: [{command: x}]\n"), ["alias-cycle"]);
    assert_eq!(codes("a: &a\n  <<: *a\nsteps: [{command: x}]\n"), ["alias-cycle"]);
}

#[test]
fn each_cap_has_its_setting() {
    let cases: [(&str, String, Limits); 9] = [
        ("bytes", "#".repeat(100), Limits { bytes: 99, ..Limits::default() }),
        ("depth", "[[[[[]]]]]".to_owned(), Limits { depth: 4, ..Limits::default() }),
        ("depth", "a:\n b:\n  c:\n   d:\n    e: 1\n".to_owned(), Limits { depth: 4, ..Limits::default() }),
        ("nodes", "steps: [a, b, c]".to_owned(), Limits { nodes: 4, ..Limits::default() }),
        ("jobs", "[{command: a, parallelism: 2}, {command: b}]".to_owned(), Limits { jobs: 2, ..Limits::default() }),
        (
            "matrix_jobs",
            "[{command: \"{{matrix}}\", matrix: [a, b, c]}]".to_owned(),
            Limits { matrix_jobs: 2, ..Limits::default() },
        ),
        (
            "matrix_values",
            "[{command: \"{{matrix}}\", matrix: [a, b, c]}]".to_owned(),
            Limits { matrix_values: 2, ..Limits::default() },
        ),
        (
            "condition_bytes",
            "[{command: a, if: \"build.branch == 'main'\"}]".to_owned(),
            Limits { condition_bytes: 10, ..Limits::default() },
        ),
        (
            "expression_depth",
            "[{command: a, if: \"((((((true))))))\"}]".to_owned(),
            Limits { expression_depth: 4, ..Limits::default() },
        ),
    ];
    for (setting, text, limits) in cases {
        let found = expand(Source::new("p", &text), &Context { limits, ..Context::default() });
        assert!(found.segment.is_none(), "{setting}");
        let help: Vec<&str> = found.diagnostics.iter().filter_map(|finding| finding.help.as_deref()).collect();
        let named = help.iter().any(|help| help.contains(&format!("`{setting}`")) && help.contains("[limits]"));
        assert!(named, "{setting}: {:?}", found.diagnostics);
    }
}

#[test]
fn a_regular_expression_that_runs_away_is_stopped() {
    let text = "steps:\n  - command: a\n    if: build.branch =~ /^(?:(a|b|ab)(?!c))+\\1d$/\n";
    let env = vec![("BUILDKITE_BRANCH".to_owned(), "ab".repeat(60))];
    let found = expand(Source::new("p", text), &Context { env, ..Context::default() });
    assert!(found.segment.is_none());
    assert_eq!(found.diagnostics[0].code, "condition-failed");
    assert!(found.diagnostics[0].message.contains("regex_backtracks"), "{:?}", found.diagnostics);
}

#[test]
fn a_scalar_of_a_megabyte_is_a_command() {
    let text = format!("steps:\n  - command: \"{}\"\n", "x".repeat(1_000_000));
    let segment = read(&text).segment.unwrap();
    assert_eq!(command(&segment, 0).len(), 1_000_000);
    assert!(segment.steps[0].label.len() < 300);
}

#[test]
fn values_cannot_bring_structure() {
    let env = vec![("X".to_owned(), "a\n  - command: evil".to_owned())];
    let context = Context { env, unset: Unset::Empty, ..Context::default() };
    let segment = expand(Source::new("p", "steps:\n  - command: $X\n"), &context).segment.unwrap();
    assert_eq!(segment.steps.len(), 1);
    assert_eq!(command(&segment, 0), "a\n  - command: evil");
}

#[test]
fn findings_do_not_pile_up() {
    let text = format!("steps:\n{}", "  - comand: make\n".repeat(5000));
    let found = read(&text).diagnostics;
    assert!((500..=1000).contains(&found.len()), "{}", found.len());
    let text = format!("steps:\n{}", "  - {command: a, image: b, cache: c}\n".repeat(400));
    let found = read(&text).diagnostics;
    assert_eq!(found.len(), 501);
    assert_eq!(found[500].code, "more-findings");
}

#[test]
fn the_highest_caps_still_leave_the_stack_whole() {
    let limits = Limits::CEILING;
    let context = Context { limits, ..Context::default() };
    let (depth, inner) = (limits.depth - 4, limits.expression_depth - 2);
    let texts = [
        format!("x: {}{}\nsteps: [{{command: a}}]\n", "[".repeat(depth), "]".repeat(depth)),
        format!("x: {}1{}\nsteps: [{{command: a}}]\n", "{a: ".repeat(depth), "}".repeat(depth)),
        format!("steps: [{{command: a, if: \"{}true{}\"}}]\n", "(".repeat(inner), ")".repeat(inner)),
        format!("steps: [{{command: a, if: \"{}true\"}}]\n", "!".repeat(inner)),
        format!("steps: [{{command: \"{}x{}\"}}]\n", "${A:-".repeat(inner), "}".repeat(inner)),
    ];
    for text in texts {
        let found = expand(Source::new("p", &text), &context);
        assert!(found.segment.is_some(), "{:?}", found.diagnostics);
        assert!(tidegate_pipeline::normalize(Source::new("p", &text), &context).json.is_some());
        // And what is nested deeper is refused, not followed.
        let deeper = text.replace("[[", &"[".repeat(1000)).replace("((", &"(".repeat(100_000));
        let _ = expand(Source::new("p", &deeper), &context);
    }
}
