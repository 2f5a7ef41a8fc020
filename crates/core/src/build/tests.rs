//! A small language for plans and what happens to them, and the tests written in it.

#![expect(clippy::unwrap_used, reason = "tests")]

mod cancel;
mod chaos;
mod concurrency;
mod effects;
mod properties;
mod rules;
mod states;
mod tries;
mod triggers;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::attempt::Cause;
use crate::ids::derived_uuid;
use crate::plan::{
    CommandStep, Concurrency, Dependency, DependsOn, ExitStatusMatch, Group, Job, JobSpec, LeftOut, LeftOutKind,
    ManualStep, Retry, RetryRule, Segment, SoftFail, Step, StepKind, TriggerStep,
};

pub(crate) fn facts() -> Facts {
    Facts {
        id: BuildId::new(derived_uuid("test", "build").to_string()).unwrap(),
        number: 7,
        pipeline: PipelineSlug::new("hello").unwrap(),
        repository: RepositoryId(1),
        repository_name: RepositoryName::new("octo/hello").unwrap(),
        git_ref: Some(GitRef::Branch("main".into())),
        commit: CommitSha::new("a".repeat(40)).unwrap(),
        message: "Say hello".into(),
        author: ("Mona".into(), "mona@example.com".into()),
        creator: "mona".into(),
        source: "webhook".into(),
        trust: Trust::Trusted,
        env: Vec::new(),
        created_at: Timestamp(1_000),
        default_branch: "main".into(),
        rebuilt_from: None,
        rebuilt_number: None,
        triggered_by: None,
        origin: None,
    }
}

