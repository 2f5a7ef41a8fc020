//! Why a job waits, in one sentence with the numbers, and what would end the wait.
//!
//! A pure function over records. Nothing waits without such a sentence: every state has one, and a record that is not
//! there (not written yet, or deleted) makes a sentence vaguer, never missing.

mod needs;
pub(crate) mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, Phase};
use crate::build::{Build, BuildState, Graph, Hold, JobState};
use crate::fleet::{Fleet, Policy, PoolPolicy, Requirement};
use crate::group::{Group, Member};
use crate::ids::{BuildId, JobIndex};
use crate::plan::StepKind;
use crate::time::Timestamp;
use crate::trust::Trust;

use words::{count, list, span};

/// What a job waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Steps before it.
    Dependency,
    /// A slot of its concurrency group.
    Group,
    /// A machine.
    Machine,
    /// A machine that no pool offers.
    NoPool,
    /// A person.
    Person,
    /// The pause before it is tried again.
    Backoff,
    /// The build that it started.
    Build,
    /// It is being cancelled.
    Canceling,
    /// Nothing: it runs.
    Running,
    /// Nothing: it is over.
    Over,
}

impl Kind {
    /// Whether a job of this kind waits for something.
    pub fn waits(self) -> bool {
        !matches!(self, Kind::Running | Kind::Over)
    }
}

/// Why a job is where it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// What it waits for.
    pub kind: Kind,
    /// The sentence, without the job's name: `waits for …`.
    pub because: String,
    /// What would end the wait, as a clause; empty where nothing is waited for.
    pub until: String,
    /// Since when, as far as the records say.
    pub since: Option<Timestamp>,
}

/// The build that a trigger step started.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Child {
    /// How people call it, `pipeline#number`.
    pub name: String,
    /// Its state.
    pub state: BuildState,
}

/// The records that there are.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    /// The build.
    pub build: &'a Build,
    /// Its plan.
    pub graph: &'a Graph,
    /// Its attempts, in any order; those of the jobs that are asked for at least.
    pub attempts: &'a [Attempt],
    /// Concurrency groups by the name that people gave them.
    pub groups: &'a BTreeMap<String, Group>,
    /// How people call jobs of other builds: of those that hold or wait for slots.
    pub names: &'a BTreeMap<(BuildId, JobIndex), String>,
    /// Builds that trigger steps started.
    pub children: &'a BTreeMap<JobIndex, Child>,
    /// The fleet.
    pub fleet: &'a Fleet,
    /// What is configured.
    pub policy: &'a Policy,
    /// How many attempts of all builds wait to be given out, by pool.
    pub backlog: &'a BTreeMap<String, u32>,
    /// Now.
    pub now: Timestamp,
}

/// Why a job is where it is. `None` only for a job that the build does not have.
pub fn why(job: JobIndex, records: &Records<'_>) -> Option<Why> {
    let Records { build, graph, now, .. } = records;
    let cell = build.cells.get(job.0 as usize)?;
    let attempt = records.latest(job);
    Some(match cell.state {
        JobState::Waiting => records.waiting(job),
        JobState::Limited => records.limited(job),
        JobState::Blocked => records.blocked(job),
        JobState::Backoff => Why {
            kind: Kind::Backoff,
            because: match cell.losses {
                0 => "is about to be tried again by a rule of `retry`".to_owned(),
                n => {
                    let cause = attempt.and_then(end_in_words).map(|how| format!(", the last one by: {how}"));
                    format!(
                        "waits before it is tried again: {} in a row for no fault of the job{}",
                        count(n, "attempt ended", "attempts ended"),
                        cause.unwrap_or_default()
                    )
                }
            },
            until: match cell.not_before.since(*now) {
                pause if pause.is_zero() => "the next look at the build starts the next attempt".to_owned(),
                pause => format!("the next attempt starts in {}", span(pause)),
            },
            since: attempt.and_then(ended_at),
        },
        JobState::Scheduled if records.is_trigger(job) => records.triggering(job),
        JobState::Scheduled => records.scheduled(job, attempt),
        JobState::Canceling => Why {
            kind: Kind::Canceling,
            because: match attempt.map(|a| &a.phase) {
                Some(Phase::Held(held)) => format!("is being canceled on {}", held.owner),
                Some(Phase::Queued | Phase::Ended(_)) | None => "is being canceled".to_owned(),
            },
            until: "its machine ends the command, gently at first and then by force".to_owned(),
            since: build.cancel.as_ref().map(|c| c.at),
        },
        JobState::WaitingFailed => Why { kind: Kind::Over, ..records.not_run(job) },
        state => {
            let written = graph.job(job);
            let left_out = written.and_then(|w| w.job.and_then(|j| j.left_out.as_ref()).or(w.step.left_out.as_ref()));
            let name = state.name().replace('_', " ");
            let because = match (state, left_out) {
                (JobState::Broken | JobState::Skipped, Some(left_out)) => format!("was left out: {}", left_out.why),
                (JobState::Broken, None) => "was dropped by an upload that replaced it".to_owned(),
                (JobState::Unblocked, _) => match build.unblocked(job) {
                    Some(act) => format!("was unblocked by {}", act.by),
                    None => "was unblocked".to_owned(),
                },
                (JobState::Passed | JobState::Failed | JobState::SoftFailed | JobState::TimedOut, _) => {
                    match attempt.and_then(end_in_words) {
                        Some(how) => format!("is over: it {name} ({how})"),
                        None => format!("is over: it {name}"),
                    }
                }
                (JobState::Expired, _) => match attempt.and_then(end_in_words) {
                    Some(how) => how,
                    None => "expired: no machine took it in time".to_owned(),
                },
                _ => format!("is over: it is {name}"),
            };
            Why { kind: Kind::Over, because, until: String::new(), since: attempt.and_then(ended_at) }
        }
    })
}

