//! Machines: had or not, announced late, taken at any moment.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tidegate_core::ids::{InstanceId, PoolName};
use tidegate_engine::ports::{Fleet, InstanceStatus, InstanceView, LaunchRequest, Launched, PortError};

use crate::exec::{TaskId, lock, micros};
use crate::faults::Fault;
use crate::sabotage::{self, Sabotage};
use crate::world::{MINUTE, SECOND, Side, World};

/// How a machine ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Death {
    /// It left by itself, with nothing to do.
    Left,
    /// It could not reach us for too long and left.
    GaveUp,
    /// Its own hard stop.
    HardStop,
    /// We ended it.
    Terminated,
    /// The cloud took it, and says so.
    Interrupted,
    /// It just died.
    Died,
}

/// A machine as it really is.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) pool: PoolName,
    pub(crate) token: String,
    pub(crate) launched_at: u64,
    pub(crate) hard_stop: u64,
    /// Descriptions show it from here on.
    pub(crate) visible_at: u64,
    pub(crate) ended: Option<(u64, Death)>,
    /// Descriptions show its end from here on.
    pub(crate) end_visible_at: u64,
    pub(crate) tasks: Vec<TaskId>,
    /// When it last beat with success.
    pub(crate) last_beat: Option<u64>,
    /// It is frozen: alive to the cloud, dead to everybody else.
    pub(crate) frozen: bool,
    pub(crate) cut_off_until: u64,
}

struct Asked {
    request: LaunchRequest,
    answer: Launched,
}

#[derive(Default)]
pub(crate) struct CloudState {
    pub(crate) machines: BTreeMap<InstanceId, Machine>,
    launches: BTreeMap<String, Asked>,
    /// Until when no machine of a pool can be had.
    pub(crate) dry: BTreeMap<PoolName, u64>,
    next: u64,
    pub(crate) launched: u64,
}

impl CloudState {
    pub(crate) fn alive(&self) -> impl Iterator<Item = (&InstanceId, &Machine)> {
        self.machines.iter().filter(|(_, m)| m.ended.is_none())
    }
}

impl World {
    /// Nothing of a machine runs any more.
    pub(crate) fn end_machine(&self, id: &InstanceId, how: Death) {
        let now = self.now();
        let lag = if self.fault(Fault::Describe, 0.5) { self.draw(|r| r.range(0, 30 * SECOND)) } else { 0 };
        let (tasks, life) = {
            let mut cloud = lock(&self.cloud);
            let Some(machine) = cloud.machines.get_mut(id) else { return };
            if machine.ended.is_some() {
                return;
            }
            machine.ended = Some((now, how));
            machine.end_visible_at = now + lag;
            (std::mem::take(&mut machine.tasks), (now - machine.launched_at, machine.hard_stop))
        };
        self.event(|| format!("machine {id} ends: {how:?}"));
        tasks.into_iter().for_each(|task| self.exec.kill(task));
        self.observe_machine_end(id, how, life);
    }

