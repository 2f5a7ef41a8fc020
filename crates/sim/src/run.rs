//! One run of a world, and what to do with one that fails.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::exec::lock;
use crate::faults::{Fault, Faults};
use crate::world::ledger::Violation;
use crate::world::{Accident, MINUTE, Plan, SECOND, Trace, World};

/// How long everything may take to come to rest once the faults have stopped.
const LIVENESS: u64 = 150 * MINUTE;

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<Violation>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) events: u64,
    pub(crate) points: u64,
    pub(crate) crashes: u64,
    pub(crate) deliveries: u64,
    pub(crate) buildable: u64,
    pub(crate) builds: u64,
    pub(crate) attempts: u64,
    pub(crate) machines: u64,
    /// Virtual seconds.
    pub(crate) virtual_seconds: u64,
    pub(crate) seconds: f64,
    #[cfg_attr(not(test), expect(dead_code, reason = "two runs of one seed are compared by a test"))]
    pub(crate) trace: Vec<u8>,
}

/// Runs a world to its end, or to its first violation.
pub(crate) fn run(plan: Plan) -> Outcome {
    run_and(plan, |_| ()).0
}

/// As [`run`], with what is read of the world at its end.
pub(crate) fn run_and<T>(plan: Plan, read: impl FnOnce(&World) -> T) -> (Outcome, T) {
    let started = Instant::now();
    let world = World::new(plan);
    story(&world);
    let said = read(&world);
    let outcome = {
        let mut ledger = lock(&world.ledger);
        let attempts = ledger.builds.values().flat_map(|b| b.attempts.values()).map(|t| t.len() as u64).sum();
        Outcome {
            violations: std::mem::take(&mut ledger.violations),
            counts: lock(&world.counts).clone(),
            events: world.events.load(Ordering::Relaxed),
            points: world.points.load(Ordering::Relaxed),
            crashes: world.crashes.load(Ordering::Relaxed),
            deliveries: ledger.deliveries_sent,
            buildable: ledger.deliveries.values().filter(|d| d.buildable && d.accepted).count() as u64,
            builds: ledger.builds.len() as u64,
            attempts,
            machines: lock(&world.cloud).launched,
            virtual_seconds: world.now() / SECOND,
            seconds: started.elapsed().as_secs_f64(),
            trace: Vec::new(),
        }
    };
    let trace = world.take_trace();
    world.end();
    (Outcome { trace, ..outcome }, said)
}

fn story(world: &World) {
    let failed = {
        let world = world.clone();
        let mut checked = 0;
        move || {
            let thousands = world.events.load(Ordering::Relaxed) / 1000;
            if thousands > checked {
                checked = thousands;
                world.check_everything();
            }
            !lock(&world.ledger).violations.is_empty()
        }
    };
    world.start_services();
    for pool in ["fork", "default"] {
        let rogue = world.clone();
        if world.plan.faults.has(Fault::Rogue) {
            world.spawn(async move { rogue.rogue(pool).await });
        }
    }
    if world.plan.faults.has(Fault::People) {
        let people = world.clone();
        world.spawn(async move { people.wish_for_builds().await });
    }
    if world.plan.even.is_none() {
        let curious = world.clone();
        world.spawn(async move { curious.ask_why().await });
    }
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    {
        let (world, done) = (world.clone(), std::sync::Arc::clone(&done));
        let push = world.clone();
        world.spawn(async move {
            push.push_all(push.plan.builds).await;
            done.store(true, Ordering::Relaxed);
        });
    }
    // Bad times.
    let mut stop = failed.clone();
    world.exec.run_until(u64::MAX / 4, || stop() || done.load(Ordering::Relaxed));
    let tail = if world.plan.faults == Faults::NONE { MINUTE } else { 5 * MINUTE };
    world.exec.run_until(world.now() + tail, failed.clone());
    // Where the outcomes are compared, bad times last until there are outcomes.
    let until = world.now() + 10 * LIVENESS;
    while world.plan.even.is_some() && !world.unfinished().is_empty() && world.now() < until {
        world.exec.run_until(world.now() + MINUTE, failed.clone());
    }
    good_times(world, &failed);
    if world.lasts() && lock(&world.ledger).violations.is_empty() {
        world.second_act(failed.clone());
        good_times(world, &failed);
        if lock(&world.ledger).violations.is_empty() {
            world.check_retention();
        }
    }
}