/// A build in a sentence: how many of its jobs do what.
pub fn sentence(records: &Records<'_>) -> String {
    let Records { build, graph, .. } = records;
    let name = format!("{}#{}", build.facts.pipeline, build.facts.number);
    let state = build.state.name().replace('_', " ");
    if !build.failure.is_empty() {
        return format!("{name} failed before it had jobs: {}", build.failure.lines().next().unwrap_or_default());
    }
    if build.state.is_final() {
        return match build.finished_at {
            Some(at) => format!("{name} is over since {at}: {state}"),
            None => format!("{name} is over: {state}"),
        };
    }
    if build.hold == Some(Hold::Approval) {
        return format!(
            "{name} waits for approval, because its commit comes from a fork: somebody with write access comments \
             `/approve {}` on the pull request",
            build.facts.commit
        );
    }
    let mut counts: BTreeMap<u8, u32> = BTreeMap::new();
    for (place, cell) in (0u32..).zip(build.cells.iter()) {
        let written = graph.job(JobIndex(place));
        if written.is_some_and(|w| matches!(w.step.kind, StepKind::Wait { .. })) {
            continue;
        }
        let held = || records.latest(JobIndex(place)).is_some_and(|a| a.phase != Phase::Queued);
        let class = match cell.state {
            JobState::Scheduled if records.is_trigger(JobIndex(place)) => 5,
            JobState::Scheduled if held() => 0,
            JobState::Scheduled => 1,
            JobState::Blocked => 2,
            JobState::Limited => 3,
            JobState::Backoff => 4,
            JobState::Canceling => 6,
            JobState::Waiting => 7,
            _ => continue,
        };
        *counts.entry(class).or_default() += 1;
    }
    let parts: Vec<String> = counts
        .into_iter()
        .map(|(class, n)| match class {
            0 => count(n, "job runs", "jobs run"),
            1 => count(n, "waits for a machine", "wait for machines"),
            2 => count(n, "waits for a person", "wait for a person"),
            3 => count(n, "waits for its concurrency group", "wait for their concurrency groups"),
            4 => count(n, "waits before it is tried again", "wait before they are tried again"),
            5 => count(n, "waits for a build that it started", "wait for builds that they started"),
            6 => count(n, "is being canceled", "are being canceled"),
            _ => count(n, "waits for steps before it", "wait for steps before them"),
        })
        .collect();
    let parts = if parts.is_empty() { "its end is about to be noted".to_owned() } else { list(&parts, 8) };
    format!("{name} is {state}: {parts}")
}

fn ended_at(attempt: &Attempt) -> Option<Timestamp> {
    match &attempt.phase {
        Phase::Ended(end) => Some(end.at),
        Phase::Queued | Phase::Held(_) => None,
    }
}

fn end_in_words(attempt: &Attempt) -> Option<String> {
    let Phase::Ended(end) = &attempt.phase else { return None };
    let how = match (end.exit_status, &end.signal) {
        (Some(status), None) => format!("exit status {status}"),
        (_, Some(signal)) => format!("signal {signal}"),
        (None, None) => end.cause.name().replace('_', " "),
    };
    Some(match &end.detail {
        Some(detail) => format!("{how}: {detail}"),
        None => how,
    })
}

