//! What the fleet is told, and what it decides.

#![expect(clippy::unwrap_used, reason = "tests")]

mod planning;
mod watching;

use std::collections::BTreeSet;

use super::*;
use crate::ids::{JobIndex, derived_uuid};

fn pool_name(name: &str) -> PoolName {
    PoolName::new(name).unwrap()
}

fn instance(n: u32) -> InstanceId {
    InstanceId::new(format!("i-{n}")).unwrap()
}

fn build_id(n: u32) -> BuildId {
    BuildId::new(derived_uuid("fleet", &n.to_string()).to_string()).unwrap()
}

fn attempt(n: u32) -> AttemptId {
    AttemptId { build: build_id(0), job: JobIndex(n), number: 1 }
}

fn tags(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(t, v)| ((*t).to_owned(), (*v).to_owned())).collect()
}

fn pool(name: &str, width: u32, offers: &[(&str, &str)], trust: Trust) -> PoolPolicy {
    PoolPolicy {
        name: pool_name(name),
        width,
        idle: Duration::from_secs(60),
        hard_stop: Duration::from_secs(3600),
        tags: tags(offers),
        trust,
        isolation: crate::fleet::Isolation::InForce,
    }
}

/// `small` and `big` for trusted work, in this order, and `forks`.
fn policy() -> Policy {
    Policy {
        pools: vec![
            pool("small", 4, &[("queue", "default")], Trust::Trusted),
            pool("big", 2, &[("queue", "default"), ("size", "big")], Trust::Trusted),
            pool("forks", 3, &[("queue", "default")], Trust::Untrusted),
        ],
        boot: Duration::from_secs(300),
        silence: Duration::from_secs(30),
        no_capacity: Duration::from_secs(20),
        ticket_patience: Duration::from_secs(60),
    }
}

fn demand(build: u32, needs: &[(&str, &str)], ready: u32) -> Demand {
    Demand {
        build: build_id(build),
        line: 0,
        requirement: Requirement::new(&tags(needs)),
        trust: Trust::Trusted,
        priority: 0,
        created_at: Timestamp(u64::from(build)),
        ready,
        released: 0,
    }
}

/// A fleet with a clock.
struct World {
    fleet: Fleet,
    policy: Policy,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        World { fleet: Fleet::default(), policy: policy(), now: Timestamp(1_000_000) }
    }

    fn tell(&mut self, input: Input) {
        self.fleet.fold(input, &self.policy, self.now);
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    fn small(&self) -> &Pool {
        &self.fleet.pools[&pool_name("small")]
    }

    fn machine(&self, n: u32) -> &Machine {
        &self.small().machines[&instance(n)]
    }

    fn up(&mut self, n: u32) {
        self.tell(Input::Up { instance: instance(n), pool: pool_name("small"), seq: 1 });
    }

    fn claimed(&mut self, n: u32, seq: u64, of: u32) {
        let pool = pool_name("small");
        self.tell(Input::Claimed { instance: instance(n), pool, attempt: attempt(of), seq });
    }

    fn freed(&mut self, n: u32, seq: u64) {
        self.tell(Input::Freed { instance: instance(n), pool: pool_name("small"), seq });
    }

    fn closing(&mut self, n: u32, seq: u64) {
        self.tell(Input::Closing { instance: instance(n), pool: pool_name("small"), seq });
    }

    fn intend(&mut self, token: &str, count: u32) {
        self.fleet.intend(&pool_name("small"), token.into(), count, self.now);
    }

    fn launched(&mut self, token: &str, machines: &[u32]) {
        let instances = machines.iter().map(|&n| instance(n)).collect();
        self.tell(Input::Launched { pool: pool_name("small"), token: token.into(), instances });
    }

    fn no_capacity(&mut self, token: &str) {
        self.tell(Input::NoCapacity { pool: pool_name("small"), token: token.into(), why: "none left".into() });
    }

    /// What the cloud sees: these machines, with their beats.
    fn seen(&mut self, alive: &[(u32, Option<u64>)]) {
        let beats = alive.iter().filter_map(|&(n, beat)| Some((instance(n), beat?))).collect();
        let alive = alive.iter().map(|&(n, _)| (instance(n), (pool_name("small"), "t".to_owned()))).collect();
        self.tell(Input::Seen { asked_at: self.now, alive, gone: BTreeMap::new(), taken: BTreeSet::new(), beats });
    }

    fn give_out(&mut self, n: u32) {
        self.fleet.give_out(&pool_name("small"), attempt(n), self.now);
    }

    /// `launch small 2; release 0 x 3 to small`.
    fn plans(&self, demand: &[Demand]) -> String {
        let actions = plan(&self.policy, demand, &self.fleet, self.now);
        let texts = actions.iter().map(|a| match a {
            Action::Launch { pool, count } => format!("launch {pool} {count}"),
            Action::Release { line, count, pool } => format!("release {line} x {count} to {pool}"),
        });
        texts.collect::<Vec<_>>().join("; ")
    }
}
