//! Worlds in which the engine once broke a promise, each named for what was wrong. What is decided by pure functions has a
//! test beside the function as well; these hold the whole to it, as far as a seed still leads to the same place.

use crate::faults::Faults;
use crate::world::Plan;

fn holds(seed: u64, builds: usize) {
    crate::tests::holds(Plan::new(seed, builds, Faults::all()));
}

/// I1: the branch had moved when the wish was repeated after a lost answer, and the key had the commit in it.
#[test]
fn a_build_that_is_asked_for_twice_with_one_key_is_one() {
    holds(4, 60);
}

/// I3: the plan was stored from one commit before a crash, and the build made from another after it.
#[test]
fn a_build_has_the_plan_of_its_commit() {
    holds(99, 100);
}

/// I8: the build was read before the report's own record, with a long sleep in between.
#[test]
fn a_report_step_that_slept_between_its_readings_tells_nothing_old() {
    holds(22, 100);
}

/// I8: a step slept between its intent and its call, and died before it could say so.
#[test]
fn what_a_report_step_tells_late_is_told_again_right() {
    holds(86, 100);
}

/// I10: the record was read before the inbox: the letter was folded in by a step that had yet to perform what follows.
#[test]
fn a_cancel_is_acknowledged_when_it_is_performed() {
    holds(40, 100);
}

/// I11: the news that a machine is not described were older than the machine.
#[test]
fn an_audit_that_slept_buries_nobody_alive() {
    holds(52, 100);
}

/// I6: two processes made one launch; the one that got nothing spoke first.
#[test]
fn machines_of_a_launch_that_was_given_up_are_capacity() {
    holds(24, 100);
}

/// I6: a demand line came back after all of it had been given out.
#[test]
fn a_line_that_is_published_again_launches_nothing() {
    holds(62, 100);
}

/// I6: a launch was made minutes after it had been decided and forgotten.
#[test]
fn a_launch_that_slept_is_not_made_twice() {
    holds(10_082, 200);
}
