//! The fleet actor's step: what to launch, what to give out.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use tidegate_core::attempt::Cause;
use tidegate_core::build::{Build, JobState};
use tidegate_core::fleet::{Action, Demand, Fleet, Input, MachineState, plan};
use tidegate_core::ids::{AttemptId, InstanceId, JobIndex, PoolName};
use tidegate_core::time::Timestamp;

use super::Actor;
use crate::engine::{Engine, Loaded, open};
use crate::error::Error;
use crate::keys;
use crate::ports::{Expect, Key, LaunchRequest, Launched, Outgoing, PortError, Version};

const ROUNDS: usize = 16;
/// How many demand lines of one requirement are looked at: more than there is room for is never needed.
const LINES: usize = 100;

/// The queue of a pool's tickets. A ticket is the id of an attempt: it carries no secret and no right.
pub(crate) fn tickets(pool: &PoolName) -> String {
    format!("tickets-{pool}")
}

/// What a step has taken on to do.
struct Mine {
    launches: Vec<String>,
    tickets: Vec<(PoolName, Vec<AttemptId>)>,
}

pub(crate) struct DemandLine {
    pub(crate) demand: Demand,
    key: Key,
    version: Version,
}

impl Engine {
    async fn load_fleet(&self) -> Result<(Fleet, Expect), Error> {
        Ok(match self.load::<Fleet>(&keys::fleet()).await? {
            Some(Loaded { body, version }) => (body, Expect::Version(version)),
            None => (Fleet::default(), Expect::Absent),
        })
    }

    /// Returns how many bytes were written of the fleet's record.
    pub(super) async fn step_fleet(&self) -> Result<usize, Error> {
        let actor = Actor::Fleet;
        let policy = &self.settings.policy;
        let mut known: Option<(Fleet, Expect)> = None;
        let mut news: Vec<Input> = Vec::new();
        let mut failed: Option<Error> = None;
        let mut written = 0;
        let mut more = false;
        for _ in 0..ROUNDS {
            let now = self.now();
            // What came in since stays where it is when the record is large: the next step folds it in with more.
            let letters;
            (letters, more) = match &known {
                Some(_) if written > self.settings.pace.free && !more => (Vec::new(), false),
                Some(_) | None => self.inbox::<Input>(&actor).await?,
            };
            // After the inbox, unless it is what we wrote ourselves: what is not there any more is in the record.
            let (mut current, mut expect) = match known.take() {
                Some(known) => known,
                None => self.load_fleet().await?,
            };
            let mut next = current.clone();
            let (old, new): (Vec<_>, Vec<_>) = letters.into_iter().partition(|l| next.folded.contains(&l.id));
            let old: Vec<String> = old.into_iter().map(|l| l.id).collect();
            self.discard(&actor, &old).await?;
            let mut folded = Vec::new();
            for input in &news {
                next.fold(input.clone(), policy, now);
            }
            for letter in new {
                next.fold(letter.input, policy, now);
                folded.push(letter.id);
            }
            next.forget_launches(now);
            let lines = self.demand().await?;
            let released = self.decide(&lines, &mut next, now).await?;
            let mine = Mine { launches: next.take_launches(now), tickets: next.take_tickets(now) };
            if next != current || !folded.is_empty() {
                next.folded = folded.clone();
                match self.save_sized(keys::fleet(), &next, expect).await {
                    Ok((version, size)) => {
                        (current, expect) = (next, Expect::Version(version));
                        written += size;
                        news = Vec::new();
                    }
                    Err(Error::Port(PortError::Conflict)) => continue,
                    Err(error) => return Err(error),
                }
                self.discard(&actor, &folded).await?;
            }
            for (line, upto) in &released {
                self.advance_line(&lines[*line], *upto).await?;
            }
            // What was achieved beside a failure is written down now; the failure is retried by the next doorbell or sweep.
            if let Some(error) = failed {
                return Err(error);
            }
            let performed;
            (performed, failed) = self.perform_fleet(&current, mine).await;
            if failed.is_none() && performed.is_empty() && !more && released.is_empty() {
                break;
            }
            news.extend(performed);
            known = Some((current, expect));
        }
        Ok(written)
    }