/// A step in the making, with the name of its group.
#[derive(Clone, Debug)]
pub(crate) struct S(Step, Option<&'static str>);

fn step(name: &str, kind: StepKind) -> S {
    let step = Step {
        key: Some(name.to_owned()),
        label: name.to_owned(),
        group: None,
        depends_on: DependsOn::Implicit,
        allow_dependency_failure: false,
        left_out: None,
        kind,
    };
    S(step, None)
}

pub(crate) fn cmd(name: &str) -> S {
    let command = CommandStep {
        spec: JobSpec {
            command: "true".into(),
            agents: vec![("queue".into(), "default".into())],
            ..JobSpec::default()
        },
        jobs: vec![Job::default()],
        retry: Retry::default(),
        timeout_in_minutes: None,
        priority: 0,
        concurrency: None,
        cancel_on_build_failing: false,
        notify: Vec::new(),
    };
    step(name, StepKind::Command(Box::new(command)))
}

pub(crate) fn wait(name: &str) -> S {
    step(name, StepKind::Wait { continue_on_failure: false })
}

pub(crate) fn wait_anyway(name: &str) -> S {
    step(name, StepKind::Wait { continue_on_failure: true })
}

pub(crate) fn block(name: &str) -> S {
    step(name, StepKind::Block(Box::default()))
}

pub(crate) fn input(name: &str) -> S {
    step(name, StepKind::Input(Box::<ManualStep>::default()))
}

pub(crate) fn trigger(name: &str) -> S {
    let trigger = TriggerStep {
        pipeline: "child".into(),
        branch: None,
        commit: None,
        message: None,
        env: Vec::new(),
        meta_data: Vec::new(),
        asynchronous: false,
        soft_fail: SoftFail::Never,
        parallelism: 1,
    };
    step(name, StepKind::Trigger(Box::new(trigger)))
}

impl S {
    fn trigger(mut self, change: impl FnOnce(&mut TriggerStep)) -> S {
        match &mut self.0.kind {
            StepKind::Trigger(trigger) => change(trigger),
            other => panic!("{other:?} is no trigger"),
        }
        self
    }

    fn command(mut self, change: impl FnOnce(&mut CommandStep)) -> S {
        match &mut self.0.kind {
            StepKind::Command(command) => change(command),
            other => panic!("{other:?} is no command"),
        }
        self
    }

    fn depends(mut self, keys: &[&str], allow_failure: bool) -> S {
        let mut list = match self.0.depends_on {
            DependsOn::Explicit(list) => list,
            DependsOn::Implicit => Vec::new(),
        };
        list.extend(keys.iter().map(|k| Dependency { key: (*k).to_owned(), allow_failure }));
        self.0.depends_on = DependsOn::Explicit(list);
        self
    }

    /// `depends_on`; none at all: `depends_on: []`.
    pub(crate) fn after(self, keys: &[&str]) -> S {
        self.depends(keys, false)
    }

    /// `depends_on` with `allow_failure`.
    pub(crate) fn after_even_failed(self, keys: &[&str]) -> S {
        self.depends(keys, true)
    }

    pub(crate) fn allow_dependency_failure(mut self) -> S {
        self.0.allow_dependency_failure = true;
        self
    }

    fn left_out(mut self, kind: LeftOutKind) -> S {
        self.0.left_out = Some(LeftOut { kind, why: "test".into() });
        self
    }

    pub(crate) fn broken(self) -> S {
        self.left_out(LeftOutKind::Broken)
    }

    pub(crate) fn skipped(self) -> S {
        self.left_out(LeftOutKind::Skipped)
    }

    /// In the group of this name, which is its key.
    pub(crate) fn within(mut self, group: &'static str) -> S {
        self.1 = Some(group);
        self
    }

    pub(crate) fn jobs(self, count: usize) -> S {
        self.command(|c| c.jobs = vec![Job::default(); count])
    }

    pub(crate) fn soft(self) -> S {
        self.command(|c| c.spec.soft_fail = SoftFail::Always)
    }

    pub(crate) fn priority(self, priority: i64) -> S {
        self.command(|c| c.priority = priority)
    }

    pub(crate) fn queue(self, queue: &str) -> S {
        self.command(|c| c.spec.agents = vec![("queue".into(), queue.into())])
    }

    pub(crate) fn notify(self, notify: Vec<crate::plan::Notify>) -> S {
        self.command(|c| c.notify = notify)
    }

    pub(crate) fn cancel_on_build_failing(self) -> S {
        self.command(|c| c.cancel_on_build_failing = true)
    }

    /// A rule of `retry.automatic`: these exit statuses (none: any) and the limit.
    pub(crate) fn rule(self, statuses: &[i32], limit: u8) -> S {
        let exit_status =
            if statuses.is_empty() { ExitStatusMatch::Any } else { ExitStatusMatch::OneOf(statuses.to_vec()) };
        let any = || vec!["*".to_owned()];
        let rule = RetryRule { exit_status, signal: any(), signal_reason: any(), limit };
        self.command(|c| c.retry.automatic.get_or_insert_default().push(rule))
    }

    pub(crate) fn concurrency(self, group: &str, limit: u32) -> S {
        self.command(|c| c.concurrency = Some(Concurrency { group: group.into(), limit, eager: false }))
    }
}

pub(crate) fn segment(steps: impl IntoIterator<Item = S>) -> Segment {
    let mut segment = Segment::default();
    for S(mut step, group) in steps {
        if let Some(name) = group {
            let known = segment.groups.iter().position(|g| g.label == name);
            let place = known.unwrap_or_else(|| {
                segment.groups.push(Group { key: Some(name.into()), label: name.into(), notify: Vec::new() });
                segment.groups.len() - 1
            });
            step.group = Some(u32::try_from(place).unwrap());
        }
        segment.steps.push(step);
    }
    segment
}

/// A build with its plan and a clock.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) build: Build,
    pub(crate) graph: Graph,
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) now: Timestamp,
    pub(crate) limits: Limits,
}

impl World {
    pub(crate) fn new(steps: impl IntoIterator<Item = S>) -> Self {
        Self::of(segment(steps))
    }

    pub(crate) fn of(first: Segment) -> Self {
        let build = Build::new(facts(), "plans/0".into(), &first);
        let segments = vec![Arc::new(first)];
        let graph = Graph::new(&build.segments, segments.clone());
        let mut world = World { build, graph, segments, now: Timestamp(10_000), limits: Limits::default() };
        world.settle();
        world
    }

    pub(crate) fn settle(&mut self) {
        self.build.settle(&self.graph, self.now);
        let once = self.build.clone();
        self.build.settle(&self.graph, self.now);
        assert_eq!(once, self.build, "settling twice is settling once: {}", self.shows());
    }

    /// Folds without settling.
    pub(crate) fn fold(&mut self, input: &Input) -> Folded {
        self.build.fold(input, &self.graph, None, &self.limits, self.now)
    }

    pub(crate) fn tell(&mut self, input: &Input) -> Folded {
        let folded = self.fold(input);
        self.settle();
        folded
    }

    /// The job of a step by its name; `name.1` is its second job.
    pub(crate) fn job(&self, name: &str) -> JobIndex {
        let (name, index) = match name.split_once('.') {
            Some((name, index)) => (name, index.parse().unwrap()),
            None => (name, 0),
        };
        let mut steps = (0..self.graph.steps.len()).rev();
        let step = steps.find(|&s| self.graph.step(s).label == name).unwrap_or_else(|| panic!("no step `{name}`"));
        JobIndex(self.graph.steps[step].first + index)
    }

