//! What the world itself saw, and the checks that are made the moment something is touched.
//!
//! Nothing here asks the engine. What really ran is told by the machines, what is shown by the forge, what was accepted by the
//! webhook's answers; of the records only those are read that are the outcome to be judged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use tidegate_core::attempt::{Attempt, Cause, Phase};
use tidegate_core::build::Build;
use tidegate_core::fleet::Fleet;
use tidegate_core::ids::{AttemptId, BuildId, InstanceId, JobIndex, PoolName};
use tidegate_core::report::StatusState;
use tidegate_core::trust::Trust;
use tidegate_core::wire::envelope;
use tidegate_core::wire::gate::ReportResult;
use tidegate_engine::ports::Key;

use crate::exec::{lock, micros};
use crate::ports::Death;
use crate::sabotage::Sabotage;
use crate::world::listeners::Told;
use crate::world::manual::Opening;
use crate::world::origins::{Slots, Wish};
use crate::world::{MINUTE, SECOND, SELF_KILL, World};

/// Commits of forged deliveries begin with this: nothing of ours may ever hold it.
pub(crate) const FORGED: &str = "bad0bad0bad0";
/// How violations by too many, not too few, begin.
pub(crate) const MORE: &str = "doubled: ";

#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) what: String,
    /// Of I1: there are more builds than there should be, not fewer.
    pub(crate) more: bool,
}

/// Where an attempt's record is.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Place {
    Queued,
    Held(InstanceId, String),
    Ended(Cause, Option<i32>),
}

/// A command that really ran.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) instance: InstanceId,
    pub(crate) key: String,
    pub(crate) began: u64,
    pub(crate) over: bool,
    pub(crate) exit: Option<i32>,
    pub(crate) died: Option<Death>,
}

#[derive(Clone, Debug)]
pub(crate) struct Tried {
    place: Place,
    pub(crate) run: Option<Run>,
    /// The result that was accepted of it: cause and exit status.
    pub(crate) accepted: Option<(Cause, Option<i32>)>,
    /// Texts that were taken of it.
    pub(crate) uploads: Vec<usize>,
}

impl Tried {
    pub(crate) fn is_queued(&self) -> bool {
        self.place == Place::Queued
    }

    pub(crate) fn is_held(&self) -> bool {
        matches!(self.place, Place::Held(..))
    }

    /// The exit status that its record says it ended with.
    pub(crate) fn ended_with(&self) -> Option<i32> {
        match self.place {
            Place::Ended(Cause::Exit, exit) => exit,
            Place::Queued | Place::Held(..) | Place::Ended(..) => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) pipeline: String,
    pub(crate) number: u64,
    pub(crate) branch: String,
    pub(crate) commit: String,
    pub(crate) git_ref: String,
    pub(crate) message: String,
    pub(crate) source: String,
    pub(crate) trust: Trust,
    pub(crate) made_at: u64,
    /// When something became of one of its attempts, last.
    pub(crate) active_at: u64,
    /// The build whose trigger step made it, and how many are above it.
    pub(crate) parent: Option<BuildId>,
    pub(crate) depth: u32,
    /// Who asked to open its step that waits for a person, and the value that its jobs found.
    pub(crate) openings: BTreeMap<String, Opening>,
    pub(crate) filled_in: Option<String>,
    /// What its listeners were told.
    pub(crate) told: BTreeMap<String, BTreeSet<Told>>,
    pub(crate) deleted: bool,
    pub(crate) cancel_asked: bool,
    pub(crate) cancel_acknowledged: Option<u64>,
    pub(crate) retried: u32,
    /// Attempts by job.
    pub(crate) attempts: BTreeMap<JobIndex, BTreeMap<u32, Tried>>,
}

/// A delivery: one move of a ref.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) repository: u64,
    pub(crate) git_ref: String,
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) buildable: bool,
    /// The webhook answered 202.
    pub(crate) accepted: bool,
    /// It is or was in the queue, answered or not.
    pub(crate) sent: bool,
    /// When its message was first taken, and when it was first done.
    pub(crate) taken_at: Option<u64>,
    pub(crate) done_at: Option<u64>,
}

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) violations: Vec<Violation>,
    pub(crate) builds: BTreeMap<BuildId, Made>,
    pub(crate) deliveries: BTreeMap<String, Delivery>,
    pub(crate) wishes: BTreeMap<String, Wish>,
    /// Builds that trigger steps made: of which build, by which try of which job.
    pub(crate) children: BTreeMap<(BuildId, JobIndex, u32), BuildId>,
    pub(crate) slots: Slots,
    /// Builds by what people call them.
    pub(crate) names: BTreeMap<String, BuildId>,
    /// What was posted under which name.
    pub(crate) posts: BTreeMap<String, Bytes>,
    /// By pool: how many attempts wait for a machine, and how many did lately.
    queued: BTreeMap<String, (i64, VecDeque<(u64, i64)>)>,
    /// What runs on a machine.
    pub(crate) running: BTreeMap<InstanceId, AttemptId>,
    pub(crate) deliveries_sent: u64,
    /// Launches whose machines are not in the fleet's record yet, with when they were made.
    pub(crate) unresolved: BTreeMap<PoolName, Vec<(u64, Vec<InstanceId>)>>,
}

