//! The simulated world: everything around the engine, and the engine in it.

pub(crate) mod agent;
pub(crate) mod checks;
pub(crate) mod curious;
pub(crate) mod github;
pub(crate) mod ledger;
pub(crate) mod listeners;
pub(crate) mod manual;
pub(crate) mod origins;
pub(crate) mod people;
pub(crate) mod pipelines;
pub(crate) mod retention;
pub(crate) mod rogue;
pub(crate) mod services;
mod settings;
pub(crate) mod supersede;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_core::fleet::{Isolation, Policy, PoolPolicy};
use tidegate_core::ids::PoolName;
use tidegate_core::time::Timestamp;
use tidegate_core::trust::Trust;
use tidegate_engine::ports::NoCredentials;
use tidegate_engine::{Engine, Ports};

use crate::exec::{Answer, Exec, lock};
use crate::faults::{Fault, Faults, Rates};
use crate::ports::{BlobState, CloudState, ForgeState, GitState, QueueState, SecretState, StoreState};
use crate::rng::Rng;
use crate::sabotage::{self, Planted, Sabotage};
use ledger::Ledger;
use pipelines::Book;

/// When the world begins: 2026-01-01T00:00:00Z, in milliseconds.
const EPOCH: u64 = 1_767_225_600_000;
/// Processes of ours that run at once.
pub(crate) const PROCESSES: usize = 3;

pub(crate) const SECOND: u64 = 1_000_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;

/// What becomes of the lines of the trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trace {
    Off,
    #[cfg_attr(not(test), expect(dead_code, reason = "two runs of one seed are compared by a test"))]
    Keep,
    Print,
}

/// What a run is made of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// How many moves of refs are pushed.
    pub(crate) builds: usize,
    pub(crate) faults: Faults,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) trace: Trace,
    /// What happens to one task of ours, and nothing else.
    pub(crate) accident: Option<Accident>,
    /// A small world: one repository, short builds, nothing that takes long.
    pub(crate) small: bool,
    /// One build of this, and nothing else.
    pub(crate) single: Option<Arc<Single>>,
    /// A push for each of as many texts of so many jobs, and nothing else.
    pub(crate) even: Option<Even>,
}

/// Builds whose outcomes depend on nothing but their texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Even {
    /// Jobs of each build.
    pub(crate) jobs: usize,
    pub(crate) rates: Rates,
}

impl Plan {
    /// A large world without planted defects, accidents and trace.
    pub(crate) fn new(seed: u64, builds: usize, faults: Faults) -> Self {
        Self {
            seed,
            builds,
            faults,
            sabotage: None,
            trace: Trace::Off,
            accident: None,
            small: false,
            single: None,
            even: None,
        }
    }
}

/// A pipeline that is run alone.
#[derive(Debug)]
pub(crate) struct Single {
    pub(crate) yaml: String,
    /// What the jobs ask for: each has a pool of its own.
    pub(crate) pools: Vec<Vec<(String, String)>>,
    /// How many machines each pool has at most.
    pub(crate) width: u32,
}

/// Something that happens to a task of ours at one place: there are two a port call, before and after its effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Accident {
    /// It is killed; at every third place its whole process is.
    Crash(u64),
    /// It is frozen for minutes while everything else goes on, and then goes on itself.
    Stall(u64),
}

/// How long a stalled task is frozen: longer than the patience with a silent machine.
const STALL: u64 = 4 * MINUTE;

/// Which side of the world a call goes to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Side {
    Store,
    Queue,
    Blobs,
    Cloud,
    Git,
    Forge,
    Secrets,
    Outbound,
}

/// What becomes of the answer of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    Answered,
    Lost,
}