    pub(crate) fn cell(&self, name: &str) -> &Cell {
        &self.build.cells[self.job(name).0 as usize]
    }

    pub(crate) fn ended(&self, name: &str, cause: Cause, exit_status: Option<i32>) -> Ended {
        let cell = self.cell(name);
        let (job, number, uploads) = (self.job(name), cell.attempt, cell.uploads);
        Ended { job, number, cause, exit_status, signal: None, permanent: false, started: true, uploads }
    }

    pub(crate) fn end(&mut self, name: &str, cause: Cause, exit_status: Option<i32>) {
        assert!(self.cell(name).state.has_live_attempt(), "`{name}` is {}", self.cell(name).state.name());
        let ended = self.ended(name, cause, exit_status);
        assert_eq!(self.tell(&Input::Ended(ended)), Folded::Done);
    }

    pub(crate) fn exit(&mut self, name: &str, status: i32) {
        self.end(name, Cause::Exit, Some(status));
    }

    pub(crate) fn pass(&mut self, names: &[&str]) {
        for name in names {
            self.exit(name, 0);
        }
    }

    pub(crate) fn fail(&mut self, name: &str) {
        self.exit(name, 1);
    }

    pub(crate) fn lose(&mut self, name: &str) {
        self.end(name, Cause::Lost, None);
    }

    pub(crate) fn later(&mut self, span: Duration) {
        self.now = self.now + span;
        self.settle();
    }

    pub(crate) fn cancel(&mut self) {
        self.tell(&Input::Cancel { by: "mona".into() });
    }

    pub(crate) fn retry(&mut self, name: &str) {
        let job = Some(self.job(name));
        self.tell(&Input::Retry { job, by: "mona".into(), wish: String::new() });
    }

    pub(crate) fn retry_all(&mut self) {
        self.tell(&Input::Retry { job: None, by: "mona".into(), wish: String::new() });
    }

    pub(crate) fn unblock(&mut self, name: &str) {
        let job = self.job(name);
        self.tell(&Input::Unblock { job, by: "mona".into(), form: None });
    }

    pub(crate) fn grant(&mut self, name: &str) {
        let (job, round) = (self.job(name), self.cell(name).round);
        self.tell(&Input::Granted { job, round });
    }

    pub(crate) fn check(&self, by: &str, replace: bool, steps: &[S]) -> Result<(), crate::plan::SegmentRefusal> {
        let (by, number) = (self.job(by), self.cell(by).attempt);
        let upload = Upload { by, number, blob: "plans/new", replace };
        self.build.check_upload(&self.graph, &upload, &Arc::new(segment(steps.iter().cloned())), &self.limits)
    }

    /// Folds an upload without settling.
    pub(crate) fn fold_upload(&mut self, by: &str, replace: bool, steps: impl IntoIterator<Item = S>) {
        let (job, number) = (self.job(by), self.cell(by).attempt);
        let blob = format!("plans/{}", self.segments.len());
        let segment = segment(steps);
        let input = Input::Uploaded { by: job, number, blob, replace };
        let folded = self.build.fold(&input, &self.graph, Some(&segment), &self.limits, self.now);
        assert_eq!(folded, Folded::Done);
        self.segments.push(Arc::new(segment));
        self.graph = Graph::new(&self.build.segments, self.segments.clone());
    }

    pub(crate) fn upload(&mut self, by: &str, steps: impl IntoIterator<Item = S>) {
        self.fold_upload(by, false, steps);
        self.settle();
    }

    pub(crate) fn replace(&mut self, by: &str, steps: impl IntoIterator<Item = S>) {
        self.fold_upload(by, true, steps);
        self.settle();
    }

    /// The build's state, then every job's in the order in which steps count.
    pub(crate) fn shows(&self) -> String {
        let mut text = self.build.state.name().to_owned();
        for &s in &self.graph.order {
            let node = &self.graph.steps[s];
            for job in node.first..node.first + node.count {
                let number = if node.count > 1 { format!(".{}", job - node.first) } else { String::new() };
                let state = self.build.cells[job as usize].state.name();
                text.push_str(&format!(" {}{number}={state}", self.graph.step(s).label));
            }
        }
        text
    }

    #[track_caller]
    pub(crate) fn is(&self, wanted: &str) {
        assert_eq!(self.shows(), wanted);
    }

    /// The order of steps.
    pub(crate) fn order(&self) -> String {
        let names: Vec<&str> = self.graph.order.iter().map(|&s| self.graph.step(s).label.as_str()).collect();
        names.join(" ")
    }
}
