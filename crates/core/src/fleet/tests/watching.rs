//! Events of machines in any order, silence, launches whose answers were lost.

use proptest::prelude::*;

use std::collections::BTreeSet;

use super::*;

fn is_lost(w: &World, n: u32) -> bool {
    matches!(w.machine(n).state, MachineState::Lost(_))
}

#[test]
fn events_count_by_their_number_and_not_by_their_order() {
    let mut w = World::new();
    w.up(1);
    w.freed(1, 3);
    w.claimed(1, 2, 7);
    assert_eq!((&w.machine(1).state, &w.machine(1).attempt), (&MachineState::Idle, &None));
    w.claimed(1, 4, 8);
    assert_eq!((&w.machine(1).state, &w.machine(1).attempt), (&MachineState::Busy, &Some(attempt(8))));
    w.closing(1, 5);
    w.freed(1, 5);
    assert_eq!(w.machine(1).state, MachineState::Closing);
}

#[test]
fn a_claim_uses_up_its_ticket_even_when_it_is_old_news() {
    let mut w = World::new();
    w.up(1);
    w.give_out(7);
    w.give_out(7);
    assert_eq!(w.small().tickets.len(), 1, "one attempt, one ticket");
    w.freed(1, 3);
    w.claimed(1, 2, 7);
    assert!(w.small().tickets.is_empty());
}

#[test]
fn what_a_buried_machine_still_says_makes_no_machine() {
    let mut w = World::new();
    w.fleet.pools.entry(pool_name("small")).or_default();
    w.freed(1, 3);
    w.closing(1, 4);
    assert!(w.small().machines.is_empty());
}

#[test]
fn machines_that_exist_count_although_their_launch_was_given_up() {
    let mut w = World::new();
    w.intend("t", 2);
    w.no_capacity("t");
    // The other of two processes that made the same call at once.
    w.launched("t", &[1, 2]);
    assert_eq!((w.small().existing(), w.small().free()), (2, 2));
}

#[test]
fn an_unsent_ticket_is_sent_and_a_void_one_goes() {
    let mut w = World::new();
    w.give_out(7);
    assert!(!w.small().tickets[0].sent);
    w.pass(5);
    w.tell(Input::Sent { pool: pool_name("small"), attempts: vec![attempt(7)] });
    assert_eq!((w.small().tickets[0].sent, w.small().tickets[0].at), (true, w.now));
    w.tell(Input::Void { pool: pool_name("small"), attempt: attempt(7) });
    assert!(w.small().tickets.is_empty());
}

#[test]
fn a_silent_machine_is_lost_with_what_it_holds() {
    let mut w = World::new();
    for n in 1..=3 {
        w.up(n);
    }
    w.claimed(1, 2, 7);
    for beat in 0..5 {
        w.seen(&[(1, Some(0)), (2, Some(beat)), (3, Some(beat))]);
        w.pass(10);
    }
    assert!(is_lost(&w, 1) && !is_lost(&w, 2) && !is_lost(&w, 3));
    assert_eq!(w.machine(1).attempt, Some(attempt(7)));
    w.tell(Input::Buried { instance: instance(1) });
    assert_eq!(w.small().machines.len(), 2);
}

#[test]
fn after_a_gap_of_ours_everybody_gets_the_full_limit_again() {
    let mut w = World::new();
    w.up(1);
    w.intend("t", 1);
    w.launched("t", &[2]);
    w.seen(&[(1, Some(0)), (2, None)]);
    w.pass(3600);
    w.seen(&[(1, Some(0)), (2, None)]);
    assert!(!is_lost(&w, 1), "nobody looked");
    assert!(!is_lost(&w, 2), "it may have come up and found nobody");
    for _ in 0..4 {
        w.pass(10);
        w.seen(&[(1, Some(0)), (2, None)]);
    }
    assert!(is_lost(&w, 1));
    assert!(!is_lost(&w, 2));
    for _ in 0..27 {
        w.pass(10);
        w.seen(&[(1, Some(0)), (2, None)]);
    }
    assert_eq!(w.machine(2).state, MachineState::Lost("the machine did not come up within 300 s of its launch".into()));
}

