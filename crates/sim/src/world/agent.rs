//! Simulated machines with simulated agents: they speak to the gate as the real agent does (`crates/agent`, `worker` and
//! `beat`), and run commands that take time and exit with what the book says.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Either, select};
use tidegate_core::attempt::Cause;
use tidegate_core::ids::{AttemptId, InstanceId, PoolName, derived_uuid};
use tidegate_core::wire::gate::{
    AgentState, Assignment, Beat, CancelReason, Next, NextAnswer, Outcome, ReportResult, Start, Upload, log_chunk_key,
};
use tidegate_core::wire::job::{MetaData, MetaDataAsk};
use tidegate_engine::Engine;
use tidegate_engine::gate::{Caller, GateError};

use crate::exec::{Notify, lock, micros, timeout};
use crate::faults::Fault;
use crate::ports::Death;
use crate::sabotage::Sabotage;
use crate::world::{MINUTE, PROCESSES, SECOND, SELF_KILL, World};

const CALL_TIME: Duration = Duration::from_secs(10);
const BEAT: u64 = 12 * SECOND;

/// The gate said no.
struct Refused;

/// What is wanted of the agent, as beats have told it.
#[derive(Default)]
struct Wishes {
    cancel: Option<(AttemptId, CancelReason)>,
    doomed: bool,
}

struct Agent {
    world: World,
    id: InstanceId,
    pool: PoolName,
    boot: String,
    idle: Duration,
    saying: Mutex<(AgentState, Option<AttemptId>)>,
    heard: Mutex<Option<(AgentState, Option<AttemptId>)>>,
    wishes: Mutex<Wishes>,
    say_now: Notify,
    acknowledged: Notify,
    wished: Notify,
}

impl World {
    /// A machine was launched: what happens on it from now on.
    pub(crate) fn boot(&self, id: &InstanceId, idle: Duration) {
        if self.plan.builds == 0 {
            // The world of a conformance suite.
            return;
        }
        let world = self.clone();
        let (me, pool) = match lock(&self.cloud).machines.get(id) {
            Some(machine) => (id.clone(), machine.pool.clone()),
            None => return,
        };
        let (hang, slow) = (self.fault(Fault::BootHang, 0.03), self.fault(Fault::BootHang, 0.05));
        let boot_time = self.draw(|r| r.range(2 * SECOND, 25 * SECOND))
            + if slow { self.draw(|r| r.range(0, 5 * MINUTE)) } else { 0 };
        let hard_stop = lock(&self.cloud).machines.get(id).map_or(0, |m| m.hard_stop);
        // Its own hard stop is armed before anything else.
        let watchdog = {
            let (world, me) = (world.clone(), me.clone());
            self.spawn(async move {
                world.sleep(hard_stop).await;
                world.end_machine(&me, Death::HardStop);
            })
        };
        let mut tasks = vec![watchdog];
        tasks.extend(self.fates(&me));
        if hang {
            self.count("cloud: a machine never comes up");
        } else {
            let boot = self.draw(|r| r.hex(16));
            let agent = Arc::new(Agent {
                world: world.clone(),
                id: me.clone(),
                pool,
                boot,
                idle,
                saying: Mutex::new((AgentState::Idle, None)),
                heard: Mutex::default(),
                wishes: Mutex::default(),
                say_now: Notify::default(),
                acknowledged: Notify::default(),
                wished: Notify::default(),
            });
            let (beats, work) = (Arc::clone(&agent), agent);
            tasks.push(self.spawn(async move {
                beats.world.sleep(boot_time).await;
                beats.beat().await;
                beats.world.count("agents give up for want of a beat");
                beats.world.end_machine(&beats.id, Death::GaveUp);
            }));
            tasks.push(self.spawn(async move {
                work.world.sleep(boot_time).await;
                work.work().await;
                work.world.end_machine(&work.id, Death::Left);
            }));
        }
        if let Some(machine) = lock(&self.cloud).machines.get_mut(id) {
            machine.tasks.extend(tasks);
        }
    }

