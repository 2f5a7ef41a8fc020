//! What follows from the states of jobs: who may run, who never will, and the state of the build. Level-triggered: it
//! looks at the states alone, so doing it twice changes nothing, and `WaitingFailed` is decided anew each time (a retry of
//! what failed makes its dependents wait again).

use std::collections::HashMap;

use super::graph::{Needs, Node, Scope};
use super::{Build, BuildState, Graph, JobState, Line, StepRef};
use crate::fleet::Requirement;
use crate::ids::JobIndex;
use crate::plan::{CommandStep, StepKind};
use crate::time::Timestamp;

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

/// What the steps so far mean for the ones that follow, in one scope.
#[derive(Clone, Copy, Debug)]
struct Before {
    all: Status,
    gate: Status,
}

impl Default for Before {
    fn default() -> Self {
        Self { all: Status::Passed, gate: Status::Passed }
    }
}

impl Build {
    /// Brings every job and the build to the state that follows.
    pub fn settle(&mut self, graph: &Graph, now: Timestamp) {
        if !self.failure.is_empty() {
            self.set_state(BuildState::Failed, now);
            return;
        }
        // Each round moves at least one job forward, and a job moves a few times at most.
        let rounds = graph.job_count() * 4 + 8;
        let mut give_up = false;
        for _ in 0..rounds {
            let moved = self.round(graph, give_up, now);
            if moved {
                continue;
            }
            // Nothing moves and nothing runs, yet somebody waits: for a step that never came (1.7, rule 6).
            let alive = self.cells.iter().any(|c| !c.state.is_final() && c.state != JobState::Waiting);
            let waiting = self.cells.iter().any(|c| c.state == JobState::Waiting);
            if alive || !waiting || give_up {
                break;
            }
            give_up = true;
        }
        let state = self.derive_state(graph);
        self.set_state(state, now);
    }

    fn set_state(&mut self, state: BuildState, now: Timestamp) {
        if self.state != state {
            self.state = state;
            self.touch();
        }
        if state.is_final() && self.finished_at.is_none() {
            self.finished_at = Some(now);
        }
    }

    /// One pass over all steps in order. `give_up`: what waits for an unknown step fails.
    fn round(&mut self, graph: &Graph, give_up: bool, now: Timestamp) -> bool {
        let mut moved = false;
        let failing = self.has_hard_failure();
        let mut before: HashMap<Scope, Before> = HashMap::new();
        for &this in &graph.order {
            let node = &graph.steps[this];
            let step = graph.step(this);
            let top = before.get(&None).copied().unwrap_or_default();
            let own = before.get(&node.scope).copied().unwrap_or_default();
            let is_gate = matches!(step.kind, StepKind::Wait { .. } | StepKind::Block(_));
            let needs = match &node.needs {
                Needs::Nothing => Status::Passed,
                Needs::Position if is_gate && node.scope.is_none() => own.all,
                Needs::Position if is_gate => own.all.and(top.gate),
                Needs::Position => own.gate.and(top.gate),
                Needs::Steps { deps, missing } => {
                    let absent = match (missing, give_up) {
                        (false, _) => Status::Passed,
                        (true, false) => Status::Unfinished,
                        (true, true) => Status::Failed,
                    };
                    deps.iter().fold(absent, |sum, dep| {
                        let status = self.deep_status(graph, dep.step, graph.steps.len());
                        sum.and(if dep.allow_failure && status == Status::Failed { Status::Passed } else { status })
                    })
                }
            };
            let needs = match node.uploader {
                Some(job) => needs.and(self.job_status(job)),
                None => needs,
            };
            let open_anyway =
                step.allow_dependency_failure || matches!(step.kind, StepKind::Wait { continue_on_failure: true });
            let needs = if open_anyway && needs == Status::Failed { Status::Passed } else { needs };
            let stop = match &step.kind {
                StepKind::Command(command) => failing && command.cancel_on_build_failing,
                _ => false,
            };
            for job in node.first..node.first + node.count {
                moved |= self.advance(graph, JobIndex(job), needs, stop, now);
            }
            let status = self.status(node);
            let gate = is_gate && step.left_out.is_none() && !node.ignored_wait;
            let counts = !matches!(step.kind, StepKind::Input(_)) && !node.ignored_wait;
            for scope in if node.scope.is_some() { vec![node.scope, None] } else { vec![None] } {
                let entry = before.entry(scope).or_default();
                if counts {
                    entry.all = entry.all.and(status);
                }
                if gate && scope == node.scope {
                    entry.gate = status;
                }
            }
        }
        moved
    }

