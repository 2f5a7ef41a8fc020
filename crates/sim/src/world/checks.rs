//! Checks of the whole: at every thousandth event, and at the end when the faults have stopped.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::attempt::Cause;
use tidegate_core::build::{Build, BuildState, JobState};
use tidegate_core::ids::{AttemptId, BuildId, JobIndex};
use tidegate_core::report::StatusState;
use tidegate_core::wire::envelope;
use tidegate_engine::ports::Key;

use crate::exec::{lock, micros};
use crate::ports::Death;
use crate::world::ledger::{MORE, Made, Tried};
use crate::world::pipelines::Job;
use crate::world::{MINUTE, SECOND, World};

/// The run of a job that counts: the result that was accepted last.
pub(crate) fn last_accepted(tries: &BTreeMap<u32, Tried>) -> Option<(&str, Option<i32>)> {
    tries.values().rev().find_map(|t| {
        let run = t.run.as_ref()?;
        let (cause, exit) = t.accepted.or_else(|| run.exit.map(|e| (Cause::Exit, Some(e))))?;
        (cause == Cause::Exit).then_some((run.key.as_str(), exit))
    })
}

/// Exit statuses of the failures of a job that its user is told of, in the order in which they happened.
pub(crate) fn failures(tries: &BTreeMap<u32, Tried>) -> Vec<i32> {
    let exit = |t: &Tried| match t.accepted {
        Some((Cause::Exit, exit)) => exit,
        Some(_) => None,
        None => t.run.as_ref()?.exit,
    };
    tries.values().filter_map(exit).filter(|exit| *exit != 0).collect()
}

/// How many machines fell silent while they ran the job: dead, or cut off for so long that they gave up.
fn died_under(tries: &BTreeMap<u32, Tried>) -> usize {
    let silent = |death: Death| matches!(death, Death::Died | Death::GaveUp);
    tries.values().filter(|t| t.run.as_ref().is_some_and(|r| r.died.is_some_and(silent))).count()
}

impl World {
    /// What a build that is said to have passed lacks.
    pub(crate) fn why_not_green(&self, id: &BuildId) -> Option<(&'static str, String)> {
        let ledger = lock(&self.ledger);
        let Some(made) = ledger.builds.get(id).cloned() else { return Some(("I3", "it was never made".to_owned())) };
        // How often each job really ended well.
        let mut done: BTreeMap<&str, usize> = BTreeMap::new();
        for tries in made.attempts.values() {
            let soft = |key: &str, exit: i32| self.book.jobs.get(key).is_some_and(|j| j.is_soft(exit));
            match last_accepted(tries) {
                Some((key, Some(exit))) if exit == 0 || soft(key, exit) => *done.entry(key).or_default() += 1,
                Some(_) => {}
                // Given up after three machines died under it: a failure of its own, which may be a soft one.
                None => {
                    if let Some(run) = tries.values().find_map(|t| t.run.as_ref())
                        && soft(&run.key, -1)
                        && died_under(tries) >= 3
                    {
                        *done.entry(&run.key).or_default() += 1;
                    }
                }
            }
        }
        drop(ledger);
        let lacks = |text: usize| {
            self.book.texts[text].jobs.iter().find(|key| {
                let copies = self.book.jobs.get(*key).map_or(1, |j| j.copies);
                done.get(key.as_str()).copied().unwrap_or(0) < copies
            })
        };
        let text = lock(&self.texts_of_commits).get(&made.commit).copied().flatten();
        if let Some(key) = text.and_then(lacks) {
            return Some(("I3", format!("its job {key} never ended well")));
        }
        if let Some(what) = text.and_then(|text| self.lacks_of_triggers(id, &made, text)) {
            return Some(("I14", what));
        }
        for (job, tries) in &made.attempts {
            // Uploads of attempts that were lost to us are made again.
            for (number, tried) in tries {
                let counts = tries.keys().next_back() == Some(number) || tried.accepted.is_some();
                for text in tried.uploads.iter().filter(|_| counts) {
                    if let Some(key) = lacks(*text) {
                        let what = format!("attempt {job}/{number} uploaded the job {key}, which never ended well");
                        return Some(("I12", what));
                    }
                }
            }
        }
        None
    }

    /// Why a build may be red: something of the user's own.
    pub(crate) fn excuse(&self, id: &BuildId, made: &Made) -> bool {
        let text = lock(&self.texts_of_commits).get(&made.commit).copied().flatten();
        match text {
            Some(text) if !self.book.texts[text].broken => {
                if self.trigger_excuses(id, made, text) {
                    return true;
                }
            }
            _ => return true,
        }
        made.attempts.values().any(|tries| {
            let failures = failures(tries);
            let job = tries.values().find_map(|t| t.run.as_ref()).and_then(|r| self.book.jobs.get(&r.key));
            let red = |job: &Job| job.refused(&failures) > 0 && failures.iter().any(|exit| !job.is_soft(*exit));
            job.is_some_and(red) || died_under(tries) >= 3
        })
    }