    /// What the world has in store for a machine.
    fn fates(&self, id: &InstanceId) -> Vec<crate::exec::TaskId> {
        let mut tasks = Vec::new();
        let later = |what: &'static str, act: fn(&World, &InstanceId)| {
            let (world, me) = (self.clone(), id.clone());
            // Where it is to hit so many machines, it must come while they live: none leaves before it was idle for that long.
            let soon = self.plan.even.is_some() || self.sabotaged(Sabotage::LateResultAccepted);
            let within = if soon { 90 * SECOND } else { 20 * MINUTE };
            let at = self.draw(|r| r.range(0, within));
            self.spawn(async move {
                world.sleep(at).await;
                if !world.is_calm() {
                    world.count(what);
                    act(&world, &me);
                }
            })
        };
        if self.fault(Fault::Interrupt, 0.12) {
            tasks.push(later("cloud: a machine is taken", |w, i| w.end_machine(i, Death::Interrupted)));
        }
        if self.fault(Fault::Death, 0.06) {
            tasks.push(later("cloud: a machine dies", |w, i| w.end_machine(i, Death::Died)));
        }
        if self.fault(Fault::Hang, 0.02) {
            tasks.push(later("cloud: a machine freezes", World::freeze));
        }
        // Where a machine that is cut off is to be buried alive, more of them are.
        let more = matches!(self.plan.sabotage, Some(Sabotage::ImpatientWithSilence | Sabotage::LateResultAccepted));
        let cut_off = if more { 0.6 } else { 0.1 };
        if self.fault(Fault::Partition, cut_off) {
            tasks.push(later("cloud: a machine is cut off", |w, i| {
                // Results come late where an agent is cut off until it gives up.
                let median = if w.sabotaged(Sabotage::LateResultAccepted) { 200.0 } else { 60.0 };
                let span = w.draw(|r| (r.lognormal(median, 1.5).clamp(1.0, 3600.0) * SECOND as f64) as u64);
                let until = w.now() + span;
                if let Some(machine) = lock(&w.cloud).machines.get_mut(i) {
                    machine.cut_off_until = until;
                }
            }));
        }
        tasks
    }

    /// Everything on the machine stops, its watchdog included, and the cloud goes on calling it alive. Its owner's hard stop
    /// from outside (a schedule that nothing of ours has to live for) still ends it.
    fn freeze(&self, id: &InstanceId) {
        let (tasks, left) = {
            let mut cloud = lock(&self.cloud);
            let Some(machine) = cloud.machines.get_mut(id) else { return };
            if machine.ended.is_some() {
                return;
            }
            machine.frozen = true;
            let left = (machine.launched_at + machine.hard_stop).saturating_sub(self.now());
            (std::mem::take(&mut machine.tasks), left)
        };
        tasks.into_iter().for_each(|task| self.exec.kill(task));
        self.observe_stop_of_work(id, Death::Died);
        let (world, me) = (self.clone(), id.clone());
        self.spawn(async move {
            world.sleep(left).await;
            world.end_machine(&me, Death::HardStop);
        });
    }

    fn cut_off(&self, id: &InstanceId) -> bool {
        let now = self.now();
        !self.is_calm() && lock(&self.cloud).machines.get(id).is_some_and(|m| m.cut_off_until > now)
    }
}

impl Agent {
    fn caller(&self) -> Caller {
        Caller { instance: self.id.clone(), pool: self.pool.clone() }
    }

    /// One call. `None`: the weather.
    async fn once<T, F>(&self, wait: Duration, call: impl Fn(Arc<Engine>, Caller) -> F) -> Option<Result<T, Refused>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, GateError>> + Send + 'static,
    {
        let world = &self.world;
        let travel = world.draw(|r| r.range(500, 20_000));
        world.sleep(travel).await;
        let late = if world.sabotaged(Sabotage::LateResultAccepted) { 0.9 } else { 0.3 };
        if world.cut_off(&self.id) || world.fault(Fault::CallLost, 0.004) {
            if world.fault(Fault::CallLost, late) {
                world.count("gate: a call is on its way for long");
                self.deliver_late(&call);
            }
            world.sleep(micros(CALL_TIME)).await;
            return None;
        }
        if world.fault(Fault::CallLost, 0.004) {
            world.count("gate: a call comes twice");
            self.deliver_late(&call);
        }
        let answer = timeout(&world.exec, CALL_TIME + wait, world.call(|engine| call(engine, self.caller()))).await;
        if world.cut_off(&self.id) || world.fault(Fault::CallLost, 0.004) {
            world.count("gate: an answer is lost");
            return None;
        }
        match answer {
            // Too late, or the process that had it is gone.
            None | Some(None) => None,
            Some(Some(Ok(value))) => Some(Ok(value)),
            Some(Some(Err(GateError::Refused(_) | GateError::Invalid(_)))) => Some(Err(Refused)),
            Some(Some(Err(GateError::Engine(_)))) => None,
        }
    }

