//! `tidegate-sim build`: what one build costs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde::Serialize;
use tidegate_core::build::Build;
use tidegate_core::plan::StepKind;
use tidegate_core::wire::envelope;
use tidegate_pipeline::{Context, Limits, Source, expand};

use crate::exec::lock;
use crate::faults::Faults;
use crate::ports::Written;
use crate::world::{MINUTE, Plan, SECOND, Single, World};

/// How long a build may take, in virtual time.
const PATIENCE: u64 = 24 * 60 * MINUTE;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The pipeline file.
    #[arg(long)]
    pipeline: PathBuf,
    #[arg(long, value_enum, default_value_t = Report::Text)]
    report: Report,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many machines there are at most, for each kind that the jobs ask for.
    #[arg(long, default_value_t = 100)]
    width: u32,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Report {
    Text,
    Json,
}

/// What a build has cost.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    /// How the build ended.
    pub(crate) state: &'static str,
    /// Jobs that ran.
    pub(crate) jobs: u64,
    /// From push to end, in virtual time.
    pub(crate) virtual_seconds: f64,
    /// The largest record of any kind.
    pub(crate) max_record_bytes: usize,
    /// The largest the record of the build ever was.
    pub(crate) max_build_record_bytes: usize,
    pub(crate) records_written: u64,
    pub(crate) bytes_written: u64,
    pub(crate) bytes_written_per_job: f64,
    /// Processor time of the engine and of the world around it, machines and their agents included.
    pub(crate) cpu_ms_per_job: f64,
    pub(crate) port_calls: u64,
    /// What was written, by kind of record.
    pub(crate) written: BTreeMap<String, Written>,
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let cost = match cost(args) {
        Ok(cost) => cost,
        Err(error) => {
            println!("error: {error:#}");
            return ExitCode::from(2);
        }
    };
    match args.report {
        Report::Json => println!("{}", serde_json::to_string(&cost).unwrap_or_default()),
        Report::Text => {
            println!("{} after {:.0} virtual seconds, {} jobs", cost.state, cost.virtual_seconds, cost.jobs);
            println!(
                "{} bytes: the largest record ({} of the build)",
                cost.max_record_bytes, cost.max_build_record_bytes
            );
            println!(
                "{} records, {} bytes written, {:.0} a job",
                cost.records_written, cost.bytes_written, cost.bytes_written_per_job
            );
            for (kind, written) in &cost.written {
                let Written { records, bytes, largest } = written;
                println!("  {kind}: {records} records, {bytes} bytes, the largest {largest}");
            }
            println!("{} port calls, {:.2} ms of processor time a job", cost.port_calls, cost.cpu_ms_per_job);
        }
    }
    if cost.state == "passed" { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn cost(args: &Args) -> anyhow::Result<Cost> {
    let text = std::fs::read_to_string(&args.pipeline)
        .with_context(|| format!("cannot read the pipeline file `{}`", args.pipeline.display()))?;
    let single = Single { pools: kinds(&args.pipeline, &text)?, yaml: text, width: args.width };
    run(args.seed, single)
}

/// Runs the build to its end.
pub(crate) fn run(seed: u64, single: Single) -> anyhow::Result<Cost> {
    let plan = Plan { small: true, single: Some(Arc::new(single)), ..Plan::new(seed, 1, Faults::NONE) };
    let world = World::new(plan);
    let before = processor_time();
    world.start_services();
    world.push_one();
    let over = || {
        let builds = lock(&world.ledger).builds.len();
        (builds > 0 && world.unfinished().is_empty()) || !lock(&world.ledger).violations.is_empty()
    };
    while !over() && world.now() < PATIENCE {
        world.exec.run_until(world.now() + SECOND, || false);
    }
    let spent = processor_time().saturating_sub(before);
    let virtual_seconds = world.now() as f64 / SECOND as f64;
    let (jobs, id) = {
        let ledger = lock(&world.ledger);
        if let Some(violation) = ledger.violations.first() {
            bail!("{}: {}", violation.invariant, violation.what);
        }
        let Some((id, made)) = ledger.builds.iter().next() else { bail!("the push made no build") };
        (
            made.attempts.values().flat_map(|tries| tries.values()).filter(|t| t.accepted.is_some()).count() as u64,
            id.clone(),
        )
    };
    let store = lock(&world.store);
    let record = store.find(&tidegate_engine::ports::Key::new(format!("build/{id}"), "build"));
    let state = record.and_then(|(_, body)| envelope::open::<Build>(body).ok()).map_or("lost", |b| b.state.name());
    let bytes_written = store.written.values().map(|w| w.bytes).sum::<u64>();
    let of_each = |sum: f64| if jobs == 0 { 0.0 } else { sum / jobs as f64 };
    let cost = Cost {
        state,
        jobs,
        virtual_seconds,
        max_record_bytes: store.written.values().map(|w| w.largest).max().unwrap_or_default(),
        max_build_record_bytes: store.written.get("build").map_or(0, |w| w.largest),
        records_written: store.written.values().map(|w| w.records).sum(),
        bytes_written,
        bytes_written_per_job: of_each(bytes_written as f64),
        cpu_ms_per_job: of_each(spent as f64 / 1e6),
        port_calls: world.points.load(std::sync::atomic::Ordering::Relaxed) / 2,
        written: store.written.clone(),
    };
    drop(store);
    world.end();
    Ok(cost)
}

/// What the jobs of a text ask of machines, each once.
fn kinds(path: &Path, text: &str) -> anyhow::Result<Vec<Vec<(String, String)>>> {
    let name = path.display().to_string();
    let context = Context { limits: Limits::CEILING, ..Context::default() };
    let expansion = expand(Source { name: &name, text: text.as_bytes() }, &context);
    let Some(segment) = expansion.segment else {
        bail!("{}", tidegate_pipeline::render::text(&expansion.diagnostics, false));
    };
    let mut kinds: Vec<Vec<(String, String)>> = Vec::new();
    for step in segment.steps {
        if let StepKind::Command(command) = step.kind {
            for job in &command.jobs {
                let spec = job.spec.as_deref().unwrap_or(&command.spec);
                let mut tags = spec.agents.clone();
                if !tags.iter().any(|(tag, _)| tag == "queue") {
                    tags.push(("queue".to_owned(), "default".to_owned()));
                }
                if !kinds.contains(&tags) {
                    kinds.push(tags);
                }
            }
        }
    }
    Ok(kinds)
}

/// Nanoseconds of processor time that this thread has had; the world runs on one.
fn processor_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0)
}
