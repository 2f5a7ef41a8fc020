//! States of builds (`spec/pipeline.md` 1.13) and what is reported of them.

use super::*;
use crate::plan::BlockedState;
use crate::report::{StatusState, status};

#[test]
fn nothing_to_run_is_not_run() {
    World::new([]).is("not_run");
    World::new([cmd("a").broken(), wait("w"), cmd("b").skipped()]).is("not_run a=broken w=passed b=skipped");
}

#[test]
fn scheduled_until_a_job_has_started_then_running() {
    let mut w = World::new([cmd("a"), cmd("b")]);
    w.is("scheduled a=scheduled b=scheduled");
    w.tell(&Input::Started { at: Timestamp(12_000) });
    w.tell(&Input::Started { at: Timestamp(11_000) });
    w.is("running a=scheduled b=scheduled");
    assert_eq!(w.build.started_at, Some(Timestamp(12_000)));
}

#[test]
fn failing_while_others_run() {
    let mut w = World::new([cmd("a"), cmd("b")]);
    w.tell(&Input::Started { at: Timestamp(12_000) });
    w.fail("a");
    w.is("failing a=failed b=scheduled");
    w.pass(&["b"]);
    w.is("failed a=failed b=passed");
}

#[test]
fn blocked_only_when_nothing_else_can_run() {
    let mut w = World::new([cmd("a"), block("ok").after(&[]), cmd("b").after(&["ok"])]);
    w.is("scheduled a=scheduled ok=blocked b=waiting");
    w.pass(&["a"]);
    w.is("blocked a=passed ok=blocked b=waiting");
    w.unblock("ok");
    w.pass(&["b"]);
    w.is("passed a=passed ok=unblocked b=passed");
}

#[test]
fn a_build_that_failed_before_it_had_a_plan() {
    let mut build = Build::failed(facts(), "`hello.yml` cannot be read".into(), Vec::new());
    let graph = Graph::default();
    build.settle(&graph, Timestamp(1));
    assert_eq!(build.state, BuildState::Failed);
    assert_eq!(build.finished_at, Some(Timestamp(1)));
    assert_eq!(status(&build, &graph).description, "Build #7 failed: `hello.yml` cannot be read");
}

fn said(w: &World) -> (StatusState, String) {
    let status = status(&w.build, &w.graph);
    (status.state, status.description)
}

#[test]
fn reports() {
    let mut w = World::new([cmd("a"), cmd("b"), cmd("c")]);
    assert_eq!(said(&w), (StatusState::Pending, "Build #7 is waiting".into()));
    w.tell(&Input::Started { at: Timestamp(12_000) });
    assert_eq!(said(&w), (StatusState::Pending, "Build #7 is running".into()));
    w.fail("b");
    assert_eq!(said(&w), (StatusState::Failure, "Build #7 is failing: b".into()));
    w.fail("a");
    w.pass(&["c"]);
    assert_eq!(said(&w), (StatusState::Failure, "Build #7 failed: a and 1 more".into()));
    let mut w = World::new([cmd("a")]);
    w.cancel();
    assert_eq!(said(&w), (StatusState::Pending, "Build #7 is being canceled".into()));
    w.end("a", Cause::Canceled, None);
    assert_eq!(said(&w), (StatusState::Error, "Build #7 was canceled".into()));
    assert_eq!(said(&World::new([])), (StatusState::Success, "Build #7 had nothing to run".into()));
}

fn blocked_as(name: &str, state: BlockedState) -> S {
    let manual = ManualStep { blocked_state: state, ..ManualStep::default() };
    step(name, StepKind::Block(Box::new(manual))).after(&[])
}

#[test]
fn a_blocked_build_shows_what_its_block_says() {
    for (state, shown) in [
        (BlockedState::Passed, StatusState::Success),
        (BlockedState::Failed, StatusState::Failure),
        (BlockedState::Running, StatusState::Pending),
    ] {
        let w = World::new([blocked_as("ok", state)]);
        assert_eq!(said(&w), (shown, "Build #7 is blocked".into()));
    }
    // Of several the worst, and a block that is not reached says nothing.
    let w = World::new([
        blocked_as("x", BlockedState::Passed),
        blocked_as("y", BlockedState::Running),
        blocked_as("z", BlockedState::Failed).after(&["x"]),
    ]);
    assert_eq!(said(&w).0, StatusState::Pending);
}

#[test]
fn a_blocked_build_in_which_something_failed_is_not_green() {
    let mut w = World::new([cmd("a"), input("ask")]);
    w.fail("a");
    w.is("blocked a=failed ask=blocked");
    assert_eq!(said(&w), (StatusState::Failure, "Build #7 is blocked, and failed: a".into()));
}

#[test]
fn a_step_that_never_came_is_named() {
    let mut w = World::new([cmd("a"), cmd("b").after(&["a", "ghost"])]);
    w.pass(&["a"]);
    assert_eq!(
        said(&w),
        (StatusState::Failure, "Build #7 failed: b waits for `ghost`, which no step has as its key".into())
    );
    let w = World::new([cmd("a").after(&["b"]), cmd("b").after(&["a"])]);
    assert_eq!(said(&w), (StatusState::Failure, "Build #7 failed: steps wait for each other: a, b".into()));
}

#[test]
fn a_description_fits() {
    let long = "x".repeat(200);
    let mut w = World::new([cmd(&long)]);
    w.fail(&long);
    let (_, text) = said(&w);
    assert_eq!(text.chars().count(), 140);
    assert!(text.ends_with('…'));
}
