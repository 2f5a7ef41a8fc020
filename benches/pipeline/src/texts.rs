//! What is measured: files of many jobs, and hostile files of one megabyte.

use std::fmt::Write as _;

use tidegate_pipeline::{Context, Limits};

/// A file of this size is read in a fixed time, and with a fixed memory, whatever is in it.
const MEGABYTE: usize = 1 << 20;

/// A text to measure, and what was promised of it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) text: Box<dyn Fn() -> String>,
    pub(crate) context: Context,
    pub(crate) limit_ms: f64,
}

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let raised = Limits { jobs: 5000, nodes: 400_000, bytes: 4 << 20, expanded_bytes: 16 << 20, ..Limits::default() };
    fn plan(jobs: usize) -> String {
        let mut text = "env: {CI: \"true\"}\nsteps:\n".to_owned();
        for job in 0..jobs {
            // Writing to a text cannot fail.
            let _ = write!(
                text,
                "  - label: \"Test {job}\"\n    key: test-{job}\n    command:\n      - make deps\n      - make test-{job} \
                 BRANCH=$BUILDKITE_BRANCH\n    env: {{SHARD: {job}}}\n    agents: {{queue: big}}\n    if: build.branch \
                 != \"never-{}\"\n    retry: {{automatic: [{{exit_status: -1, limit: 2}}]}}\n    timeout_in_minutes: 10\n",
                job % 7
            );
            if job > 10 {
                let _ = writeln!(text, "    depends_on: [test-{}, test-{}]", job - 1, job - 10);
            }
        }
        text
    }
    fn full(piece: &dyn Fn(usize) -> String, head: &str, tail: &str) -> String {
        let mut text = head.to_owned();
        let mut at = 0;
        while text.len() + tail.len() + 200 < MEGABYTE {
            text += &piece(at);
            at += 1;
        }
        text + tail
    }
    let hostile = |name: &'static str, text: fn() -> String| Case {
        name,
        text: Box::new(text),
        context: Context::default(),
        limit_ms: 200.0,
    };
    let many = |name: &'static str, text: fn() -> String| Case {
        name,
        text: Box::new(text),
        context: Context {
            limits: Limits { nodes: 1 << 20, jobs: 1 << 20, ..Limits::default() },
            ..Context::default()
        },
        limit_ms: f64::from(u16::MAX),
    };
    vec![
        Case { name: "plan-500", text: Box::new(|| plan(500)), context: Context::default(), limit_ms: 10.0 },
        Case {
            name: "plan-4000",
            text: Box::new(|| plan(4000)),
            context: Context { limits: raised, ..Context::default() },
            limit_ms: 100.0,
        },
        hostile("steps", || full(&|at| format!("  - command: make {at}\n"), "steps:\n", "")),
        hostile("flow", || full(&|_| "1,".to_owned(), "x: [", "1]\nsteps: []\n")),
        hostile("keys", || full(&|at| format!("k{at}: v\n"), "", "steps: []\n")),
        hostile("deep", || {
            format!("x: {}{}\nsteps: []\n", "[".repeat(MEGABYTE / 2 - 20), "]".repeat(MEGABYTE / 2 - 20))
        }),
        hostile("indented", || (0..1400).map(|at| format!("{}a:\n", " ".repeat(at))).collect()),
        hostile("scalar", || format!("steps:\n  - command: \"{}\"\n", "x".repeat(MEGABYTE - 40))),
        hostile("block", || format!("steps:\n  - command: |\n{}", "      make\n".repeat((MEGABYTE - 40) / 11))),
        hostile("dollars", || format!("steps:\n  - command: \"{}\"\n", "$A".repeat((MEGABYTE - 40) / 2))),
        hostile("braces", || format!("steps:\n  - command: \"{}\"\n", "${A:-".repeat((MEGABYTE - 40) / 5))),
        hostile("escapes", || format!("steps:\n  - command: \"{}\"\n", "$${A:-".repeat((MEGABYTE - 40) / 6))),
        hostile("tokens", || format!("steps:\n  - command: \"{}\"\n    matrix: [a]\n", "{{matrix}}".repeat(100_000))),
        hostile("condition", || format!("steps:\n  - command: a\n    if: {}\n", "(".repeat(MEGABYTE - 60))),
        hostile("regex", || format!("steps:\n  - command: a\n    if: build.branch =~ /{}/\n", "(a|b)*".repeat(1000))),
        hostile("aliases", || format!("a: &a {}\nb: [{}]\nsteps: []\n", "x".repeat(500_000), "*a,".repeat(9_000))),
        hostile("bomb", || {
            (0..9).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, at| {
                let name = at + 1;
                format!("{text}a{name}: &a{name} [{}]\n", vec![format!("*a{at}"); 9].join(","))
            }) + "steps: []\n"
        }),
        hostile("anchors", || {
            format!(
                "x: {}{}{}\nsteps: []\n",
                (0..60).map(|at| format!("&a{at} [")).collect::<String>(),
                "1,".repeat(40_000),
                "]".repeat(60)
            )
        }),
        hostile("quotes", || "\"".repeat(MEGABYTE - 1)),
        hostile("dashes", || "- ".repeat(MEGABYTE / 2 - 1)),
        hostile("colons", || ": ".repeat(MEGABYTE / 2 - 1)),
        hostile("comments", || "#\n".repeat(MEGABYTE / 2 - 1)),
        hostile("unknown-keys", || {
            full(&|at| format!("  - {{command: a, key: k{at}, depends_on: z{at}}}\n"), "steps:\n", "")
        }),
        hostile("conditions", || {
            full(&|at| format!("  - {{command: a, if: 'build.branch =~ /^(a|b{at})+x/'}}\n"), "steps:\n", "")
        }),
        hostile("attributes", || {
            full(&|at| format!("  - {{command: a, comand{at}: b, timout: 1, ky: x}}\n"), "steps:\n", "")
        }),
        hostile("attributes-of-one", || {
            full(&|at| format!("    artefact_path{at}: b\n"), "steps:\n  - command: a\n", "")
        }),
        hostile("plugins", || full(&|at| format!("      - p{at}#v1: {{a: {at}}}\n"), "steps:\n  - plugins:\n", "")),
        hostile("matrices", || {
            full(&|at| format!("  - {{command: \"{{{{matrix}}}} {at}\", matrix: [a, b, c, d, e]}}\n"), "steps:\n", "")
        }),
        hostile("matrix-of-a-text", || {
            format!(
                "steps:\n  - command: \"{{{{matrix}}}}{}\"\n    matrix: [{}]\n",
                "x".repeat(900_000),
                (0..25).map(|at| format!("v{at}")).collect::<Vec<_>>().join(",")
            )
        }),
        hostile("dependencies", || {
            full(&|at| format!("      - k{at}\n"), "steps:\n  - command: a\n    depends_on:\n", "")
        }),
        hostile("globs", || {
            full(&|at| format!("      - \"**/{{a,b}}*{at}\"\n"), "steps:\n  - command: a\n    if_changed:\n", "")
        }),
        hostile("secrets", || {
            full(&|at| format!("- S{at}\n"), "secrets:\n", "") + "steps: [{command: a, secrets: [B]}]\n"
        }),
        hostile("env", || full(&|at| format!("  A{at}: $B\n"), "env:\n", "steps: [{command: $A1}]\n")),
        hostile("artifacts", || format!("steps:\n  - command: a\n    artifact_paths: \"{}\"\n", "a;".repeat(500_000))),
        hostile("words", || format!("steps: [{}wait]\n", "wait,".repeat(200_000))),
        hostile("exit-statuses", || {
            full(&|at| format!("{at},"), "[{command: a, retry: {automatic: {exit_status: [", "1]}}}]\n")
        }),
        hostile("branches", || format!("steps:\n  - command: a\n    branches: \"{}\"\n", "a* ".repeat(340_000))),
        many("raised-nodes", || {
            full(&|at| format!("  - {{command: a, key: k{at}, depends_on: z{at}}}\n"), "steps:\n", "")
        }),
    ]
}
