//! What to launch and what to give out.

use proptest::prelude::*;

use super::*;

#[test]
fn nothing_is_launched_for_nobody() {
    assert_eq!(World::new().plans(&[]), "");
    assert_eq!(World::new().plans(&[demand(1, &[], 0)]), "");
}

#[test]
fn a_push_brings_machines_and_tickets_up_to_the_width() {
    let w = World::new();
    assert_eq!(w.plans(&[demand(1, &[], 3)]), "launch small 3; release 0 x 3 to small");
    assert_eq!(w.plans(&[demand(1, &[], 30)]), "launch small 4; release 0 x 4 to small");
}

#[test]
fn a_line_goes_to_the_first_pool_that_offers_everything_and_trusts_alike() {
    let w = World::new();
    let forks = Demand { trust: Trust::Untrusted, ..demand(3, &[], 1) };
    let nobody = Demand { trust: Trust::Untrusted, ..demand(4, &[("size", "big")], 1) };
    let lines = [demand(1, &[], 1), demand(2, &[("size", "big")], 1), forks, nobody, demand(5, &[("gpu", "*")], 1)];
    assert_eq!(
        w.plans(&lines),
        "launch small 1; release 0 x 1 to small; launch big 1; release 1 x 1 to big; launch forks 1; release 2 x 1 to forks"
    );
}

#[test]
fn free_machines_are_used_before_any_is_launched() {
    let mut w = World::new();
    w.up(1);
    w.up(2);
    assert_eq!(w.plans(&[demand(1, &[], 2)]), "release 0 x 2 to small");
    assert_eq!(w.plans(&[demand(1, &[], 3)]), "launch small 1; release 0 x 3 to small");
    w.give_out(1);
    assert_eq!(w.plans(&[demand(1, &[], 2)]), "launch small 1; release 0 x 2 to small");
}

#[test]
fn a_machine_that_leaves_is_no_capacity_but_takes_room() {
    let mut w = World::new();
    for n in 1..=4 {
        w.up(n);
        w.closing(n, 2);
    }
    assert_eq!(w.plans(&[demand(1, &[], 1)]), "", "there is no room until they are gone");
    w.policy.pools[0].width = 5;
    assert_eq!(w.plans(&[demand(1, &[], 1)]), "launch small 1; release 0 x 1 to small");
}

#[test]
fn a_few_are_given_out_ahead_to_machines_that_work() {
    let mut w = World::new();
    for n in 1..=4 {
        w.up(n);
        w.claimed(n, 2, n);
    }
    w.pass(1);
    assert_eq!(w.plans(&[demand(1, &[], 30)]), "release 0 x 2 to small");
    w.give_out(10);
    w.give_out(11);
    assert_eq!(w.plans(&[demand(1, &[], 30)]), "");
}

#[test]
fn where_steps_are_rare_half_as_many_again_are_given_out_as_were_just_claimed() {
    let mut w = World::new();
    w.policy.pools[0].width = 40;
    for n in 1..=40 {
        w.up(n);
        w.claimed(n, 2, n);
    }
    w.pass(1);
    assert_eq!(w.plans(&[demand(1, &[], 90)]), "release 0 x 8 to small", "nothing is known of the pace");
    for n in 1..=20 {
        w.claimed(n, 3, 100 + n);
    }
    assert_eq!(w.plans(&[demand(1, &[], 90)]), "release 0 x 30 to small");
    for n in 21..=40 {
        w.claimed(n, 3, 100 + n);
    }
    assert_eq!(
        w.plans(&[demand(1, &[], 90)]),
        "release 0 x 40 to small",
        "never more than there are machines that work"
    );
}

#[test]
fn no_capacity_pauses_launches_and_not_tickets() {
    let mut w = World::new();
    w.up(1);
    w.intend("t", 3);
    w.no_capacity("t");
    assert_eq!(w.small().no_capacity.as_deref(), Some("none left"));
    assert_eq!(w.plans(&[demand(1, &[], 3)]), "release 0 x 1 to small");
    w.pass(20);
    assert_eq!(w.plans(&[demand(1, &[], 3)]), "launch small 2; release 0 x 3 to small");
}

