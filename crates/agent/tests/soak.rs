//! Thousands of jobs on one agent: `cargo test --release -p tidegate-agent --test soak -- --ignored --nocapture`.
//! `TIDEGATE_SOAK_JOBS` says how many.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "a measurement is for people")]

mod support;

use std::path::Path;

use support::*;
use tidegate_core::wire::gate::Assignment;

/// After so many jobs everything is there that stays.
const WARM: u32 = 100;

/// What an agent has of the machine, between two jobs.
#[derive(Clone, Copy, Debug)]
struct Held {
    resident_kib: u64,
    descriptors: usize,
    threads: usize,
    processes: usize,
    files: usize,
}

fn held(world: &World, agent: &Agent) -> Held {
    let worker = agent.worker();
    let status = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let count = |directory: &str| std::fs::read_dir(format!("/proc/{worker}/{directory}")).unwrap().count();
    Held {
        resident_kib: resident.trim().trim_end_matches(" kB").parse().unwrap(),
        descriptors: count("fd"),
        threads: count("task"),
        // The dead ones that nobody has noticed, too.
        processes: agent.family().len() + zombies(worker),
        files: files(&world.path("work")) + files(&world.path("mirrors")),
    }
}

fn zombies(parent: i32) -> usize {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    children.split_whitespace().count()
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory).into_iter().flatten().flatten().fold(0, |count, entry| {
        count + 1 + if entry.file_type().is_ok_and(|kind| kind.is_dir()) { files(&entry.path()) } else { 0 }
    })
}

/// Jobs of several kinds: an empty one, a checkout, output with artifacts, a failure, leftover processes, the command line.
fn of_kind(number: u32, repo: &repo::Repo, commit: &str) -> Assignment {
    let mut assignment = match number % 6 {
        0 => job("true"),
        1 | 2 => job("cat file"),
        3 => job("seq 2000; echo x > kept"),
        4 => job("(setsid sleep 1000 &) ; exit 3"),
        _ => job("tidegate-agent meta-data set name value; tidegate-agent env set A=b"),
    };
    if number % 6 == 1 || number % 6 == 2 {
        assignment.checkout = checkout(&repo.path, commit);
    }
    if number % 6 == 3 {
        assignment.artifact_paths = vec!["kept".to_owned()];
    }
    assignment.attempt = attempt(number);
    assignment
}

#[test]
#[ignore = "takes minutes: `benches/figures soak`"]
fn nothing_grows() {
    let jobs: u32 = std::env::var("TIDEGATE_SOAK_JOBS").map_or(2_000, |jobs| jobs.parse().unwrap());
    let world = World::new().set("hard_stop_ms", 3_600_000);
    let repo = repo::Repo::new(world.path("repo"));
    let commit = repo.commit("file", "content\n");
    world.gate.with(|m| m.count_only = true);
    let mut agent = world.agent();
    let mut warm = None;
    for number in 1..=jobs {
        world.gate.give(of_kind(number, &repo, &commit));
        let result = world.gate.result(0).outcome;
        let wanted = if number % 6 == 4 { 3 } else { 0 };
        assert_eq!(result.exit_status, Some(wanted), "job {number}: {}", result.tail);
        world.gate.with(|m| {
            m.results.clear();
            m.beats.clear();
            m.started.clear();
            m.artifacts.clear();
        });
        if number == WARM.min(jobs / 2) {
            // The directory of the last job is removed while its result is reported.
            eventually("an empty directory", || files(&world.path("work")) == 0);
            warm = Some(held(&world, &agent));
        }
    }
    eventually("an empty directory", || files(&world.path("work")) == 0);
    eventually("the end of the last process", || agent.family().len() == 1);
    let (warm, end) = (warm.unwrap(), held(&world, &agent));
    println!("after {WARM} jobs: {warm:?}");
    println!("after {jobs} jobs: {end:?}");
    println!("figure: resident memory of the agent after {jobs} jobs: {:.1} MB", end.resident_kib as f64 / 1024.0);
    println!(
        "figure: its growth since job {WARM}: {:.2} MB",
        end.resident_kib.saturating_sub(warm.resident_kib) as f64 / 1024.0
    );
    assert!(end.resident_kib < warm.resident_kib + 3 * 1024, "memory grows");
    assert!(end.descriptors <= warm.descriptors + 2, "descriptors grow");
    assert!(end.threads <= warm.threads.max(6), "threads grow");
    assert!(end.processes <= warm.processes, "processes grow");
    assert_eq!(end.files, warm.files, "files grow");
    world.gate.with(|m| m.leave = true);
    assert!(agent.ends());
}