impl Ledger {
    fn tried(&mut self, id: &AttemptId) -> Option<&mut Tried> {
        self.builds.get_mut(&id.build)?.attempts.get_mut(&id.job)?.get_mut(&id.number)
    }

    fn is_queued(&mut self, id: &AttemptId) -> bool {
        self.tried(id).is_some_and(|t| t.place == Place::Queued)
    }

    fn demand(&mut self, pool: &str, change: i64, now: u64) {
        let (count, history) = self.queued.entry(pool.to_owned()).or_default();
        *count += change;
        history.push_back((now, *count));
        while history.len() > 1 && history.get(1).is_some_and(|(at, _)| at + 2 * MINUTE < now) {
            history.pop_front();
        }
    }

    /// The most that waited for a machine of a pool within the last two minutes.
    fn demand_lately(&self, pool: &str) -> i64 {
        self.queued
            .get(pool)
            .map_or(0, |(count, history)| history.iter().map(|(_, n)| *n).max().unwrap_or(0).max(*count))
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|w| w == text.as_bytes())
}

impl World {
    /// Every record that is written.
    pub(crate) fn observe_write(&self, key: &Key, before: Option<&Bytes>, after: &Bytes) {
        let pk = key.pk.as_str();
        if pk.starts_with("attempt/") {
            if let Ok(attempt) = envelope::open::<Attempt>(after) {
                self.observe_attempt(&attempt);
            }
        } else if pk.starts_with("build/") && before.is_none() {
            if let Ok(build) = envelope::open::<Build>(after) {
                self.observe_build(&build);
            }
        } else if pk.starts_with("fleet/") {
            let mut ledger = lock(&self.ledger);
            if ledger.unresolved.values().any(|launches| !launches.is_empty())
                && let Ok(fleet) = envelope::open::<Fleet>(after)
            {
                let known = |id: &InstanceId| fleet.pools.values().any(|p| p.machines.contains_key(id));
                ledger.unresolved.values_mut().for_each(|l| l.retain(|(_, ids)| !ids.iter().all(known)));
            }
        } else if ["ref/", "delivery/", "buildkey/"].iter().any(|p| pk.starts_with(p))
            && (contains(after, FORGED) || pk.contains(FORGED))
        {
            self.violate("I2", format!("a forged delivery is in the record {key}"));
        }
    }

