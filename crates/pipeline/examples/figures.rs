//! What planning costs: milliseconds for 500 and 4,000 jobs, and for hostile files of one megabyte, with the highest
//! resident memory of the process. Run it in a release build; `--check` exits with 1
//! where a promise is broken, and a name alone runs that case.
//!
//! One line of JSON a figure: `{"name":…,"ms":…,"limit_ms":…,"rss_kb":…,"limit_kb":…}`.

#![expect(clippy::print_stdout, reason = "the figures are the purpose")]

use std::fmt::Write as _;
use std::process::ExitCode;

use std::time::{Duration, Instant};

use tidegate_pipeline::{Context, Limits, Source, expand, lint, normalize};

/// A file of the given size is read in this time, and with this memory, whatever is in it.
const MEGABYTE: usize = 1 << 20;

struct Case {
    name: &'static str,
    text: Box<dyn Fn() -> String>,
    context: Context,
    limit_ms: f64,
}

fn main() -> ExitCode {
    let check = std::env::args().any(|argument| argument == "--check");
    let only: Option<String> = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let mut kept = true;
    for case in cases() {
        match &only {
            Some(name) if name == case.name => {
                let (ms, rss, limit_kb) = (measure(&case), peak_kb(), 64 << 10);
                kept &= ms <= case.limit_ms && rss <= limit_kb;
                println!(
                    "{{\"name\":\"{}\",\"ms\":{ms:.2},\"limit_ms\":{},\"rss_kb\":{rss},\"limit_kb\":{limit_kb}}}",
                    case.name, case.limit_ms
                );
            }
            Some(_) => {}
            // A process for each case, so that each has its own memory.
            None => {
                let child = std::env::current_exe()
                    .and_then(|exe| std::process::Command::new(exe).arg(case.name).arg("--check").status());
                kept &= child.is_ok_and(|status| status.success());
            }
        }
    }
    if check && !kept { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The slowest of what reads a file, at its best within a second: what other work on the machine adds is not ours.
fn measure(case: &Case) -> f64 {
    let text = (case.text)();
    let source = Source::new(case.name, &text);
    let mut best = f64::INFINITY;
    let begin = Instant::now();
    let mut runs = 0;
    while runs < 3 || (runs < 50 && begin.elapsed() < Duration::from_secs(1)) {
        runs += 1;
        let mut worst: f64 = 0.0;
        let steps: [&dyn Fn(); 3] = [
            &|| drop(expand(source, &case.context)),
            &|| drop(lint(source, &Context { limits: case.context.limits, ..Context::for_lint() })),
            &|| drop(normalize(source, &case.context)),
        ];
        // The promise about plans is about plans.
        let steps = if case.name.starts_with("plan-") { &steps[..1] } else { &steps };
        for step in steps {
            let start = Instant::now();
            step();
            worst = worst.max(start.elapsed().as_secs_f64() * 1000.0);
        }
        best = best.min(worst);
    }
    best
}

/// The highest resident memory so far, in KiB; 0 where the system does not say.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn cases() -> Vec<Case> {
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
