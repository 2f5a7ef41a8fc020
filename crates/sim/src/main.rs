#![doc = include_str!("../README.md")]
#![expect(clippy::print_stdout, reason = "a command line tool")]

mod build;
mod exec;
mod faults;
mod interrupted;
mod ports;
mod rng;
mod run;
mod sabotage;
#[cfg(test)]
mod tests;
mod world;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::{Parser, Subcommand};

use crate::exec::lock;
use crate::faults::{Fault, Faults};
use crate::run::{Outcome, command, run, shrink};
use crate::sabotage::Sabotage;
use crate::world::{Accident, Plan, Trace};

#[derive(Parser)]
#[command(about = "Runs the engine in a simulated world and checks its invariants.")]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run one world.
    Run {
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many moves of refs are pushed.
        #[arg(long, default_value_t = 100)]
        builds: usize,
        /// `all`, `none`, or names with commas between.
        #[arg(long, default_value = "all")]
        faults: Faults,
        /// Plant a defect.
        #[arg(long)]
        sabotage: Option<Sabotage>,
        /// Print everything that happens.
        #[arg(long)]
        trace: bool,
        /// A small world.
        #[arg(long)]
        small: bool,
        /// Kill the task that comes to this place, and none else.
        #[arg(long)]
        crash_at: Option<u64>,
        /// Freeze the task that comes to this place for minutes, and none else.
        #[arg(long, conflicts_with = "crash_at")]
        stall_at: Option<u64>,
        /// Do not look for a smaller world that fails.
        #[arg(long)]
        no_shrink: bool,
    },
    /// Run many worlds, each with a seed of its own.
    Many {
        /// How many deliveries in all.
        #[arg(long, default_value_t = 200_000)]
        deliveries: u64,
        /// Stop after this many seconds.
        #[arg(long)]
        seconds: Option<u64>,
        #[arg(long, default_value_t = 1)]
        seeds_from: u64,
        /// Moves of refs in each world.
        #[arg(long, default_value_t = 200)]
        builds: usize,
        #[arg(long, default_value = "all")]
        faults: Faults,
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Go on after a failure.
        #[arg(long)]
        keep_going: bool,
    },
    /// Kill a task at every single place of a small world where it can be killed, one place a run.
    Crashes(Places),
    /// Freeze a task at every single place of a small world, one place a run, while everything else goes on.
    Stalls(Places),
    /// Plant defects and see that they are found.
    Sabotage {
        /// Which; all when not given.
        name: Option<Sabotage>,
        /// List them.
        #[arg(long)]
        list: bool,
    },
    /// Run one build of a pipeline, whose jobs all succeed, in a world without faults, and say what it costs.
    Build(build::Args),
    /// Run the same builds with and without interrupted machines, doubled messages and failing calls of the store, and compare
    /// how they and their jobs end.
    Interrupted(interrupted::Args),
    /// List the faults.
    Faults,
}

#[derive(clap::Args)]
struct Places {
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 2)]
    builds: usize,
    /// Only every so many places.
    #[arg(long, default_value_t = 1)]
    every: u64,
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    match Args::parse().verb {
        Verb::Run { seed, builds, faults, sabotage, trace, small, crash_at, stall_at, no_shrink } => {
            let kept = if trace { Trace::Print } else { Trace::Off };
            let accident = crash_at.map(Accident::Crash).or_else(|| stall_at.map(Accident::Stall));
            let plan = Plan { sabotage, trace: kept, accident, small, ..Plan::new(seed, builds, faults) };
            let outcome = run(plan.clone());
            report(&outcome);
            match outcome.violations.first() {
                None => ExitCode::SUCCESS,
                Some(violation) => {
                    println!("{}: {}", violation.invariant, violation.what);
                    if !no_shrink && !trace {
                        let smaller = shrink(&plan, violation.invariant, 120.0);
                        println!("smaller: {}", command(&smaller));
                    }
                    ExitCode::FAILURE
                }
            }
        }
        Verb::Many { deliveries, seconds, seeds_from, builds, faults, threads, keep_going } => {
            many(&Plan::new(0, builds, faults), deliveries, seconds, seeds_from, threads, keep_going)
        }
        Verb::Crashes(places) => accidents(&places, "a crash", Accident::Crash),
        Verb::Stalls(places) => accidents(&places, "a stall", Accident::Stall),
        Verb::Sabotage { list: true, .. } => {
            for sabotage in Sabotage::ALL {
                println!("{:<28} {:<8} {}", sabotage.name(), sabotage.invariants(), sabotage.what());
            }
            ExitCode::SUCCESS
        }
        Verb::Sabotage { name: Some(name), .. } => {
            if find(name, 60.0) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Verb::Sabotage { name: None, .. } => {
            let missed: Vec<&str> = Sabotage::ALL.iter().filter(|s| !find(**s, 60.0)).map(|s| s.name()).collect();
            if missed.is_empty() {
                println!("all {} are found", Sabotage::ALL.len());
                return ExitCode::SUCCESS;
            }
            println!("missed: {}", missed.join(", "));
            ExitCode::FAILURE
        }
        Verb::Build(args) => build::main(&args),
        Verb::Interrupted(args) => interrupted::main(&args),
        Verb::Faults => {
            for fault in Fault::ALL {
                println!("{:<14} {}", fault.name(), fault.what());
            }
            ExitCode::SUCCESS
        }
    }
}

fn report(outcome: &Outcome) {
    for (what, count) in &outcome.counts {
        println!("{count:>8} {what}");
    }
    println!(
        "{} deliveries, {} of them of moves to build, {} builds, {} attempts, {} machines, {} events, {} crashes, {} virtual seconds in {:.1} s",
        outcome.deliveries,
        outcome.buildable,
        outcome.builds,
        outcome.attempts,
        outcome.machines,
        outcome.events,
        outcome.crashes,
        outcome.virtual_seconds,
        outcome.seconds
    );
}