    fn observe_build(&self, build: &Build) {
        let facts = &build.facts;
        if facts.commit.as_str().starts_with(FORGED) {
            self.violate("I2", format!("a forged delivery made build {}", facts.id));
        }
        self.observe_origin(facts);
        match facts.source.as_str() {
            "schedule" => self.count("builds of schedules"),
            "trigger_job" => self.count("builds of trigger steps"),
            _ => {}
        }
        let parent = facts.triggered_by.as_ref().map(|by| by.build.clone());
        let above = parent.as_ref().and_then(|id| lock(&self.ledger).builds.get(id).map(|parent| parent.depth));
        let made = Made {
            pipeline: facts.pipeline.to_string(),
            number: facts.number,
            branch: facts.git_ref.as_ref().map_or_else(String::new, |r| r.name().to_owned()),
            commit: facts.commit.to_string(),
            git_ref: facts.git_ref.as_ref().map_or_else(String::new, tidegate_core::event::GitRef::full),
            message: facts.message.clone(),
            source: facts.source.clone(),
            trust: facts.trust,
            made_at: self.now(),
            active_at: self.now(),
            depth: above.map_or(0, |depth| depth + 1),
            parent,
            openings: BTreeMap::new(),
            filled_in: None,
            told: BTreeMap::new(),
            deleted: false,
            cancel_asked: false,
            cancel_acknowledged: None,
            retried: 0,
            attempts: BTreeMap::new(),
        };
        self.event(|| format!("build {} of {} at {}", facts.id, made.commit, made.git_ref));
        {
            let mut ledger = lock(&self.ledger);
            ledger.names.insert(format!("{}#{}", facts.pipeline, facts.number), facts.id.clone());
            ledger.builds.insert(facts.id.clone(), made.clone());
        }
        self.made_a_build(&facts.id, &made);
    }

    fn observe_attempt(&self, attempt: &Attempt) {
        let now = self.now();
        let id = &attempt.id;
        let mut ledger = lock(&self.ledger);
        let place = match &attempt.phase {
            Phase::Queued => Place::Queued,
            Phase::Held(held) => Place::Held(held.owner.clone(), held.boot.clone()),
            Phase::Ended(end) => Place::Ended(end.cause, end.exit_status),
        };
        let pool =
            self.policy.pool_for(&attempt.requirement, attempt.trust).map(|p| p.name.to_string()).unwrap_or_default();
        let Some(made) = ledger.builds.get_mut(&id.build) else {
            drop(ledger);
            return self.violate("I3", format!("attempt {id} of no build"));
        };
        let trust = made.trust;
        let known = made.attempts.get(&id.job).and_then(|tries| tries.get(&id.number));
        if known.is_none_or(|tried| tried.place != place) {
            made.active_at = now;
        }
        let tries = made.attempts.entry(id.job).or_default();
        let old = tries.get(&id.number).map(|t| t.place.clone());
        let wrong = match (&old, &place) {
            (None, Place::Queued) => None,
            (None, other) => Some(format!("attempt {id} began as {other:?}")),
            (Some(Place::Queued), _) => None,
            (Some(Place::Held(a, b)), Place::Held(c, d)) if (a, b) == (c, d) => None,
            (Some(Place::Held(..)), Place::Ended(..)) => None,
            (Some(a @ Place::Ended(..)), b @ Place::Ended(..)) if a == b => None,
            (Some(a), b) => Some(format!("attempt {id} went from {a:?} to {b:?}")),
        };
        let entry = tries.entry(id.number).or_insert_with(|| Tried {
            place: place.clone(),
            run: None,
            accepted: None,
            uploads: Vec::new(),
        });
        entry.place = place.clone();
        let ran = entry.run.clone();
        let was_queued = old == Some(Place::Queued);
        if old.is_none() && place == Place::Queued {
            ledger.demand(&pool, 1, now);
        } else if was_queued && place != Place::Queued {
            ledger.demand(&pool, -1, now);
        }
        drop(ledger);
        self.event(|| format!("attempt {id} {place:?}"));
        if let Some(wrong) = wrong {
            self.violate("I3", wrong);
        }
        match &attempt.phase {
            Phase::Held(held) if was_queued => {
                let pool = self.policy.pools.iter().find(|p| p.name == held.pool);
                if pool.is_none_or(|p| p.trust != trust) {
                    self.violate("I4", format!("attempt {id} of a {trust:?} build is held in pool `{}`", held.pool));
                }
            }
            Phase::Ended(end) if !matches!(old, Some(Place::Ended(..))) => {
                if end.cause == Cause::Exit && ran.as_ref().is_none_or(|r| r.exit != end.exit_status) {
                    self.violate("I4", format!("attempt {id} ended with {:?}, which nobody saw", end.exit_status));
                }
                if let (Cause::Lost, Some(held)) = (end.cause, &end.held)
                    && let Some(since) = self.works_well(&held.owner)
                {
                    let what = format!("attempt {id} was given up {since} s after its machine {} beat", held.owner);
                    self.violate("I11", what);
                }
            }
            Phase::Queued | Phase::Held(_) | Phase::Ended(_) => {}
        }
    }