    fn launch_now(&self, request: &LaunchRequest, slept: bool) -> Result<Launched, PortError> {
        {
            let cloud = lock(&self.cloud);
            if let Some(asked) = cloud.launches.get(&request.token) {
                if asked.request != *request {
                    drop(cloud);
                    self.violate("I6", format!("the token {} was used again with other content", request.token));
                    return Err(PortError::reject("the token was used with other parameters"));
                }
                return Ok(asked.answer.clone());
            }
        }
        if request.token.is_empty() || request.token.len() > 64 || request.count == 0 {
            return Err(PortError::reject("a launch out of bounds"));
        }
        let now = self.now();
        let dry = !self.is_calm() && lock(&self.cloud).dry.get(&request.pool).is_some_and(|until| *until > now);
        let refused = if self.sabotaged(Sabotage::IntentGivenUp) { 0.5 } else { 0.1 };
        if dry || self.fault(Fault::NoCapacity, refused) {
            self.count("cloud: no capacity");
            // Not remembered: a launch that gave nothing may be asked for again.
            return Ok(Launched::NoCapacity { why: "simulated: there is no capacity".to_owned() });
        }
        let mut count = request.count;
        if count > 1 && self.fault(Fault::NoCapacity, 0.1) {
            self.count("cloud: fewer than asked for");
            count = self.draw(|r| u32::try_from(r.range(1, u64::from(count))).unwrap_or(1));
        }
        self.observe_launch(&request.pool, &request.token, count, slept);
        let mut ids = Vec::new();
        for _ in 0..count {
            let hard_stop = micros(request.hard_stop) * if self.sabotaged(Sabotage::NoHardStop) { 50 } else { 1 };
            let lag = if self.fault(Fault::Describe, 0.5) { self.draw(|r| r.range(0, 20 * SECOND)) } else { 0 };
            let id = {
                let mut cloud = lock(&self.cloud);
                cloud.next += 1;
                cloud.launched += 1;
                let id = InstanceId::new(format!("i-{:017x}", cloud.next)).unwrap_or_else(|e| panic!("{e}"));
                let machine = Machine {
                    pool: request.pool.clone(),
                    token: request.token.clone(),
                    launched_at: now,
                    hard_stop,
                    visible_at: now + lag,
                    ended: None,
                    end_visible_at: 0,
                    tasks: Vec::new(),
                    last_beat: None,
                    frozen: false,
                    cut_off_until: 0,
                };
                cloud.machines.insert(id.clone(), machine);
                id
            };
            self.event(|| format!("machine {id} of {}", request.pool));
            self.boot(&id, request.idle);
            ids.push(id);
        }
        lock(&self.ledger).unresolved.entry(request.pool.clone()).or_default().push((now, ids.clone()));
        let answer = Launched::Instances(ids);
        let asked = Asked { request: request.clone(), answer: answer.clone() };
        lock(&self.cloud).launches.insert(request.token.clone(), asked);
        Ok(answer)
    }
}

#[async_trait]
impl Fleet for World {
    async fn launch(&self, request: &LaunchRequest) -> Result<Launched, PortError> {
        let asked_at = self.now();
        let fate = self.before(Side::Cloud).await?;
        let request = sabotage::of_launch(self, request);
        // A task that falls asleep in the call itself cannot know how late it is.
        let slept = self.now() > asked_at + SECOND;
        let answer = self.launch_now(&request, slept);
        if self.fault(Fault::LaunchLost, 0.08) {
            self.count("cloud: launched, answer lost");
            return Err(PortError::retry("simulated: the launch was not answered"));
        }
        self.after(fate).await?;
        answer
    }

    async fn describe(&self) -> Result<Vec<InstanceView>, PortError> {
        let fate = self.before(Side::Cloud).await?;
        let now = self.now();
        let mut views = Vec::new();
        {
            let mut cloud = lock(&self.cloud);
            // The cloud forgets what ended an hour ago.
            cloud.machines.retain(|_, m| m.ended.is_none_or(|(at, _)| now < at + 60 * MINUTE));
            for (id, machine) in cloud.machines.iter().filter(|(_, m)| m.visible_at <= now) {
                let ended = machine.ended.filter(|_| machine.end_visible_at <= now);
                if ended.is_some_and(|(at, _)| now > at + 10 * MINUTE) {
                    continue;
                }
                views.push(InstanceView {
                    id: id.clone(),
                    pool: machine.pool.clone(),
                    token: machine.token.clone(),
                    status: match ended {
                        None => InstanceStatus::Alive,
                        Some((_, Death::Interrupted)) => InstanceStatus::Taken,
                        Some(_) => InstanceStatus::Gone,
                    },
                    pid: None,
                    why: ended.map(|(_, how)| format!("{how:?}")),
                });
            }
        }
        self.after(fate).await?;
        Ok(views)
    }

    async fn terminate(&self, instances: &[InstanceId]) -> Result<(), PortError> {
        let fate = self.before(Side::Cloud).await?;
        for id in instances {
            self.observe_termination(id);
            self.end_machine(id, Death::Terminated);
        }
        self.after(fate).await
    }
}
