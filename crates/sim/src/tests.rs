//! Tests of the simulator itself: determinism first, because without it a seed says nothing.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and shows its counts")]

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tidegate_core::ids::{CommitSha, PipelineSlug, RepositoryId, RepositoryName};
use tidegate_core::secret::{SecretName, SecretValue};
use tidegate_engine::conformance::{self, Report, Trial, Violation};
use tidegate_engine::ports::RepositorySource;

use crate::exec::lock;
use crate::faults::{Fault, Faults, Rates};
use crate::interrupted::{self, compare};
use crate::run::run;
use crate::sabotage::Sabotage;
use crate::world::{Accident, Plan, SECOND, Trace, World, pool_name};

fn plan(seed: u64, builds: usize) -> Plan {
    Plan::new(seed, builds, Faults::all())
}

/// Runs first (by its name): the same seed twice gives the same bytes.
#[test]
fn a_determinism() {
    for small in [true, false] {
        let plan = Plan { trace: Trace::Keep, small, ..plan(7, 12) };
        let (one, two) = (run(plan.clone()), run(plan));
        assert!(one.trace.len() > 10_000);
        assert!(one.trace == two.trace, "the same seed gave two traces");
    }
}

#[test]
fn different_seeds_give_different_worlds() {
    let of = |seed| run(Plan { trace: Trace::Keep, small: true, ..plan(seed, 3) }).trace;
    assert_ne!(of(1), of(2));
}

/// A world without agents: whatever is launched lives until it is ended.
fn in_a_world<F>(seed: u64, faults: Faults, suite: impl FnOnce(World) -> F) -> Report
where
    F: Future<Output = Result<Report, Violation>> + Send + 'static,
{
    let world = World::new(Plan { faults, ..plan(seed, 0) });
    let answer = Arc::new(Mutex::new(None));
    let (task, slot) = (suite(world.clone()), Arc::clone(&answer));
    world.spawn(async move {
        let done = task.await;
        *lock(&slot) = Some(done);
    });
    let probe = Arc::clone(&answer);
    world.exec.run_until(1_000_000 * SECOND, move || lock(&probe).is_some());
    let done = lock(&answer).take();
    let mut report = done.expect_done().unwrap();
    report.counts.extend(lock(&world.counts).iter().map(|(what, count)| (*what, *count)));
    world.end();
    report
}

trait Done<T> {
    fn expect_done(self) -> T;
}

