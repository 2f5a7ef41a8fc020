//! Worlds in which the engine once broke a promise, each named for what was wrong. A seed leads to another place when the world
//! or the engine draws otherwise: each of these was seen to fail with its mending taken out again.

use crate::faults::Faults;
use crate::world::Plan;

fn holds(seeds: &[u64]) {
    for seed in seeds {
        crate::tests::holds(Plan::new(*seed, 100, Faults::all()));
    }
}

/// I1: the branch had moved when the wish was repeated after a lost answer, and the key had the commit in it.
#[test]
fn a_build_that_is_asked_for_twice_with_one_key_is_one() {
    holds(&[6, 18]);
}

/// I8: the build was read before the report's own record, with a long sleep in between.
#[test]
fn a_report_step_that_slept_between_its_readings_tells_nothing_old() {
    holds(&[8, 51]);
}

/// I10: the record was read before the inbox: the letter was folded in by a step that had yet to perform what follows.
#[test]
fn a_cancel_is_acknowledged_when_it_is_performed() {
    holds(&[41]);
}

/// I11: the news that a machine is not described were older than the machine.
#[test]
fn an_audit_that_slept_buries_nobody_alive() {
    holds(&[28]);
}
