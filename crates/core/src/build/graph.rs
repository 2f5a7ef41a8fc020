//! The steps of all segments in the order in which they count, and what each waits for (`spec/pipeline.md` 1.7).
//!
//! Derived from the plan, never stored. Places of jobs ([`JobIndex`]) are fixed by the order of segments; the *order* of
//! steps is not, because an uploaded segment stands directly after the step that uploaded it. Of several uploads of one
//! job the latest therefore stands first (`spec/pipeline.md` 1.17: after the uploading step, before the next existing
//! one). What follows from order and keys is turned into a [`Schedule`] once, so that a look at a build costs the same
//! however its steps are tied together.

use std::collections::HashMap;
use std::sync::Arc;

use super::schedule::{Schedule, What};
use super::{SegmentRef, StepChanges};
use crate::ids::JobIndex;
use crate::plan::{CommandStep, DependsOn, Job, JobSpec, Segment, Step, StepKind};

/// A step by its place in [`Graph::steps`].
pub type StepRef = usize;

/// The scope of implicit dependencies: the top level, or one group of one segment.
pub(super) type Scope = Option<(usize, u32)>;

#[derive(Clone, Copy, Debug)]
pub(super) struct Dep {
    pub(super) step: StepRef,
    pub(super) allow_failure: bool,
}

/// What a step waits for, before anything about states is known.
#[derive(Clone, Debug)]
pub(super) enum Needs {
    /// By position: waits and blocks need all before them in their scope, others the nearest gate before them.
    Position,
    /// These steps; `missing` while a key is not known.
    Steps { deps: Vec<Dep>, missing: bool },
    /// Nothing.
    Nothing,
}

/// A step with its place among the jobs.
#[derive(Clone, Debug)]
pub struct Node {
    pub(super) segment: usize,
    step: usize,
    /// Place of its first job.
    pub first: u32,
    /// How many jobs it has.
    pub count: u32,
    pub(super) scope: Scope,
    pub(super) needs: Needs,
    /// A wait next to a block: it does nothing (`spec/pipeline.md` 1.5).
    pub(super) ignored_wait: bool,
    /// The job that uploaded it.
    pub(super) uploader: Option<JobIndex>,
    /// Steps that its jobs uploaded.
    pub(super) uploaded: Vec<StepRef>,
}

/// A job of a command step, with everything that was written about it.
#[derive(Clone, Copy, Debug)]
pub struct JobRef<'a> {
    /// Its step.
    pub step: &'a Step,
    /// The step's command part; `None` for other kinds.
    pub command: Option<&'a CommandStep>,
    /// The job's own part.
    pub job: Option<&'a Job>,
    /// Its place within its step.
    pub index: usize,
    /// The segment it is from.
    pub segment: usize,
    /// What a job of the build has called the step since.
    renamed: Option<&'a str>,
}

impl<'a> JobRef<'a> {
    /// What it runs; `None` unless it is a command.
    pub fn spec(&self) -> Option<&'a JobSpec> {
        self.command.map(|command| command.spec_of(self.index))
    }

    /// What people see.
    pub fn label(&self) -> &'a str {
        self.renamed.or_else(|| self.job.and_then(|job| job.label.as_deref())).unwrap_or(&self.step.label)
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    segments: Vec<Arc<Segment>>,
    /// Labels that jobs of the build gave to steps, by the steps' first jobs.
    renamed: HashMap<u32, String>,
    /// Every step, in the order of segments.
    pub steps: Vec<Node>,
    /// Steps in the order in which they count.
    pub order: Vec<StepRef>,
    /// The step of each job.
    owner: Vec<StepRef>,
    /// Steps by their own key and by their group's.
    keys: HashMap<String, Vec<StepRef>>,
    pub(super) schedule: Schedule,
}

