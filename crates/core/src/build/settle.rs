//! What follows from the states of jobs: who may run, who never will, and the state of the build. Level-triggered: it
//! looks at the states alone, so doing it twice changes nothing, and `WaitingFailed` is decided anew each time (a retry of
//! what failed makes its dependents wait again).

use std::collections::BTreeMap;

use super::graph::{Graph, Needs};
use super::schedule::{How, What};
use super::{Build, BuildState, Cancel, JobState, Line, StepRef};
use crate::fleet::Requirement;
use crate::ids::JobIndex;
use crate::plan::StepKind;
use crate::time::Timestamp;

/// Steps with more jobs than this do not keep places in line before they are ready: a group's record is bounded.
const MOST_EARLY: usize = 20;

/// What a step is for those that depend on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Status {
    Unfinished,
    Passed,
    Failed,
}

impl Status {
    fn and(self, other: Status) -> Status {
        match (self, other) {
            (Status::Unfinished, _) | (_, Status::Unfinished) => Status::Unfinished,
            (Status::Failed, _) | (_, Status::Failed) => Status::Failed,
            (Status::Passed, Status::Passed) => Status::Passed,
        }
    }
}

/// What the jobs of a step may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum May {
    Wait,
    Run,
    /// Something that they need has failed, or will never come.
    NotRun,
}

/// Which states there are among the jobs, as bits.
#[derive(Clone, Copy, Debug)]
struct Seen(u16);

impl Seen {
    fn of(build: &Build) -> Self {
        Seen(build.cells.iter().fold(0, |seen, cell| seen | 1 << cell.state as u16))
    }

    fn any(self, wanted: impl Fn(JobState) -> bool) -> bool {
        JobState::ALL.iter().any(|&state| self.0 & 1 << state as u16 != 0 && wanted(state))
    }

    fn hard_failure(self) -> bool {
        self.any(|s| matches!(s, JobState::Failed | JobState::TimedOut | JobState::Canceled | JobState::Expired))
    }

    /// Somebody waits, and nobody is there who could change that. A graph that lacks segments says nothing about their
    /// jobs.
    fn stuck(self, build: &Build, graph: &Graph) -> bool {
        self.any(|s| s == JobState::Waiting)
            && !self.any(|s| !s.is_final() && s != JobState::Waiting)
            && graph.job_count() >= build.cells.len()
    }
}

/// What is known while a build is brought to rest.
struct Look<'a> {
    graph: &'a Graph,
    now: Timestamp,
    statuses: Vec<Status>,
    /// Something has failed.
    failing: bool,
    /// What cannot be decided will never be.
    give_up: bool,
    /// Jobs that moved, and where they were.
    moved: BTreeMap<usize, JobState>,
}

impl Build {
    /// Brings every job and the build to the state that follows. `graph` must have every segment of the record.
    pub fn settle(&mut self, graph: &Graph, now: Timestamp) {
        if !self.failure.is_empty() {
            self.set_state(BuildState::Failed, now);
            return;
        }
        if self.hold.is_some() {
            let state = match &self.cancel {
                None => BuildState::Blocked,
                Some(Cancel { skipped: true, .. }) => BuildState::Skipped,
                Some(Cancel { skipped: false, .. }) => BuildState::Canceled,
            };
            self.set_state(state, now);
            return;
        }
        let mut look = Look {
            graph,
            now,
            statuses: vec![Status::Unfinished; graph.schedule.len()],
            failing: Seen::of(self).hard_failure(),
            give_up: false,
            moved: BTreeMap::new(),
        };
        let seen = loop {
            look.give_up = false;
            self.rounds(&mut look);
            let seen = Seen::of(self);
            if !seen.stuck(self, graph) {
                break seen;
            }
            // Nothing runs, yet somebody waits: for a step that never came (1.7, rule 6), or for itself.
            look.give_up = true;
            self.rounds(&mut look);
            // That may let others run, who may upload the step: then it is waited for again.
            let seen = Seen::of(self);
            if seen.stuck(self, graph) || !seen.any(|s| !s.is_final()) {
                break seen;
            }
            // Afresh: in a circle, an old failure would keep itself up.
            look.statuses.fill(Status::Unfinished);
        };
        if look.moved.iter().any(|(&place, &state)| self.cells[place].state != state) {
            self.touch();
        }
        self.queue_up(graph);
        let state = self.derive_state(graph, seen);
        self.set_state(state, now);
    }

