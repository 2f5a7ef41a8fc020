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
    text: String,
    context: Context,
    limit_ms: f64,
}

fn main() -> ExitCode {
    let only: Option<String> = std::env::args().nth(1).filter(|argument| !argument.starts_with("--"));
    let check = std::env::args().any(|argument| argument == "--check");
    let mut kept = true;
    for case in cases().into_iter().filter(|case| only.as_deref().is_none_or(|only| only == case.name)) {
        let ms = measure(&case);
        let rss = peak_kb();
        // The process itself, and what the earlier cases left, count against the promise as well.
        let limit_kb = 64 << 10;
        kept &= ms <= case.limit_ms && rss <= limit_kb;
        println!(
            "{{\"name\":\"{}\",\"ms\":{ms:.2},\"limit_ms\":{},\"rss_kb\":{rss},\"limit_kb\":{limit_kb}}}",
            case.name, case.limit_ms
        );
    }
    if check && !kept { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The slowest of what reads a file, at its best within a second: what other work on the machine adds is not ours.
fn measure(case: &Case) -> f64 {
    let source = Source::new(case.name, &case.text);
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
    let plan = |jobs: usize| {
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
    };
    let full = |piece: &dyn Fn(usize) -> String, head: &str, tail: &str| {
        let mut text = head.to_owned();
        let mut at = 0;
        while text.len() + tail.len() + 200 < MEGABYTE {
            text += &piece(at);
            at += 1;
        }
        text + tail
    };
    let hostile = |name: &'static str, text: String| Case { name, text, context: Context::default(), limit_ms: 200.0 };
    let many = |name: &'static str, text: String| Case {
        name,
        text,
        context: Context {
            limits: Limits { nodes: 1 << 20, jobs: 1 << 20, ..Limits::default() },
            ..Context::default()
        },
        limit_ms: f64::from(u16::MAX),
    };
    vec![
        Case { name: "plan-500", text: plan(500), context: Context::default(), limit_ms: 10.0 },
        Case {
            name: "plan-4000",
            text: plan(4000),
            context: Context { limits: raised, ..Context::default() },
            limit_ms: 100.0,
        },
        hostile("steps", full(&|at| format!("  - command: make {at}\n"), "steps:\n", "")),
        hostile("flow", full(&|_| "1,".to_owned(), "x: [", "1]\nsteps: []\n")),
        hostile("keys", full(&|at| format!("k{at}: v\n"), "", "steps: []\n")),
        hostile("deep", format!("x: {}{}\nsteps: []\n", "[".repeat(MEGABYTE / 2 - 20), "]".repeat(MEGABYTE / 2 - 20))),
        hostile("indented", (0..1400).map(|at| format!("{}a:\n", " ".repeat(at))).collect()),
        hostile("scalar", format!("steps:\n  - command: \"{}\"\n", "x".repeat(MEGABYTE - 40))),
        hostile("block", format!("steps:\n  - command: |\n{}", "      make\n".repeat((MEGABYTE - 40) / 11))),
        hostile("dollars", format!("steps:\n  - command: \"{}\"\n", "$A".repeat((MEGABYTE - 40) / 2))),
        hostile("braces", format!("steps:\n  - command: \"{}\"\n", "${A:-".repeat((MEGABYTE - 40) / 5))),
        hostile("escapes", format!("steps:\n  - command: \"{}\"\n", "$${A:-".repeat((MEGABYTE - 40) / 6))),
        hostile("tokens", format!("steps:\n  - command: \"{}\"\n    matrix: [a]\n", "{{matrix}}".repeat(100_000))),
        hostile("condition", format!("steps:\n  - command: a\n    if: {}\n", "(".repeat(MEGABYTE - 60))),
        hostile("regex", format!("steps:\n  - command: a\n    if: build.branch =~ /{}/\n", "(a|b)*".repeat(1000))),
        hostile("aliases", format!("a: &a {}\nb: [{}]\nsteps: []\n", "x".repeat(500_000), "*a,".repeat(9_000))),
        hostile(
            "bomb",
            (0..9).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, at| {
                let name = at + 1;
                format!("{text}a{name}: &a{name} [{}]\n", vec![format!("*a{at}"); 9].join(","))
            }) + "steps: []\n",
        ),
        hostile(
            "anchors",
            format!(
                "x: {}{}{}\nsteps: []\n",
                (0..60).map(|at| format!("&a{at} [")).collect::<String>(),
                "1,".repeat(40_000),
                "]".repeat(60)
            ),
        ),
        hostile("quotes", "\"".repeat(MEGABYTE - 1)),
        hostile("dashes", "- ".repeat(MEGABYTE / 2 - 1)),
        hostile("colons", ": ".repeat(MEGABYTE / 2 - 1)),
        hostile("comments", "#\n".repeat(MEGABYTE / 2 - 1)),
        hostile(
            "unknown-keys",
            full(&|at| format!("  - {{command: a, key: k{at}, depends_on: z{at}}}\n"), "steps:\n", ""),
        ),
        many(
            "raised-nodes",
            full(&|at| format!("  - {{command: a, key: k{at}, depends_on: z{at}}}\n"), "steps:\n", ""),
        ),
    ]
}