/// Everything. Cloning it is sharing it.
#[derive(Clone)]
pub(crate) struct World(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) exec: Arc<Exec>,
    pub(crate) plan: Plan,
    pub(crate) rng: Mutex<Rng>,
    /// Faults have stopped.
    pub(crate) calm: AtomicBool,
    /// Sweeps have stopped: what is left is drained.
    pub(crate) draining: AtomicBool,
    pub(crate) outages: Mutex<Vec<(Side, u64, u64)>>,
    /// Port calls made by tasks of ours.
    pub(crate) points: AtomicU64,
    pub(crate) crashes: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) store: Mutex<StoreState>,
    pub(crate) queue: Mutex<QueueState>,
    pub(crate) blobs: Mutex<BlobState>,
    pub(crate) cloud: Mutex<CloudState>,
    pub(crate) git: Mutex<GitState>,
    pub(crate) forge: Mutex<ForgeState>,
    pub(crate) secrets: Mutex<SecretState>,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) book: Book,
    engines: Mutex<Vec<Arc<Engine>>>,
    trace: Mutex<Vec<u8>>,
    pub(crate) counts: Mutex<BTreeMap<&'static str, u64>>,
    /// Which text a commit has; none: the commit cannot be read.
    pub(crate) texts_of_commits: Mutex<BTreeMap<String, Option<usize>>>,
    /// What planted defects must know.
    pub(crate) planted: Mutex<Planted>,
    /// Where each ref points, and where it pointed before.
    pub(crate) pointed: Mutex<BTreeMap<(u64, String), Vec<String>>>,
    /// The rogue machine that asks right now, with its boot id.
    pub(crate) rogue_asks: Mutex<Option<(tidegate_core::ids::InstanceId, String)>>,
    pub(crate) policy: Policy,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World({})", self.0.plan.seed)
    }
}

