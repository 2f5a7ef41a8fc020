//! What to launch and what to give out, given everything that is known. Pure.

use super::{Demand, Fleet, LAUNCH_CALL, Launch, Policy, PoolPolicy, UNRESOLVED};
use crate::ids::{AttemptId, PoolName};
use crate::time::Timestamp;

/// What was decided. Every action is in the record when it is performed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Give out the next `count` attempts of a demand line to a pool.
    Release {
        /// Place in the list of demand lines.
        line: usize,
        /// How many.
        count: u32,
        /// Where to.
        pool: PoolName,
    },
    /// Launch machines.
    Launch {
        /// For which pool.
        pool: PoolName,
        /// How many.
        count: u32,
    },
}

/// Attempts that may be out beyond the machines that are free, so that a machine that ends a job finds the next one
/// without a round trip: one for each two that work, at least one, at most eight. Where steps are rare and jobs are short,
/// that is too little: then half as many again as were claimed since the step before, because until the next step nothing
/// more is given out.
fn look_ahead(busy: u32, claimed: u32) -> u32 {
    let few = if busy == 0 { 0 } else { busy.div_ceil(2).clamp(1, 8) };
    few.max(claimed.saturating_add(claimed / 2).min(busy))
}

/// Decides, for every pool, what to give out and what to launch. `demand` is in dispatch order over all requirements, the
/// first lines of each at least; lines that no pool matches stay where they are.
pub fn plan(policy: &Policy, demand: &[Demand], fleet: &Fleet, now: Timestamp) -> Vec<Action> {
    let mut actions = Vec::new();
    for pool in &policy.pools {
        plan_pool(policy, pool, demand, fleet, now, &mut actions);
    }
    actions
}

fn plan_pool(
    policy: &Policy,
    pool: &PoolPolicy,
    demand: &[Demand],
    fleet: &Fleet,
    now: Timestamp,
    actions: &mut Vec<Action>,
) {
    let mut state = fleet.pools.get(&pool.name).cloned().unwrap_or_default();
    state.launches.retain(|launch| now.since(launch.at) <= UNRESOLVED);
    let out = u32::try_from(state.tickets.len()).unwrap_or(u32::MAX);
    let lines = || {
        demand.iter().enumerate().filter(|(_, d)| {
            d.waiting() > 0 && policy.pool_for(&d.requirement, d.trust).is_some_and(|p| p.name == pool.name)
        })
    };
    let waiting: u32 = lines().fold(0, |sum, (_, d)| sum.saturating_add(d.waiting()));

    // Launch for what no free machine is there for, tickets that are out included.
    let wanted = out.saturating_add(waiting).saturating_sub(state.free());
    let room = pool.width.saturating_sub(state.existing());
    let launch = if now >= state.launch_after { wanted.min(room) } else { 0 };
    if launch > 0 {
        actions.push(Action::Launch { pool: pool.name.clone(), count: launch });
    }

    // Give out for every machine that is free or coming, and a little ahead.
    let places =
        (state.free() + launch + look_ahead(state.busy(), state.claimed_at(now))).min(pool.width.saturating_mul(2));
    let mut left = places.saturating_sub(out);
    for (line, d) in lines() {
        if left == 0 {
            break;
        }
        let count = d.waiting().min(left);
        left -= count;
        actions.push(Action::Release { line, count, pool: pool.name.clone() });
    }
}

impl Fleet {
    /// Forgets launches that have had no answer for so long that they are not counted any more: they are not made again,
    /// because what they were for may be gone, and what they launched after all is found by its tags.
    pub fn forget_launches(&mut self, now: Timestamp) {
        for pool in self.pools.values_mut() {
            pool.launches.retain(|launch| now.since(launch.at) <= UNRESOLVED);
        }
    }

    /// Writes down a launch before it is made.
    pub fn intend(&mut self, pool: &PoolName, token: String, count: u32, now: Timestamp) {
        let launches = &mut self.pools.entry(pool.clone()).or_default().launches;
        launches.push(Launch { token, count, at: now, ask_after: now });
    }

    /// Takes the calls on that nobody is making: they are the caller's as soon as the record is written.
    pub fn take_launches(&mut self, now: Timestamp) -> Vec<String> {
        let due = self.pools.values_mut().flat_map(|p| &mut p.launches).filter(|l| l.ask_after <= now);
        due.map(|launch| {
            launch.ask_after = now + LAUNCH_CALL;
            launch.token.clone()
        })
        .collect()
    }

    /// Takes on the tickets whose messages are to be sent: the sending is the caller's as soon as the record is written. What
    /// it does not get to is sent again when somebody's patience ends ([`Policy::ticket_patience`]).
    pub fn take_tickets(&mut self, now: Timestamp) -> Vec<(PoolName, Vec<AttemptId>)> {
        let mut taken = Vec::new();
        for (name, pool) in &mut self.pools {
            let unsent = pool.tickets.iter_mut().filter(|ticket| !ticket.sent);
            let attempts: Vec<AttemptId> = unsent
                .map(|ticket| {
                    (ticket.sent, ticket.at) = (true, now);
                    ticket.attempt.clone()
                })
                .collect();
            if !attempts.is_empty() {
                taken.push((name.clone(), attempts));
            }
        }
        taken
    }

    /// Writes down an attempt before its ticket is sent. Returns whether it was not out already.
    pub fn give_out(&mut self, pool: &PoolName, attempt: AttemptId, now: Timestamp) -> bool {
        self.pools.entry(pool.clone()).or_default().give_out(attempt, now)
    }
}