    /// The network delivers a call at once or minutes later, and nobody listens to the answer.
    fn deliver_late<T, F>(&self, call: &impl Fn(Arc<Engine>, Caller) -> F)
    where
        T: Send + 'static,
        F: Future<Output = Result<T, GateError>> + Send + 'static,
    {
        let world = &self.world;
        let delay = world.draw(|r| if r.chance(0.5) { 0 } else { r.range(0, 10 * MINUTE) });
        let (late, process) = (world.clone(), world.draw(|r| r.index(PROCESSES)));
        let arrives = call(world.engine(process), self.caller());
        drop(world.exec.call(process, async move {
            late.sleep(delay).await;
            arrives.await
        }));
    }

    async fn call<T, F>(&self, wait: Duration, call: impl Fn(Arc<Engine>, Caller) -> F) -> Result<T, Refused>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, GateError>> + Send + 'static,
    {
        let mut pause = 50_000;
        loop {
            if let Some(answer) = self.once(wait, &call).await {
                return answer;
            }
            let now = self.world.draw(|r| r.range(pause * 3 / 4, pause * 5 / 4));
            self.world.sleep(now).await;
            pause = (pause * 2).min(2 * SECOND);
        }
    }

    fn say(&self, state: AgentState, attempt: Option<AttemptId>) {
        *lock(&self.saying) = (state, attempt);
        self.say_now.notify();
    }

    async fn acknowledged(&self) {
        loop {
            if *lock(&self.heard) == Some(lock(&self.saying).clone()) {
                return;
            }
            self.acknowledged.notified().await;
        }
    }

    /// Returns when no beat succeeded for too long, by the machine's own clock, counted from the start of the last good one.
    async fn beat(&self) {
        let world = &self.world;
        let mut last_success = world.now();
        let mut counter = 0;
        loop {
            counter += 1;
            let started = world.now();
            let saying = lock(&self.saying).clone();
            let beat = Beat { boot: self.boot.clone(), counter, state: saying.0, attempt: saying.1.clone() };
            let left = (last_success + micros(SELF_KILL)).saturating_sub(started);
            let call = self.once(Duration::ZERO, |engine, caller| {
                let beat = beat.clone();
                async move { engine.beat(&caller, &beat).await }
            });
            let Some(answer) = timeout(&world.exec, Duration::from_micros(left), call).await else { return };
            let heard = match answer {
                Some(Ok(answer)) => {
                    let mut wishes = lock(&self.wishes);
                    if let (Some(reason), Some(attempt)) = (answer.cancel, &saying.1)
                        && wishes.cancel.as_ref().is_none_or(|(a, _)| a != attempt)
                    {
                        wishes.cancel = Some((attempt.clone(), reason));
                    }
                    wishes.doomed |= answer.doomed || answer.stop;
                    drop(wishes);
                    self.wished.notify();
                    true
                }
                Some(Err(Refused)) => return,
                None => false,
            };
            if heard {
                last_success = started;
                if let Some(machine) = lock(&world.cloud).machines.get_mut(&self.id) {
                    machine.last_beat = Some(world.now());
                }
                *lock(&self.heard) = Some(saying);
                self.acknowledged.notify();
            }
            let pause =
                world.draw(|r| if heard { r.range(BEAT * 3 / 4, BEAT * 5 / 4) } else { r.range(400_000, 600_000) });
            let wake = std::pin::pin!(self.say_now.notified());
            let sleep = world.exec.sleep(pause);
            select(wake, sleep).await;
        }
    }