    /// A machine that runs something, whose agent has beaten so lately that it has no reason to give up: seconds since then.
    fn works_well(&self, id: &InstanceId) -> Option<u64> {
        if !lock(&self.ledger).running.contains_key(id) {
            return None;
        }
        let cloud = lock(&self.cloud);
        let machine = cloud.machines.get(id)?;
        let since = self.now() - machine.last_beat?;
        (machine.ended.is_none() && !machine.frozen && since < micros(SELF_KILL)).then_some(since / SECOND)
    }

    pub(crate) fn observe_send(&self, queue: &str, body: &str) {
        if queue == "ingest" {
            if body.contains(FORGED) {
                self.violate("I2", "a forged delivery became a message");
            }
            if let Some(guid) = guid_of(body)
                && let Some(delivery) = lock(&self.ledger).deliveries.get_mut(&guid)
            {
                delivery.sent = true;
            }
        }
    }

    pub(crate) fn observe_delete(&self, queue: &str, body: &str) {
        if queue == "ingest" {
            if let Some(guid) = guid_of(body) {
                let key = Key::new(format!("delivery/{guid}"), "delivery");
                if lock(&self.store).find(&key).is_none() {
                    self.violate("I9", format!("the message of delivery {guid} was deleted before it was decided"));
                }
            }
        } else if queue.starts_with("tickets-")
            && let Ok(id) = body.parse::<AttemptId>()
            && lock(&self.ledger).is_queued(&id)
        {
            self.violate("I9", format!("a ticket of attempt {id} was deleted before anybody had claimed it"));
        }
    }

    pub(crate) fn observe_launch(&self, pool: &PoolName, token: &str, count: u32, slept: bool) {
        // The call of a task that slept on its way to the cloud: its intent is forgotten and was made up for. One such is in the
        // bound (I6, one unresolved intent). A task that slept before the call looks at the clock.
        let intended = |f: &Fleet| f.pools.values().any(|p| p.launches.iter().any(|l| l.token == token));
        let fleet = lock(&self.store).records("fleet/").find_map(|body| envelope::open::<Fleet>(body).ok());
        if !self.sabotaged(Sabotage::LaunchWithoutIntent) && !fleet.is_some_and(|f| intended(&f)) {
            if slept {
                return self.count("cloud: a forgotten launch is made after all");
            }
            return self.violate("I6", format!("{count} machines of `{pool}` launched, which nobody intends any more"));
        }
        let (free, alive) = {
            let cloud = lock(&self.cloud);
            let ledger = lock(&self.ledger);
            let of_pool = || cloud.alive().filter(|(_, m)| m.pool == *pool && !m.frozen);
            let free = of_pool().filter(|(id, m)| !ledger.running.contains_key(*id) && !self.leaves_soon(m)).count();
            (i64::try_from(free).unwrap_or(0), i64::try_from(of_pool().count()).unwrap_or(0))
        };
        let demand = lock(&self.ledger).demand_lately(pool.as_str());
        let count = i64::from(count);
        // What was launched lately and nobody has learnt of yet: one unresolved intent.
        let now = self.now();
        let unresolved = {
            let mut ledger = lock(&self.ledger);
            let launches = ledger.unresolved.entry(pool.clone()).or_default();
            launches.retain(|(at, _)| at + 2 * MINUTE > now);
            launches.iter().map(|(_, ids)| ids.len()).max().unwrap_or(0)
        };
        let unresolved = i64::try_from(unresolved).unwrap_or(0);
        // A stated bound on waste: what one unresolved launch and a look ahead may add.
        let bound = demand.max(1) + 3 + unresolved;
        if count > bound || (free + count > bound + 4 && count > demand) {
            let what = format!("{count} machines of `{pool}` launched beside {free} free ones for {demand} attempts");
            self.violate("I6", what);
        }
        let width = self.policy.pools.iter().find(|p| p.name == *pool).map_or(0, |p| i64::from(p.width));
        if alive + count > width + 2 + unresolved {
            self.violate("I6", format!("{} machines of `{pool}`, which is {width} wide", alive + count));
        }
    }

