//! Which steps a step waits for.

use super::words::{count, list};
use super::{Kind, Records, Why};
use crate::build::{Build, Graph, JobState, StepRef};
use crate::ids::JobIndex;
use crate::plan::StepKind;
use crate::time::Timestamp;

/// Jobs of a step, by how far they are.
struct Progress {
    jobs: u32,
    done: u32,
    failed: bool,
    state: JobState,
}

fn progress(build: &Build, graph: &Graph, step: StepRef) -> Progress {
    let node = &graph.steps[step];
    let states =
        || (node.first..node.first + node.count).filter_map(|job| build.cells.get(job as usize)).map(|cell| cell.state);
    Progress {
        jobs: node.count,
        done: u32::try_from(states().filter(|s| s.is_final()).count()).unwrap_or(u32::MAX),
        failed: states().any(JobState::is_failure),
        state: states().find(|s| !s.is_final()).or_else(|| states().next_back()).unwrap_or_default(),
    }
}

impl Records<'_> {
    /// When everything was there that the job waited for: the last end of an attempt of what it needs directly, or the
    /// making of the build.
    pub(super) fn reached(&self, job: JobIndex) -> Timestamp {
        let made = self.build.facts.created_at;
        let Some(step) = self.graph.owner(job) else { return made };
        let needed: Vec<StepRef> = self.graph.needed_by(step, |_| false);
        let mut is_needed = vec![false; self.graph.steps.len()];
        needed.iter().for_each(|&s| is_needed[s] = true);
        let owner = |job: JobIndex| self.graph.owner(job).is_some_and(|s| is_needed[s]);
        let ends = self.attempts.iter().filter(|a| owner(a.id.job)).filter_map(super::ended_at);
        let opened = needed.iter().filter_map(|&s| self.build.unblocked(JobIndex(self.graph.steps[s].first)));
        ends.chain(opened.map(|act| act.at)).max().unwrap_or(made).max(made)
    }

    pub(super) fn waiting(&self, job: JobIndex) -> Why {
        let (build, graph) = (self.build, self.graph);
        let since = Some(build.facts.created_at);
        let Some(step) = graph.owner(job) else {
            return Why {
                kind: Kind::Dependency,
                because: "waits for its steps to be read".to_owned(),
                until: "the next look at the build".to_owned(),
                since,
            };
        };
        let unknown: Vec<String> = graph.unknown_keys(step).map(|key| format!("`{key}`")).collect();
        let is_open = |&s: &StepRef| progress(build, graph, s).done < progress(build, graph, s).jobs;
        let open: Vec<StepRef> = graph.needed_by(step, |_| false).into_iter().filter(is_open).collect();
        let (mut because, mut until) = match open.as_slice() {
            [] => ("waits for the next look at the build".to_owned(), "it is looked at again".to_owned()),
            [one] => (format!("waits for {}", self.called(*one)), "that step ends well".to_owned()),
            several => {
                let steps = count(u32::try_from(several.len()).unwrap_or(u32::MAX), "step", "steps");
                (format!("waits for {steps}: {}", self.list(several)), "all of them end well".to_owned())
            }
        };
        if open.iter().any(|&s| progress(build, graph, s).failed) {
            until = "they end, and a failed one is retried and passes".to_owned();
        }
        if !unknown.is_empty() {
            let keys = list(&unknown, 3);
            because = match open.as_slice() {
                [] => format!("waits for {keys}, which no step has as its key"),
                _ => format!("{because}, and for {keys}, which no step has as its key yet"),
            };
            until = "a job uploads such a step; if none does, the build fails".to_owned();
        }
        if let Some(circle) = graph.circle()
            && circle.contains(&step)
        {
            let names: Vec<String> = circle.iter().map(|&s| format!("`{}`", graph.name(s))).collect();
            because = format!("waits for itself: {} wait for each other", list(&names, 5));
            until = "nothing: the build fails once nothing else runs".to_owned();
        }
        Why { kind: Kind::Dependency, because, until, since }
    }

    /// Why a job that never ran did not.
    pub(super) fn not_run(&self, job: JobIndex) -> Why {
        let (build, graph) = (self.build, self.graph);
        let over = |because: String, until: &str| Why {
            kind: Kind::Over,
            because,
            until: until.to_owned(),
            since: build.finished_at,
        };
        let Some(step) = graph.owner(job) else {
            return over("does not run: what it needs failed".to_owned(), "");
        };
        if let Some(key) = graph.unknown_keys(step).next() {
            return over(format!("does not run: it waits for `{key}`, which no step has as its key"), "");
        }
        let failed = graph.needed_by(step, |s| !progress(build, graph, s).failed || waits_itself(build, graph, s));
        let failed: Vec<StepRef> = failed
            .into_iter()
            .filter(|&s| progress(build, graph, s).failed && !waits_itself(build, graph, s))
            .collect();
        match failed.as_slice() {
            [] => over("does not run: what it needs failed".to_owned(), ""),
            failed => over(
                format!("does not run, because of {}", self.list(failed)),
                "a retry of what failed makes it wait again",
            ),
        }
    }

    /// The first few of these steps.
    fn list(&self, steps: &[StepRef]) -> String {
        let mut names: Vec<String> = steps.iter().take(3).map(|&s| self.called(s)).collect();
        names.extend(steps.iter().skip(3).map(|_| String::new()));
        list(&names, 3)
    }

    /// A step with what it is doing.
    fn called(&self, step: StepRef) -> String {
        let name = self.graph.name(step);
        let Progress { jobs, done, state, .. } = progress(self.build, self.graph, step);
        let first = JobIndex(self.graph.steps[step].first);
        let state = match (state, self.latest(first).map(|a| &a.phase)) {
            (JobState::Scheduled, Some(crate::attempt::Phase::Held(_))) => "running".to_owned(),
            (JobState::Blocked, _) => "blocked: a person must open it".to_owned(),
            (state, _) => state.name().replace('_', " "),
        };
        if jobs > 1 {
            format!("`{name}` ({state}, {done} of {jobs} jobs are done)")
        } else {
            format!("`{name}` ({state})")
        }
    }
}

/// A step that did not run because of another one, or that is no work of its own.
fn waits_itself(build: &Build, graph: &Graph, step: StepRef) -> bool {
    progress(build, graph, step).state == JobState::WaitingFailed
        || matches!(graph.step(step).kind, StepKind::Wait { .. })
}