/// Whatever was left in a mess must come right by itself, and then be right.
fn good_times(world: &World, failed: &(impl FnMut() -> bool + Clone)) {
    world.calm.store(true, Ordering::Relaxed);
    world.event(|| "the faults stop".to_owned());
    let until = world.now() + LIVENESS;
    let mut unfinished = Vec::new();
    // Late redeliveries may still make builds: a while without any is the end.
    let mut quiet = 0;
    let mut looked_after = world.now() + 2 * MINUTE;
    while lock(&world.ledger).violations.is_empty() && quiet < 2 {
        world.exec.run_until(world.now() + 60 * SECOND, failed.clone());
        unfinished = world.unfinished();
        quiet = if unfinished.is_empty() { quiet + 1 } else { 0 };
        if unfinished.iter().any(|what| what.contains(":Blocked#")) && world.now() > looked_after {
            world.look_after_blocked();
            looked_after = world.now() + 5 * MINUTE;
        }
        if world.now() > until {
            break;
        }
    }
    if !lock(&world.ledger).violations.is_empty() {
        return;
    }
    if !unfinished.is_empty() {
        let shown = unfinished.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
        let what = format!(
            "{} builds are not over {} s after the faults stopped: {shown}",
            unfinished.len(),
            LIVENESS / SECOND
        );
        return world.violate("I7", what);
    }
    // Deliveries and redeliveries on their way, machines that run idle, messages that lie in queues. A delivery that comes
    // while everything is drained begins another round.
    for _ in 0..10 {
        world.draining.store(false, Ordering::Relaxed);
        let until = world.now() + 90 * MINUTE;
        while lock(&world.ledger).violations.is_empty() && world.now() < until {
            let idle = at_rest(world);
            world.exec.run_until(world.now() + 10 * MINUTE, failed.clone());
            if idle && at_rest(world) {
                break;
            }
        }
        world.draining.store(true, Ordering::Relaxed);
        world.exec.run_until(world.now() + 20 * MINUTE, failed.clone());
        if at_rest(world) || !lock(&world.ledger).violations.is_empty() {
            break;
        }
    }
    if lock(&world.ledger).violations.is_empty() {
        world.check_the_end();
    }
}

/// No machine is alive, every build is over, and everybody was told.
fn at_rest(world: &World) -> bool {
    let untold = lock(&world.store).partitions.contains_key("unreported");
    !untold && lock(&world.cloud).alive().next().is_none() && world.unfinished().is_empty()
}

/// Looks for a smaller plan that fails by the same invariant.
pub(crate) fn shrink(plan: &Plan, invariant: &str, budget: f64) -> Plan {
    let started = Instant::now();
    let mut best = Plan { trace: Trace::Off, ..plan.clone() };
    let fails = |plan: &Plan| run(plan.clone()).violations.first().is_some_and(|v| v.invariant == invariant);
    let mut builds = best.builds;
    while builds > 1 && started.elapsed().as_secs_f64() < budget {
        builds /= 2;
        let smaller = Plan { builds, ..best.clone() };
        if fails(&smaller) {
            best = smaller;
        } else {
            break;
        }
    }
    for fault in Fault::ALL {
        if started.elapsed().as_secs_f64() > budget {
            break;
        }
        if best.faults.has(*fault) {
            let fewer = Plan { faults: best.faults.without(*fault), ..best.clone() };
            if fails(&fewer) {
                best = fewer;
            }
        }
    }
    best
}

/// The command that runs a plan again.
pub(crate) fn command(plan: &Plan) -> String {
    let sabotage = plan.sabotage.map_or_else(String::new, |s| format!(" --sabotage {}", s.name()));
    let small = if plan.small { " --small" } else { "" };
    let crash = plan.accident.map_or_else(String::new, |accident| match accident {
        Accident::Crash(at) => format!(" --crash-at {at}"),
        Accident::Stall(at) => format!(" --stall-at {at}"),
    });
    format!(
        "tidegate-sim run --seed {} --builds {} --faults {}{sabotage}{small}{crash}",
        plan.seed, plan.builds, plan.faults
    )
}