#[test]
fn an_unresolved_launch_counts_for_two_minutes_and_is_then_made_anew() {
    let mut w = World::new();
    w.intend("t", 3);
    assert_eq!(w.plans(&[demand(1, &[], 3)]), "release 0 x 3 to small");
    w.pass(121);
    assert_eq!(w.plans(&[demand(1, &[], 3)]), "launch small 3; release 0 x 3 to small");
    w.fleet.forget_launches(w.now);
    w.intend("u", 3);
    let tokens: Vec<&str> = w.small().launches.iter().map(|l| l.token.as_str()).collect();
    assert_eq!(tokens, ["u"], "one unresolved launch at most");
}

#[test]
fn a_launch_is_one_callers_until_it_has_had_its_time() {
    let mut w = World::new();
    w.intend("t", 1);
    assert_eq!(w.fleet.take_launches(w.now), ["t"]);
    w.pass(29);
    assert!(w.fleet.take_launches(w.now).is_empty(), "somebody is making the call");
    w.pass(1);
    assert_eq!(w.fleet.take_launches(w.now), ["t"]);
    let ask_after = w.now + Duration::from_secs(2);
    w.tell(Input::Unanswered { pool: pool_name("small"), token: "t".into(), ask_after });
    w.pass(2);
    assert_eq!(w.fleet.take_launches(w.now), ["t"], "an answer that did not come is asked for sooner");
}

#[test]
fn lines_are_ordered_by_priority_then_age() {
    let line =
        |build, priority, created_at| Demand { priority, created_at: Timestamp(created_at), ..demand(build, &[], 1) };
    let mut lines =
        [line(1, 0, 20), line(2, 0, 3), line(3, 5, 100), line(4, -1, 1), line(5, i64::MAX, 100), line(6, i64::MIN, 1)];
    lines.sort_by_key(Demand::order_key);
    let order: Vec<i64> = lines.iter().map(|l| l.priority).collect();
    assert_eq!(order, [i64::MAX, 5, 0, 0, -1, i64::MIN]);
    assert_eq!(lines[2].created_at, Timestamp(3));
}

fn machines() -> impl Strategy<Value = Vec<(u8, u8)>> {
    proptest::collection::vec((0u8..3, 0u8..5), 0..8)
}

