#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use super::*;
use crate::attempt::{Cause, Claimant};
use crate::build::Input;
use crate::build::tests::{World, block, cmd, input, wait};
use crate::fleet::{Machine, MachineState};
use crate::ids::{AttemptId, InstanceId, PoolName, derived_uuid};
use crate::trust::Trust;

/// A world with the other records.
struct Around {
    w: World,
    attempts: Vec<Attempt>,
    groups: BTreeMap<String, Group>,
    names: BTreeMap<(BuildId, JobIndex), String>,
    children: BTreeMap<JobIndex, Child>,
    fleet: Fleet,
    policy: Policy,
    backlog: BTreeMap<String, u32>,
}

fn pool(name: &str, width: u32) -> PoolPolicy {
    PoolPolicy {
        name: PoolName::new(name).unwrap(),
        width,
        idle: Duration::from_secs(60),
        hard_stop: Duration::from_secs(3600),
        tags: vec![("queue".into(), name.into()), ("os".into(), "linux".into())],
        trust: Trust::Trusted,
        isolation: crate::fleet::Isolation::InForce,
    }
}

fn machine(n: u32) -> InstanceId {
    InstanceId::new(format!("i-{n}")).unwrap()
}

impl Around {
    fn new(w: World) -> Self {
        let seconds = Duration::from_secs;
        let policy = Policy {
            pools: vec![pool("default", 2), pool("none", 0)],
            boot: seconds(60),
            silence: seconds(30),
            no_capacity: seconds(5),
            ticket_patience: seconds(60),
        };
        let attempts = w.build.effects(&w.graph).into_iter().filter_map(|effect| match effect {
            crate::build::Effect::Create { job, number, line, .. } => Some(Attempt {
                id: AttemptId { build: w.build.facts.id.clone(), job, number },
                trust: Trust::Trusted,
                requirement: w.build.lines[line].requirement.clone(),
                retry_count: 0,
                created_at: w.now,
                deadline: w.now + seconds(3600),
                phase: Phase::Queued,
            }),
            _ => None,
        });
        let attempts = attempts.collect();
        let (groups, names, children) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (fleet, backlog) = (Fleet::default(), BTreeMap::new());
        Self { w, attempts, groups, names, children, fleet, policy, backlog }
    }

    fn says(&self, name: &str) -> String {
        let records = Records {
            build: &self.w.build,
            graph: &self.w.graph,
            attempts: &self.attempts,
            groups: &self.groups,
            names: &self.names,
            children: &self.children,
            fleet: &self.fleet,
            policy: &self.policy,
            backlog: &self.backlog,
            now: self.w.now,
        };
        let why = why(self.w.job(name), &records).unwrap();
        match why.until.as_str() {
            "" => why.because,
            until => format!("{}; until {until}", why.because),
        }
    }

    fn machines(&mut self, states: &[MachineState]) {
        let pool = self.fleet.pools.entry(PoolName::new("default").unwrap()).or_default();
        for (n, state) in (0u32..).zip(states) {
            let (since, launched_at) = (Timestamp(0), Timestamp(0));
            let (launch, attempt, seq, late, taken, beat) = (String::new(), None, 1, false, false, None);
            let machine_record =
                Machine { state: state.clone(), since, launched_at, launch, attempt, seq, late, taken, beat };
            pool.machines.insert(machine(n), machine_record);
        }
    }
}