    /// Jobs of ordered concurrency groups keep their place in line from the beginning on, but those behind a step that
    /// waits for a person (`spec/pipeline.md` 1.11).
    fn queue_up(&mut self, graph: &Graph) {
        if self.cancel.is_some() {
            return;
        }
        let candidates: Vec<StepRef> = (0..graph.steps.len())
            .filter(|&step| match &graph.step(step).kind {
                StepKind::Command(command) => {
                    command.jobs.len() <= MOST_EARLY && command.concurrency.as_ref().is_some_and(|c| !c.eager)
                }
                StepKind::Wait { .. } | StepKind::Block(_) | StepKind::Input(_) | StepKind::Trigger(_) => false,
            })
            .collect();
        if candidates.is_empty() || graph.circle().is_some() {
            return;
        }
        // Each condition comes after its parts.
        let mut behind = vec![false; graph.schedule.len()];
        for &condition in &graph.schedule.order {
            let inherited = graph.schedule.parts(condition).iter().any(|part| behind[part.of as usize]);
            behind[condition as usize] = match graph.schedule.what(condition) {
                What::All | What::Gate(_) => inherited,
                What::Step(step) => {
                    let open = self.status(graph, step) == Status::Unfinished;
                    let asks = matches!(graph.step(step).kind, StepKind::Block(_) | StepKind::Input(_));
                    open && (asks || inherited)
                }
            };
        }
        for step in candidates {
            let node = &graph.steps[step];
            // The graph may lack what an upload has just added, never more.
            for place in node.first..node.first + node.count {
                let Some(cell) = self.cells.get_mut(place as usize) else { continue };
                if cell.state == JobState::Waiting && !cell.in_group && !behind[step] {
                    cell.round += 1;
                    (cell.in_group, cell.granted, cell.join) = (true, false, true);
                }
            }
        }
    }

    fn set_state(&mut self, state: BuildState, now: Timestamp) {
        if self.state != state {
            self.state = state;
            self.touch();
        }
        if !state.is_final() {
            self.finished_at = None;
        } else if self.finished_at.is_none() {
            self.finished_at = Some(now);
        }
    }

    /// Looks at all conditions in order until nothing moves.
    fn rounds(&mut self, look: &mut Look<'_>) {
        let graph = look.graph;
        let schedule = &graph.schedule;
        loop {
            let failing = look.failing;
            // After one pass over the order everything is seen, but where there is a circle.
            let mut again = false;
            for &condition in &schedule.order {
                let parts = schedule.parts(condition);
                let statuses = &look.statuses;
                let of = |how: How, status: Status| match (how, status) {
                    (How::After, _) | (How::Over, Status::Failed) => Status::Passed,
                    (How::Passed | How::Over, status) => status,
                };
                let all = || parts.iter().fold(Status::Passed, |sum, p| sum.and(of(p.how, statuses[p.of as usize])));
                let status = match schedule.what(condition) {
                    What::All => all(),
                    What::Gate(step) => match parts {
                        [_, outer] if self.is_dropped(graph, step) => statuses[outer.of as usize],
                        [_] if self.is_dropped(graph, step) => Status::Passed,
                        [gate, ..] => statuses[gate.of as usize],
                        [] => Status::Passed,
                    },
                    What::Step(step) => match self.status(graph, step) {
                        // Whatever it needed: it is over, and only what was never begun is decided anew.
                        Status::Passed => Status::Passed,
                        Status::Unfinished | Status::Failed => {
                            let needs = all();
                            self.advance_step(look, step, needs);
                            self.status(graph, step)
                        }
                    },
                };
                again |= graph.circle().is_some() && look.statuses[condition as usize] != status;
                look.statuses[condition as usize] = status;
            }
            if !again && failing == look.failing {
                return;
            }
        }
    }

