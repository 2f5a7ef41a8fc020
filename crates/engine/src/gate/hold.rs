//! Claim, start and result: the verbs that change who holds what.

use std::time::Duration;

use tidegate_core::attempt::{Attempt, Cause, Claimant, Finish, Phase, Refused};
use tidegate_core::build::{self, BuildState, Ended};
use tidegate_core::fleet;
use tidegate_core::ids::AttemptId;
use tidegate_core::trust::Trust;
use tidegate_core::wire::gate::{Next, NextAnswer, ReportResult, ResultAnswer, Start, StartAnswer};

use super::{Caller, GateError, InstanceRecord};
use crate::actors::Actor;
use crate::actors::fleet::{parse_ticket, tickets};
use crate::engine::Engine;
use crate::error::Error;
use crate::keys;
use crate::ports::{Expect, PortError, Version, Write};

/// Longest wait of one call.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Until the fleet hears that a machine holds nothing any more. As a rule a ticket is out for it already, and the fleet hears
/// of its next claim before that: one step then folds in both.
const NEXT_CLAIM: Duration = Duration::from_millis(200);

fn expect(version: Option<Version>) -> Expect {
    version.map_or(Expect::Absent, Expect::Version)
}

impl Engine {
    /// Gives the caller work: takes a ticket of its pool, claims the attempt, then deletes the ticket, in this order: from
    /// the claim on the attempt's record is the truth. A caller that holds something already is given that again.
    ///
    /// # Errors
    /// Only failures of ours; no work is an answer.
    pub async fn next(&self, caller: &Caller, request: &Next) -> Result<NextAnswer, GateError> {
        let (record, version) = self.load_instance(&caller.instance).await?;
        let record = match self.settle_boot(caller, record, version, &request.boot).await? {
            Some(record) => record,
            // Somebody wrote the record meanwhile (the machine was buried, or two calls at once): the agent asks again.
            None => return Ok(NextAnswer::default()),
        };
        if let Some(attempt) = &record.holding {
            return self.again(caller, &request.boot, attempt).await;
        }
        let trust = self.trust_of(&caller.pool);
        // A machine that held what is not trusted holds nothing else: whatever was left on it meets nobody.
        if trust.is_none() || (trust == Some(Trust::Untrusted) && record.spent) {
            return Ok(NextAnswer { assignment: None, leave: true });
        }
        let queue = tickets(&caller.pool);
        let wait = Duration::from_millis(request.wait_ms).min(MAX_WAIT);
        let until = self.now() + wait;
        loop {
            let left = until.since(self.now());
            let Some(message) = self.ports.queue.receive(&queue, 1, left).await?.pop() else {
                return Ok(NextAnswer::default());
            };
            let Some(attempt) = parse_ticket(&message.body) else {
                tracing::error!(body = %message.body, "a ticket names no attempt: dropped");
                self.ports.queue.delete(&queue, &message.receipt).await?;
                continue;
            };
            match self.claim(caller, &request.boot, &attempt).await {
                Ok(()) => {
                    self.ports.queue.delete(&queue, &message.receipt).await?;
                    return self.again(caller, &request.boot, &attempt).await;
                }
                Err(GateError::Refused(Refused::NotYours)) if self.is_queued(&attempt).await? => {
                    // It is this machine that cannot take it: it was given another one by a call that came at the same time,
                    // or was restarted. Somebody else can, at once, and this one asks again.
                    self.ports.queue.extend(&queue, &message.receipt, Duration::ZERO).await?;
                    return Ok(NextAnswer::default());
                }
                Err(GateError::Refused(why)) => {
                    tracing::debug!(attempt.id = %attempt, %why, "a ticket is of no use: dropped");
                    self.ports.queue.delete(&queue, &message.receipt).await?;
                    let void = fleet::Input::Void { pool: caller.pool.clone(), attempt };
                    self.tell(&Actor::Fleet, &void).await?;
                }
                Err(error) => {
                    // Not ours to lose: hand it back at once.
                    let _ = self.ports.queue.extend(&queue, &message.receipt, Duration::ZERO).await;
                    return Err(error);
                }
            }
        }
    }