#[test]
fn dependencies_are_named_with_what_they_do() {
    let mut w = World::new([
        cmd("a"),
        cmd("b").jobs(3),
        wait("w"),
        cmd("c"),
        block("ok"),
        cmd("d"),
        cmd("e").after(&["a", "ghost"]),
        cmd("f").after(&["ok"]),
    ]);
    w.exit("b.1", 0);
    let around = Around::new(w);
    assert_eq!(
        around.says("c"),
        "waits for 2 steps: `a` (scheduled) and `b` (scheduled, 1 of 3 jobs are done); until all of them end well"
    );
    assert_eq!(around.says("f"), "waits for `ok` (waiting); until that step ends well");
    assert_eq!(
        around.says("e"),
        "waits for `a` (scheduled), and for `ghost`, which no step has as its key yet; until a job uploads such a step; \
         if none does, the build fails"
    );
    let mut w = around.w;
    w.pass(&["a"]);
    w.exit("b.0", 0);
    w.exit("b.2", 0);
    w.pass(&["c"]);
    let around = Around::new(w);
    assert_eq!(around.says("ok"), "waits for a person; until `tidegate unblock 7 ok` opens it");
    assert_eq!(around.says("d"), "waits for `ok` (blocked: a person must open it); until that step ends well");
}

#[test]
fn who_does_not_run_is_told_because_of_whom() {
    let mut w = World::new([cmd("a"), wait("w"), cmd("b"), cmd("c").after(&["b"]), cmd("s").skipped()]);
    w.fail("a");
    let around = Around::new(w);
    assert_eq!(
        around.says("c"),
        "does not run, because of `a` (failed); until a retry of what failed makes it wait again"
    );
    assert_eq!(around.says("s"), "was left out: test");
    assert_eq!(around.says("a"), "is over: it failed");
}

#[test]
fn a_machine_is_waited_for_with_numbers() {
    let mut around = Around::new(World::new([cmd("a"), cmd("g").queue("gpu"), cmd("n").queue("none")]));
    let expires = "it expires in 60 min, at 1970-01-01T01:00:10.000Z";
    assert_eq!(
        around.says("a"),
        format!(
            "waits for a machine of pool `default`: 0 of 2 are busy; until the next look at the fleet launches one, or {expires}"
        )
    );
    around.machines(&[MachineState::Busy, MachineState::Booting]);
    around.backlog.insert("default".into(), 4);
    assert_eq!(
        around.says("a"),
        format!(
            "waits for a machine of pool `default`: 1 is coming or looking for work, and 3 other jobs wait too; until one of them takes it, or {expires}"
        )
    );
    around.machines(&[MachineState::Busy, MachineState::Busy]);
    assert_eq!(
        around.says("a"),
        format!(
            "waits for a machine of pool `default`: all 2 are in use (2 busy), and 3 other jobs wait too; until a machine is done with its job, or `width` is raised, or {expires}"
        )
    );
    assert_eq!(
        around.says("g"),
        format!(
            "waits for a machine with `queue=gpu`, which no pool offers: `default` lacks queue=gpu and `none` lacks queue=gpu; until a pool with these tags is configured, or {expires}"
        )
    );
    assert_eq!(
        around.says("n"),
        format!(
            "waits for a machine of pool `none`, which may have none: its width is 0; until the pool's `width` is raised, or {expires}"
        )
    );
    around.machines(&[MachineState::Closing]);
    around.fleet.pools.get_mut(&PoolName::new("default").unwrap()).unwrap().machines.remove(&machine(1));
    around.fleet.pools.get_mut(&PoolName::new("default").unwrap()).unwrap().no_capacity =
        Some("no spot capacity".into());
    assert_eq!(
        around.says("a"),
        format!(
            "waits for a machine of pool `default`: the last launch gave none (no spot capacity), and 3 other jobs wait too; until a launch succeeds, the next in 0 s, or {expires}"
        )
    );
    let (instance, boot) = (machine(7), "b");
    let by = Claimant { instance: &instance, boot, pool: &PoolName::new("default").unwrap(), trust: Trust::Trusted };
    around.attempts[0] = around.attempts[0].claim(by, around.w.now).unwrap().unwrap();
    assert_eq!(around.says("a"), "is being prepared on i-7: checkout and hooks come before the command");
    around.attempts[0] = around.attempts[0].start(&instance, boot, around.w.now).unwrap().0.unwrap();
    assert_eq!(around.says("a"), "runs on i-7");
}