    /// Moves the jobs of a step as far as they can move. `needs`: what it depends on, but for its uploader.
    fn advance_step(&mut self, look: &mut Look<'_>, this: StepRef, needs: Status) {
        let graph = look.graph;
        let node = &graph.steps[this];
        let step = graph.step(this);
        let needs = match node.uploader {
            Some(job) => needs.and(self.job_status(job)),
            None => needs,
        };
        let needs = match node.needs {
            Needs::Steps { missing: true, .. } => Status::Unfinished,
            Needs::Steps { .. } | Needs::Position | Needs::Nothing => needs,
        };
        let open_anyway =
            step.allow_dependency_failure || matches!(step.kind, StepKind::Wait { continue_on_failure: true });
        let may = match needs {
            Status::Passed => May::Run,
            Status::Failed if open_anyway => May::Run,
            Status::Failed => May::NotRun,
            // No permission to fail helps against a step that does not exist.
            Status::Unfinished if look.give_up => May::NotRun,
            Status::Unfinished => May::Wait,
        };
        let stop = match &step.kind {
            StepKind::Command(command) => look.failing && command.cancel_on_build_failing,
            StepKind::Wait { .. } | StepKind::Block(_) | StepKind::Input(_) | StepKind::Trigger(_) => false,
        };
        for job in node.first..node.first + node.count {
            while self.advance(look, JobIndex(job), may, stop) {}
        }
    }

    fn status(&self, graph: &Graph, step: StepRef) -> Status {
        let node = &graph.steps[step];
        (node.first..node.first + node.count).fold(Status::Passed, |sum, job| sum.and(self.job_status(JobIndex(job))))
    }

    fn job_status(&self, job: JobIndex) -> Status {
        match self.cells.get(job.0 as usize).map(|c| c.state) {
            Some(state) if !state.is_final() => Status::Unfinished,
            Some(state) if state.is_failure() => Status::Failed,
            Some(_) | None => Status::Passed,
        }
    }

    /// Whether a step was written to run and then dropped by an upload: it is as if it were not there.
    pub(super) fn is_dropped(&self, graph: &Graph, step: StepRef) -> bool {
        let node = &graph.steps[step];
        let mut jobs = node.first..node.first + node.count;
        !jobs.is_empty()
            && graph.step(step).left_out.is_none()
            && jobs.all(|job| self.cells.get(job as usize).is_some_and(|c| c.state == JobState::Broken))
    }