    pub(crate) async fn is_queued(&self, attempt: &AttemptId) -> Result<bool, Error> {
        let known = self.load::<Attempt>(&keys::attempt(attempt)).await?;
        Ok(known.is_some_and(|k| k.body.phase == Phase::Queued))
    }

    /// Writes down a machine's first call, and ends what an earlier agent process on it held.
    async fn settle_boot(
        &self,
        caller: &Caller,
        record: InstanceRecord,
        version: Option<Version>,
        boot: &str,
    ) -> Result<Option<InstanceRecord>, GateError> {
        if version.is_some() && record.boot == boot {
            return Ok(Some(record));
        }
        if let Some(attempt) = &record.holding {
            let why = "the agent on the machine was restarted";
            self.lose_attempt(attempt, &caller.instance, Cause::Lost, why).await?;
        }
        let next = InstanceRecord {
            boot: boot.to_owned(),
            holding: None,
            closing: false,
            spent: record.spent,
            seq: record.seq + 1,
        };
        let up = fleet::Input::Up { instance: caller.instance.clone(), pool: caller.pool.clone(), seq: next.seq };
        let writes = vec![
            Write::Put(self.put(keys::instance(&caller.instance), &next, expect(version))?),
            Write::Put(self.letter(&Actor::Fleet, &up)?),
        ];
        match self.ports.store.transact(writes).await {
            Ok(()) => {
                self.ring(&Actor::Fleet).await?;
                Ok(Some(next))
            }
            Err(PortError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What the caller holds, as work to do.
    async fn again(&self, caller: &Caller, boot: &str, attempt: &AttemptId) -> Result<NextAnswer, GateError> {
        let known = match self.held(caller, boot, attempt).await {
            Ok(known) => known,
            // It was ended meanwhile (lost by mistake, or its result has just been recorded): free the machine.
            Err(GateError::Refused(_)) => {
                self.free(caller, attempt).await?;
                return Ok(NextAnswer::default());
            }
            Err(error) => return Err(error),
        };
        let assignment = self.assignment(&known.body).await?;
        Ok(NextAnswer { assignment: Some(Box::new(assignment)), leave: false })
    }

    /// Claims an attempt for the caller.
    ///
    /// # Errors
    /// Refused when it cannot be claimed (see [`Attempt::claim`]).
    pub async fn claim(&self, caller: &Caller, boot: &str, id: &AttemptId) -> Result<(), GateError> {
        let trust = self.trust_of(&caller.pool).ok_or(Refused::Trust)?;
        let build_actor = Actor::Build(id.build.clone());
        loop {
            let (attempt, instance) =
                tokio::try_join!(async { self.load::<Attempt>(&keys::attempt(id)).await }, async {
                    self.load_instance(&caller.instance).await
                },)?;
            let Some(known) = attempt else { return Err(Refused::Ended.into()) };
            let (record, version) = instance;
            if record.boot != boot || record.holding.as_ref().is_some_and(|h| h != id) {
                return Err(Refused::NotYours.into());
            }
            let by = Claimant { instance: &caller.instance, boot, pool: &caller.pool, trust };
            let now = self.now();
            let Some(next) = known.body.claim(by, now)? else { return Ok(()) };
            if trust == Trust::Untrusted && record.spent && record.holding.is_none() {
                return Err(Refused::NotYours.into());
            }
            let held = InstanceRecord {
                holding: Some(id.clone()),
                closing: false,
                spent: true,
                seq: record.seq + 1,
                ..record
            };
            let claimed = fleet::Input::Claimed {
                instance: caller.instance.clone(),
                pool: caller.pool.clone(),
                attempt: id.clone(),
                seq: held.seq,
            };
            let mut writes = vec![
                Write::Put(self.put(keys::attempt(id), &next, Expect::Version(known.version))?),
                Write::Put(self.put(keys::instance(&caller.instance), &held, expect(version))?),
                Write::Put(self.letter(&Actor::Fleet, &claimed)?),
            ];
            let first = self
                .load::<build::Build>(&keys::build(&id.build))
                .await?
                .is_some_and(|b| b.body.started_at.is_none() && b.body.state == BuildState::Scheduled);
            if first {
                writes.push(Write::Put(self.letter(&build_actor, &build::Input::Started { at: now })?));
            }
            match self.ports.store.transact(writes).await {
                Ok(()) => {
                    if first {
                        self.ring(&build_actor).await?;
                    }
                    self.ring(&Actor::Fleet).await?;
                    return Ok(());
                }
                Err(PortError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The caller's command is about to run.
    ///
    /// # Errors
    /// Refused unless the caller holds the attempt.
    pub async fn start(&self, caller: &Caller, request: &Start) -> Result<StartAnswer, GateError> {
        let key = keys::attempt(&request.attempt);
        loop {
            let known = self.held(caller, &request.boot, &request.attempt).await?;
            let (next, cancel) = known.body.start(&caller.instance, &request.boot, self.now())?;
            let Some(next) = next else { return Ok(StartAnswer { cancel }) };
            match self.save(key.clone(), &next, Expect::Version(known.version)).await {
                Ok(_) => return Ok(StartAnswer { cancel }),
                Err(Error::Port(PortError::Conflict)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The caller's attempt has ended.
    ///
    /// # Errors
    /// Refused when the caller never held the attempt.
    pub async fn result(&self, caller: &Caller, request: &ReportResult) -> Result<ResultAnswer, GateError> {
        let id = &request.attempt;
        let key = keys::attempt(id);
        let actor = Actor::Build(id.build.clone());
        loop {
            let known = self.load::<Attempt>(&key).await?.ok_or(Refused::NotClaimed)?;
            let outcome = request.outcome.clone();
            let next = match known.body.finish(&caller.instance, &request.boot, outcome, self.now())? {
                Finish::Repeated => {
                    self.free(caller, id).await?;
                    return Ok(ResultAnswer { accepted: true });
                }
                Finish::Late(late) => {
                    if let Some(late) = late {
                        match self.save(key.clone(), &*late, Expect::Version(known.version)).await {
                            Ok(_) | Err(Error::Port(PortError::Conflict)) => {}
                            Err(error) => return Err(error.into()),
                        }
                    }
                    self.free(caller, id).await?;
                    return Ok(ResultAnswer { accepted: false });
                }
                Finish::Accepted(next) => next,
            };
            let Some(ended) = Ended::of(&next) else { return Err(Refused::NotClaimed.into()) };
            let (record, version) = self.load_instance(&caller.instance).await?;
            let mut writes = vec![
                Write::Put(self.put(key.clone(), &*next, Expect::Version(known.version))?),
                Write::Put(self.letter(&actor, &build::Input::Ended(ended))?),
            ];
            if record.holding.as_ref() == Some(id) {
                writes.extend(self.freeing(caller, &record, version)?);
            }
            match self.ports.store.transact(writes).await {
                Ok(()) => {
                    tokio::try_join!(self.ring(&actor), self.ring_later(&Actor::Fleet, NEXT_CLAIM))?;
                    return Ok(ResultAnswer { accepted: true });
                }
                Err(PortError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn freeing(&self, caller: &Caller, record: &InstanceRecord, version: Option<Version>) -> Result<[Write; 2], Error> {
        let free = InstanceRecord { holding: None, seq: record.seq + 1, ..record.clone() };
        let freed = fleet::Input::Freed { instance: caller.instance.clone(), pool: caller.pool.clone(), seq: free.seq };
        Ok([
            Write::Put(self.put(keys::instance(&caller.instance), &free, expect(version))?),
            Write::Put(self.letter(&Actor::Fleet, &freed)?),
        ])
    }

    /// The caller's machine does not hold this attempt any more.
    async fn free(&self, caller: &Caller, attempt: &AttemptId) -> Result<(), GateError> {
        loop {
            let (record, version) = self.load_instance(&caller.instance).await?;
            if record.holding.as_ref() != Some(attempt) {
                return Ok(());
            }
            let writes = self.freeing(caller, &record, version)?;
            match self.ports.store.transact(writes.into()).await {
                Ok(()) => return Ok(self.ring_later(&Actor::Fleet, NEXT_CLAIM).await?),
                Err(PortError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
