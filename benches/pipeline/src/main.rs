//! What planning costs: milliseconds for 500 and 4,000 jobs, and for hostile files of one megabyte, with the highest
//! resident memory of the process. Run it in a release build; `--check` exits with 1 where a promise is broken, and a name
//! alone runs that case.
//!
//! One line of JSON a figure: `{"name":…,"ms":…,"limit_ms":…,"rss_kb":…,"limit_kb":…}`.

#![expect(clippy::print_stdout, reason = "the figures are the purpose")]

mod texts;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use texts::{Case, cases};
use tidegate_pipeline::{Context, Source, expand, lint, normalize};

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