    /// Moves one job by one step, if it can move.
    fn advance(&mut self, look: &mut Look<'_>, job: JobIndex, may: May, stop: bool) -> bool {
        let canceled = self.cancel.is_some() || stop;
        let Some(written) = look.graph.job(job) else {
            return false;
        };
        let place = job.0 as usize;
        let Some(state) = self.cells.get(place).map(|c| c.state) else {
            return false;
        };
        if canceled {
            let next = match state {
                JobState::Waiting | JobState::Blocked | JobState::Limited | JobState::Backoff => JobState::Canceled,
                JobState::Scheduled => JobState::Canceling,
                _ => return false,
            };
            look.moved.entry(place).or_insert(state);
            let cell = &mut self.cells[place];
            cell.state = next;
            cell.revoke = next == JobState::Canceling;
            if next == JobState::Canceled {
                cell.leave_group();
            }
            return true;
        }
        let next = match (state, may) {
            (JobState::Waiting, May::Wait) | (JobState::WaitingFailed, May::NotRun) => return false,
            (JobState::Waiting, May::NotRun) => JobState::WaitingFailed,
            (JobState::WaitingFailed, May::Wait | May::Run) => JobState::Waiting,
            (JobState::Waiting, May::Run) => match &written.step.kind {
                StepKind::Wait { .. } => JobState::Passed,
                StepKind::Block(_) | StepKind::Input(_) => JobState::Blocked,
                StepKind::Trigger(_) => JobState::Scheduled,
                StepKind::Command(command) if command.concurrency.is_some() => JobState::Limited,
                StepKind::Command(_) => JobState::Scheduled,
            },
            (JobState::Limited, _) if self.cells[place].granted => JobState::Scheduled,
            (JobState::Backoff, _) if self.cells[place].not_before <= look.now => JobState::Scheduled,
            _ => return false,
        };
        look.moved.entry(place).or_insert(state);
        look.failing |= next == JobState::Failed;
        let cell = &mut self.cells[place];
        cell.state = next;
        match next {
            JobState::Limited => {
                // Who kept a place in line is ready now; everybody else joins.
                cell.round += u32::from(!cell.in_group);
                cell.in_group = true;
                cell.granted = false;
                cell.join = true;
            }
            JobState::WaitingFailed => cell.leave_group(),
            JobState::Scheduled => {
                if let (Some(command), Some(spec)) = (written.command, written.spec()) {
                    let priority = self.priority_of(look.graph, job, command.priority);
                    self.issue(place, priority, Requirement::new(&spec.agents));
                } else {
                    // A trigger step: what it makes is a build, and no machine is needed.
                    let cell = &mut self.cells[place];
                    cell.attempt += 1;
                    cell.create = true;
                    cell.revoke = false;
                }
            }
            _ => {}
        }
        true
    }

    /// Puts a new attempt of a job on its line.
    fn issue(&mut self, place: usize, priority: i64, requirement: Requirement) {
        let same = |line: &Line| line.requirement == requirement && line.priority == priority;
        let line = self.lines.iter().position(same).unwrap_or_else(|| {
            self.lines.push(Line { requirement: requirement.clone(), priority, issued: 0, published: 0 });
            self.lines.len() - 1
        });
        self.lines[line].issued += 1;
        let cell = &mut self.cells[place];
        cell.attempt += 1;
        cell.create = true;
        cell.revoke = false;
        cell.uploads = 0;
        cell.line = u32::try_from(line).unwrap_or(u32::MAX);
        cell.seq = self.lines[line].issued;
    }

    fn derive_state(&self, graph: &Graph, seen: Seen) -> BuildState {
        let unfinished = seen.any(|s| !s.is_final());
        let failed = seen.any(JobState::is_failure);
        if let Some(Cancel { skipped, .. }) = self.cancel {
            return match unfinished {
                true => BuildState::Canceling,
                // What a machine took in the last moment was not skipped.
                false if skipped && self.started_at.is_none() => BuildState::Skipped,
                false => BuildState::Canceled,
            };
        }
        if unfinished {
            let busy = seen.any(|s| {
                matches!(s, JobState::Scheduled | JobState::Backoff | JobState::Canceling | JobState::Limited)
            });
            return match (busy, seen.any(|s| s == JobState::Blocked), seen.hard_failure()) {
                (false, true, _) => BuildState::Blocked,
                (_, _, true) => BuildState::Failing,
                _ if self.started_at.is_some() => BuildState::Running,
                _ => BuildState::Scheduled,
            };
        }
        if failed {
            return BuildState::Failed;
        }
        let ran = (0u32..).zip(self.cells.iter()).any(|(place, c)| {
            !matches!(c.state, JobState::Skipped | JobState::Broken)
                && graph.job(JobIndex(place)).is_some_and(|j| !matches!(j.step.kind, StepKind::Wait { .. }))
        });
        if ran { BuildState::Passed } else { BuildState::NotRun }
    }
}