impl Graph {
    /// Puts the segments of a build together. `references` and `segments` belong together by place; surplus of either
    /// is ignored.
    pub fn new(references: &[SegmentRef], segments: Vec<Arc<Segment>>) -> Self {
        let mut graph = Graph { segments, ..Graph::default() };
        for (place, reference) in references.iter().enumerate() {
            let Some(segment) = graph.segments.get(place).cloned() else {
                break;
            };
            let begin = graph.steps.len();
            for (index, step) in segment.steps.iter().enumerate() {
                let first = u32::try_from(graph.owner.len()).unwrap_or(u32::MAX);
                let count = step.job_count();
                let this = graph.steps.len();
                graph.owner.extend(std::iter::repeat_n(this, count));
                for key in [step.key.as_ref(), group_key(&segment, step)].into_iter().flatten() {
                    graph.keys.entry(key.clone()).or_default().push(this);
                }
                graph.steps.push(Node {
                    segment: place,
                    step: index,
                    first,
                    count: u32::try_from(count).unwrap_or(u32::MAX),
                    scope: step.group.map(|group| (place, group)),
                    needs: Needs::Position,
                    ignored_wait: false,
                    uploader: reference.by,
                    uploaded: Vec::new(),
                });
            }
            let new = begin..graph.steps.len();
            // An uploader is always in an earlier segment.
            let uploader = reference.by.and_then(|job| graph.owner(job)).filter(|&step| step < begin);
            let at = match uploader {
                Some(step) => {
                    graph.steps[step].uploaded.extend(new.clone());
                    graph.order.iter().position(|&s| s == step).map_or(graph.order.len(), |p| p + 1)
                }
                None => graph.order.len(),
            };
            graph.order.splice(at..at, new);
        }
        graph.resolve();
        graph.ignore_waits_beside_blocks();
        graph.schedule = Schedule::new(&graph, |_| false);
        graph
    }

    fn resolve(&mut self) {
        for this in 0..self.steps.len() {
            let step = self.step(this);
            let needs = match (&step.depends_on, &step.kind) {
                (DependsOn::Implicit, StepKind::Input(_)) => Needs::Nothing,
                (DependsOn::Implicit, _) => Needs::Position,
                (DependsOn::Explicit(list), _) => {
                    let mut deps = Vec::new();
                    let mut missing = false;
                    for dependency in list {
                        let allow_failure = dependency.allow_failure;
                        match self.keys.get(&dependency.key) {
                            None => missing = true,
                            Some(targets) => deps.extend(targets.iter().map(|&step| Dep { step, allow_failure })),
                        }
                    }
                    Needs::Steps { deps, missing }
                }
            };
            self.steps[this].needs = needs;
        }
    }

    fn ignore_waits_beside_blocks(&mut self) {
        let mut previous: HashMap<Scope, StepRef> = HashMap::new();
        for &this in &self.order.clone() {
            if self.step(this).left_out.is_some() {
                continue;
            }
            let scope = self.steps[this].scope;
            if let Some(&before) = previous.get(&scope) {
                match (&self.step(before).kind, &self.step(this).kind) {
                    (StepKind::Wait { .. }, StepKind::Block(_)) => self.steps[before].ignored_wait = true,
                    (StepKind::Block(_), StepKind::Wait { .. }) => self.steps[this].ignored_wait = true,
                    _ => {}
                }
            }
            previous.insert(scope, this);
            // A step of a group stands between those of the top level.
            previous.insert(None, this);
        }
    }

    /// The step as it was written.
    pub fn step(&self, step: StepRef) -> &Step {
        let node = &self.steps[step];
        &self.segments[node.segment].steps[node.step]
    }

    /// The step that a job belongs to; `None` for a job that is not there.
    pub fn owner(&self, job: JobIndex) -> Option<StepRef> {
        self.owner.get(job.0 as usize).copied()
    }

    /// The step that uploaded a step; `None` for the steps of the first segment.
    pub(super) fn uploader(&self, step: StepRef) -> Option<StepRef> {
        // Always of an earlier segment, so that walking up ends.
        self.steps[step].uploader.and_then(|job| self.owner(job)).filter(|&up| up < step)
    }

