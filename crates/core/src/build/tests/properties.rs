//! Whatever happens in whatever order.

use proptest::prelude::*;

use super::chaos::{Chaos, Op};
use super::*;

/// A step with everything that can be said about it chosen at random, of segment `place`.
fn any_step(place: usize, number: usize) -> impl Strategy<Value = S> {
    const GROUPS: [&str; 5] = ["g0", "g1", "g2", "g3", "g4"];
    const SLOTS: [&str; 2] = ["c0", "c1"];
    let name = format!("s{place}-{number}");
    let key = prop_oneof![
        6 => (0usize..5, 0usize..7).prop_map(|(p, n)| format!("s{p}-{n}")),
        1 => (0usize..5).prop_map(|p| GROUPS[p].to_owned()),
        1 => Just("ghost".to_owned()),
    ];
    let needs = prop_oneof![
        6 => Just(None),
        1 => Just(Some(Vec::new())),
        3 => proptest::collection::vec((key, any::<bool>()), 1..3).prop_map(Some),
    ];
    let rules = prop_oneof![3 => Just(None), 1 => (0u8..3).prop_map(Some)];
    let slot = prop_oneof![4 => Just(None), 1 => (0usize..2).prop_map(Some)];
    let left_out = prop_oneof![10 => Just(0u8), 1 => Just(1), 1 => Just(2)];
    let rare = || prop::bool::weighted(0.15);
    (0u8..10, needs, rules, slot, left_out, (rare(), rare(), rare(), rare()), 1usize..3).prop_map(
        move |(kind, needs, rules, slot, left_out, (soft, stop, allow, grouped), jobs)| {
            let mut s = match kind {
                0 => wait(&name),
                1 => wait_anyway(&name),
                2 => block(&name),
                3 => input(&name),
                4 => trigger(&name),
                _ => {
                    let mut s = cmd(&name).jobs(jobs);
                    s = if soft { s.soft() } else { s };
                    s = if stop { s.cancel_on_build_failing() } else { s };
                    s = match rules {
                        Some(limit) => s.rule(&[], limit),
                        None => s,
                    };
                    match slot {
                        Some(slot) => s.concurrency(SLOTS[slot], u32::try_from(slot).unwrap() + 1),
                        None => s,
                    }
                }
            };
            if let Some(needs) = &needs {
                s = s.after(&[]);
                for (key, allow_failure) in needs {
                    s = s.depends(&[key], *allow_failure);
                }
            }
            s = if allow { s.allow_dependency_failure() } else { s };
            s = if grouped { s.within(GROUPS[place]) } else { s };
            match left_out {
                1 => s.broken(),
                2 => s.skipped(),
                _ => s,
            }
        },
    )
}

fn any_segment(place: usize, max: usize) -> impl Strategy<Value = Segment> {
    let lengths = 0..=max;
    lengths.prop_flat_map(move |n| (0..n).map(|i| any_step(place, i)).collect::<Vec<_>>()).prop_map(segment)
}

fn any_end() -> impl Strategy<Value = (Cause, Option<i32>)> {
    prop_oneof![
        6 => Just((Cause::Exit, Some(0))),
        3 => Just((Cause::Exit, Some(1))),
        1 => Just((Cause::Lost, None)),
        1 => Just((Cause::Interrupted, None)),
        1 => Just((Cause::Timeout, Some(143))),
        1 => Just((Cause::Expired, None)),
    ]
}

fn any_op(disturbed: bool) -> impl Strategy<Value = Op> {
    let which = || 0usize..64;
    let rare = u32::from(disturbed);
    prop_oneof![
        6 => prop::bool::weighted(0.2).prop_map(|crash| Op::Perform { crash }),
        8 => (which(), 0usize..3, prop::bool::weighted(0.15), any_end())
            .prop_map(|(which, uploads, replace, (cause, status))| Op::Finish { which, uploads, replace, cause, status }),
        10 => (which(), 1usize..4, prop::bool::weighted(0.2))
            .prop_map(|(which, count, again)| Op::Deliver { which, count, again }),
        1 => (which(), 0u32..5).prop_map(|(which, number)| Op::Stale { which, number }),
        1 => Just(Op::Cancel).prop_filter("not now", move |_| rare > 0),
        2 => proptest::option::of(which()).prop_map(|which| Op::Retry { which }),
        2 => which().prop_map(|which| Op::Unblock { which }),
        4 => Just(Op::Group),
        2 => (0u64..90_000).prop_map(Op::Pass),
    ]
}

fn segments() -> impl Strategy<Value = (Segment, Vec<Segment>)> {
    let uploads = (any_segment(1, 4), any_segment(2, 4), any_segment(3, 3), any_segment(4, 3));
    (any_segment(0, 7), uploads).prop_map(|(first, (a, b, c, d))| (first, vec![a, b, c, d]))
}

fn without_cancel() -> impl Strategy<Value = Vec<Op>> {
    let op = any_op(true).prop_filter("no cancel", |op| !matches!(op, Op::Cancel));
    proptest::collection::vec(op, 0..60)
}

proptest! {
    #[test]
    fn a_build_keeps_its_invariants_and_ends(
        (first, pool) in segments(),
        ops in without_cancel(),
        status in prop_oneof![Just(0), Just(1)],
    ) {
        let mut chaos = Chaos::new(first, pool);
        for op in &ops {
            chaos.step(op);
        }
        chaos.drain(status);
    }

    #[test]
    fn a_build_that_is_canceled_at_any_time_ends_canceled(
        (first, pool) in segments(),
        ops in without_cancel(),
        more in without_cancel(),
    ) {
        let mut chaos = Chaos::new(first, pool);
        for op in &ops {
            chaos.step(op);
        }
        let over = chaos.w.build.state.is_final();
        let attempts: u32 = chaos.w.build.cells.iter().map(|c| c.attempt).sum();
        chaos.step(&Op::Cancel);
        for op in more.iter().filter(|_| !over) {
            chaos.step(op);
        }
        chaos.drain(0);
        if !over {
            prop_assert_eq!(chaos.w.build.state, BuildState::Canceled);
            prop_assert_eq!(chaos.w.build.cells.iter().map(|c| c.attempt).sum::<u32>(), attempts);
        }
    }

    /// The result does not depend on the order in which a quiet world is looked at.
    #[test]
    fn a_plan_without_failures_passes_or_has_nothing_to_run(first in any_segment(0, 7)) {
        let mut chaos = Chaos::new(first, Vec::new());
        let doomed = chaos.w.graph.circle().is_some()
            || (0..chaos.w.graph.steps.len()).any(|s| {
                chaos.w.graph.step(s).left_out.is_none() && chaos.w.graph.unknown_keys(s).next().is_some()
            });
        chaos.drain(0);
        let state = chaos.w.build.state;
        prop_assert!(doomed || matches!(state, BuildState::Passed | BuildState::NotRun), "{}", chaos.w.shows());
    }
}
