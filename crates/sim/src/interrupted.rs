//! `tidegate-sim interrupted`: the same builds twice, in a world without faults and in one where machines are taken, messages
//! come twice and calls of the store fail. Their outcomes must be the same, down to the exit status of every job: what a job
//! does depends on nothing but the job and how often its user tried it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tidegate_core::build::JobState;
use tidegate_core::ids::JobIndex;

use crate::exec::lock;
use crate::faults::{Faults, Rates};
use crate::run::{Outcome, run_and};
use crate::world::checks::last_accepted;
use crate::world::{Even, Plan, World};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many builds in all.
    #[arg(long, default_value_t = 1_000)]
    builds: usize,
    /// Jobs of each build.
    #[arg(long, default_value_t = 50)]
    jobs: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many percent of the machines the cloud takes, at random moments.
    #[arg(long, default_value_t = 20.0)]
    interrupted: f64,
    /// How many percent of the messages come twice.
    #[arg(long, default_value_t = 5.0)]
    doubled: f64,
    /// How many percent of the calls of the store fail, half of them after their effect.
    #[arg(long, default_value_t = 2.0)]
    failing: f64,
    /// How many builds share a world, with its machines and concurrency groups.
    #[arg(long, default_value_t = 20)]
    together: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// How a job ended: its state, its exit status, how often its user tried it again.
type JobEnd = (JobState, Option<i32>, u32);

