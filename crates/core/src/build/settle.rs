//! What follows from the states of jobs: who may run, who never will, and the state of the build. Level-triggered: it
//! looks at the states alone, so doing it twice changes nothing, and `WaitingFailed` is decided anew each time (a retry of
//! what failed makes its dependents wait again).

use super::graph::{Graph, Needs};
use super::schedule::{How, What};
use super::{Build, BuildState, JobState, Line, StepRef};
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

/// What the jobs of a step may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum May {
    Wait,
    Run,
    /// Something that they need has failed, or will never come.
    NotRun,
}

impl Build {
    /// Brings every job and the build to the state that follows. `graph` must have every segment of the record.
    pub fn settle(&mut self, graph: &Graph, now: Timestamp) {
        if !self.failure.is_empty() {
            self.set_state(BuildState::Failed, now);
            return;
        }
        let before = self.cells.clone();
        let mut statuses = vec![Status::Unfinished; graph.schedule.len()];
        loop {
            self.rounds(graph, &mut statuses, false, now);
            if !self.is_stuck(graph) {
                break;
            }
            // Nothing runs, yet somebody waits: for a step that never came (1.7, rule 6), or for itself.
            self.rounds(graph, &mut statuses, true, now);
            // That may let others run, who may upload the step: then it is waited for again.
            if self.is_stuck(graph) || self.cells.iter().all(|c| c.state.is_final()) {
                break;
            }
        }
        if self.cells != before {
            self.touch();
        }
        let state = self.derive_state(graph);
        self.set_state(state, now);
    }

    /// Somebody waits, and nobody is there who could change that.
    fn is_stuck(&self, graph: &Graph) -> bool {
        let mut waiting = false;
        for cell in self.cells.iter() {
            match cell.state {
                JobState::Waiting => waiting = true,
                state if !state.is_final() => return false,
                _ => {}
            }
        }
        // A graph that lacks segments says nothing about their jobs.
        waiting && graph.job_count() >= self.cells.len()
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

    /// Looks at all conditions in order until nothing moves. `give_up`: what cannot be decided will never be.
    fn rounds(&mut self, graph: &Graph, statuses: &mut [Status], give_up: bool, now: Timestamp) {
        let schedule = &graph.schedule;
        loop {
            let failing = self.has_hard_failure();
            let mut moved = false;
            for &condition in &schedule.order {
                let parts = schedule.parts(condition);
                let of = |how: How, status: Status| match (how, status) {
                    (How::After, _) | (How::Over, Status::Failed) => Status::Passed,
                    (How::Passed | How::Over, status) => status,
                };
                let all = parts.iter().fold(Status::Passed, |sum, p| sum.and(of(p.how, statuses[p.of as usize])));
                let status = match schedule.what(condition) {
                    What::All => all,
                    What::Gate(step) => match parts {
                        [_, outer] if self.is_dropped(graph, step) => statuses[outer.of as usize],
                        [_] if self.is_dropped(graph, step) => Status::Passed,
                        [gate, ..] => statuses[gate.of as usize],
                        [] => Status::Passed,
                    },
                    What::Step(step) => {
                        moved |= self.advance_step(graph, step, all, failing, give_up, now);
                        self.status(graph, step)
                    }
                };
                // In a circle a condition may stand before its parts.
                moved |= graph.circle().is_some() && statuses[condition as usize] != status;
                statuses[condition as usize] = status;
            }
            if !moved && failing == self.has_hard_failure() {
                return;
            }
        }
    }

    /// Moves the jobs of a step as far as they can move. `needs`: what it depends on, but for its uploader.
    fn advance_step(
        &mut self,
        graph: &Graph,
        this: StepRef,
        needs: Status,
        failing: bool,
        give_up: bool,
        now: Timestamp,
    ) -> bool {
        let node = &graph.steps[this];
        let step = graph.step(this);
        let jobs = node.first..node.first + node.count;
        // Most steps of a large build are over.
        let over = |job: u32| match self.cells.get(job as usize) {
            Some(cell) => cell.state.is_final() && cell.state != JobState::WaitingFailed,
            None => true,
        };
        if jobs.clone().all(over) {
            return false;
        }
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
            Status::Unfinished if give_up => May::NotRun,
            Status::Unfinished => May::Wait,
        };
        let stop = match &step.kind {
            StepKind::Command(command) => failing && command.cancel_on_build_failing,
            StepKind::Wait { .. } | StepKind::Block(_) | StepKind::Input(_) | StepKind::Trigger(_) => false,
        };
        let mut moved = false;
        for job in jobs {
            while self.advance(graph, JobIndex(job), may, stop, now) {
                moved = true;
            }
        }
        moved
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

    fn has_hard_failure(&self) -> bool {
        self.cells
            .iter()
            .any(|c| matches!(c.state, JobState::Failed | JobState::TimedOut | JobState::Canceled | JobState::Expired))
    }

    /// Moves one job by one step, if it can move.
    fn advance(&mut self, graph: &Graph, job: JobIndex, may: May, stop: bool, now: Timestamp) -> bool {
        let canceled = self.cancel.is_some() || stop;
        let Some(written) = graph.job(job) else {
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
