//! The sweep: reads the records and reaches the same end as if no doorbell were ever lost (design, 9).
//!
//! It rings; it decides nothing. Whatever it finds, the actor that it rings would have done the same.

use std::time::Duration;

use tidegate_core::attempt::{Attempt, Phase};
use tidegate_core::build::{self, Build, Ended, Graph};
use tidegate_core::ids::{AttemptId, BuildId, JobIndex};
use tidegate_core::time::Timestamp;

use crate::actors::fleet::tickets;
use crate::actors::{Actor, DOORBELL};
use crate::engine::Engine;
use crate::error::Error;
use crate::ingest::INGEST;
use crate::keys;
use crate::ports::{Expect, Outgoing, PortError, Write};

/// How many records of an index one page holds.
const PAGE: usize = 200;
/// How many times ten dead letters of a queue one sweep takes.
const DEAD_LETTERS: usize = 20;
/// What an agent may need to end a job whose time is over, beyond its grace.
const ROOM: Duration = Duration::from_secs(60);

impl Engine {
    /// Everything that is looked at often: machines, their beats, tickets that nobody took.
    ///
    /// # Errors
    /// A port failed: the next sweep tries again.
    pub async fn sweep_fleet(&self) -> Result<(), Error> {
        self.audit_fleet().await
    }

