//! Measures what an empty job costs. Prints, asserts nothing about time:
//! `cargo test -p tidegate-agent --test overhead -- --ignored --nocapture`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "a measurement is for people")]

mod support;

use std::time::{Duration, Instant};

use support::*;
use tidegate_core::wire::gate::Assignment;

const JOBS: u32 = 60;

/// The median time from an assignment to its result, one after the other.
fn median(world: &World, job: &Assignment) -> Duration {
    let mut agent = world.agent();
    let mut spans = Vec::new();
    for number in 1..=JOBS {
        let mut job = job.clone();
        job.attempt = attempt(number);
        let began = Instant::now();
        world.gate.give(job);
        let result = world.gate.result(usize::try_from(number).unwrap() - 1);
        spans.push(began.elapsed());
        assert_eq!(result.outcome.exit_status, Some(0), "{}", result.outcome.tail);
    }
    world.gate.with(|m| m.leave = true);
    assert!(agent.ends());
    spans.sort();
    spans[spans.len() / 2]
}

/// As `benches/figures` reads it.
fn figure(what: &str, span: Duration) {
    println!("figure: {what}: {:.2} ms", span.as_secs_f64() * 1_000.0);
}

#[test]
#[ignore = "a measurement: `benches/figures overhead`"]
fn overhead() {
    let world = World::new();
    figure("empty job without checkout, median", median(&world, &job("true")));

    let world = World::new();
    let repo = repo::Repo::new(world.path("repo"));
    for file in 0..40 {
        std::fs::write(repo.path.join(format!("f{file}")), "x\n".repeat(500)).unwrap();
    }
    let commit = repo.commit("file", "content\n");
    let mut with_checkout = job("true");
    with_checkout.checkout = checkout(&repo.path, &commit);
    figure("empty job with checkout from a warm mirror, median", median(&world, &with_checkout));
}

/// 50 MB that hardly compress, in 1,000 files; against `git clone --reference` of the same.
#[test]
#[ignore = "a measurement: `benches/figures checkout`"]
fn large_repository() {
    let world = World::new();
    let repo = repo::Repo::new(world.path("repo"));
    let mut noise = rand::random::<u64>() | 1;
    for file in 0..1_000 {
        let content: Vec<u8> = (0..50_000 / 8)
            .flat_map(|_| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                noise.to_le_bytes()
            })
            .collect();
        std::fs::write(repo.path.join(format!("f{file}")), content).unwrap();
    }
    let commit = repo.commit("file", "content\n");
    let mut large = job("true");
    large.checkout = checkout(&repo.path, &commit);
    let ours = median(&world, &large);
    figure("job with checkout of 50 MB from a warm mirror, median", ours);
    let mirror = world.path("mirror.git");
    let target = world.path("clone");
    repo::git(world.dir.path(), &["clone", "--quiet", "--mirror", "repo", "mirror.git"]);
    let mut spans: Vec<Duration> = (0..20)
        .map(|_| {
            let _ = std::fs::remove_dir_all(&target);
            let began = Instant::now();
            let (mirror, repo) = (mirror.display().to_string(), repo.path.display().to_string());
            repo::git(world.dir.path(), &["clone", "--quiet", "--reference", &mirror, &repo, "clone"]);
            began.elapsed()
        })
        .collect();
    spans.sort();
    figure("git clone --reference of the same, median", spans[10]);
    println!("figure: job against git clone --reference: {:.3} times", ours.as_secs_f64() / spans[10].as_secs_f64());
}