impl std::ops::Deref for World {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// Names that are constants of the world.
pub(crate) fn pool_name(name: &str) -> PoolName {
    PoolName::new(name).unwrap_or_else(|e| panic!("{e}"))
}

fn queue_tag(name: &str) -> Vec<(String, String)> {
    vec![("queue".to_owned(), name.to_owned())]
}

fn pool(name: &str, width: u32, trust: Trust) -> PoolPolicy {
    PoolPolicy {
        name: pool_name(name),
        width,
        idle: Duration::from_secs(90),
        hard_stop: Duration::from_secs(3600),
        tags: queue_tag(name),
        trust,
        isolation: Isolation::InForce,
    }
}

/// How long the control plane waits for a silent machine, and how long an agent goes on without a beat.
pub(crate) const SILENCE: Duration = Duration::from_secs(150);
pub(crate) const SELF_KILL: Duration = Duration::from_secs(90);
/// How long an attempt may be queued.
pub(crate) const WAIT: Duration = Duration::from_secs(12 * 3600);

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut rng = Rng::new(plan.seed ^ 0x7469_6465_6761_7465);
        let pools = match &plan.single {
            Some(single) => (0..)
                .zip(&single.pools)
                .map(|(n, tags)| PoolPolicy {
                    tags: tags.clone(),
                    ..pool(&format!("pool-{n}"), single.width, Trust::Trusted)
                })
                .collect(),
            None => vec![
                // Asked for before the others, and only its trust keeps work away from it.
                PoolPolicy { tags: queue_tag("default"), ..pool("fork", 2, Trust::Untrusted) },
                pool("default", if plan.small { 3 } else { 12 }, Trust::Trusted),
                pool("big", if plan.small { 2 } else { 4 }, Trust::Trusted),
            ],
        };
        let policy = Policy {
            pools,
            boot: Duration::from_secs(120),
            silence: SILENCE,
            no_capacity: Duration::from_secs(5),
            ticket_patience: Duration::from_secs(60),
        };
        let book = match (&plan.single, plan.even) {
            (Some(single), _) => Book::of(&single.yaml),
            (None, Some(even)) => Book::even(&mut rng, plan.builds, even.jobs),
            (None, None) => Book::new(&mut rng, plan.small),
        };
        let exec = Arc::new(Exec::new(Rng::new(rng.next())));
        let world = Self(Arc::new(Inner {
            exec,
            rng: Mutex::new(rng),
            calm: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            outages: Mutex::default(),
            points: AtomicU64::new(0),
            crashes: AtomicU64::new(0),
            events: AtomicU64::new(0),
            store: Mutex::default(),
            queue: Mutex::default(),
            blobs: Mutex::default(),
            cloud: Mutex::default(),
            git: Mutex::default(),
            forge: Mutex::default(),
            secrets: Mutex::default(),
            ledger: Mutex::default(),
            book,
            engines: Mutex::default(),
            trace: Mutex::default(),
            counts: Mutex::default(),
            texts_of_commits: Mutex::default(),
            planted: Mutex::default(),
            pointed: Mutex::default(),
            rogue_asks: Mutex::default(),
            policy,
            plan,
        }));
        for process in 0..PROCESSES {
            world.restart(process);
        }
        world.plant();
        world
    }

    /// A new process: nothing of the old one's memory is left.
    pub(crate) fn restart(&self, process: usize) {
        let shared: Arc<World> = Arc::new(self.clone());
        let ports = Ports {
            store: shared.clone(),
            queue: shared.clone(),
            blobs: shared.clone(),
            fleet: shared.clone(),
            repositories: shared.clone(),
            secrets: shared.clone(),
            forge: Some(shared.clone()),
            outbound: Some(shared.clone()),
            credentials: Arc::new(NoCredentials),
            clock: shared.clone(),
            ids: shared,
        };
        let engine = Arc::new(Engine::new(ports, self.settings()));
        let mut engines = lock(&self.engines);
        if process < engines.len() {
            engines[process] = engine;
        } else {
            engines.push(engine);
        }
    }

    pub(crate) fn engine(&self, process: usize) -> Arc<Engine> {
        Arc::clone(&lock(&self.engines)[process])
    }

    /// Runs something of the engine's in one of its processes. `None`: it was killed.
    pub(crate) fn call<T, F>(&self, work: impl FnOnce(Arc<Engine>) -> F) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let process = self.draw(|r| r.index(PROCESSES));
        self.exec.call(process, work(self.engine(process)))
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> crate::exec::TaskId {
        self.exec.spawn(None, task)
    }

    pub(crate) fn draw<T>(&self, of: impl FnOnce(&mut Rng) -> T) -> T {
        of(&mut lock(&self.rng))
    }

    pub(crate) fn now(&self) -> u64 {
        self.exec.now()
    }

    pub(crate) fn timestamp(&self) -> Timestamp {
        self.timestamp_at(self.now())
    }

    pub(crate) fn timestamp_at(&self, now: u64) -> Timestamp {
        Timestamp(EPOCH + now / 1000)
    }

    pub(crate) async fn sleep(&self, micros: u64) {
        self.exec.sleep(micros).await;
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Whether a fault happens now.
    pub(crate) fn fault(&self, fault: Fault, p: f64) -> bool {
        let p = self.plan.even.map_or(p, |even| even.rates.of(fault));
        !self.is_calm() && self.plan.faults.has(fault) && self.draw(|r| r.chance(p))
    }

    pub(crate) fn count(&self, what: &'static str) {
        *lock(&self.counts).entry(what).or_default() += 1;
    }

    pub(crate) fn sabotaged(&self, sabotage: Sabotage) -> bool {
        self.plan.sabotage == Some(sabotage)
    }

    /// Something happened: one line of the trace, and one event.
    pub(crate) fn event(&self, line: impl FnOnce() -> String) {
        let events = self.events.fetch_add(1, Ordering::Relaxed);
        if self.plan.trace == Trace::Off {
            return;
        }
        let at = self.now();
        let line = format!("{:>6}.{:06} {} {}\n", at / SECOND, at % SECOND, events, line());
        match self.plan.trace {
            Trace::Off => {}
            Trace::Keep => lock(&self.trace).extend_from_slice(line.as_bytes()),
            Trace::Print => {
                use std::io::Write as _;
                // Who reads may have gone away.
                let _ = std::io::stdout().write_all(line.as_bytes());
            }
        }
    }

    pub(crate) fn take_trace(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.trace))
    }

    pub(crate) fn violate(&self, invariant: &'static str, what: impl Into<String>) {
        let what = what.into();
        self.event(|| format!("VIOLATION {invariant} {what}"));
        let more = what.starts_with(ledger::MORE);
        lock(&self.ledger).violations.push(ledger::Violation { invariant, what, more });
    }

    /// Before the effect of a port call. An error is a call that had no effect.
    pub(crate) async fn before(&self, side: Side) -> Result<Fate, tidegate_engine::ports::PortError> {
        use tidegate_engine::ports::PortError;
        let ours = self.exec.current().is_some_and(|(_, process)| process.is_some());
        let pause = self.draw(|r| if r.chance(0.5) { 0 } else { r.range(100, 6_000) });
        if pause > 0 {
            self.sleep(pause).await;
        }
        if ours {
            if let Some(span) = sabotage::sleeps(self, side) {
                self.sleep(span).await;
            }
            if self.fault(Fault::Stall, 0.000_15) {
                self.count("a task stalls");
                let span = self.draw(|r| r.range(5 * SECOND, 4 * MINUTE));
                self.sleep(span).await;
            }
            self.crash_point().await;
        }
        let refused = |why: &str, after: Option<Duration>| Err(PortError::Retry { after, why: why.to_owned() });
        if !self.is_calm() {
            let now = self.now();
            if lock(&self.outages).iter().any(|(s, from, to)| *s == side && (*from..*to).contains(&now)) {
                self.count("a call meets an outage");
                return refused("simulated: the service is down", None);
            }
        }
        let (refuse, lose, refused_what, lost_what) = match side {
            Side::Store => (Fault::Throttle, Fault::LostWrite, "store: throttled", "store: answer lost"),
            Side::Queue => (Fault::QueueError, Fault::QueueError, "queue: failed before", "queue: answer lost"),
            Side::Blobs => (Fault::BlobError, Fault::BlobError, "blobs: 503", "blobs: answer lost"),
            Side::Cloud => (Fault::FleetError, Fault::FleetError, "cloud: failed before", "cloud: answer lost"),
            Side::Git => (Fault::Git, Fault::Git, "git: failed", "git: failed"),
            Side::Secrets => (Fault::BlobError, Fault::BlobError, "secrets: failed before", "secrets: answer lost"),
            Side::Forge => (Fault::Forge, Fault::Forge, "forge: failed before", "forge: answer lost"),
            Side::Outbound => (Fault::Services, Fault::Services, "services: failed before", "services: answer lost"),
        };
        let rate = match side {
            Side::Store => 0.003,
            Side::Queue | Side::Blobs => 0.004,
            Side::Cloud => 0.03,
            Side::Git | Side::Forge => 0.03,
            Side::Secrets => 0.05,
            Side::Outbound => 0.1,
        };
        if self.plan.even.is_some() && side == Side::Store {
            self.count("store: calls");
        }
        if self.fault(refuse, rate) {
            self.count(refused_what);
            let after = self.draw(|r| r.chance(0.3).then(|| Duration::from_millis(r.range(10, 2_000))));
            return refused("simulated: come again", after);
        }
        if self.fault(lose, rate) {
            self.count(lost_what);
            return Ok(Fate::Lost);
        }
        Ok(Fate::Answered)
    }

    /// After the effect of a port call.
    pub(crate) async fn after(&self, fate: Fate) -> Result<(), tidegate_engine::ports::PortError> {
        if self.exec.current().is_some_and(|(_, process)| process.is_some()) {
            self.crash_point().await;
        }
        match fate {
            Fate::Answered => Ok(()),
            Fate::Lost => Err(tidegate_engine::ports::PortError::retry("simulated: the answer was lost")),
        }
    }

    /// A place where a task of ours may die.
    async fn crash_point(&self) {
        let Some((id, Some(process))) = self.exec.current() else { return };
        let point = self.points.fetch_add(1, Ordering::Relaxed);
        let here = match self.plan.accident {
            Some(Accident::Crash(at)) => at == point,
            Some(Accident::Stall(at)) => {
                if at == point {
                    self.event(|| "a task stalls".to_owned());
                    self.sleep(STALL).await;
                }
                false
            }
            None => self.fault(Fault::Crash, 0.000_5),
        };
        if !here {
            return;
        }
        self.crashes.fetch_add(1, Ordering::Relaxed);
        let whole = matches!(self.plan.accident, Some(Accident::Crash(at)) if at % 3 == 0)
            || self.fault(Fault::CrashProcess, 0.2);
        if whole {
            self.count("a process crashes");
            self.event(|| format!("process {process} crashes"));
            self.exec.kill_process(process);
            self.restart(process);
        } else {
            self.count("a task crashes");
            self.event(|| format!("a task of process {process} crashes"));
            self.exec.kill(id);
        }
        std::future::pending::<()>().await;
    }

    /// Ends the world: its tasks and engines hold it.
    pub(crate) fn end(&self) {
        self.exec.clear();
        lock(&self.engines).clear();
    }
}
