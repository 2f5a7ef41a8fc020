//! A build among everything that it talks to: machines, groups, a gate, an inbox that doubles and reorders. Invariants
//! are checked after every input.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::fleet::{Fleet, Policy};
use crate::group::{self, Group, Member};
use crate::why;

/// Something that happens. Numbers choose among what is there.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// What the state implies is done; unless `crash`, it is noted as done.
    Perform { crash: bool },
    /// A machine uploads so many times and ends its attempt like this.
    Finish { which: usize, uploads: usize, replace: bool, cause: Cause, status: Option<i32> },
    /// Some inputs of the inbox are folded, beginning with this one; `again`: they stay there and come again.
    Deliver { which: usize, count: usize, again: bool },
    /// The end of an attempt that is long over, or of one that never was.
    Stale { which: usize, number: u32 },
    /// A person cancels.
    Cancel,
    /// A person retries one or all.
    Retry { which: Option<usize> },
    /// A person unblocks, perhaps too early.
    Unblock { which: usize },
    /// The group looks.
    Group,
    /// Time passes.
    Pass(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Chaos {
    pub(crate) w: World,
    /// Segments that jobs will upload.
    pool: Vec<Segment>,
    /// Uploaded segments by key, until the end.
    blobs: BTreeMap<String, Arc<Segment>>,
    inbox: Vec<Input>,
    /// Attempts that have a record, and whether they have ended.
    attempts: BTreeMap<(u32, u32), bool>,
    /// Uploads of each attempt whose end was accepted.
    accepted: BTreeMap<(u32, u32), Vec<String>>,
    made: BTreeMap<(u32, u32), Vec<String>>,
    groups: BTreeMap<String, Group>,
    group_inbox: Vec<(String, group::Input)>,
    may_drop: bool,
}

fn pick<T>(list: &[T], which: usize) -> Option<&T> {
    list.get(which.checked_rem(list.len())?)
}

impl Chaos {
    pub(crate) fn new(first: Segment, pool: Vec<Segment>) -> Self {
        let mut w = World::new([]);
        w.build = Build::new(facts(), "plans/0".into(), &first);
        w.segments = vec![Arc::new(first)];
        w.graph = Graph::new(&w.build.segments, w.segments.clone());
        w.settle();
        let blobs = BTreeMap::from([("plans/0".to_owned(), w.segments[0].clone())]);
        Chaos {
            w,
            pool,
            blobs,
            inbox: Vec::new(),
            attempts: BTreeMap::new(),
            accepted: BTreeMap::new(),
            made: BTreeMap::new(),
            groups: BTreeMap::new(),
            group_inbox: Vec::new(),
            may_drop: false,
        }
    }

    pub(crate) fn step(&mut self, op: &Op) {
        match op {
            Op::Perform { crash } => self.perform(*crash),
            Op::Finish { which, uploads, replace, cause, status } => {
                let live: Vec<_> = self.live();
                if let Some(&(job, number)) = pick(&live, *which) {
                    self.finish(job, number, *uploads, *replace, *cause, *status);
                }
            }
            Op::Deliver { which, count, again } => self.deliver(*which, *count, *again),
            Op::Stale { which, number } => {
                let job = u32::try_from(which % (self.w.build.cells.len() + 1)).unwrap();
                let latest = self.w.build.cells.get(job as usize).map_or(0, |c| c.attempt);
                if *number != latest {
                    let (job, number) = (JobIndex(job), *number);
                    self.fold_all(&[Input::Ended(Ended { uploads: 0, job, number, ..self.end(Cause::Exit, Some(0)) })]);
                }
            }
            Op::Cancel => self.fold_all(&[Input::Cancel { by: "mona".into() }]),
            Op::Retry { which } => {
                let job = which.map(|n| JobIndex(u32::try_from(n % (self.w.build.cells.len() + 1)).unwrap()));
                self.fold_all(&[Input::Retry { job, by: "mona".into(), wish: String::new() }]);
            }
            Op::Unblock { which } => {
                let job = JobIndex(u32::try_from(which % (self.w.build.cells.len() + 1)).unwrap());
                self.fold_all(&[Input::Unblock { job, by: "mona".into(), form: None }]);
            }
            Op::Group => self.group(),
            Op::Pass(span) => {
                self.w.now = self.w.now + Duration::from_millis(*span);
                self.fold_all(&[]);
            }
        }
    }

    fn end(&self, cause: Cause, exit_status: Option<i32>) -> Ended {
        let (job, number) = (JobIndex(0), 0);
        Ended { job, number, cause, exit_status, signal: None, permanent: false, started: true, uploads: 0 }
    }

    fn live(&self) -> Vec<(u32, u32)> {
        self.attempts.iter().filter(|(_, ended)| !**ended).map(|(id, _)| *id).collect()
    }

    fn perform(&mut self, crash: bool) {
        let effects = self.w.build.effects(&self.w.graph);
        let mut performed = Vec::new();
        for effect in &effects {
            match effect {
                Effect::Create { job, number, .. } => {
                    self.check_creation(*job, *number);
                    self.attempts.entry((job.0, *number)).or_insert(false);
                }
                Effect::Revoke { job, number, .. } => {
                    let ended = self.attempts.get_mut(&(job.0, *number)).unwrap();
                    if !*ended {
                        *ended = true;
                        self.accepted.insert((job.0, *number), Vec::new());
                        let end = self.end(Cause::Canceled, None);
                        self.inbox.push(Input::Ended(Ended { job: *job, number: *number, ..end }));
                    }
                }
                Effect::Trigger { job, number } => {
                    self.check_creation(*job, *number);
                    self.attempts.entry((job.0, *number)).or_insert(false);
                    self.inbox.push(Input::Triggered { job: *job, number: *number, end: TriggerEnd::Made });
                }
                Effect::Recall { job, number } => {
                    let ended = self.attempts.entry((job.0, *number)).or_insert(false);
                    if !*ended {
                        *ended = true;
                        let end = TriggerEnd::Ended(BuildState::Canceled);
                        self.inbox.push(Input::Triggered { job: *job, number: *number, end });
                    }
                }
                Effect::Join { job, round, early, concurrency } => {
                    let member = Member {
                        build: self.w.build.facts.id.clone(),
                        job: *job,
                        round: *round,
                        limit: concurrency.limit,
                        eager: concurrency.eager,
                        order: (Timestamp(0), self.w.build.facts.id.clone(), *job),
                        told: false,
                        early: *early,
                        since: None,
                    };
                    self.group_inbox.push((concurrency.group.clone(), group::Input::Join(member)));
                }
                Effect::Leave { job, round, group } => {
                    let build = self.w.build.facts.id.clone();
                    self.group_inbox.push((group.clone(), group::Input::Leave { build, job: *job, round: *round }));
                }
                Effect::Activate
                | Effect::Fill { .. }
                | Effect::Answer { .. }
                | Effect::Publish { .. }
                | Effect::Show { .. }
                | Effect::Deactivate => {}
            }
            performed.push(effect.clone());
        }
        if !crash {
            self.w.build.clear(&performed);
            assert_eq!(self.w.build.effects(&self.w.graph), [], "effects cleared are no effects");
        }
        self.fold_all(&[]);
    }

    /// Of one job, one attempt at a time; of one group, no more than its limit, and only who has a slot.
    fn check_creation(&self, job: JobIndex, number: u32) {
        if self.attempts.contains_key(&(job.0, number)) {
            return;
        }
        let before = self.attempts.keys().filter(|(j, _)| *j == job.0).max();
        assert_eq!(before.map_or(0, |(_, n)| *n) + 1, number, "attempts are numbered one by one");
        assert!(self.live().iter().all(|(j, _)| *j != job.0), "one attempt of a job at a time");
        let uploader = self.w.graph.owner(job).and_then(|s| self.w.graph.steps[s].uploader);
        if let Some(up) = uploader {
            let begun = self.attempts.iter().any(|((j, _), ended)| *j == up.0 && *ended);
            assert!(begun, "what was uploaded begins after its uploader has ended");
        }
        let concurrency = self.w.graph.job(job).and_then(|j| j.command?.concurrency.clone());
        if let Some(concurrency) = concurrency {
            let group = &self.groups[&concurrency.group];
            let round = self.w.build.cells[job.0 as usize].round;
            assert!(group.holders.iter().any(|m| m.job == job && m.round == round), "only who has a slot runs");
            assert!(group.holders.len() <= concurrency.limit as usize);
        }
    }

    fn finish(&mut self, job: u32, number: u32, uploads: usize, replace: bool, cause: Cause, status: Option<i32>) {
        let by = JobIndex(job);
        if self.w.graph.job(by).is_some_and(|j| matches!(j.step.kind, StepKind::Trigger(_))) {
            let state = if status == Some(0) { BuildState::Passed } else { BuildState::Failed };
            self.attempts.insert((job, number), true);
            self.inbox.push(Input::Triggered { job: by, number, end: TriggerEnd::Ended(state) });
            return;
        }
        for _ in 0..uploads {
            let Some(segment) = self.pool.pop() else { break };
            let segment = Arc::new(segment);
            let blob = format!("plans/{}", self.blobs.len());
            let upload = Upload { by, number, blob: &blob, replace };
            if self.w.build.check_upload(&self.w.graph, &upload, &segment, &self.w.limits).is_ok() {
                self.may_drop |= replace;
                self.inbox.push(Input::Uploaded { by, number, blob: blob.clone(), replace });
                self.blobs.insert(blob.clone(), segment);
                self.made.entry((job, number)).or_default().push(blob);
            }
        }
        let made = self.made.get(&(job, number)).cloned().unwrap_or_default();
        let uploads = u32::try_from(made.len()).unwrap();
        self.may_drop |= cause.is_infrastructure() && uploads > 0;
        self.attempts.insert((job, number), true);
        self.accepted.insert((job, number), made);
        self.inbox.push(Input::Ended(Ended { job: by, number, uploads, ..self.end(cause, status) }));
    }

    fn group(&mut self) {
        for (name, input) in std::mem::take(&mut self.group_inbox) {
            self.groups.entry(name).or_default().fold(input);
        }
        for group in self.groups.values_mut() {
            group.grant();
            let untold: Vec<_> = group.untold().cloned().collect();
            for member in untold {
                self.inbox.push(Input::Granted { job: member.job, round: member.round });
                group.fold(group::Input::Told { build: member.build, job: member.job, round: member.round });
            }
        }
    }

    fn deliver(&mut self, which: usize, count: usize, again: bool) {
        let mut inputs = Vec::new();
        for _ in 0..count.min(self.inbox.len()) {
            let at = which % self.inbox.len();
            inputs.push(if again { self.inbox[at].clone() } else { self.inbox.remove(at) });
        }
        self.fold_all(&inputs);
    }

    /// Folds inputs and settles, checking everything.
    fn fold_all(&mut self, inputs: &[Input]) {
        let before = self.w.build.clone();
        for input in inputs {
            let segment = match input {
                Input::Uploaded { blob, .. } => Some(self.blobs[blob].clone()),
                _ => None,
            };
            let folded = self.w.build.fold(input, &self.w.graph, segment.as_deref(), &self.w.limits, self.w.now);
            if segment.is_some() {
                let segments = self.w.build.segments.iter().map(|s| self.blobs[&s.blob].clone());
                self.w.graph = Graph::new(&self.w.build.segments, segments.collect());
            }
            if folded == Folded::Later && !self.inbox.contains(input) {
                self.inbox.push(input.clone());
            }
            if !matches!(input, Input::Retry { .. }) {
                let once = self.w.build.clone();
                let segment = segment.as_deref();
                self.w.build.fold(input, &self.w.graph, segment, &self.w.limits, self.w.now);
                assert_eq!(once, self.w.build, "folding {input:?} twice is folding it once");
            }
        }
        self.w.settle();
        self.check(&before, inputs);
    }

    fn check(&self, before: &Build, inputs: &[Input]) {
        let build = &self.w.build;
        let retried = inputs.iter().any(|i| matches!(i, Input::Retry { .. }));
        let uploaded = inputs.iter().any(|i| matches!(i, Input::Uploaded { .. }));
        for (place, (old, new)) in before.cells.iter().zip(build.cells.iter()).enumerate() {
            let changed = old.state != new.state;
            if old.state == JobState::WaitingFailed {
                assert!(!changed || retried || uploaded, "job {place}: {old:?} -> {new:?}");
            } else if old.state.is_final() {
                assert!(!changed || retried, "job {place}: a final state stays: {old:?} -> {new:?}");
            }
            let risen = new.attempt - old.attempt;
            assert!(risen <= 1, "job {place}: attempts are numbered one by one");
            assert!(risen == 0 || build.cancel.is_none(), "job {place}: nothing begins in a canceled build");
            assert!(new.granted <= new.in_group, "job {place}");
            assert!(!new.state.is_final() || !new.in_group, "job {place}: who is done has left");
        }
        assert!(build.cells.len() >= before.cells.len());
        let mut cleared = build.clone();
        cleared.clear(&build.effects(&self.w.graph));
        assert_eq!(cleared.effects(&self.w.graph), [], "effects cleared are no effects");
        assert_eq!(cleared.active, !cleared.state.is_final());
        let json = serde_json::to_string(build).unwrap();
        assert_eq!(&serde_json::from_str::<Build>(&json).unwrap(), build, "stored and read again");
        assert_eq!(build.finished_at.is_some(), build.state.is_final());
        let open = build.cells.iter().any(|c| !c.state.is_final());
        assert_eq!(open, !build.state.is_final(), "{}", self.w.shows());
        if build.state == BuildState::Passed {
            self.check_passed();
        }
        self.check_reasons();
    }

    /// Nothing waits without a sentence that says why and what would end it, however few records are there.
    fn check_reasons(&self) {
        let policy = Policy {
            pools: Vec::new(),
            boot: Duration::ZERO,
            silence: Duration::ZERO,
            no_capacity: Duration::ZERO,
            ticket_patience: Duration::ZERO,
        };
        let records = why::Records {
            build: &self.w.build,
            graph: &self.w.graph,
            attempts: &[],
            groups: &self.groups,
            names: &BTreeMap::new(),
            children: &BTreeMap::new(),
            fleet: &Fleet::default(),
            policy: &policy,
            backlog: &BTreeMap::new(),
            now: self.w.now,
        };
        for (place, cell) in (0u32..).zip(self.w.build.cells.iter()) {
            let said = why::why(JobIndex(place), &records).unwrap();
            assert_eq!(said.kind.waits(), !cell.state.is_final(), "job {place} is {cell:?}: {said:?}");
            assert!(!said.because.is_empty(), "job {place} is {cell:?}");
            assert!(!said.kind.waits() || !said.until.is_empty(), "job {place} is {cell:?}: {said:?}");
        }
    }

    /// A green build: nothing failed, and every step that an accepted attempt uploaded has run (invariant I12).
    fn check_passed(&self) {
        let build = &self.w.build;
        assert!(build.cells.iter().all(|c| !c.state.is_failure()));
        let known: BTreeSet<&str> = build.segments.iter().map(|s| s.blob.as_str()).collect();
        for (place, cell) in (0u32..).zip(build.cells.iter()) {
            for blob in self.accepted.get(&(place, cell.attempt)).into_iter().flatten() {
                assert!(known.contains(blob.as_str()), "a green build lacks the upload {blob}");
            }
            let job = self.w.graph.job(JobIndex(place)).unwrap();
            let written = job.step.left_out.is_some() || job.job.is_some_and(|j| j.left_out.is_some());
            if matches!(cell.state, JobState::Broken | JobState::Skipped) {
                assert!(written || self.may_drop, "job {place} did not run and nobody said so");
            } else {
                assert!(cell.attempt > 0 || job.command.is_none(), "job {place} never ran");
            }
        }
    }

    /// Everybody does what they should from now on: the build must come to an end.
    pub(crate) fn drain(&mut self, status: i32) {
        for _ in 0..60 {
            self.perform(false);
            self.group();
            while !self.inbox.is_empty() {
                let before = self.inbox.len();
                for input in std::mem::take(&mut self.inbox) {
                    self.fold_all(&[input]);
                }
                if self.inbox.len() >= before {
                    break;
                }
            }
            for job in 0..self.w.build.cells.len() {
                self.step(&Op::Unblock { which: job });
            }
            for (job, number) in self.live() {
                self.finish(job, number, 0, false, Cause::Exit, Some(status));
            }
            self.step(&Op::Pass(100_000));
            let calm = self.inbox.is_empty() && self.group_inbox.is_empty();
            if self.w.build.state.is_final() && calm && self.w.build.effects(&self.w.graph).is_empty() {
                assert!(self.live().is_empty());
                assert!(self.groups.values().all(|g| g.members().next().is_none()), "a slot is kept");
                return;
            }
        }
        panic!("the build does not end: {} with {:?}", self.w.shows(), self.inbox);
    }
}