    pub(crate) fn record(&self, id: &BuildId) -> Option<Build> {
        let store = lock(&self.store);
        let (_, body) = store.find(&Key::new(format!("build/{id}"), "build"))?;
        envelope::open(body).ok()
    }

    /// Builds that are not over, with what they wait for.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let ledger = lock(&self.ledger);
        let ids: Vec<BuildId> = ledger.builds.iter().filter(|(_, m)| !m.deleted).map(|(id, _)| id.clone()).collect();
        drop(ledger);
        ids.iter()
            .filter_map(|id| match self.record(id) {
                Some(build) if build.state.is_final() => None,
                Some(build) => {
                    let waiting: Vec<String> = (0u32..)
                        .zip(build.cells.iter())
                        .filter(|(_, c)| !c.state.is_final())
                        .map(|(n, c)| format!("{n}:{:?}#{}", c.state, c.attempt))
                        .collect();
                    Some(format!("build {id} is {}: {}", build.state.name(), waiting.join(" ")))
                }
                None => Some(format!("build {id} has no record")),
            })
            .collect()
    }

    /// Made again and again: what must hold at any moment.
    pub(crate) fn check_everything(&self) {
        let now = self.now();
        let mut wrong = Vec::new();
        {
            let cloud = lock(&self.cloud);
            for (id, machine) in cloud.alive() {
                let limit =
                    self.policy.pools.iter().find(|p| p.name == machine.pool).map_or(0, |p| micros(p.hard_stop));
                if now > machine.launched_at + limit + MINUTE {
                    wrong.push(("I5", format!("machine {id} lives {} s", (now - machine.launched_at) / SECOND)));
                }
            }
        }
        {
            let ledger = lock(&self.ledger);
            let mut attempts: BTreeSet<&AttemptId> = BTreeSet::new();
            for (id, attempt) in &ledger.running {
                if !attempts.insert(attempt) {
                    wrong.push(("I3", format!("attempt {attempt} runs twice, on {id} too")));
                }
            }
        }
        wrong.into_iter().for_each(|(invariant, what)| self.violate(invariant, what));
    }

    /// The faults have stopped, and everything has come to rest.
    pub(crate) fn check_the_end(&self) {
        self.check_everything();
        let mut wrong: Vec<(&'static str, String)> = Vec::new();
        self.check_deliveries(&mut wrong);
        let builds: Vec<(BuildId, Made)> =
            lock(&self.ledger).builds.iter().map(|(id, made)| (id.clone(), made.clone())).collect();
        for (id, made) in builds.iter().filter(|(_, made)| !made.deleted) {
            let Some(build) = self.record(id) else {
                wrong.push(("I1", format!("build {id} has no record")));
                continue;
            };
            self.check_build(id, made, &build, &mut wrong);
        }
        let queues = lock(&self.queue).names();
        for queue in queues {
            let bodies = lock(&self.queue).bodies(&queue);
            if queue.ends_with("-dead") && !bodies.is_empty() {
                wrong.push(("I9", format!("{} messages lie in `{queue}`, such as {}", bodies.len(), bodies[0])));
            } else if matches!(queue.as_str(), "ingest" | "doorbell") && !bodies.is_empty() {
                wrong.push(("I7", format!("{} messages are left in `{queue}`, such as {}", bodies.len(), bodies[0])));
            }
        }
        let alive: Vec<String> = lock(&self.cloud).alive().map(|(id, _)| id.to_string()).collect();
        if !alive.is_empty() {
            wrong.push(("I5", format!("machines are left: {}", alive.join(", "))));
        }
        wrong.into_iter().for_each(|(invariant, what)| self.violate(invariant, what));
    }

    pub(crate) fn check_build(
        &self,
        id: &BuildId,
        made: &Made,
        build: &Build,
        wrong: &mut Vec<(&'static str, String)>,
    ) {
        match build.state {
            BuildState::Passed => {
                if let Some((invariant, what)) = self.why_not_green(id) {
                    wrong.push((invariant, format!("build {id} passed: {what}")));
                }
            }
            BuildState::Failed => {
                if !self.excuse(id, made) {
                    let red: Vec<String> = (0u32..)
                        .zip(build.cells.iter())
                        .filter(|(_, c)| c.state.is_failure())
                        .map(|(n, c)| {
                            let tries = made.attempts.get(&JobIndex(n));
                            format!("{n}:{:?} {tries:?}", c.state)
                        })
                        .collect();
                    wrong.push(("I11", format!("build {id} is red without a fault of its user: {}", red.join(" "))));
                }
            }
            BuildState::Canceled | BuildState::Skipped => {}
            BuildState::NotRun
            | BuildState::Scheduled
            | BuildState::Running
            | BuildState::Failing
            | BuildState::Blocked
            | BuildState::Canceling => {
                wrong.push(("I7", format!("build {id} is {}", build.state.name())));
            }
        }
        for (n, cell) in (0u32..).zip(build.cells.iter()) {
            let tries = made.attempts.get(&JobIndex(n));
            let seen = tries.and_then(last_accepted);
            let triggers = lock(&self.ledger).children.contains_key(&(id.clone(), JobIndex(n), cell.attempt));
            match cell.state {
                // As its build ended, which is looked at where its own build is said to have passed.
                JobState::Passed if triggers => {}
                JobState::Passed if cell.attempt > 0 && seen.is_none_or(|(_, exit)| exit != Some(0)) => {
                    wrong.push(("I3", format!("job {n} of build {id} passed, and ended with {seen:?}")));
                }
                JobState::Expired => wrong.push(("I7", format!("job {n} of build {id} was never started"))),
                _ => {}
            }
        }
        wrong.extend(self.check_superseded(id, made, build).map(|what| ("I16", what)));
        wrong.extend(self.check_opened(id, made, build).map(|what| ("I13", what)));
        wrong.extend(self.check_told(id, made, build).map(|what| ("I17", what)));
        let told = lock(&self.forge).by_build.get(id.as_str()).map(|s| s.state);
        let wanted = match build.state {
            BuildState::Passed | BuildState::NotRun => StatusState::Success,
            BuildState::Failed => StatusState::Failure,
            _ => StatusState::Error,
        };
        if told != Some(wanted) {
            wrong.push(("I8", format!("GitHub shows {told:?} of build {id}, which {}", build.state.name())));
        }
    }

    /// Each move of a ref that a verified delivery told of has its build, and only one.
    fn check_deliveries(&self, wrong: &mut Vec<(&'static str, String)>) {
        let ledger = lock(&self.ledger);
        let mut builds: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for made in ledger.builds.values().filter(|made| made.source == "webhook") {
            *builds.entry((&made.git_ref, &made.commit)).or_default() += 1;
        }
        let mut moves: BTreeMap<(&str, &str), (usize, usize, usize)> = BTreeMap::new();
        for (guid, delivery) in ledger.deliveries.iter().filter(|(_, d)| d.buildable) {
            let entry = moves.entry((&delivery.git_ref, &delivery.after)).or_default();
            entry.0 += usize::from(delivery.accepted);
            entry.1 += usize::from(delivery.accepted || delivery.sent);
            // Two moves from and to the same commits look like one when the move back between them is not known yet.
            let twin = ledger.deliveries.iter().any(|(other, d)| {
                other != guid
                    && (&d.git_ref, &d.before, &d.after) == (&delivery.git_ref, &delivery.before, &delivery.after)
                    && !self.told_in_order(&ledger.deliveries, d, delivery)
            });
            entry.2 += usize::from(twin);
        }
        for (key, (accepted, at_most, twins)) in &moves {
            let made = builds.remove(key).unwrap_or(0);
            let at_least = if *twins > 0 { 1.min(*accepted) } else { *accepted };
            if made < at_least {
                wrong.push(("I1", format!("{accepted} deliveries of {key:?} made {made} builds")));
            } else if made > *at_most {
                wrong.push(("I1", format!("{MORE}{at_most} deliveries of {key:?} made {made} builds")));
            }
        }
        for (key, made) in builds {
            wrong.push(("I1", format!("{MORE}{made} builds of {key:?}, of which no delivery told")));
        }
    }

    /// Whether the move back between two like moves was decided before the later one was looked at.
    fn told_in_order(
        &self,
        all: &BTreeMap<String, crate::world::ledger::Delivery>,
        one: &crate::world::ledger::Delivery,
        two: &crate::world::ledger::Delivery,
    ) -> bool {
        let (Some(a), Some(b)) = (one.taken_at, two.taken_at) else { return false };
        let (first, second) = if a < b { (one, two) } else { (two, one) };
        let (Some(first_done), Some(second_taken)) = (first.done_at, second.taken_at) else { return false };
        first_done < second_taken
            && all.values().any(|d| {
                d.git_ref == one.git_ref
                    && d.repository == one.repository
                    && d.after == one.before
                    && d.taken_at.is_some_and(|t| t > first_done)
                    && d.done_at.is_some_and(|t| t < second_taken)
            })
    }
}