proptest! {
    /// Whatever the state: no launch over the width or without need (I6), a launch where there is need, room and no
    /// pause (I7), and only ready attempts of matching lines given out, in order, to places that exist.
    #[test]
    fn plans_keep_their_bounds(
        machines in machines(),
        launches in proptest::collection::vec((0u8..3, 1u32..4, 0u64..200), 0..3),
        tickets in proptest::collection::vec(0u8..3, 0..12),
        lines in proptest::collection::vec((0u8..4, any::<bool>(), -2i64..3, 0u64..9, 0u32..6, 0u32..6), 0..8),
        paused in any::<bool>(),
    ) {
        let mut w = World::new();
        let names = ["small", "big", "forks"].map(pool_name);
        for (n, (pool, state)) in (0u32..).zip(&machines) {
            let state = match state {
                0 => MachineState::Booting,
                1 => MachineState::Idle,
                2 => MachineState::Busy,
                3 => MachineState::Closing,
                _ => MachineState::Lost("test".into()),
            };
            w.tell(Input::Up { instance: instance(n), pool: names[usize::from(*pool)].clone(), seq: 1 });
            let pool = w.fleet.pools.get_mut(&names[usize::from(*pool)]).unwrap();
            pool.machines.get_mut(&instance(n)).unwrap().state = state;
        }
        for (pool, count, age) in launches {
            let at = w.now - Duration::from_secs(age);
            w.fleet.intend(&names[usize::from(pool)], format!("{age}"), count, at);
        }
        for (n, pool) in (0u32..).zip(&tickets) {
            w.fleet.give_out(&names[usize::from(*pool)], attempt(n), w.now);
        }
        if paused && let Some(pool) = w.fleet.pools.values_mut().next() {
            pool.launch_after = w.now + Duration::from_secs(1);
        }
        let mut demands: Vec<Demand> = (0u32..).zip(&lines).map(|(n, (needs, trusted, priority, at, ready, released))| Demand {
            trust: if *trusted { Trust::Trusted } else { Trust::Untrusted },
            priority: *priority,
            created_at: Timestamp(*at),
            released: *released,
            ..demand(n, [&[][..], &[("size", "big")], &[("gpu", "*")], &[("queue", "*")]][usize::from(*needs)], *ready)
        }).collect();
        demands.sort_by_key(Demand::order_key);

        let actions = plan(&w.policy, &demands, &w.fleet, w.now);
        for policy in &w.policy.pools {
            let mut state = w.fleet.pools.get(&policy.name).cloned().unwrap_or_default();
            state.launches.retain(|l| w.now.since(l.at) <= UNRESOLVED);
            let mine = |d: &Demand| w.policy.pool_for(&d.requirement, d.trust).is_some_and(|p| p.name == policy.name);
            let waiting: u32 = demands.iter().filter(|d| mine(d)).map(Demand::waiting).sum();
            let needed = (waiting + u32::try_from(state.tickets.len()).unwrap()).saturating_sub(state.free());
            let launched: Vec<u32> = actions.iter().filter_map(|a| match a {
                Action::Launch { pool, count } if *pool == policy.name => Some(*count),
                _ => None,
            }).collect();
            prop_assert!(launched.len() <= 1);
            let launch = launched.first().copied().unwrap_or(0);
            prop_assert!(launch <= needed, "I6");
            prop_assert!(launch == 0 || state.existing() + launch <= policy.width);
            let room = state.existing() < policy.width && w.now >= state.launch_after;
            prop_assert!(launch > 0 || needed == 0 || !room, "I7");

            let mut last = None;
            let mut given = 0;
            for action in &actions {
                let Action::Release { line, count, pool } = action else { continue };
                if *pool != policy.name {
                    continue;
                }
                let d = &demands[*line];
                prop_assert!(mine(d) && d.trust == policy.trust && d.requirement.is_met_by(&policy.tags));
                prop_assert!((1..=d.waiting()).contains(count));
                prop_assert!(last.is_none_or(|l| l < *line), "in order, each line once");
                for earlier in demands.iter().take(*line).skip(last.map_or(0, |l: usize| l + 1)) {
                    prop_assert!(!mine(earlier) || earlier.waiting() == 0, "nobody is passed over");
                }
                last = Some(*line);
                given += count;
            }
            let out = u32::try_from(state.tickets.len()).unwrap();
            let places = state.free() + launch + 8.min(state.busy());
            prop_assert!(given == 0 || out + given <= places);
            prop_assert!(given == waiting || out + given >= (state.free() + launch).min(policy.width * 2));
        }
    }

    /// Escaping keeps every requirement apart from every other, out of the way of record keys, and readable.
    #[test]
    fn requirements_keep_their_tags(
        wanted in proptest::collection::btree_map("[a-z%,=/*]{1,4}", "[a-z0-9%,=/ ]{1,5}", 0..4),
    ) {
        let list: Vec<(String, String)> = wanted.clone().into_iter().collect();
        let requirement = Requirement::new(&list);
        let mut read: BTreeMap<String, String> = requirement.tags().collect();
        if !wanted.contains_key("queue") {
            prop_assert_eq!(read.remove("queue"), Some("default".to_owned()));
        }
        prop_assert_eq!(read, wanted);
        prop_assert!(!requirement.as_str().contains('/'));
        let mut reversed = list;
        reversed.reverse();
        prop_assert_eq!(Requirement::new(&reversed), requirement);
    }
}