    fn leaves_soon(&self, machine: &crate::ports::Machine) -> bool {
        machine.cut_off_until > self.now()
    }

    pub(crate) fn observe_start(
        &self,
        id: &InstanceId,
        pool: &PoolName,
        attempt: &AttemptId,
        key: &str,
        retry: usize,
        asked_at: u64,
    ) {
        self.event(|| format!("start {attempt} on {id}: {key}"));
        let mut wrong: Vec<(&'static str, String)> = Vec::new();
        {
            let mut ledger = lock(&self.ledger);
            let trust_of_pool = self.policy.pools.iter().find(|p| p.name == *pool).map(|p| p.trust);
            let Some(made) = ledger.builds.get_mut(&attempt.build) else { return };
            if trust_of_pool != Some(made.trust) {
                wrong.push(("I4", format!("attempt {attempt} of a {:?} build runs in pool `{pool}`", made.trust)));
            }
            if made.cancel_acknowledged.is_some_and(|at| at < asked_at) {
                wrong.push(("I10", format!("attempt {attempt} started after its build's cancel was acknowledged")));
            }
            let text = lock(&self.texts_of_commits).get(&made.commit).copied().flatten();
            if let Some(what) = self.is_not_of(made, text, key) {
                wrong.push(("I3", format!("attempt {attempt} {what}")));
            }
            if let Some(manual) = self.book.waits_for(key).filter(|_| made.openings.is_empty()) {
                wrong.push(("I13", format!("attempt {attempt} started, and nobody has opened {}", manual.key)));
            }
            let retried = usize::try_from(made.retried).unwrap_or(usize::MAX);
            let tries = made.attempts.entry(attempt.job).or_default();
            if let Some(job) = self.book.jobs.get(key) {
                let failures: Vec<i32> = tries.values().filter_map(Tried::ended_with).filter(|e| *e != 0).collect();
                let by_rule = failures.len() - job.refused(&failures).min(failures.len());
                if job.refused(&failures) > retried || retry < by_rule || retry > by_rule + retried {
                    let what =
                        format!("is retry {retry} after {failures:?}, of {job:?} retried {retried} times by hand");
                    wrong.push(("I20", format!("attempt {attempt} {what}")));
                }
            }
            let other = tries.iter().find(|(n, t)| **n != attempt.number && t.run.as_ref().is_some_and(|r| !r.over));
            if let Some((number, other)) = other {
                let on = other.run.as_ref().map(|r| r.instance.to_string()).unwrap_or_default();
                wrong.push(("I3", format!("attempt {attempt} runs on {id} beside attempt {number} on {on}")));
            }
            match tries.get_mut(&attempt.number) {
                Some(tried) if tried.run.is_some() => {
                    wrong.push(("I3", format!("attempt {attempt} was run a second time, on {id}")));
                }
                Some(tried) => {
                    tried.run = Some(Run {
                        instance: id.clone(),
                        key: key.to_owned(),
                        began: self.now(),
                        over: false,
                        exit: None,
                        died: None,
                    });
                }
                None => wrong.push(("I3", format!("attempt {attempt} runs and has no record"))),
            }
            ledger.running.insert(id.clone(), attempt.clone());
        }
        wrong.into_iter().for_each(|(invariant, what)| self.violate(invariant, what));
        self.count("commands started");
    }

    /// Whether a job belongs to a build: to the text of its commit, or to one that a job of it uploaded.
    fn is_not_of(&self, made: &Made, text: Option<usize>, key: &str) -> Option<String> {
        let of_upload = || {
            let runs = made.attempts.values().flat_map(BTreeMap::values).filter_map(|tried| tried.run.as_ref());
            let uploads = runs.filter_map(|run| self.book.jobs.get(&run.key)?.upload);
            uploads.into_iter().any(|text| self.book.texts[text].jobs.iter().any(|k| k == key))
        };
        let known = |text: usize| self.book.texts[text].jobs.iter().any(|k| k == key);
        let alone = self.plan.single.is_some();
        (!alone && !text.is_some_and(known) && !of_upload())
            .then(|| format!("is of {key}, which is not in the text {text:?} of commit {}", made.commit))
    }

    pub(crate) fn observe_stop(&self, id: &InstanceId, attempt: &AttemptId, exit: Option<i32>) {
        self.event(|| format!("stop {attempt} on {id}: {exit:?}"));
        let mut ledger = lock(&self.ledger);
        ledger.running.remove(id);
        if let Some(run) = ledger.tried(attempt).and_then(|t| t.run.as_mut()) {
            run.over = true;
            run.exit = exit;
        }
    }

    pub(crate) fn observe_stop_of_work(&self, id: &InstanceId, how: Death) {
        let mut ledger = lock(&self.ledger);
        if let Some(attempt) = ledger.running.remove(id)
            && let Some(run) = ledger.tried(&attempt).and_then(|t| t.run.as_mut())
        {
            run.over = true;
            run.died = Some(how);
            if how == Death::Interrupted {
                self.count("cloud: a machine is taken at its work");
            }
        }
    }

    pub(crate) fn observe_machine_end(&self, id: &InstanceId, how: Death, life: (u64, u64)) {
        self.observe_stop_of_work(id, how);
        let pool = lock(&self.cloud).machines.get(id).map(|m| m.pool.clone());
        let limit = self
            .policy
            .pools
            .iter()
            .find(|p| Some(&p.name) == pool.as_ref())
            .map_or(0, |p| crate::exec::micros(p.hard_stop));
        if life.0 > limit + MINUTE {
            self.violate(
                "I5",
                format!("machine {id} lived {} s, and was to end after {} s", life.0 / SECOND, limit / SECOND),
            );
        }
    }

    /// We ask the cloud to end a machine.
    pub(crate) fn observe_termination(&self, id: &InstanceId) {
        if let Some(since) = self.works_well(id) {
            self.violate("I11", format!("machine {id} was ended at its work, {since} s after a beat"));
        }
    }

    pub(crate) fn observe_result(&self, id: &InstanceId, result: &ReportResult, accepted: bool) {
        self.event(|| format!("result {} of {id}: {:?} {accepted}", result.attempt, result.outcome.cause));
        if !accepted {
            self.count("late results");
            return;
        }
        let said = (result.outcome.cause, result.outcome.exit_status);
        let mut wrong = None;
        if let Some(tried) = lock(&self.ledger).tried(&result.attempt) {
            if tried.accepted.is_some_and(|known| known != said) {
                wrong = Some(format!("two results of attempt {} were accepted", result.attempt));
            }
            if tried.place != Place::Ended(said.0, said.1) {
                let what = format!("{said:?} of attempt {} was accepted, and is {:?}", result.attempt, tried.place);
                wrong = Some(what);
            }
            tried.accepted = Some(said);
        }
        if let Some(wrong) = wrong {
            self.violate("I3", wrong);
        }
    }

    pub(crate) fn observe_upload(
        &self,
        attempt: &AttemptId,
        text: usize,
        accepted: bool,
        why: impl FnOnce() -> String,
    ) {
        self.event(|| format!("upload {attempt} {text} {accepted} {}", why()));
        if accepted && let Some(tried) = lock(&self.ledger).tried(attempt) {
            tried.uploads.push(text);
        }
    }

    pub(crate) fn observe_status(&self, build: &str, state: StatusState) {
        if state == StatusState::Success
            && let Ok(id) = BuildId::new(build)
            && let Some((invariant, what)) = self.why_not_green(&id)
        {
            self.violate(invariant, format!("GitHub was told that build {id} passed: {what}"));
        }
    }
}

pub(crate) fn guid_of(body: &str) -> Option<String> {
    let rest = body.split_once("\"delivery\":\"")?.1;
    Some(rest.split_once('"')?.0.to_owned())
}
