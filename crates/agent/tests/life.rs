//! How an instance lives and ends, whatever happens around it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::*;
use tidegate_core::attempt::Cause;
use tidegate_core::wire::gate::AgentState;

/// A job that leaves a process in a session of its own, and runs until it is ended. Writes both process ids.
fn stubborn(world: &World) -> (tidegate_core::wire::gate::Assignment, std::path::PathBuf) {
    let pids = world.path("pids");
    let command = format!(
        "(setsid bash -c 'trap \"\" TERM HUP; echo $$ > {p}.new; echo '$$' >> {p}.new; mv {p}.new {p}; \
         while :; do sleep 0.1; done' &) ; trap '' TERM; while :; do sleep 0.1; done",
        p = pids.display()
    );
    (job(&command), pids)
}

fn pids_in(world: &World, file: &std::path::Path) -> Vec<i32> {
    let pids: Vec<i32> = world.file(file).lines().map(|l| l.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    pids
}

#[test]
fn an_idle_agent_says_closing_looks_once_more_and_leaves() {
    let world = World::new().set("idle_ms", 100);
    let mut agent = world.agent();
    assert!(agent.ends());
    world.gate.with(|m| {
        let closing = m.beats.iter().any(|b| b.state == AgentState::Closing);
        assert!(closing && m.closing_polls >= 1, "{:?}", m.beats);
        let counters: Vec<u64> = m.beats.iter().map(|b| b.counter).collect();
        assert!(counters.is_sorted_by(|a, b| a < b), "{counters:?}");
        assert!(m.beats.iter().all(|b| b.boot == m.beats[0].boot));
    });
    assert!(agent.family().is_empty());
}

#[test]
fn work_that_comes_while_it_is_closing_is_done() {
    let world = World::new().set("idle_ms", 0);
    let mut agent = world.agent();
    world.gate.wait("closing", |m| m.beats.iter().any(|b| b.state == AgentState::Closing));
    world.gate.give(job("echo just in time"));
    assert_eq!(world.gate.result(0).outcome.cause, Cause::Exit);
    assert!(agent.ends());
}

#[test]
fn a_killed_worker_leaves_nothing() {
    let world = World::new();
    let mut agent = world.agent();
    let (assignment, pids) = stubborn(&world);
    world.gate.give(assignment);
    let pids = pids_in(&world, &pids);
    send(agent.worker(), "KILL");
    assert!(!agent.ends(), "that was no peaceful end");
    for pid in pids {
        assert!(!is_alive(pid), "{pid} lives");
    }
    assert!(agent.family().is_empty());
}

#[test]
fn the_hard_stop_needs_nobody_else() {
    let world = World::new().set("hard_stop_ms", 1_500);
    let mut agent = world.agent();
    let (assignment, pids) = stubborn(&world);
    world.gate.give(assignment);
    let pids = pids_in(&world, &pids);
    world.gate.close();
    send(agent.worker(), "STOP");
    assert!(!agent.ends());
    for pid in pids {
        assert!(!is_alive(pid), "{pid} lives");
    }
    assert!(agent.family().is_empty());
}

#[test]
fn a_killed_watchdog_takes_the_worker_and_its_direct_child_along() {
    let world = World::new();
    let mut agent = world.agent();
    let (assignment, pids) = stubborn(&world);
    world.gate.give(assignment);
    let pids = pids_in(&world, &pids);
    let worker = agent.worker();
    agent.signal("KILL");
    agent.ends();
    eventually("the worker's end", || !is_alive(worker));
    eventually("the shell's end", || !is_alive(pids[1]));
    // What is left carries the tag by which a fleet finds it.
    assert!(agent.family().iter().any(|p| p.pid == pids[0]));
}

#[test]
fn a_stop_ends_the_job_and_reports_it() {
    for by_signal in [true, false] {
        let world = World::new();
        let mut agent = world.agent();
        let (assignment, pids) = stubborn(&world);
        world.gate.give(assignment);
        let pids = pids_in(&world, &pids);
        if by_signal {
            agent.signal("TERM");
        } else {
            world.gate.with(|m| m.stop = true);
        }
        let outcome = world.gate.result(0).outcome;
        assert_eq!(outcome.cause, Cause::AgentStopped);
        assert_eq!(outcome.signal.as_deref(), Some("KILL"));
        assert!(agent.ends());
        assert!(pids.into_iter().all(|pid| !is_alive(pid)));
    }
}

#[test]
fn a_worker_that_does_not_stop_is_killed() {
    let world = World::new().set("stop_ms", 300);
    let mut agent = world.agent();
    let mut assignment = stubborn(&world).0;
    assignment.grace_ms = 600_000;
    world.gate.give(assignment);
    let pids = pids_in(&world, &world.path("pids"));
    agent.signal("TERM");
    assert!(!agent.ends());
    assert!(pids.into_iter().all(|pid| !is_alive(pid)));
}

#[test]
fn a_stopped_agent_that_waits_for_work_leaves_at_once() {
    let world = World::new();
    let mut agent = world.agent();
    world.gate.wait("a beat", |m| !m.beats.is_empty());
    agent.signal("TERM");
    assert!(agent.ends());
    assert!(world.gate.with(|m| m.results.is_empty()));
}

#[test]
fn a_doomed_machine_finishes_its_job_and_takes_no_other() {
    let world = World::new();
    let mut agent = world.agent();
    let go = world.path("go");
    let up = world.path("up");
    world.gate.give(job(&format!(
        "echo up > {}; while [ ! -e {} ]; do sleep 0.01; done; echo done",
        up.display(),
        go.display()
    )));
    world.file(&up);
    world.gate.with(|m| m.doomed = true);
    let beats = world.gate.with(|m| m.beats.len());
    world.gate.wait("another beat", |m| m.beats.len() > beats + 1);
    let mut second = job("echo never");
    second.attempt = attempt(2);
    world.gate.give(second);
    std::fs::write(go, "").unwrap();
    assert_eq!(world.gate.result(0).outcome.exit_status, Some(0));
    assert!(agent.ends());
    assert_eq!(world.gate.with(|m| m.results.len()), 1);
}

#[test]
fn a_gate_that_moves_in_the_middle_of_a_job_is_found_again() {
    let world = World::new();
    let mut agent = world.agent();
    let (up, go) = (world.path("up"), world.path("go"));
    let mut assignment = job(&format!(
        "echo first; echo up > {}; while [ ! -e {} ]; do echo line; sleep 0.01; done; echo x > file; echo last",
        up.display(),
        go.display()
    ));
    assignment.artifact_paths = vec!["file".to_owned()];
    // A URL that will not be there any more when it is used.
    assignment.log_urls = (0..50)
        .map(|n| {
            let key = tidegate_core::wire::gate::log_chunk_key(&attempt(1), n);
            world.gate.with(|m| format!("{}/put/{key}", m.base))
        })
        .collect();
    world.gate.give(assignment);
    world.file(&up);
    world.gate.close();
    std::fs::write(&go, "").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    world.gate.open();
    let outcome = world.gate.result(0).outcome;
    assert_eq!((outcome.cause, outcome.exit_status), (Cause::Exit, Some(0)));
    let log = world.gate.log(&attempt(1));
    assert!(log.contains("first\n") && log.contains("last\n"), "{log}");
    assert_eq!(outcome.log.bytes, world.gate.raw_log(&attempt(1)).len() as u64);
    assert!(world.gate.with(|m| m.listed));
    assert!(world.gate.with(|m| m.started.len()) == 1);
    world.gate.with(|m| m.leave = true);
    assert!(agent.ends());
}

#[test]
fn an_agent_that_cannot_beat_kills_its_job_and_goes() {
    let world = World::new().set("self_kill_ms", 700);
    let mut agent = world.agent();
    let (assignment, pids) = stubborn(&world);
    world.gate.give(assignment);
    let pids = pids_in(&world, &pids);
    world.gate.close();
    assert!(!agent.ends());
    assert!(pids.into_iter().all(|pid| !is_alive(pid)));
    assert!(agent.log().contains("no beat reached the gate"), "{}", agent.log());
}

#[test]
fn an_attempt_that_ended_elsewhere_is_killed_at_once() {
    let world = World::new();
    let mut agent = world.agent();
    let mut assignment = stubborn(&world).0;
    assignment.grace_ms = 600_000;
    world.gate.give(assignment);
    let pids = pids_in(&world, &world.path("pids"));
    world.gate.with(|m| m.ended_elsewhere = true);
    world.gate.result(0);
    assert!(pids.into_iter().all(|pid| !is_alive(pid)));
    world.gate.with(|m| {
        m.ended_elsewhere = false;
        m.leave = true;
    });
    assert!(agent.ends());
}

#[test]
fn a_gate_that_is_busy_now_and_then_is_asked_again() {
    let world = World::new();
    world.gate.with(|m| {
        m.bad_calls = 5;
        m.bad_puts = [503, 403, 500].into();
    });
    let outcome = world.run(job("echo hello")).outcome;
    assert_eq!(outcome.exit_status, Some(0));
    assert!(world.gate.log(&attempt(1)).ends_with("hello\n"));
    assert_eq!(world.gate.with(|m| m.unauthorised), 0);
}

#[test]
fn a_token_that_is_not_known_ends_the_agent() {
    let world = World::new().set("token", "another");
    let mut agent = world.agent();
    assert!(!agent.ends());
    assert!(world.gate.with(|m| m.unauthorised) > 0);
}

/// A program that only starts itself again, in a session of its own, and ends: at no moment are there more than two of it.
/// Each writes a byte.
fn relay(world: &World) -> (std::path::PathBuf, std::path::PathBuf) {
    let (script, trace) = (world.path("relay"), world.path("trace"));
    std::fs::write(&script, format!("#!/bin/sh\nprintf x >> {}\nsetsid sh \"$0\" &\n", trace.display())).unwrap();
    (script, trace)
}

fn length(file: &std::path::Path) -> u64 {
    std::fs::metadata(file).map_or(0, |m| m.len())
}

#[test]
fn nothing_outruns_the_end_of_a_job() {
    for cgroup in [true, false] {
        let world = World::new().set("cgroup", cgroup);
        let mut agent = world.agent();
        let (script, trace) = relay(&world);
        for number in 1..=8 {
            let mut assignment = job(&format!("for i in 1 2 3; do sh {}; done; sleep 1000", script.display()));
            assignment.attempt = attempt(number);
            assignment.grace_ms = 1;
            let before = length(&trace);
            world.gate.give(assignment);
            eventually("the relays", || length(&trace) > before + 20);
            world.gate.with(|m| m.cancel = Some(tidegate_core::wire::gate::CancelReason::Canceled));
            let outcome = world.gate.result(usize::try_from(number).unwrap() - 1).outcome;
            assert_eq!(outcome.cause, Cause::Canceled);
            let after = length(&trace);
            // As long as another whole job takes.
            let mut other = job("env | grep -c TIDEGATE_INSTANCE=");
            other.attempt = attempt(100 + number);
            world.gate.with(|m| m.results.clear());
            world.gate.give(other);
            assert_eq!(world.gate.result(0).outcome.exit_status, Some(0));
            assert_eq!(length(&trace), after, "cgroup {cgroup}, round {number}");
            let done = world.gate.with(|m| std::mem::take(&mut m.results)).remove(0);
            world.gate.with(|m| m.results = vec![done; usize::try_from(number).unwrap()]);
        }
        world.gate.with(|m| m.leave = true);
        assert!(agent.ends());
    }
}

#[test]
fn nothing_outruns_the_end_of_a_worker() {
    for round in 0..6 {
        let world = World::new().set("cgroup", round % 2 == 0);
        let mut agent = world.agent();
        let (script, trace) = relay(&world);
        world.gate.give(job(&format!("for i in 1 2 3; do sh {}; done; sleep 1000", script.display())));
        eventually("the relays", || length(&trace) > 20);
        send(agent.worker(), "KILL");
        assert!(!agent.ends());
        let after = length(&trace);
        for _ in 0..20 {
            assert!(agent.family().is_empty());
        }
        assert_eq!(length(&trace), after, "round {round}");
    }
}