#[test]
fn when_many_fall_silent_at_once_nobody_is_lost_at_first() {
    let mut w = World::new();
    let all: Vec<(u32, Option<u64>)> = (1..=4).map(|n| (n, Some(0))).collect();
    for n in 1..=4 {
        w.up(n);
    }
    for _ in 0..8 {
        w.seen(&all);
        w.pass(10);
    }
    assert!((1..=4).all(|n| !is_lost(&w, n)), "it is our fault");
    for _ in 0..8 {
        w.seen(&all);
        w.pass(10);
    }
    assert!((1..=4).all(|n| is_lost(&w, n)), "but not for ever: somebody waits for what they hold");
}

#[test]
fn a_machine_that_works_and_never_beat_is_silent() {
    let mut w = World::new();
    w.up(1);
    w.up(2);
    w.up(3);
    w.claimed(1, 2, 7);
    for beat in 0..5 {
        w.seen(&[(1, None), (2, Some(beat)), (3, Some(beat))]);
        w.pass(10);
    }
    assert!(is_lost(&w, 1));
}

#[test]
fn a_machine_that_the_cloud_says_is_gone_is_lost_at_once() {
    let mut w = World::new();
    w.up(1);
    w.claimed(1, 2, 7);
    let gone = BTreeMap::from([(instance(1), "spot interruption".to_owned())]);
    let (alive, beats) = (BTreeMap::new(), BTreeMap::new());
    let taken = BTreeSet::from([instance(1)]);
    let asked_at = w.now;
    w.tell(Input::Seen { asked_at, alive: alive.clone(), gone: gone.clone(), taken, beats: beats.clone() });
    assert_eq!(w.machine(1).state, MachineState::Lost("spot interruption".into()));
    assert!(w.machine(1).taken, "what it held was interrupted");
    let mut w = World::new();
    w.up(1);
    w.tell(Input::Seen { asked_at, alive, gone, taken: BTreeSet::new(), beats });
    assert!(is_lost(&w, 1) && !w.machine(1).taken, "nobody admits to it: a silent death");
}

#[test]
fn a_machine_that_is_not_described_is_gone_once_it_is_old_enough() {
    let mut w = World::new();
    w.intend("t", 1);
    w.launched("t", &[1]);
    w.pass(100);
    w.seen(&[]);
    assert_eq!(w.machine(1).state, MachineState::Booting, "descriptions are late");
    w.pass(30);
    w.seen(&[]);
    assert!(is_lost(&w, 1));
}

#[test]
fn news_that_were_on_their_way_for_long_bury_nobody() {
    let mut w = World::new();
    let asked_at = w.now;
    w.pass(10);
    w.up(1);
    w.seen(&[(1, Some(1))]);
    w.pass(200);
    w.seen(&[(1, Some(20))]);
    // Asked before the machine was there, said when it is long at work.
    w.tell(Input::Seen {
        asked_at,
        alive: BTreeMap::new(),
        gone: BTreeMap::new(),
        taken: BTreeSet::new(),
        beats: BTreeMap::new(),
    });
    assert!(!is_lost(&w, 1));
    let gone = BTreeMap::from([(instance(1), "spot interruption".to_owned())]);
    w.tell(Input::Seen { asked_at, alive: BTreeMap::new(), gone, taken: BTreeSet::new(), beats: BTreeMap::new() });
    assert!(is_lost(&w, 1), "what is gone stays gone");
}

#[test]
fn what_a_machine_took_in_its_last_moments_is_lost_with_it() {
    let mut w = World::new();
    w.up(1);
    w.tell(Input::Seen {
        asked_at: w.now,
        alive: BTreeMap::new(),
        gone: BTreeMap::from([(instance(1), "gone".to_owned())]),
        taken: BTreeSet::new(),
        beats: BTreeMap::new(),
    });
    w.claimed(1, 2, 7);
    assert!(is_lost(&w, 1));
    assert_eq!(w.machine(1).attempt, Some(attempt(7)));
    // This burial was begun before anybody knew of the attempt.
    w.tell(Input::Buried { instance: instance(1) });
    assert!(is_lost(&w, 1), "it is buried once more, with what it held");
    w.tell(Input::Buried { instance: instance(1) });
    assert!(w.small().machines.is_empty());
}