    /// Gives out and launches in the record. What the record and the lines say may be old: attempts are cancelled, lines are
    /// published again by a step that did not get to the end. So before anything is launched, what it is launched for is
    /// looked at. Returns how far which lines were given out.
    async fn decide(
        &self,
        lines: &[DemandLine],
        next: &mut Fleet,
        now: Timestamp,
    ) -> Result<BTreeMap<usize, u32>, Error> {
        let mut demand: Vec<Demand> = lines.iter().map(|l| l.demand.clone()).collect();
        let mut released = BTreeMap::new();
        let mut seen: BTreeSet<AttemptId> = BTreeSet::new();
        // Each time round something turns out to be of no use and is out of the count; that ends.
        loop {
            let mut launches = Vec::new();
            let mut sound = true;
            for action in plan(&self.settings.policy, &demand, next, now) {
                match action {
                    Action::Launch { pool, count } => launches.push((pool, count)),
                    Action::Release { line, count, pool } => {
                        let upto = demand[line].released + count;
                        let mut new = 0;
                        for attempt in self.ready(&demand[line], upto).await? {
                            seen.insert(attempt.clone());
                            new += u32::from(next.give_out(&pool, attempt, now));
                        }
                        sound &= new == count;
                        demand[line].released = upto;
                        released.insert(line, upto);
                    }
                }
            }
            for (pool, _) in &launches {
                let tickets = next.pools.get(pool).map_or(&[][..], |p| &p.tickets);
                let unseen: Vec<AttemptId> =
                    tickets.iter().filter(|t| !seen.contains(&t.attempt)).map(|t| t.attempt.clone()).collect();
                seen.extend(unseen.iter().cloned());
                let checks = unseen.into_iter().map(|attempt| async move {
                    Ok::<_, Error>((!self.is_queued(&attempt).await?).then_some(attempt))
                });
                for attempt in try_join_all(checks).await?.into_iter().flatten() {
                    sound = false;
                    next.fold(Input::Void { pool: pool.clone(), attempt }, &self.settings.policy, now);
                }
            }
            if sound {
                for (pool, count) in launches {
                    next.intend(&pool, format!("{:032x}", self.ports.ids.random()), count, now);
                }
                return Ok(released);
            }
        }
    }

    /// The first demand lines of every requirement, in dispatch order over all.
    pub(crate) async fn demand(&self) -> Result<Vec<DemandLine>, Error> {
        let mut lines = Vec::new();
        let (requirements, _) = self.list(keys::REQUIREMENTS, 1_000).await?;
        for requirement in requirements {
            let partition = keys::demand_partition(&requirement.key.sk);
            let (records, _) = self.list(&partition, LINES).await?;
            for record in records {
                let demand = open(&record.key, &record.body)?;
                lines.push(DemandLine { demand, key: record.key, version: record.version });
            }
        }
        lines.sort_by(|a, b| a.key.sk.cmp(&b.key.sk));
        Ok(lines)
    }

    /// The attempts of a demand line up to `upto` that are still waiting for a machine.
    async fn ready(&self, demand: &Demand, upto: u32) -> Result<Vec<AttemptId>, Error> {
        let Some(build) = self.load::<Build>(&keys::build(&demand.build)).await? else { return Ok(Vec::new()) };
        let mut chosen: Vec<(u32, AttemptId)> = (0u32..)
            .zip(build.body.cells.iter())
            .filter(|(_, c)| {
                c.state == JobState::Scheduled && c.line == demand.line && c.seq > demand.released && c.seq <= upto
            })
            .map(|(place, c)| {
                let id = AttemptId { build: demand.build.clone(), job: JobIndex(place), number: c.attempt };
                (c.seq, id)
            })
            .collect();
        chosen.sort();
        let attempts =
            chosen.into_iter().map(|(_, id)| async move { Ok::<_, Error>(self.is_queued(&id).await?.then_some(id)) });
        Ok(try_join_all(attempts).await?.into_iter().flatten().collect())
    }