impl<T> Done<T> for Option<T> {
    fn expect_done(self) -> T {
        match self {
            Some(value) => value,
            None => panic!("the suite did not end"),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(4 * 3600);

/// Over some seeds, with every fault and with none: the properties hold, and the worst really happened.
fn conforms<F>(port: &str, must_happen: &[&str], suite: impl Fn(World) -> F)
where
    F: Future<Output = Result<Report, Violation>> + Send + 'static,
{
    in_a_world(1, Faults::NONE, &suite);
    let mut sum = Report::default();
    for seed in 1..=12 {
        let report = in_a_world(seed, Faults::all(), &suite);
        sum.properties = report.properties;
        for (what, count) in report.counts {
            *sum.counts.entry(what).or_default() += count;
        }
    }
    println!("{port}: {sum}");
    for what in must_happen {
        assert!(sum.count(what) > 0, "`{what}` never happened: the simulated {port} is too kind");
    }
}

#[test]
fn the_store_conforms_at_its_worst() {
    let wanted = ["retries", "conflicts", "store: throttled", "store: answer lost", "store: short page"];
    conforms("store", &wanted, |world| async move {
        let clock = world.clone();
        conformance::store::suite(&Trial::new(&clock, "t", PATIENCE), &world).await
    });
}

#[test]
fn the_queue_conforms_at_its_worst() {
    let wanted =
        ["duplicates", "received after delete", "out of order", "out of order in a group", "retries", "queue: late"];
    conforms("queue", &wanted, |world| async move {
        let clock = world.clone();
        let subject = conformance::queue::Subject { queue: &world, name: "doorbell", other: "tickets-a.b_c" };
        conformance::queue::suite(&Trial::new(&clock, "t", PATIENCE), subject).await
    });
}

#[test]
fn the_blobs_conform_at_their_worst() {
    conforms("blobs", &["blobs: 503", "blobs: answer lost"], |world| async move {
        let clock = world.clone();
        conformance::blobs::suite(&Trial::new(&clock, "t", PATIENCE), &world).await
    });
    conforms("blobs", &["retries", "blobs: answer lost"], |world| async move {
        let clock = world.clone();
        conformance::parts::suite(&Trial::new(&clock, "p", PATIENCE), &world, &world).await
    });
}

#[test]
fn the_fleet_conforms_at_its_worst() {
    let wanted = ["no capacity", "fewer than asked for", "cloud: launched, answer lost", "cloud: failed before"];
    conforms("fleet", &wanted, |world| async move {
        let clock = world.clone();
        let pool = pool_name("default");
        let subject = conformance::fleet::Subject { fleet: &world, pool: &pool };
        conformance::fleet::suite(&Trial::new(&clock, "t", PATIENCE), subject).await
    });
}

#[test]
fn clock_and_ids_conform() {
    conforms("clock", &[], |world| async move {
        let clock = world.clone();
        conformance::clock::suite(&Trial::new(&clock, "t", PATIENCE), &world).await?;
        conformance::clock::id_suite(&Trial::new(&clock, "t", PATIENCE), &world).await
    });
}

struct SecretOwner(World);

#[async_trait::async_trait]
impl conformance::secrets::Owner for SecretOwner {
    async fn keep(&self, name: &SecretName, pipeline: Option<&PipelineSlug>, trusted_only: bool, value: &SecretValue) {
        let secret = (trusted_only, value.clone());
        lock(&self.0.secrets).kept.insert((name.clone(), pipeline.cloned()), secret);
    }
}

#[test]
fn the_secrets_conform_at_their_worst() {
    conforms("secrets", &["secrets: failed before"], |world| async move {
        let clock = world.clone();
        let trial = Trial::new(&clock, "t", PATIENCE);
        conformance::secrets::suite(&trial, &world, &SecretOwner(world.clone())).await
    });
}

#[test]
fn the_repositories_conform_at_their_worst() {
    conforms("repositories", &["git: failed"], |world| async move {
        let sha = |c: &str| CommitSha::new(c.repeat(40)).unwrap();
        let source = |n: u64| RepositorySource {
            id: RepositoryId(n),
            full_name: RepositoryName::new("sim/x").unwrap(),
            clone_url: format!("sim:{n}"),
        };
        let file = |path: &str, content: &[u8]| (path.to_owned(), Bytes::copy_from_slice(content));
        let kept =
            [file("dir/kept", b"kept\n"), file("large", &[b'x'; (1 << 20) + 1]), file("binary", &[0, 255, 10, 13])];
        let mut first: std::collections::BTreeMap<_, _> = kept.into_iter().collect();
        let mut second = first.clone();
        first.extend([file("changed", b"one\n")]);
        second.extend([file("changed", b"two\n"), file("added", b"new\n")]);
        {
            let mut git = lock(&world.git);
            let repo = git.repos.entry(RepositoryId(1)).or_default();
            repo.commits.insert("a".repeat(40), first);
            repo.commits.insert("b".repeat(40), second);
            repo.parents.insert("b".repeat(40), "a".repeat(40));
            repo.refs.insert("refs/heads/main".to_owned(), "b".repeat(40));
            repo.refs.insert("refs/tags/v1".to_owned(), "a".repeat(40));
        }
        let clock = world.clone();
        let subject = conformance::repositories::Subject {
            repositories: &world,
            source: source(1),
            missing: source(2),
            branch: "main".to_owned(),
            tag: "v1".to_owned(),
            first: sha("a"),
            second: sha("b"),
        };
        conformance::repositories::suite(&Trial::new(&clock, "t", PATIENCE), &subject).await
    });
}

pub(crate) fn holds(plan: Plan) {
    let outcome = run(plan.clone());
    if let Some(violation) = outcome.violations.first() {
        panic!("{}: {}\n{}", violation.invariant, violation.what, crate::run::command(&plan));
    }
}

#[test]
fn a_quiet_world_is_right() {
    holds(Plan { faults: Faults::NONE, ..plan(1, 30) });
}

#[test]
fn bad_worlds_are_right() {
    for seed in 1..=4 {
        holds(plan(seed, 30));
    }
}

/// A sample of the crash points of a small world; `tidegate-sim crashes` tries all.
#[test]
fn crashes_at_single_places_are_repaired() {
    let small = Plan { faults: Faults::NONE, small: true, ..plan(1, 2) };
    let points = run(small.clone()).points;
    assert!(points > 200);
    for at in (0..points).step_by(usize::try_from(points / 40).unwrap()) {
        holds(Plan { accident: Some(Accident::Crash(at)), ..small.clone() });
    }
}

/// A sample of the places where a task can be frozen; `tidegate-sim stalls` tries all. Each bug that a stalled step led to was
/// of one kind: what was read before the pause was taken for true after it.
#[test]
fn stalls_at_single_places_change_nothing() {
    let small = Plan { faults: Faults::NONE, small: true, ..plan(2, 2) };
    let points = run(small.clone()).points;
    assert!(points > 200);
    for at in (0..points).step_by(usize::try_from(points / 40).unwrap()) {
        holds(Plan { accident: Some(Accident::Stall(at)), ..small.clone() });
    }
}

/// A world with a second act, in which what was built in the first is old and is deleted.
#[test]
fn old_builds_are_deleted_and_no_others() {
    let outcome = run(plan(9, 30));
    assert!(outcome.counts.get("old builds deleted").is_some_and(|n| *n > 20), "{:?}", outcome.counts);
    assert!(outcome.violations.is_empty(), "{:?}", outcome.violations);
}

/// Everything that the worlds are made of happens in them: what never happens is not checked.
#[test]
fn the_worlds_have_everything_in_them() {
    let wanted = [
        "people: a build is made again",
        "people: a build is retried",
        "people: a cancel is acknowledged",
        "people: a step is opened",
        "people: ask why",
        "services: told",
        "builds of schedules",
        "builds of trigger steps",
        "builds canceled for newer ones",
    ];
    let mut seen = std::collections::BTreeMap::<&str, u64>::new();
    for seed in 21..=26 {
        let counts = run(plan(seed, 60)).counts;
        counts.into_iter().for_each(|(what, n)| *seen.entry(what).or_default() += n);
    }
    for what in wanted {
        assert!(seen.contains_key(what), "`{what}` never happened");
    }
}

const RATES: Rates = Rates { interrupted: 0.2, doubled: 0.05, failing: 0.02 };

/// `tidegate-sim interrupted` compares more of them.
#[test]
fn builds_end_as_they_do_without_faults() {
    let compared = compare(&interrupted::plan(1, 6, 20, RATES), RATES);
    assert_eq!(compared.mismatches, Vec::<String>::new());
    assert_eq!(compared.builds, 6);
    for what in ["cloud: a machine is taken at its work", "queue: sent twice", "store: throttled", "store: answer lost"]
    {
        assert!(compared.count(what) > 0, "`{what}` never happened");
    }
}

/// A machine that is taken counts as a failure of its job: that is seen.
#[test]
fn builds_that_end_otherwise_with_faults_are_noticed() {
    let plan = Plan { sabotage: Some(Sabotage::LossCountedAsFailure), ..interrupted::plan(1, 6, 20, RATES) };
    assert!(!compare(&plan, RATES).mismatches.is_empty());
}

/// The quick ones; `tidegate-sim sabotage` tries all.
#[test]
fn planted_defects_are_found() {
    for sabotage in [Sabotage::SignatureNotChecked, Sabotage::TicketDeletedFirst, Sabotage::LossCountedAsFailure] {
        let found = (1..=20).find_map(|seed| {
            let violations = run(Plan { sabotage: Some(sabotage), ..plan(seed, 40) }).violations;
            violations.first().map(|v| v.invariant)
        });
        let right = found.is_some_and(|f| sabotage.invariants().split(' ').any(|i| i == f));
        assert!(right, "`{}` is found by {found:?}", sabotage.name());
    }
}

#[test]
fn fault_lists_are_read_as_they_are_written() {
    let some = Faults::NONE.with(Fault::Crash).with(Fault::Late);
    for faults in [Faults::NONE, Faults::all(), some] {
        assert_eq!(faults.to_string().parse(), Ok(faults));
    }
    assert!("crash,crsh".parse::<Faults>().is_err());
}
