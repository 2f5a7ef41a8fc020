//! The build actor's step.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tidegate_core::attempt::{Attempt, Phase};
use tidegate_core::build::{Build, Done, Effect, Ended, Folded, Graph, Input, Line, Planned};
use tidegate_core::fleet::Demand;
use tidegate_core::group;
use tidegate_core::ids::{AttemptId, BuildId, JobIndex};
use tidegate_core::wire::gate::CancelReason;

use super::Actor;
use crate::engine::{Engine, Loaded};
use crate::error::Error;
use crate::keys;
use crate::list::ListEntry;
use crate::ports::{Expect, PortError, Write};

/// Deadlines that are no further away than this have a doorbell of their own.
const SOON: Duration = Duration::from_secs(900);
/// How often a step goes round before it leaves the rest to the next doorbell.
const ROUNDS: usize = 32;

impl Engine {
    /// Returns how many bytes were written of the build's record.
    pub(super) async fn step_build(&self, id: &BuildId) -> Result<usize, Error> {
        let actor = Actor::Build(id.clone());
        let key = keys::build(id);
        let mut known: Option<Loaded<Build>> = None;
        let mut done: Vec<Done> = Vec::new();
        let mut news: Vec<Input> = Vec::new();
        let mut rounds = 0;
        let mut written = 0;
        let mut more = false;
        let due = loop {
            if rounds >= ROUNDS {
                // Others write all the time. Whoever waits for this step must not take it for done: a cancel is not
                // acknowledged before it is folded in (invariant I10).
                return Err(PortError::retry("the build is busy").into());
            }
            let now = self.now();
            // What came in since stays where it is when the record is large: the next step folds it in with more.
            let letters;
            (letters, more) = match &known {
                Some(_) if written > self.settings.pace.free && !more => (Vec::new(), false),
                Some(_) | None => self.inbox::<Input>(&actor).await?,
            };
            // After the inbox, unless it is what we wrote ourselves: a letter that is not there any more is in the record, with
            // the effects that it had. Read the other way round, a step may find neither, and whoever waits for it takes a
            // cancel for done that another step has yet to perform.
            let mut current = match known.take() {
                Some(current) => current,
                None => match self.load::<Build>(&key).await? {
                    Some(current) => current,
                    None => return Ok(written),
                },
            };
            let mut next = current.body.clone();
            let limits = self.settings.limits_of(next.facts.trust);
            let mut graph = self.graph(&next).await?;
            let (old, new): (Vec<_>, Vec<_>) = letters.into_iter().partition(|l| next.folded.contains(&l.id));
            let old: Vec<String> = old.into_iter().map(|l| l.id).collect();
            self.discard(&actor, &old).await?;
            next.clear(&done);
            let mut folded = Vec::new();
            let inputs = news.iter().map(|input| (None, input)).chain(new.iter().map(|l| (Some(&l.id), &l.input)));
            for (letter, input) in inputs {
                let segment = match input {
                    Input::Uploaded { blob, .. } | Input::Approved { plan: Planned::Segment(blob), .. } => {
                        Some(self.segment(blob).await?)
                    }
                    _ => None,
                };
                if next.fold(input, &graph, segment.as_deref(), &limits, now) == Folded::Done {
                    folded.extend(letter.cloned());
                }
                if segment.is_some() {
                    graph = self.graph(&next).await?;
                }
            }
            next.settle(&graph, now);
            let progress = !folded.is_empty() || next != current.body;
            if progress {
                // What was folded before and is not there any more need not be remembered.
                next.folded = folded.clone();
                match self.save_sized(key.clone(), &next, Expect::Version(current.version)).await {
                    Ok((version, size)) => {
                        current = Loaded { body: next, version };
                        written += size;
                    }
                    Err(Error::Port(PortError::Conflict)) => {
                        // Somebody else ran a step. What we performed is still marked there and is performed again.
                        (done, news) = (Vec::new(), Vec::new());
                        rounds += 1;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
                self.discard(&actor, &folded).await?;
            }
            let effects = current.body.effects(&graph);
            if effects.is_empty() && !(more && progress) {
                break current.body.due();
            }
            // What was performed before this round is in the record now: only this round's outcome is news.
            news = self.perform_build(&current.body, &graph, &effects).await?;
            done = effects;
            rounds += 1;
            known = Some(current);
        };
        if let Some(due) = due {
            self.ring_later(&actor, due.since(self.now()).max(Duration::from_millis(1))).await?;
        }
        Ok(written)
    }

    /// Performs effects in order; returns what the build must know of the outcome.
    async fn perform_build(&self, build: &Build, graph: &Graph, effects: &[Effect]) -> Result<Vec<Input>, Error> {
        let id = &build.facts.id;
        let actor = Actor::Build(id.clone());
        let mut news = Vec::new();
        if effects.contains(&Effect::Activate) {
            self.save(keys::active(&actor), &(), Expect::Any).await?;
        }
        // What people filled in before the jobs that read it.
        for effect in effects {
            if let Effect::Fill { form, .. } = effect {
                self.write_form(id, form).await?;
            }
        }
        // Attempts before the line that announces them.
        let creations = effects.iter().filter_map(|effect| match effect {
            Effect::Create { job, number, retry_count, line } => {
                Some(self.create_attempt(build, *job, *number, *retry_count, *line))
            }
            _ => None,
        });
        let created = try_join_all(creations).await?.len();
        // A short wait ends when it ends; of a long one the sweep knows in time.
        if created > 0 && self.settings.limits.wait <= SOON {
            self.ring_later(&Actor::Deadline(id.clone()), self.settings.limits.wait).await?;
        }
        let mut published = false;
        for effect in effects {
            match effect {
                Effect::Activate | Effect::Fill { .. } | Effect::Create { .. } => {}
                Effect::Publish { place, line } => {
                    self.publish(build, *place, line).await?;
                    published = true;
                }
                Effect::Revoke { job, number, reason } => {
                    news.extend(self.revoke(id, *job, *number, *reason).await?.map(Input::Ended));
                }
                Effect::Join { job, round, early, concurrency } => {
                    let order = (build.facts.created_at, id.clone(), *job);
                    let member = group::Member {
                        build: id.clone(),
                        job: *job,
                        round: *round,
                        limit: concurrency.limit,
                        eager: concurrency.eager,
                        order,
                        told: false,
                        early: *early,
                        since: Some(self.now()),
                    };
                    self.tell_group(&concurrency.group, &group::Input::Join(member)).await?;
                }
                Effect::Leave { job, round, group } => {
                    let leave = group::Input::Leave { build: id.clone(), job: *job, round: *round };
                    self.tell_group(group, &leave).await?;
                }
                Effect::Trigger { job, number } => news.extend(self.trigger(build, graph, *job, *number).await?),
                Effect::Recall { job, number } => news.extend(self.recall(build, graph, *job, *number).await?),
                Effect::Answer { state, .. } => self.answer(build, *state).await?,
                Effect::Show { upto } => self.show(build, graph, *upto).await?,
                Effect::Deactivate => {
                    for (place, line) in build.lines.iter().enumerate() {
                        let demand = demand(build, place, line);
                        self.ports.store.delete_if(&keys::demand(&demand), Expect::Any).await?;
                    }
                    self.ports.store.delete_if(&keys::active(&actor), Expect::Any).await?;
                }
            }
        }
        if published {
            self.ring(&Actor::Fleet).await?;
        }
        Ok(news)
    }

    async fn create_attempt(
        &self,
        build: &Build,
        job: JobIndex,
        number: u32,
        retry_count: u32,
        line: usize,
    ) -> Result<(), Error> {
        let Some(line) = build.lines.get(line) else { return Ok(()) };
        let now = self.now();
        let attempt = Attempt {
            id: AttemptId { build: build.facts.id.clone(), job, number },
            trust: build.facts.trust,
            requirement: line.requirement.clone(),
            retry_count,
            created_at: now,
            deadline: now + self.settings.limits.wait,
            phase: Phase::Queued,
        };
        match self.save(keys::attempt(&attempt.id), &attempt, Expect::Absent).await {
            // It is there already: this effect was performed before.
            Ok(_) | Err(Error::Port(PortError::Conflict)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tells the fleet how many attempts are on a line. The line may have been used up and removed meanwhile: then it
    /// begins after what was published before.
    async fn publish(&self, build: &Build, place: usize, line: &Line) -> Result<(), Error> {
        let wanted = demand(build, place, line);
        let requirement = keys::requirement(wanted.trust, &wanted.requirement);
        if self.load::<()>(&requirement).await?.is_none() {
            self.save(requirement, &(), Expect::Any).await?;
        }
        let key = keys::demand(&wanted);
        loop {
            let (next, expect) = match self.load::<Demand>(&key).await? {
                Some(known) if known.body.ready >= line.issued => return Ok(()),
                Some(known) => (Demand { ready: line.issued, ..known.body }, Expect::Version(known.version)),
                None => (wanted.clone(), Expect::Absent),
            };
            match self.save(key.clone(), &next, expect).await {
                Ok(_) => return Ok(()),
                Err(Error::Port(PortError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Cancels an attempt. Returns its end if it has ended, now or before.
    async fn revoke(
        &self,
        build: &BuildId,
        job: JobIndex,
        number: u32,
        reason: CancelReason,
    ) -> Result<Option<Ended>, Error> {
        let key = keys::attempt(&AttemptId { build: build.clone(), job, number });
        loop {
            let Some(known) = self.load::<Attempt>(&key).await? else { return Ok(None) };
            let Some(next) = known.body.cancel(reason, self.now()) else { return Ok(Ended::of(&known.body)) };
            match self.save(key.clone(), &next, Expect::Version(known.version)).await {
                Ok(_) => return Ok(Ended::of(&next)),
                Err(Error::Port(PortError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn tell_group(&self, name: &str, input: &group::Input) -> Result<(), Error> {
        let id = keys::group_id(name);
        let empty = group::Group { name: name.to_owned(), ..group::Group::default() };
        match self.save(keys::group(&id), &empty, Expect::Absent).await {
            Ok(_) | Err(Error::Port(PortError::Conflict)) => {}
            Err(error) => return Err(error),
        }
        self.list_group(&id).await?;
        self.tell(&Actor::Group(id), input).await
    }

    /// Brings the list up to date, and leaves a durable note for the report before ringing it.
    async fn show(&self, build: &Build, graph: &Graph, upto: u64) -> Result<(), Error> {
        let entry = ListEntry::of(build, graph, upto);
        let key = keys::list_entry(build.facts.repository, &build.facts.pipeline, build.facts.number);
        loop {
            let expect = match self.load::<ListEntry>(&key).await? {
                Some(known) if known.body.shown >= upto => break,
                Some(known) => Expect::Version(known.version),
                None => Expect::Absent,
            };
            match self.save(key.clone(), &entry, expect).await {
                Ok(_) => break,
                Err(Error::Port(PortError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
        self.save(keys::unreported(&build.facts.id), &(), Expect::Any).await?;
        self.ring(&Actor::Report(build.facts.id.clone())).await
    }

    /// Ends what a machine holds, because the machine is gone, and tells the build. Nothing happens if it holds nothing.
    pub(crate) async fn lose_attempt(
        &self,
        attempt: &AttemptId,
        owner: &tidegate_core::ids::InstanceId,
        cause: tidegate_core::attempt::Cause,
        why: &str,
    ) -> Result<(), Error> {
        let key = keys::attempt(attempt);
        let actor = Actor::Build(attempt.build.clone());
        loop {
            let Some(known) = self.load::<Attempt>(&key).await? else { return Ok(()) };
            let Some(next) = known.body.lose(owner, cause, why, self.now()) else { return Ok(()) };
            let Some(ended) = Ended::of(&next) else { return Ok(()) };
            let writes = vec![
                Write::Put(self.put(key.clone(), &next, Expect::Version(known.version))?),
                Write::Put(self.letter(&actor, &Input::Ended(ended))?),
            ];
            match self.ports.store.transact(writes).await {
                Ok(()) => return self.ring(&actor).await,
                Err(PortError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A build with its plan.
    pub(crate) async fn load_build(&self, id: &BuildId) -> Result<Option<(Build, Arc<Graph>)>, Error> {
        let Some(loaded) = self.load::<Build>(&keys::build(id)).await? else { return Ok(None) };
        let graph = self.graph(&loaded.body).await?;
        Ok(Some((loaded.body, Arc::new(graph))))
    }
}

fn demand(build: &Build, place: usize, line: &Line) -> Demand {
    Demand {
        build: build.facts.id.clone(),
        line: u32::try_from(place).unwrap_or(u32::MAX),
        requirement: line.requirement.clone(),
        trust: build.facts.trust,
        priority: line.priority,
        created_at: build.facts.created_at,
        ready: line.issued,
        released: line.published,
    }
}