/// Looks for a planted defect, seed by seed, for at most this many seconds.
fn find(sabotage: Sabotage, seconds: f64) -> bool {
    let started = Instant::now();
    for seed in 1.. {
        if started.elapsed().as_secs_f64() > seconds {
            break;
        }
        let plan = Plan { sabotage: Some(sabotage), ..Plan::new(seed, 60, Faults::all()) };
        let outcome = run(plan.clone());
        if let Some(violation) = outcome.violations.first() {
            let right = sabotage.invariants().split(' ').any(|i| i == violation.invariant);
            let word = if right { "found" } else { "FOUND BY ANOTHER" };
            println!(
                "{:<28} {word} by {} in {:.1} s (seed {seed}): {}",
                sabotage.name(),
                violation.invariant,
                started.elapsed().as_secs_f64(),
                violation.what
            );
            return right;
        }
    }
    println!("{:<28} MISSED in {:.0} s", sabotage.name(), started.elapsed().as_secs_f64());
    false
}

fn many(
    plan: &Plan,
    deliveries: u64,
    seconds: Option<u64>,
    seeds_from: u64,
    threads: usize,
    keep_going: bool,
) -> ExitCode {
    let started = Instant::now();
    let (seed, sent, failed) = (AtomicU64::new(seeds_from), AtomicU64::new(0), AtomicBool::new(false));
    let total: Mutex<Option<Outcome>> = Mutex::default();
    let late = || seconds.is_some_and(|s| started.elapsed().as_secs() >= s);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while sent.load(Ordering::Relaxed) < deliveries
                    && !late()
                    && (keep_going || !failed.load(Ordering::Relaxed))
                {
                    let plan = Plan { seed: seed.fetch_add(1, Ordering::Relaxed), ..plan.clone() };
                    let outcome = run(plan.clone());
                    sent.fetch_add(outcome.deliveries, Ordering::Relaxed);
                    if let Some(violation) = outcome.violations.first() {
                        failed.store(true, Ordering::Relaxed);
                        println!("seed {}: {}: {}", plan.seed, violation.invariant, violation.what);
                        println!("  {}", command(&plan));
                    }
                    let mut total = lock(&total);
                    match total.as_mut() {
                        None => *total = Some(outcome),
                        Some(sum) => sum.add(outcome),
                    }
                }
            });
        }
    });
    let seeds = seed.load(Ordering::Relaxed) - seeds_from;
    if let Some(mut sum) = lock(&total).take() {
        sum.seconds = started.elapsed().as_secs_f64();
        report(&sum);
        println!("{}", sum.verdict(plan.faults, seeds, seeds_from));
    }
    if failed.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

impl Outcome {
    /// What was promised, counted: the first broken promise of each world, of which the others may be consequences.
    fn verdict(&self, faults: Faults, seeds: u64, seeds_from: u64) -> String {
        let broken = |is: &dyn Fn(&str) -> bool| self.violations.iter().filter(|v| is(v.invariant)).count();
        let (builds, twice, red) = (broken(&|i| i == "I1"), broken(&|i| i == "I3"), broken(&|i| i == "I11"));
        let others = self.violations.len() - builds - twice - red;
        let doubled = self.violations.iter().filter(|v| v.invariant == "I1" && v.more).count();
        let lost = builds - doubled;
        let faults = if faults == Faults::all() { "every fault".to_owned() } else { format!("faults {faults}") };
        format!(
            "{lost} builds lost, {doubled} doubled, {twice} attempts run twice, {red} red for a cause of ours or the \
             cloud's, {others} other promises broken; {seeds} seeds from {seeds_from}, {faults}, {} crashes; {:.0} s",
            self.crashes, self.seconds
        )
    }

    fn add(&mut self, other: Outcome) {
        for (what, count) in other.counts {
            *self.counts.entry(what).or_default() += count;
        }
        self.violations.extend(other.violations.into_iter().take(1));
        self.events += other.events;
        self.points += other.points;
        self.crashes += other.crashes;
        self.deliveries += other.deliveries;
        self.buildable += other.buildable;
        self.builds += other.builds;
        self.attempts += other.attempts;
        self.machines += other.machines;
        self.virtual_seconds += other.virtual_seconds;
    }
}

fn accidents(places: &Places, what: &str, accident: fn(u64) -> Accident) -> ExitCode {
    let Places { seed, builds, every, threads } = *places;
    let started = Instant::now();
    let plan = Plan { small: true, ..Plan::new(seed, builds, Faults::NONE) };
    let whole = run(plan.clone());
    let (next, runs, failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(!whole.violations.is_empty()));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(every.max(1), Ordering::Relaxed);
                    if at >= whole.points {
                        return;
                    }
                    let plan = Plan { accident: Some(accident(at)), ..plan.clone() };
                    let outcome = run(plan.clone());
                    runs.fetch_add(1, Ordering::Relaxed);
                    if let Some(violation) = outcome.violations.first() {
                        failed.store(true, Ordering::Relaxed);
                        println!("{}: {}\n  {}", violation.invariant, violation.what, command(&plan));
                    }
                }
            });
        }
    });
    println!(
        "{} runs, {what} at each of {} places ({} builds, {} attempts), {:.1} s",
        runs.load(Ordering::Relaxed),
        whole.points.div_ceil(every.max(1)),
        whole.builds,
        whole.attempts,
        started.elapsed().as_secs_f64()
    );
    if failed.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