    /// Everything that is looked at once a minute: builds and groups that are not done, reports that are behind.
    ///
    /// # Errors
    /// A port failed: the next sweep tries again. One broken record does not keep the others from being swept.
    pub async fn sweep_records(&self) -> Result<(), Error> {
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.store.query(keys::ACTIVE, "", after.as_deref(), PAGE).await?;
            for record in &page.records {
                let Ok(actor) = record.key.sk.parse::<Actor>() else { continue };
                let swept = match &actor {
                    Actor::Build(id) => self.audit_build(id, &actor).await,
                    Actor::Group(id) => self.audit_group(id).await,
                    Actor::Fleet | Actor::Report(_) | Actor::Deadline(_) => Ok(()),
                };
                match swept {
                    Ok(()) => {}
                    Err(Error::Port(error)) => return Err(error.into()),
                    Err(error) => tracing::error!(actor = %actor, %error, "cannot be swept"),
                }
            }
            match (page.more, page.last) {
                (true, Some(last)) => after = Some(last),
                _ => break,
            }
        }
        let (unreported, _) = self.list(keys::UNREPORTED, PAGE).await?;
        for record in unreported {
            if let Ok(id) = BuildId::new(record.key.sk) {
                self.ring(&Actor::Report(id)).await?;
            }
        }
        self.revive_dead_letters().await?;
        self.sweep_old().await
    }

    /// Puts messages back that were given up after too many receipts: what kept them from being handled has lasted long,
    /// which is no reason to lose a delivery (invariants I1 and I9). A message that can never be handled goes round once
    /// in a quarter of an hour, and says so each time.
    async fn revive_dead_letters(&self) -> Result<(), Error> {
        let pools = self.settings.policy.pools.iter().map(|pool| tickets(&pool.name));
        for queue in [INGEST.to_owned(), DOORBELL.to_owned()].into_iter().chain(pools) {
            let dead = format!("{queue}-dead");
            for _ in 0..DEAD_LETTERS {
                let letters = self.ports.queue.receive(&dead, 10, Duration::ZERO).await?;
                if letters.is_empty() {
                    break;
                }
                for letter in letters {
                    tracing::error!(queue, "a message was given up after too many failures: it is tried again");
                    let again = Outgoing { body: letter.body, ..Outgoing::default() };
                    self.ports.queue.send(&queue, again).await?;
                    self.ports.queue.delete(&dead, &letter.receipt).await?;
                }
            }
        }
        Ok(())
    }

    /// Looks for what a build may have missed: inbox records, marks, ends of attempts, deadlines.
    async fn audit_build(&self, id: &BuildId, actor: &Actor) -> Result<(), Error> {
        let Some(build) = self.load::<Build>(&keys::build(id)).await? else {
            // Made by a delivery that did not get further; its message comes again and makes the build.
            return Ok(());
        };
        let build = build.body;
        let now = self.now();
        self.audit_attempts(&build, now).await?;
        let (letters, _) = self.list(&keys::inbox(actor), 1).await?;
        let over = build.state.is_final();
        let due = build.due().is_some_and(|at| at <= now);
        let marked = build.told < build.shown || over || !build.active;
        let unsettled = build.cells.iter().any(|c| c.create || c.revoke || c.join || c.leave)
            || build.lines.iter().any(|l| l.issued > l.published);
        if !letters.is_empty() || due || marked || unsettled {
            self.ring(actor).await?;
        }
        Ok(())
    }

    /// Looks at the attempts of a build that may still run. Whoever waits beyond the next sweep's time for its deadline
    /// is looked at when it comes, not when the sweep does.
    async fn audit_attempts(&self, build: &Build, now: Timestamp) -> Result<(), Error> {
        let actor = Actor::Build(build.facts.id.clone());
        let mut next: Option<Timestamp> = None;
        let graph = self.graph(build).await?;
        for (place, cell) in (0u32..).zip(build.cells.iter()) {
            if !cell.state.has_live_attempt() || cell.create {
                continue;
            }
            // On no line: a trigger step.
            if cell.seq == 0 {
                self.audit_trigger(&build.facts.id, JobIndex(place), cell.attempt).await?;
                continue;
            }
            let id = AttemptId { build: build.facts.id.clone(), job: JobIndex(place), number: cell.attempt };
            let deadline = self.audit_attempt(build, &graph, &id, &actor, now).await?;
            next = next.into_iter().chain(deadline).min();
        }
        match next {
            Some(at) if at.since(now) <= Self::sweep_interval() => {
                let deadlines = Actor::Deadline(build.facts.id.clone());
                self.ring_later(&deadlines, at.since(now).max(Duration::from_millis(1))).await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Ends the attempts of a build that nobody took until their deadline.
    pub(crate) async fn audit_deadlines(&self, id: &BuildId) -> Result<(), Error> {
        let Some(build) = self.load::<Build>(&keys::build(id)).await? else { return Ok(()) };
        self.audit_attempts(&build.body, self.now()).await
    }

    /// Returns its deadline if it waits for a machine.
    async fn audit_attempt(
        &self,
        build: &Build,
        graph: &Graph,
        id: &AttemptId,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Error> {
        let key = keys::attempt(id);
        let Some(known) = self.load::<Attempt>(&key).await? else { return Ok(None) };
        let why = || match self.settings.policy.pool_for(&known.body.requirement, build.facts.trust) {
            Some(pool) => format!("no machine of pool `{}` took the job in time", pool.name),
            None => format!("no pool offers `{}`", known.body.requirement),
        };
        let next = match &known.body.phase {
            Phase::Queued if now >= known.body.deadline => known.body.expire(now, &why()),
            Phase::Queued => return Ok(Some(known.body.deadline)),
            Phase::Held(_) => {
                let timeout = graph.job(id.job).and_then(|j| j.command?.timeout_in_minutes);
                let timeout = timeout.map(|minutes| Duration::from_secs(u64::from(minutes) * 60));
                let room = self.settings.grace * 2 + ROOM;
                if let Some(next) = timeout.and_then(|timeout| known.body.overdue(timeout, room, now)) {
                    tracing::warn!(attempt.id = %id, "a job is beyond its timeout, and its agent has not ended it");
                    match self.save(key, &next, Expect::Version(known.version)).await {
                        Ok(_) | Err(Error::Port(PortError::Conflict)) => {}
                        Err(error) => return Err(error),
                    }
                }
                return Ok(None);
            }
            // The letter that said so was lost with its transaction's doorbell, or is waiting still: say it again.
            Phase::Ended(_) => {
                if let Some(ended) = Ended::of(&known.body) {
                    self.tell(actor, &build::Input::Ended(ended)).await?;
                }
                None
            }
        };
        let Some(next) = next else { return Ok(None) };
        let Some(ended) = Ended::of(&next) else { return Ok(None) };
        let writes = vec![
            Write::Put(self.put(key, &next, Expect::Version(known.version))?),
            Write::Put(self.letter(actor, &build::Input::Ended(ended))?),
        ];
        match self.ports.store.transact(writes).await {
            Ok(()) => self.ring(actor).await.map(|()| None),
            // Claimed in the last moment.
            Err(PortError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// How long until something that the sweep does is worth doing again.
    pub fn sweep_interval() -> Duration {
        Duration::from_secs(60)
    }
}