#[test]
fn only_the_lost_are_buried() {
    let mut w = World::new();
    w.up(1);
    w.tell(Input::Buried { instance: instance(1) });
    assert_eq!(w.small().machines.len(), 1);
}

#[test]
fn a_launch_whose_answer_was_lost_is_found_and_counts_once() {
    let mut w = World::new();
    w.intend("t", 2);
    assert_eq!((w.small().existing(), w.small().free()), (2, 2));
    w.seen(&[(1, None)]);
    assert_eq!((w.small().existing(), w.small().free()), (2, 2), "one found, one expected");
    w.launched("t", &[1, 2]);
    w.launched("t", &[1, 2]);
    assert_eq!((w.small().existing(), w.small().free()), (2, 2));
    assert!(w.small().launches.is_empty());
}

#[test]
fn an_answer_to_a_launch_that_was_answered_changes_nothing() {
    let mut w = World::new();
    w.intend("t", 1);
    w.launched("t", &[1]);
    let before = w.fleet.clone();
    w.no_capacity("t");
    assert_eq!(w.fleet, before);
    w.launched("t", &[1]);
    assert_eq!(w.fleet, before);
}

#[derive(Clone, Debug)]
enum Event {
    Up,
    Claimed(u32),
    Freed,
    Closing,
}

proptest! {
    /// A machine's history ends in the same state in whatever order its events come, however often, once it is known.
    #[test]
    fn the_order_of_events_does_not_matter(
        events in proptest::collection::vec(
            prop_oneof![(0u32..5).prop_map(Event::Claimed), Just(Event::Freed), Just(Event::Closing)], 1..8),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut history = vec![Event::Up];
        history.extend(events);
        let tell = |w: &mut World, at: usize| {
            let seq = at as u64 + 1;
            match history[at] {
                Event::Up => w.up(1),
                Event::Claimed(n) => w.claimed(1, seq, n),
                Event::Freed => w.freed(1, seq),
                Event::Closing => w.closing(1, seq),
            }
        };
        let (mut straight, mut mixed) = (World::new(), World::new());
        for n in 0..5 {
            straight.give_out(n);
            mixed.give_out(n);
        }
        for at in 0..history.len() {
            tell(&mut straight, at);
        }
        tell(&mut mixed, 0);
        for index in &order {
            tell(&mut mixed, index.index(history.len()));
        }
        for at in (0..history.len()).rev() {
            tell(&mut mixed, at);
        }
        prop_assert_eq!(straight.fleet, mixed.fleet);
    }

    /// Telling the fleet anything twice is telling it once.
    #[test]
    fn folding_twice_is_folding_once(what in proptest::collection::vec((0u8..9, 1u32..4, 1u64..6, 0u64..70), 0..40)) {
        let mut w = World::new();
        w.intend("a", 2);
        w.intend("b", 1);
        for (kind, n, seq, span) in what {
            w.pass(span);
            let mut once = None;
            for _ in 0..2 {
                match kind {
                    0 => w.up(n),
                    1 => w.claimed(n, seq, n),
                    2 => w.freed(n, seq),
                    3 => w.closing(n, seq),
                    4 => w.launched("a", &[n, n + 1]),
                    5 => w.no_capacity("b"),
                    6 => w.give_out(n),
                    7 => w.tell(Input::Void { pool: pool_name("small"), attempt: attempt(n) }),
                    _ => w.seen(&[(1, Some(seq)), (2, None), (n, Some(seq))]),
                }
                prop_assert!(once.is_none() || once.as_ref() == Some(&w.fleet));
                once = Some(w.fleet.clone());
                let json = serde_json::to_string(&w.fleet).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Fleet>(&json).unwrap(), &w.fleet);
                for pool in w.fleet.pools.values() {
                    let mut attempts: Vec<_> = pool.tickets.iter().map(|t| &t.attempt).collect();
                    attempts.sort();
                    attempts.dedup();
                    prop_assert_eq!(attempts.len(), pool.tickets.len(), "one attempt, one ticket");
                }
            }
        }
    }
}