impl<'a> Records<'a> {
    fn latest(&self, job: JobIndex) -> Option<&'a Attempt> {
        let number = self.build.cells.get(job.0 as usize)?.attempt;
        self.attempts.iter().find(|a| a.id.job == job && a.id.number == number)
    }

    fn is_trigger(&self, job: JobIndex) -> bool {
        self.graph.job(job).is_some_and(|j| matches!(j.step.kind, StepKind::Trigger(_)))
    }

    fn blocked(&self, job: JobIndex) -> Why {
        let written = self.graph.job(job);
        let prompt = written.and_then(|w| match &w.step.kind {
            StepKind::Block(manual) | StepKind::Input(manual) => manual.prompt.as_deref(),
            StepKind::Command(_) | StepKind::Wait { .. } | StepKind::Trigger(_) => None,
        });
        let name = written.map_or("", |w| w.step.key.as_deref().unwrap_or_else(|| w.label()));
        Why {
            kind: Kind::Person,
            because: match prompt {
                Some(prompt) => format!("waits for a person: {prompt}"),
                None => "waits for a person".to_owned(),
            },
            until: format!("`tidegate unblock {} {name}` opens it", self.build.facts.number),
            since: Some(self.reached(job)),
        }
    }

    fn triggering(&self, job: JobIndex) -> Why {
        let (because, until) = match self.children.get(&job) {
            Some(child) if child.state.is_final() => {
                let state = child.state.name().replace('_', " ");
                (
                    format!("waits for {}, which is {state}: that is about to be noted", child.name),
                    "the next look at the build".to_owned(),
                )
            }
            Some(child) => (
                format!("waits for {}, which it started and which is {}", child.name, child.state.name()),
                format!("{} comes to its end; `tidegate why {}` says what it waits for", child.name, child.name),
            ),
            None => ("is starting a build".to_owned(), "the build is made".to_owned()),
        };
        Why { kind: Kind::Build, because, until, since: Some(self.reached(job)) }
    }

    fn scheduled(&self, job: JobIndex, attempt: Option<&Attempt>) -> Why {
        let Some(attempt) = attempt else {
            return Why {
                kind: Kind::Machine,
                because: "is about to be put in line for a machine".to_owned(),
                until: "the next look at the build does it".to_owned(),
                since: Some(self.reached(job)),
            };
        };
        match &attempt.phase {
            Phase::Queued => self.queued(attempt),
            Phase::Held(held) => match held.started_at {
                Some(at) => Why {
                    kind: Kind::Running,
                    because: format!("runs on {}", held.owner),
                    until: String::new(),
                    since: Some(at),
                },
                None => Why {
                    kind: Kind::Running,
                    because: format!("is being prepared on {}: checkout and hooks come before the command", held.owner),
                    until: String::new(),
                    since: Some(held.claimed_at),
                },
            },
            Phase::Ended(end) => Why {
                kind: Kind::Running,
                because: "has ended: that is about to be noted".to_owned(),
                until: String::new(),
                since: Some(end.at),
            },
        }
    }

    fn queued(&self, attempt: &Attempt) -> Why {
        let since = Some(attempt.created_at);
        let left = span(attempt.deadline.since(self.now));
        let red = format!("it expires in {left}, at {}", attempt.deadline);
        let Some(pool) = self.policy.pool_for(&attempt.requirement, attempt.trust) else {
            if attempt.trust == Trust::Untrusted {
                return Why {
                    kind: Kind::NoPool,
                    because: format!(
                        "waits for a machine with `{}` that may run work which is not trusted, which no pool offers: {}",
                        attempt.requirement,
                        self.policy.no_place_for_strangers().unwrap_or_else(|| "its other tags match none".to_owned())
                    ),
                    until: format!("such a pool is configured, or {red}"),
                    since,
                };
            }
            let pools: Vec<String> = self.policy.pools.iter().map(|p| offer(p, &attempt.requirement)).collect();
            let pools = if pools.is_empty() { "none is configured".to_owned() } else { list(&pools, 5) };
            return Why {
                kind: Kind::NoPool,
                because: format!("waits for a machine with `{}`, which no pool offers: {pools}", attempt.requirement),
                until: format!("a pool with these tags is configured, or {red}"),
                since,
            };
        };
        if pool.width == 0 {
            return Why {
                kind: Kind::Machine,
                because: format!("waits for a machine of pool `{}`, which may have none: its width is 0", pool.name),
                until: format!("the pool's `width` is raised, or {red}"),
                since,
            };
        }
        let empty = crate::fleet::Pool::default();
        let known = self.fleet.pools.get(&pool.name).unwrap_or(&empty);
        let (busy, free, existing) = (known.busy(), known.free(), known.existing());
        let backlog = self.backlog.get(pool.name.as_str()).copied().unwrap_or(0);
        let out = u32::try_from(known.tickets.len()).unwrap_or(u32::MAX);
        let others = backlog.saturating_add(out).saturating_sub(1);
        let crowd = match others {
            0 => String::new(),
            n => format!(", and {} too", count(n, "other job waits", "other jobs wait")),
        };
        let name = &pool.name;
        let refused = known.no_capacity.as_ref().filter(|_| free == 0 && existing < pool.width);
        let (because, until) = if let Some(why) = refused {
            let next = known.launch_after.since(self.now);
            (
                format!("waits for a machine of pool `{name}`: the last launch gave none ({why}){crowd}"),
                format!("a launch succeeds, the next in {}, or {red}", span(next)),
            )
        } else if free > 0 {
            (
                format!(
                    "waits for a machine of pool `{name}`: {} coming or looking for work{crowd}",
                    count(free, "is", "are")
                ),
                format!("one of them takes it, or {red}"),
            )
        } else if existing >= pool.width {
            (
                format!("waits for a machine of pool `{name}`: all {} are in use ({busy} busy){crowd}", pool.width),
                format!("a machine is done with its job, or `width` is raised, or {red}"),
            )
        } else {
            (
                format!("waits for a machine of pool `{name}`: {busy} of {} are busy{crowd}", pool.width),
                format!("the next look at the fleet launches one, or {red}"),
            )
        };
        Why { kind: Kind::Machine, because, until, since }
    }

    fn limited(&self, job: JobIndex) -> Why {
        let concurrency = self.graph.job(job).and_then(|j| j.command).and_then(|c| c.concurrency.as_ref());
        let Some(wanted) = concurrency else {
            return Why {
                kind: Kind::Group,
                because: "waits for a slot of its concurrency group".to_owned(),
                until: "a slot is free".to_owned(),
                since: None,
            };
        };
        let (name, limit) = (&wanted.group, wanted.limit);
        let id = &self.build.facts.id;
        let group = self.groups.get(name);
        let is = |m: &&Member| m.build == *id && m.job == job;
        let holds = group.is_some_and(|g| g.holders.iter().any(|m| is(&m)));
        let place = group.and_then(|g| g.waiters.iter().position(|m| is(&m)));
        let (Some(group), Some(place), false) = (group, place, holds) else {
            let what = if holds { "was given a slot of" } else { "is joining" };
            return Why {
                kind: Kind::Group,
                because: format!("{what} the concurrency group `{name}` (limit {limit})"),
                until: "the next look at the group tells it".to_owned(),
                since: Some(self.reached(job)),
            };
        };
        let own = &group.waiters[place];
        let called = |m: &Member| match self.names.get(&(m.build.clone(), m.job)) {
            Some(name) => name.clone(),
            None => format!("a job of build {}", m.build),
        };
        let holders: Vec<String> = group.holders.iter().map(called).collect();
        let ahead = group.ahead(place);
        let held = match holders.len() {
            0 => "no slot is taken".to_owned(),
            n => format!(
                "{} taken, by {}",
                count(u32::try_from(n).unwrap_or(u32::MAX), "slot is", "slots are"),
                list(&holders, 3)
            ),
        };
        let line = match ahead {
            0 => String::new(),
            n => format!(", and {} ahead of it", count(u32::try_from(n).unwrap_or(u32::MAX), "job is", "jobs are")),
        };
        let until = match (holders.first(), ahead) {
            (Some(_), 0) => format!("fewer than {limit} slots are taken"),
            (Some(_), _) => format!("fewer than {limit} jobs that came before it are left"),
            (None, _) => "the next look at the group gives it one".to_owned(),
        };
        Why {
            kind: Kind::Group,
            because: format!("waits for a slot of the concurrency group `{name}` (limit {limit}): {held}{line}"),
            until,
            since: own.since.or_else(|| Some(self.reached(job))),
        }
    }
}

/// What a pool offers, for somebody who asked for something else.
fn offer(pool: &PoolPolicy, wanted: &Requirement) -> String {
    let lacking: Vec<String> = wanted
        .tags()
        .filter(|(tag, value)| !pool.tags.iter().any(|(t, v)| t == tag && (value == "*" || v == value)))
        .map(|(tag, value)| format!("{tag}={value}"))
        .collect();
    match lacking.as_slice() {
        [] => format!("`{}` is for work of another trust", pool.name),
        lacking => format!("`{}` lacks {}", pool.name, lacking.join(" and ")),
    }
}

#[cfg(test)]
mod tests;