    fn status(&self, node: &Node) -> Status {
        let jobs = &self.cells[node.first as usize..(node.first + node.count) as usize];
        if jobs.iter().any(|c| !c.state.is_final()) {
            Status::Unfinished
        } else if jobs.iter().any(|c| c.state.is_failure()) {
            Status::Failed
        } else {
            Status::Passed
        }
    }

    fn job_status(&self, job: JobIndex) -> Status {
        match self.cells.get(job.0 as usize).map(|c| c.state) {
            Some(state) if !state.is_final() => Status::Unfinished,
            Some(state) if state.is_failure() => Status::Failed,
            Some(_) | None => Status::Passed,
        }
    }

    /// A step together with everything that it uploaded, to any depth (1.7, rule 5). `depth` bounds the descent.
    fn deep_status(&self, graph: &Graph, step: StepRef, depth: usize) -> Status {
        let node = &graph.steps[step];
        let own = self.status(node);
        if depth == 0 {
            return own;
        }
        node.uploaded.iter().fold(own, |sum, &child| sum.and(self.deep_status(graph, child, depth - 1)))
    }

    fn has_hard_failure(&self) -> bool {
        self.cells
            .iter()
            .any(|c| matches!(c.state, JobState::Failed | JobState::TimedOut | JobState::Canceled | JobState::Expired))
    }

    /// Moves one job by one step, if it can move.
    fn advance(&mut self, graph: &Graph, job: JobIndex, needs: Status, stop: bool, now: Timestamp) -> bool {
        let canceled = self.cancel.is_some() || stop;
        let Some(written) = graph.job(job) else {
            return false;
        };
        let place = job.0 as usize;
        let state = self.cells[place].state;
        if canceled {
            let next = match state {
                JobState::Waiting | JobState::Blocked | JobState::Limited | JobState::Backoff => JobState::Canceled,
                JobState::Scheduled => JobState::Canceling,
                _ => return false,
            };
            let cell = &mut self.cells[place];
            cell.state = next;
            cell.revoke = next == JobState::Canceling;
            if next == JobState::Canceled && cell.in_group {
                (cell.in_group, cell.granted, cell.join, cell.leave) = (false, false, false, true);
            }
            self.touch();
            return true;
        }
        let next = match (state, needs) {
            (JobState::Waiting, Status::Unfinished) | (JobState::WaitingFailed, Status::Failed) => {
                return false;
            }
            (JobState::Waiting, Status::Failed) => JobState::WaitingFailed,
            (JobState::WaitingFailed, Status::Unfinished | Status::Passed) => JobState::Waiting,
            (JobState::Waiting, Status::Passed) => match &written.step.kind {
                StepKind::Wait { .. } => JobState::Passed,
                StepKind::Block(_) | StepKind::Input(_) => JobState::Blocked,
                StepKind::Trigger(_) => JobState::Failed,
                StepKind::Command(command) if command.concurrency.is_some() => JobState::Limited,
                StepKind::Command(_) => JobState::Scheduled,
            },
            (JobState::Limited, _) if self.cells[place].granted => JobState::Scheduled,
            (JobState::Backoff, _) if self.cells[place].not_before <= now => JobState::Scheduled,
            _ => return false,
        };
        let cell = &mut self.cells[place];
        cell.state = next;
        match next {
            JobState::Limited => {
                cell.in_group = true;
                cell.granted = false;
                cell.join = true;
                cell.round += 1;
            }
            JobState::Scheduled => {
                if let (Some(command), Some(spec)) = (written.command, written.spec()) {
                    self.issue(place, command, Requirement::new(&spec.agents));
                }
            }
            _ => {}
        }
        self.touch();
        true
    }

    /// Puts a new attempt of a job on its line.
    fn issue(&mut self, place: usize, command: &CommandStep, requirement: Requirement) {
        let same = |line: &Line| line.requirement == requirement && line.priority == command.priority;
        let line = self.lines.iter().position(same).unwrap_or_else(|| {
            self.lines.push(Line {
                requirement: requirement.clone(),
                priority: command.priority,
                issued: 0,
                published: 0,
            });
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

    fn derive_state(&self, graph: &Graph) -> BuildState {
        let any = |wanted: fn(JobState) -> bool| self.cells.iter().any(|c| wanted(c.state));
        let unfinished = any(|s| !s.is_final());
        let failed = any(JobState::is_failure);
        if self.cancel.is_some() {
            return if unfinished { BuildState::Canceling } else { BuildState::Canceled };
        }
        if unfinished {
            let busy =
                any(|s| matches!(s, JobState::Scheduled | JobState::Backoff | JobState::Canceling | JobState::Limited));
            return match (busy, any(|s| s == JobState::Blocked), self.has_hard_failure()) {
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