/// How builds ended, by the branch that they are of: the state, and every job.
pub(crate) type Ends = BTreeMap<String, (&'static str, Vec<JobEnd>)>;

/// What came of a comparison.
#[derive(Default)]
pub(crate) struct Compared {
    pub(crate) builds: usize,
    jobs: usize,
    /// Of builds and jobs, without faults.
    states: BTreeMap<&'static str, usize>,
    job_states: BTreeMap<&'static str, usize>,
    retried: usize,
    pub(crate) mismatches: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
    pub(crate) machines: u64,
    attempts: [u64; 2],
}

impl Compared {
    pub(crate) fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    fn add(&mut self, other: Compared) {
        self.builds += other.builds;
        self.jobs += other.jobs;
        self.retried += other.retried;
        self.machines += other.machines;
        self.mismatches.extend(other.mismatches);
        (0..2).for_each(|n| self.attempts[n] += other.attempts[n]);
        other.states.into_iter().for_each(|(state, n)| *self.states.entry(state).or_default() += n);
        other.job_states.into_iter().for_each(|(state, n)| *self.job_states.entry(state).or_default() += n);
        other.counts.into_iter().for_each(|(what, n)| *self.counts.entry(what).or_default() += n);
    }
}

/// The states of builds and jobs as their records have them, and the exit statuses that the machines saw.
fn ends(world: &World) -> Ends {
    let ledger = lock(&world.ledger);
    let mut ends = Ends::new();
    for (id, made) in &ledger.builds {
        let Some(build) = world.record(id) else { continue };
        let of_job = |(place, cell): (u32, &tidegate_core::build::Cell)| {
            let seen = made.attempts.get(&JobIndex(place)).and_then(last_accepted);
            (cell.state, seen.and_then(|(_, exit)| exit), cell.retries)
        };
        ends.insert(made.git_ref.clone(), (build.state.name(), (0u32..).zip(build.cells.iter()).map(of_job).collect()));
    }
    ends
}

fn of_one(plan: &Plan, faults: Faults, mismatches: &mut Vec<String>) -> (Outcome, Ends) {
    let (outcome, ends) = run_and(Plan { faults, ..plan.clone() }, ends);
    let violations = outcome.violations.iter();
    mismatches.extend(violations.map(|v| format!("seed {}, faults {faults}: {}: {}", plan.seed, v.invariant, v.what)));
    (outcome, ends)
}

/// Runs the same builds without faults and with them.
pub(crate) fn compare(plan: &Plan, rates: Rates) -> Compared {
    let mut mismatches = Vec::new();
    let (quiet, wanted) = of_one(plan, Faults::NONE, &mut mismatches);
    let (bad, got) = of_one(plan, rates.faults(), &mut mismatches);
    let mut compared = Compared {
        builds: wanted.len(),
        jobs: wanted.values().map(|(_, jobs)| jobs.len()).sum(),
        counts: bad.counts,
        machines: bad.machines,
        attempts: [quiet.attempts, bad.attempts],
        ..Compared::default()
    };
    if wanted.len() != plan.builds {
        mismatches.push(format!("seed {}: {} pushes made {} builds", plan.seed, plan.builds, wanted.len()));
    }
    for (name, (state, jobs)) in &wanted {
        *compared.states.entry(state).or_default() += 1;
        let got = got.get(name);
        if got.map(|(state, _)| state) != Some(state) {
            let got = got.map(|(state, _)| state);
            mismatches.push(format!("seed {}: the build of {name} {state}, and with faults: {got:?}", plan.seed));
        }
        for (place, end) in jobs.iter().enumerate() {
            *compared.job_states.entry(end.0.name()).or_default() += 1;
            compared.retried += usize::from(end.2 > 0);
            let got = got.and_then(|(_, jobs)| jobs.get(place));
            if got != Some(end) {
                mismatches
                    .push(format!("seed {}: job {place} of {name}: {end:?}, and with faults: {got:?}", plan.seed));
            }
        }
    }
    Compared { mismatches, ..compared }
}

/// The plan of one world of so many builds.
pub(crate) fn plan(seed: u64, builds: usize, jobs: usize, rates: Rates) -> Plan {
    Plan { even: Some(Even { jobs, rates }), ..Plan::new(seed, builds, rates.faults()) }
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let started = Instant::now();
    let rates =
        Rates { interrupted: args.interrupted / 100.0, doubled: args.doubled / 100.0, failing: args.failing / 100.0 };
    let worlds = args.builds.div_ceil(args.together.max(1));
    let (next, total) = (AtomicUsize::new(0), Mutex::new(Compared::default()));
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= worlds {
                        return;
                    }
                    let builds = args.together.min(args.builds - number * args.together);
                    let compared = compare(&plan(args.seed + number as u64, builds, args.jobs, rates), rates);
                    lock(&total).add(compared);
                }
            });
        }
    });
    let total = std::mem::take(&mut *lock(&total));
    report(&total);
    println!(
        "{} mismatches in {} builds and {} jobs; {worlds} seeds from {}; {:.0} s",
        total.mismatches.len(),
        total.builds,
        total.jobs,
        args.seed,
        started.elapsed().as_secs_f64()
    );
    if total.mismatches.is_empty() && total.builds == args.builds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(total: &Compared) {
    for mismatch in total.mismatches.iter().take(20) {
        println!("MISMATCH {mismatch}");
    }
    let share = |part: u64, of: u64| 100.0 * part as f64 / of.max(1) as f64;
    let (taken, machines) = (total.count("cloud: a machine is taken"), total.machines);
    println!(
        "{taken} of {machines} machines were taken ({:.1} %), {} of them at their work",
        share(taken, machines),
        total.count("cloud: a machine is taken at its work")
    );
    let messages = total.count("queue: messages");
    let doubled = total.count("queue: sent twice") + total.count("queue: comes again after its deletion");
    println!("{doubled} of {messages} messages came twice ({:.1} %)", share(doubled, messages));
    let calls = total.count("store: calls");
    let (before, after) = (total.count("store: throttled"), total.count("store: answer lost"));
    println!(
        "{} of {calls} calls of the store failed ({:.1} %), {after} of them after their effect",
        before + after,
        share(before + after, calls)
    );
    let words = |counts: &BTreeMap<&'static str, usize>| {
        counts.iter().map(|(state, n)| format!("{n} {state}")).collect::<Vec<_>>().join(", ")
    };
    println!("builds: {}; jobs: {}, {} by a rule again", words(&total.states), words(&total.job_states), total.retried);
    println!("{} attempts without faults, {} with them", total.attempts[0], total.attempts[1]);
}
