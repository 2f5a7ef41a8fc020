//! A build's side of concurrency groups (`spec/pipeline.md` 1.11).

use super::*;

/// What the group is to be told: `early 1`, `join 1`, `leave 1`, with the round.
fn told(w: &World) -> Vec<String> {
    let effects = w.build.effects(&w.graph);
    effects
        .iter()
        .filter_map(|e| match e {
            Effect::Join { round, early: true, .. } => Some(format!("early {round}")),
            Effect::Join { round, .. } => Some(format!("join {round}")),
            Effect::Leave { round, .. } => Some(format!("leave {round}")),
            _ => None,
        })
        .collect()
}

fn perform(w: &mut World) {
    let effects = w.build.effects(&w.graph);
    w.build.clear(&effects);
}

#[test]
fn a_job_joins_when_it_is_ready_and_runs_when_it_is_granted() {
    let mut w = World::new([cmd("a"), cmd("b").after(&["a"]).concurrency("g", 1)]);
    assert_eq!(told(&w), ["early 1"]);
    perform(&mut w);
    w.pass(&["a"]);
    w.is("scheduled a=passed b=limited");
    assert_eq!(told(&w), ["join 1"]);
    perform(&mut w);
    w.grant("b");
    w.is("scheduled a=passed b=scheduled");
    w.pass(&["b"]);
    assert_eq!(told(&w), ["leave 1"]);
    perform(&mut w);
    assert!(w.build.effects(&w.graph).is_empty());
}

#[test]
fn a_slot_is_held_over_retries() {
    let mut w = World::new([cmd("a").concurrency("g", 1).rule(&[], 1)]);
    w.grant("a");
    perform(&mut w);
    w.lose("a");
    w.fail("a");
    w.is("scheduled a=scheduled");
    assert_eq!(w.cell("a").attempt, 3);
    assert!(told(&w).is_empty());
    w.fail("a");
    assert_eq!(told(&w), ["leave 1"]);
}

#[test]
fn a_retry_by_hand_joins_again_and_an_old_grant_means_nothing() {
    let mut w = World::new([cmd("a").concurrency("g", 1)]);
    w.grant("a");
    w.fail("a");
    w.retry("a");
    w.is("scheduled a=limited");
    // Nobody has told the group yet that the first time is over.
    assert_eq!(told(&w), ["leave 1", "join 2"]);
    w.tell(&Input::Granted { job: JobIndex(0), round: 1 });
    w.is("scheduled a=limited");
    w.grant("a");
    w.is("scheduled a=scheduled");
}

#[test]
fn whoever_is_canceled_while_it_waits_for_a_slot_leaves() {
    let mut w = World::new([cmd("a").concurrency("g", 1)]);
    perform(&mut w);
    w.cancel();
    w.is("canceled a=canceled");
    assert_eq!(told(&w), ["leave 1"]);
    w.grant("a");
    w.is("canceled a=canceled");
    assert_eq!(w.cell("a").attempt, 0);
}

#[test]
fn whoever_is_replaced_while_it_waits_for_a_slot_leaves() {
    let mut w = World::new([cmd("up"), cmd("a").concurrency("g", 1)]);
    perform(&mut w);
    w.replace("up", [cmd("b")]);
    assert_eq!(told(&w), ["leave 1"]);
}

#[test]
fn a_canceled_job_keeps_its_slot_until_its_machine_has_ended_it() {
    let mut w = World::new([cmd("a").concurrency("g", 1)]);
    w.grant("a");
    perform(&mut w);
    w.cancel();
    assert!(told(&w).is_empty());
    w.end("a", Cause::Canceled, None);
    assert_eq!(told(&w), ["leave 1"]);
}

#[test]
fn the_whole_way_through_a_group() {
    use crate::group::{self, Group, Member};
    let mut w = World::new([cmd("a").concurrency("g", 1), cmd("b").concurrency("g", 1)]);
    let mut group = Group::default();
    let mut order = Vec::new();
    for _ in 0..4 {
        let effects = w.build.effects(&w.graph);
        for effect in &effects {
            match effect {
                Effect::Join { job, round, early, concurrency } => group.fold(group::Input::Join(Member {
                    build: w.build.facts.id.clone(),
                    job: *job,
                    round: *round,
                    limit: concurrency.limit,
                    eager: concurrency.eager,
                    order: (w.build.facts.created_at, w.build.facts.id.clone(), *job),
                    told: false,
                    early: *early,
                    since: None,
                })),
                Effect::Leave { job, round, .. } => {
                    group.fold(group::Input::Leave { build: w.build.facts.id.clone(), job: *job, round: *round })
                }
                _ => {}
            }
        }
        w.build.clear(&effects);
        group.grant();
        let grants: Vec<_> = group.untold().map(|m| (m.build.clone(), m.job, m.round)).collect();
        for (build, job, round) in grants {
            w.tell(&Input::Granted { job, round });
            group.fold(group::Input::Told { build, job, round });
        }
        for name in ["a", "b"] {
            if w.cell(name).state == JobState::Scheduled {
                w.pass(&[name]);
                order.push(name);
            }
        }
    }
    w.is("passed a=passed b=passed");
    assert_eq!(order, ["a", "b"]);
    assert_eq!(group.members().count(), 0);
}

#[test]
fn places_are_kept_by_those_that_wait_for_no_person() {
    let eager = |s: S| s.command(|c| c.concurrency = Some(Concurrency { group: "g".into(), limit: 1, eager: true }));
    let mut w = World::new([
        cmd("a"),
        wait("w"),
        cmd("b").concurrency("g", 1),
        eager(cmd("c")),
        cmd("wide").jobs(21).concurrency("h", 1),
        block("ok"),
        cmd("d").concurrency("g", 1),
    ]);
    let in_group = |w: &World| ["b", "c", "wide", "d"].map(|name| w.cell(name).in_group);
    assert_eq!(in_group(&w), [true, false, false, false]);
    let early = w.build.effects(&w.graph);
    w.pass(&["a"]);
    assert_eq!(in_group(&w), [true, true, true, false]);
    assert_eq!(w.cell("b").round, 1, "it has kept its place");
    // What was performed said that it is early; that it is ready is still to be said.
    w.build.clear(&early);
    assert!(w.cell("b").join);
    let mut w = World::new([cmd("a"), wait("w"), cmd("b").concurrency("g", 1)]);
    w.build.clear(&w.build.effects(&w.graph));
    w.fail("a");
    w.is("failed a=failed w=waiting_failed b=waiting_failed");
    assert_eq!(told(&w), ["leave 1"], "who will not run keeps no place");
    w.build.clear(&w.build.effects(&w.graph));
    w.retry("a");
    assert_eq!(told(&w), ["early 2"]);
    w.cancel();
    assert!(!w.cell("b").in_group);
}