    async fn ask(&self, wait: Duration) -> Result<NextAnswer, Refused> {
        let next = Next { boot: self.boot.clone(), wait_ms: u64::try_from(wait.as_millis()).unwrap_or(0) };
        self.call(wait, |engine, caller| {
            let next = next.clone();
            async move { engine.next(&caller, &next).await }
        })
        .await
    }

    async fn work(&self) {
        let world = &self.world;
        let mut idle_since = world.now();
        loop {
            if lock(&self.wishes).doomed {
                return;
            }
            let left = micros(self.idle).saturating_sub(world.now() - idle_since);
            let answer = if left == 0 {
                self.say(AgentState::Closing, None);
                self.acknowledged().await;
                self.ask(Duration::from_secs(2)).await
            } else {
                self.ask(Duration::from_micros(left).min(Duration::from_secs(20))).await
            };
            match answer {
                Ok(NextAnswer { assignment: Some(assignment), .. }) => {
                    self.say(AgentState::Busy, Some(assignment.attempt.clone()));
                    self.run(&assignment).await;
                    self.say(AgentState::Idle, None);
                    idle_since = world.now();
                }
                Ok(NextAnswer { leave: true, .. }) | Err(Refused) => return,
                Ok(_) if left == 0 => return,
                Ok(_) => {}
            }
        }
    }

    fn ending(&self, attempt: &AttemptId) -> Option<CancelReason> {
        lock(&self.wishes).cancel.as_ref().filter(|(a, _)| a == attempt).map(|(_, reason)| *reason)
    }

    /// Waits, unless the attempt is to end before.
    async fn unless_ended(&self, attempt: &AttemptId, span: u64) -> Option<CancelReason> {
        let until = self.world.now() + span;
        loop {
            if let Some(reason) = self.ending(attempt) {
                return Some(reason);
            }
            if self.world.now() >= until {
                return None;
            }
            let wished = std::pin::pin!(self.wished.notified());
            if let Either::Right(_) = select(wished, self.world.exec.sleep_until(until)).await {
                return self.ending(attempt);
            }
        }
    }

    async fn run(&self, assignment: &Assignment) {
        let attempt = &assignment.attempt;
        let mut outcome = self.command(assignment).await;
        outcome.log.chunks = 1;
        let result = ReportResult { boot: self.boot.clone(), attempt: attempt.clone(), outcome };
        let answer = self
            .call(Duration::ZERO, |engine, caller| {
                let result = result.clone();
                async move { engine.result(&caller, &result).await }
            })
            .await;
        if self.world.lasts() {
            let chunk = log_chunk_key(attempt, 0);
            lock(&self.world.blobs).blobs.insert(chunk, bytes::Bytes::from_static(b"what it wrote"));
        }
        if let Ok(answer) = answer {
            self.world.observe_result(&self.id, &result, answer.accepted);
        }
    }