    /// A job; `None` when there is none at this place.
    pub fn job(&self, job: JobIndex) -> Option<JobRef<'_>> {
        let step = self.owner(job)?;
        let node = &self.steps[step];
        let index = (job.0 - node.first) as usize;
        let written = self.step(step);
        let command = match &written.kind {
            StepKind::Command(command) => Some(&**command),
            StepKind::Wait { .. } | StepKind::Block(_) | StepKind::Input(_) | StepKind::Trigger(_) => None,
        };
        let job = command.and_then(|c| c.jobs.get(index));
        let renamed = self.renamed.get(&node.first).map(String::as_str);
        Some(JobRef { step: written, command, job, index, segment: node.segment, renamed })
    }

    /// Places of all jobs, in the order in which steps count.
    pub fn jobs_in_order(&self) -> impl Iterator<Item = JobIndex> {
        self.order.iter().flat_map(|&s| {
            let node = &self.steps[s];
            (node.first..node.first + node.count).map(JobIndex)
        })
    }

    /// Applies what jobs changed.
    pub fn rename(&mut self, changes: &[StepChanges]) {
        let renamed = changes.iter().filter_map(|change| Some((change.job.0, change.label.clone()?)));
        self.renamed = renamed.collect();
    }

    /// How many jobs there are.
    pub fn job_count(&self) -> usize {
        self.owner.len()
    }

    /// The segments.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// Whether a key is taken by a step or a group.
    pub fn has_key(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// The steps that have a key, themselves or by their group; none for an unknown key.
    pub fn with_key(&self, key: &str) -> &[StepRef] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    /// Keys that a step waits for and that no step has.
    pub fn unknown_keys(&self, step: StepRef) -> impl Iterator<Item = &str> {
        let list = match &self.step(step).depends_on {
            DependsOn::Implicit => &[],
            DependsOn::Explicit(list) => list.as_slice(),
        };
        list.iter().map(|d| d.key.as_str()).filter(|key| !self.has_key(key))
    }

    /// Steps that wait for each other in a circle, in the order in which they do; `None` if there are none. They can
    /// never run (`spec/pipeline.md` 1.7, rule 10).
    pub fn circle(&self) -> Option<&[StepRef]> {
        self.schedule.circle.as_deref()
    }

    /// As [`Graph::circle`], where steps that are `past` waiting for anything are in no circle.
    pub(super) fn circle_but_for(&self, past: impl Fn(StepRef) -> bool) -> Option<Vec<StepRef>> {
        self.circle()?;
        Schedule::new(self, past).circle
    }

    /// The steps that a step waits for, in the order of the plan: those that it needs directly, and behind waits and
    /// behind steps that are `through` those that these need.
    pub(crate) fn needed_by(&self, step: StepRef, through: impl Fn(StepRef) -> bool) -> Vec<StepRef> {
        let mut found: Vec<StepRef> = Vec::new();
        let mut seen = vec![false; self.schedule.len()];
        let own = u32::try_from(step).unwrap_or(u32::MAX);
        let mut open: Vec<u32> = vec![own];
        while let Some(condition) = open.pop() {
            if std::mem::replace(&mut seen[condition as usize], true) {
                continue;
            }
            let go_on = match self.schedule.what(condition) {
                What::All | What::Gate(_) => true,
                What::Step(s) if s == step => true,
                What::Step(s) => {
                    found.push(s);
                    matches!(self.step(s).kind, StepKind::Wait { .. }) || through(s)
                }
            };
            if go_on {
                open.extend(self.schedule.parts(condition).iter().map(|part| part.of));
            }
        }
        found.retain(|&s| !matches!(self.step(s).kind, StepKind::Wait { .. }));
        let mut rank = vec![0; self.steps.len()];
        for (place, &s) in self.order.iter().enumerate() {
            rank[s] = place;
        }
        found.sort_by_key(|&s| rank[s]);
        found
    }

    /// A step for people: its key, or its label.
    pub fn name(&self, step: StepRef) -> &str {
        let step = self.step(step);
        step.key.as_deref().unwrap_or(&step.label)
    }
}

fn group_key<'a>(segment: &'a Segment, step: &Step) -> Option<&'a String> {
    segment.groups.get(step.group? as usize)?.key.as_ref()
}