#[test]
fn a_group_is_named_with_who_holds_it() {
    let w = World::new([cmd("a").concurrency("deploy", 1)]);
    let id = w.build.facts.id.clone();
    let mut around = Around::new(w);
    assert_eq!(
        around.says("a"),
        "is joining the concurrency group `deploy` (limit 1); until the next look at the group tells it"
    );
    let member = |n: u64, build: &BuildId| Member {
        build: build.clone(),
        job: JobIndex(0),
        round: 1,
        limit: 1,
        eager: false,
        order: (Timestamp(n), build.clone(), JobIndex(0)),
        told: false,
        early: false,
        since: None,
    };
    let other = |n: &str| BuildId::new(derived_uuid("t", n).to_string()).unwrap();
    let mut group = Group::default();
    for (n, build) in [(1, &other("1")), (2, &other("2")), (3, &id)] {
        group.fold(crate::group::Input::Join(member(n, build)));
    }
    group.grant();
    around.names.insert((other("1"), JobIndex(0)), "`ship` of web#3".into());
    around.groups.insert("deploy".into(), group.clone());
    assert_eq!(
        around.says("a"),
        "waits for a slot of the concurrency group `deploy` (limit 1): 1 slot is taken, by `ship` of web#3, and 1 job is \
         ahead of it; until fewer than 1 jobs that came before it are left"
    );
    group.fold(crate::group::Input::Leave { build: other("2"), job: JobIndex(0), round: 1 });
    around.groups.insert("deploy".into(), group.clone());
    assert!(
        around.says("a").ends_with("by `ship` of web#3; until fewer than 1 slots are taken"),
        "{}",
        around.says("a")
    );
    group.fold(crate::group::Input::Leave { build: other("1"), job: JobIndex(0), round: 1 });
    group.grant();
    around.groups.insert("deploy".into(), group);
    assert!(around.says("a").starts_with("was given a slot of"), "{}", around.says("a"));
}

#[test]
fn pauses_people_and_cancels() {
    let mut w = World::new([cmd("a"), input("ask"), cmd("b").rule(&[], 1)]);
    for _ in 0..3 {
        w.end("a", Cause::Interrupted, None);
        if w.cell("a").losses < 3 {
            w.later(Duration::from_secs(5));
        }
    }
    let around = Around::new(w);
    assert_eq!(
        around.says("a"),
        "waits before it is tried again: 3 attempts ended in a row for no fault of the job; until the next attempt starts in 2 s"
    );
    let mut w = around.w;
    w.fold(&Input::Ended(w.ended("b", Cause::Exit, Some(1))));
    assert!(Around::new(w.clone()).says("b").starts_with("is about to be tried again by a rule of `retry`"));
    w.settle();
    w.cancel();
    let around = Around::new(w);
    assert_eq!(
        around.says("b"),
        "is being canceled; until its machine ends the command, gently at first and then by force"
    );
    assert_eq!(around.says("a"), "is over: it is canceled");
}

#[test]
fn a_build_in_a_sentence() {
    let mut w = World::new([cmd("a").jobs(2), block("ok").after(&[]), cmd("b").after(&["ok"]), wait("w"), cmd("c")]);
    let say = |w: &World| {
        let around = Around::new(w.clone());
        let records = Records {
            build: &around.w.build,
            graph: &around.w.graph,
            attempts: &around.attempts,
            groups: &around.groups,
            names: &around.names,
            children: &around.children,
            fleet: &around.fleet,
            policy: &around.policy,
            backlog: &around.backlog,
            now: around.w.now,
        };
        sentence(&records)
    };
    assert_eq!(
        say(&w),
        "hello#7 is scheduled: 2 wait for machines, 1 waits for a person and 2 wait for steps before them"
    );
    w.cancel();
    w.end("a.0", Cause::Canceled, None);
    w.end("a.1", Cause::Canceled, None);
    assert_eq!(say(&w), "hello#7 is over since 1970-01-01T00:00:10.000Z: canceled");
}
