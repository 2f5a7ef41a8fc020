//! `run` is `up` without a server: the same kinds of records, in the same order.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use std::collections::BTreeSet;

use world::{World, text};

/// Kinds of records of which each follows from the one before, whatever runs beside it.
const CHAIN: [&str; 8] = ["ref", "counter", "buildkey", "active", "build", "attempt", "demand", "instance"];

/// Kinds in the order of their first write.
fn kinds(log: &str) -> Vec<String> {
    let mut kinds: Vec<String> = Vec::new();
    for line in log.lines() {
        let Some((_, rest)) = line.split_once("record.kind=\"") else { continue };
        let kind = rest.split('"').next().unwrap().to_owned();
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

#[test]
fn run_and_up_write_the_same_kinds_of_records_in_the_same_order() {
    let pipeline = "steps:\n  - { command: 'true', key: a }\n  - wait\n  - { command: 'true', key: b }\n";
    let mut world = World::new(pipeline);
    world.start();
    world.push();
    assert_eq!(world.finished(1)["state"], "passed");
    assert!(world.stop_server().success());
    let up = kinds(&world.log());

    let repo = world.repo();
    let run = world
        .tidegate(["run".as_ref(), "--repo".as_ref(), repo.as_os_str()])
        .env("TIDEGATE_LOG", "error,tidegate_engine::records=trace")
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", text(&run.stderr));
    let run = kinds(&text(&run.stderr));

    let set = |kinds: &[String]| kinds.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(set(&up), set(&run));
    let chain = |kinds: &[String]| kinds.iter().filter(|k| CHAIN.contains(&k.as_str())).cloned().collect::<Vec<_>>();
    assert_eq!(chain(&up), CHAIN);
    assert_eq!(chain(&run), CHAIN);
}