    async fn command(&self, assignment: &Assignment) -> Outcome {
        let world = &self.world;
        let attempt = &assignment.attempt;
        let checkout = world.draw(|r| r.range(50_000, 2 * SECOND));
        if let Some(reason) = self.unless_ended(attempt, checkout).await {
            return ended(reason);
        }
        let start = Start { boot: self.boot.clone(), attempt: attempt.clone() };
        let asked_at = Mutex::new(0);
        let answer = self
            .call(Duration::ZERO, |engine, caller| {
                *lock(&asked_at) = world.now();
                let start = start.clone();
                async move { engine.start(&caller, &start).await }
            })
            .await;
        match answer {
            Err(Refused) => return ended(CancelReason::Canceled),
            Ok(answer) => {
                if let Some(reason) = answer.cancel {
                    return ended(reason);
                }
            }
        }
        let asked_at = *lock(&asked_at);
        let key = assignment.command.strip_prefix("sim ").unwrap_or_default().trim().to_owned();
        let env = |wanted: &str| assignment.env.iter().rev().find(|(name, _)| name == wanted).map(|(_, v)| v.as_str());
        let job = world.book.jobs.get(&key);
        let retry = env("BUILDKITE_RETRY_COUNT").and_then(|count| count.parse::<usize>().ok()).unwrap_or(0);
        world.observe_start(&self.id, &self.pool, attempt, &key, retry, asked_at);
        world.observe_environment(&attempt.build, env("BY"));
        self.look_at_what_was_filled_in(attempt, &key, env("BUILDKITE_UNBLOCKER")).await;
        let span = job.map_or(SECOND, |j| j.span);
        let mut uploads = 0;
        let mut ending = self.unless_ended(attempt, span / 2).await;
        if ending.is_none()
            && let Some(text) = job.and_then(|j| j.upload)
        {
            let accepted = self.upload(attempt, text).await;
            uploads = u32::from(accepted);
            if !accepted {
                world.observe_stop(&self.id, attempt, Some(1));
                return Outcome { cause: Cause::Exit, exit_status: Some(1), ..empty() };
            }
        }
        if ending.is_none() {
            ending = self.unless_ended(attempt, span / 2).await;
        }
        if let Some(reason) = ending {
            // It takes the signal, and some time.
            let grace = world.draw(|r| r.range(10_000, 4 * SECOND));
            world.sleep(grace).await;
            world.observe_stop(&self.id, attempt, None);
            return Outcome { uploads, ..ended(reason) };
        }
        let exit = job.map_or(0, |j| j.exit(retry));
        world.observe_stop(&self.id, attempt, Some(exit));
        Outcome { cause: Cause::Exit, exit_status: Some(exit), uploads, ..empty() }
    }

    /// A job behind a step that waits for a person looks for what was filled in.
    async fn look_at_what_was_filled_in(&self, attempt: &AttemptId, key: &str, by: Option<&str>) {
        let world = &self.world;
        let Some(manual) = world.book.waits_for(key) else { return };
        let mut value = None;
        if let Some(field) = &manual.field {
            let ask = MetaDataAsk::Get(field.clone());
            let request = Arc::new(MetaData { boot: self.boot.clone(), attempt: attempt.clone(), ask });
            let answer = self.call(Duration::ZERO, |engine, caller| {
                let request = Arc::clone(&request);
                async move { engine.meta_data(&caller, &request).await }
            });
            // Refused: the attempt is not its any more.
            let Ok(answer) = answer.await else { return };
            value = Some(answer.value);
        }
        world.observe_behind(&attempt.build, key, by, value);
    }

    /// `pipeline upload`: whether it was taken.
    async fn upload(&self, attempt: &AttemptId, text: usize) -> bool {
        let uuid = derived_uuid("sim upload", &format!("{attempt}/{text}")).to_string();
        let upload = Upload {
            boot: self.boot.clone(),
            attempt: attempt.clone(),
            uuid,
            pipeline: self.world.book.texts[text].yaml.clone(),
            replace: false,
            env: Vec::new(),
            no_interpolation: false,
        };
        let upload = Arc::new(upload);
        let answer = self
            .call(Duration::ZERO, |engine, caller| {
                let upload = Arc::clone(&upload);
                async move { engine.upload(&caller, &upload).await }
            })
            .await;
        let accepted = matches!(&answer, Ok(answer) if answer.accepted);
        let why = || match &answer {
            Ok(answer) => answer.diagnostics.iter().map(|d| d.message.clone()).collect::<Vec<_>>().join("; "),
            Err(Refused) => "refused".to_owned(),
        };
        self.world.observe_upload(attempt, text, accepted, why);
        accepted
    }
}

/// An outcome that says nothing but that the command ended.
pub(super) fn empty() -> Outcome {
    Outcome {
        cause: Cause::Exit,
        exit_status: None,
        signal: None,
        detail: None,
        permanent: false,
        first_output_ms: None,
        log: tidegate_core::wire::gate::LogExtent::default(),
        tail: String::new(),
        uploads: 0,
    }
}

fn ended(reason: CancelReason) -> Outcome {
    let cause = match reason {
        CancelReason::Canceled => Cause::Canceled,
        CancelReason::Timeout => Cause::Timeout,
    };
    Outcome { cause, ..empty() }
}