    /// Writes down how much of a line was given out. If somebody wrote it meanwhile, nothing is lost: the next step finds
    /// the tickets out and the attempts claimed.
    async fn advance_line(&self, line: &DemandLine, upto: u32) -> Result<(), Error> {
        let store = &self.ports.store;
        let outcome = if upto >= line.demand.ready {
            store.delete_if(&line.key, Expect::Version(line.version)).await
        } else {
            let next = Demand { released: upto, ..line.demand.clone() };
            let put = self.put(line.key.clone(), &next, Expect::Version(line.version))?;
            store.put_if(put).await
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(PortError::Conflict) => self.ring(&Actor::Fleet).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the launches and sends the tickets that are this step's to do, ends the machines that are lost. What fails does not
    /// keep the rest from being done: the first failure is returned beside what was achieved.
    async fn perform_fleet(&self, fleet: &Fleet, mine: Mine) -> (Vec<Input>, Option<Error>) {
        let mut news = Vec::new();
        let mut failed = None;
        for (pool, attempts) in mine.tickets {
            if let Err(error) = self.send_tickets(&pool, &attempts).await {
                news.push(Input::Unsent { pool, attempts });
                failed = failed.or(Some(error));
            }
        }
        for (name, pool) in &fleet.pools {
            for launch in pool.launches.iter().filter(|l| mine.launches.contains(&l.token)) {
                if self.now() >= launch.ask_after {
                    // We slept, and somebody else may be making the call.
                    continue;
                }
                match self.launch(name, &launch.token, launch.count).await {
                    Ok(outcome) => news.extend(outcome),
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            for (instance, machine) in &pool.machines {
                if let MachineState::Lost(why) = &machine.state {
                    let cause = if machine.taken { Cause::Interrupted } else { Cause::Lost };
                    match self.bury(instance, machine.attempt.as_ref(), cause, why).await {
                        Ok(()) => news.push(Input::Buried { instance: instance.clone() }),
                        Err(error) => failed = failed.or(Some(error)),
                    }
                }
            }
        }
        (news, failed)
    }

    async fn send_tickets(&self, pool: &PoolName, attempts: &[AttemptId]) -> Result<(), Error> {
        let queue = tickets(pool);
        let sends = attempts.iter().map(|attempt| {
            let message = Outgoing { body: attempt.to_string(), ..Outgoing::default() };
            self.ports.queue.send(&queue, message)
        });
        try_join_all(sends).await?;
        Ok(())
    }

    async fn launch(&self, pool: &PoolName, token: &str, count: u32) -> Result<Option<Input>, Error> {
        let Some(policy) = self.settings.policy.pools.iter().find(|p| p.name == *pool) else {
            let why = "the pool is not configured any more".to_owned();
            return Ok(Some(Input::NoCapacity { pool: pool.clone(), token: token.to_owned(), why }));
        };
        let request = LaunchRequest {
            token: token.to_owned(),
            pool: pool.clone(),
            count,
            idle: policy.idle,
            hard_stop: policy.hard_stop,
            tags: policy.tags.clone(),
        };
        match self.ports.fleet.launch(&request).await {
            Ok(Launched::Instances(instances)) => {
                tracing::info!(pool = %pool, count = instances.len(), "launched");
                Ok(Some(Input::Launched { pool: pool.clone(), token: token.to_owned(), instances }))
            }
            Ok(Launched::NoCapacity { why }) | Err(PortError::Reject { why } | PortError::Fatal { why }) => {
                tracing::warn!(pool = %pool, %why, "no capacity");
                Ok(Some(Input::NoCapacity { pool: pool.clone(), token: token.to_owned(), why }))
            }
            // Perhaps it was launched: the intent stays, and the same request is made again.
            Err(PortError::Retry { after, why }) => {
                tracing::warn!(pool = %pool, %why, "the launch has no answer yet");
                let pause = after.unwrap_or(std::time::Duration::from_secs(1));
                self.ring_later(&Actor::Fleet, pause).await?;
                let ask_after = self.now() + pause;
                Ok(Some(Input::Unanswered { pool: pool.clone(), token: token.to_owned(), ask_after }))
            }
            Err(PortError::Conflict) => Ok(None),
        }
    }

    /// Ends what a machine that is gone holds, and everything that is left of it. `known` is what the fleet's record says
    /// that it holds.
    async fn bury(
        &self,
        instance: &InstanceId,
        known: Option<&AttemptId>,
        cause: Cause,
        why: &str,
    ) -> Result<(), Error> {
        self.ports.fleet.terminate(std::slice::from_ref(instance)).await?;
        // The instance's record goes last and only as it was read: a claim that comes in between fails, or is found.
        let key = keys::instance(instance);
        loop {
            let record = self.load::<crate::gate::InstanceRecord>(&key).await?;
            let held = record.as_ref().and_then(|r| r.body.holding.clone()).or_else(|| known.cloned());
            match held {
                Some(attempt) => {
                    tracing::warn!(instance.id = %instance, attempt.id = %attempt, %why, "a machine is lost");
                    self.lose_attempt(&attempt, instance, cause, why).await?;
                }
                None => tracing::info!(instance.id = %instance, %why, "a machine has left"),
            }
            let Some(record) = record else { break };
            match self.ports.store.delete_if(&key, Expect::Version(record.version)).await {
                Ok(()) => break,
                Err(PortError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.ports.store.delete_if(&keys::beat(instance), Expect::Any).await?;
        Ok(())
    }

    /// Compares the record with the world: machines and their beats, tickets that nobody claimed.
    pub(crate) async fn audit_fleet(&self) -> Result<(), Error> {
        let (fleet, _) = self.load_fleet().await?;
        let asked_at = self.now();
        let mut alive = BTreeMap::new();
        let mut gone = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for view in self.ports.fleet.describe().await? {
            match view.status {
                crate::ports::InstanceStatus::Alive => {
                    alive.insert(view.id, (view.pool, view.token));
                }
                status @ (crate::ports::InstanceStatus::Gone | crate::ports::InstanceStatus::Taken) => {
                    if status == crate::ports::InstanceStatus::Taken {
                        taken.insert(view.id.clone());
                    }
                    let why = view.why.unwrap_or_else(|| "the machine has ended".to_owned());
                    gone.insert(view.id, why);
                }
            }
        }
        let mut beats = BTreeMap::new();
        for instance in fleet.pools.values().flat_map(|p| p.machines.keys()) {
            if let Some(beat) = self.load::<crate::gate::BeatRecord>(&keys::beat(instance)).await? {
                beats.insert(instance.clone(), beat.body.counter);
            }
        }
        // Only what says something new: an inbox record costs more than a comparison.
        let known = |i: &InstanceId| fleet.pools.values().any(|p| p.machines.contains_key(i));
        gone.retain(|i, _| known(i));
        taken.retain(|i| gone.contains_key(i));
        if !alive.is_empty() || !gone.is_empty() || fleet.pools.values().any(|p| !p.machines.is_empty()) {
            let put = self.letter(&Actor::Fleet, &Input::Seen { asked_at, alive, gone, taken, beats })?;
            self.ports.store.put_if(put).await?;
        }
        self.audit_tickets(&fleet).await?;
        self.ring(&Actor::Fleet).await
    }

    /// Tickets that have been out for long: of no use any more, or lost and sent again.
    async fn audit_tickets(&self, fleet: &Fleet) -> Result<(), Error> {
        let now = self.now();
        let patience = self.settings.policy.ticket_patience;
        for (name, pool) in &fleet.pools {
            for ticket in pool.tickets.iter().filter(|t| now.since(t.at) > patience) {
                if self.is_queued(&ticket.attempt).await? {
                    let message = Outgoing { body: ticket.attempt.to_string(), ..Outgoing::default() };
                    self.ports.queue.send(&tickets(name), message).await?;
                    let sent = Input::Sent { pool: name.clone(), attempts: vec![ticket.attempt.clone()] };
                    self.tell(&Actor::Fleet, &sent).await?;
                } else {
                    let void = Input::Void { pool: name.clone(), attempt: ticket.attempt.clone() };
                    self.tell(&Actor::Fleet, &void).await?;
                }
            }
        }
        Ok(())
    }
}

/// The body of a ticket.
pub(crate) fn parse_ticket(body: &str) -> Option<AttemptId> {
    body.parse().ok()
}
