//! What the state of a build says should be so in the rest of the world.

use super::{Build, BuildState, Did, Graph, JobState, Line};
use crate::ids::JobIndex;
use crate::plan::{Concurrency, StepKind};
use crate::wire::gate::CancelReason;

/// Something that should be so. Every one may be performed again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// The build is on the index of active builds.
    Activate,
    /// The values of this form are in the meta-data. Before anything that may read them.
    Fill {
        /// The block or input step.
        job: JobIndex,
        /// The stored form.
        form: String,
    },
    /// This attempt has a record. Before [`Effect::Publish`].
    Create {
        /// The job.
        job: JobIndex,
        /// The attempt's number.
        number: u32,
        /// `BUILDKITE_RETRY_COUNT`.
        retry_count: u32,
        /// The line it is on, by place in [`Build::lines`].
        line: usize,
    },
    /// The build that this trigger step wants is there.
    Trigger {
        /// The step's job.
        job: JobIndex,
        /// Which try of the job.
        number: u32,
    },
    /// The build that this trigger step wanted is cancelled, or will never be.
    Recall {
        /// The step's job.
        job: JobIndex,
        /// Which try of the job.
        number: u32,
    },
    /// The trigger step that made this build knows how it ended.
    Answer {
        /// Up to [`Build::shown`].
        upto: u64,
        /// The end.
        state: BuildState,
    },
    /// The fleet knows how many attempts are on a line.
    Publish {
        /// Which, by place in [`Build::lines`].
        place: usize,
        /// The line.
        line: Line,
    },
    /// This attempt is cancelled: ended if nobody has it, else marked.
    Revoke {
        /// The job.
        job: JobIndex,
        /// The attempt's number.
        number: u32,
        /// Why.
        reason: CancelReason,
    },
    /// The group knows that the job wants a slot.
    Join {
        /// The job.
        job: JobIndex,
        /// Which time it joins.
        round: u32,
        /// It is not ready: it keeps a place in line.
        early: bool,
        /// The group and the limit.
        concurrency: Concurrency,
    },
    /// The group knows that the job needs no slot.
    Leave {
        /// The job.
        job: JobIndex,
        /// The last time that it joined, of those that are over.
        round: u32,
        /// The group.
        group: String,
    },
    /// List and report show this much.
    Show {
        /// Up to [`Build::shown`].
        upto: u64,
    },
    /// The build is not on the index of active builds.
    Deactivate,
}

/// What was performed, to clear its mark with the next write.
pub type Done = Effect;

impl Build {
    /// Everything that is marked, in the order in which it must be performed.
    pub fn effects(&self, graph: &Graph) -> Vec<Effect> {
        let mut effects = Vec::new();
        let over = self.state.is_final();
        if !over && !self.active {
            effects.push(Effect::Activate);
        }
        for act in &self.acts {
            if let Did::Unblocked { job, form: Some(form), unwritten: true } = &act.did {
                effects.push(Effect::Fill { job: *job, form: form.clone() });
            }
        }
        for (place, cell) in (0u32..).zip(self.cells.iter()) {
            let job = JobIndex(place);
            let triggers = graph.job(job).is_some_and(|j| matches!(j.step.kind, StepKind::Trigger(_)));
            if triggers {
                let number = cell.attempt;
                if cell.create {
                    effects.push(Effect::Trigger { job, number });
                }
                if cell.revoke && cell.state == JobState::Canceling {
                    effects.push(Effect::Recall { job, number });
                }
                continue;
            }
            if cell.create {
                let line = cell.line as usize;
                effects.push(Effect::Create { job, number: cell.attempt, retry_count: cell.retries, line });
            }
            if cell.revoke && cell.state == JobState::Canceling {
                effects.push(Effect::Revoke { job, number: cell.attempt, reason: CancelReason::Canceled });
            }
            if (cell.join || cell.leave)
                && let Some(concurrency) = graph.job(job).and_then(|j| j.command).and_then(|c| c.concurrency.clone())
            {
                if cell.leave {
                    // Marked to leave and in again: what it leaves is the time before.
                    let round = if cell.in_group { cell.round.saturating_sub(1) } else { cell.round };
                    effects.push(Effect::Leave { job, round, group: concurrency.group.clone() });
                }
                if cell.join {
                    let early = cell.state == JobState::Waiting;
                    effects.push(Effect::Join { job, round: cell.round, early, concurrency });
                }
            }
        }
        for (place, line) in self.lines.iter().enumerate().filter(|(_, l)| l.issued > l.published) {
            effects.push(Effect::Publish { place, line: line.clone() });
        }
        if self.told < self.shown {
            effects.push(Effect::Show { upto: self.shown });
        }
        if over && self.answered < self.shown && self.facts.triggered_by.is_some() {
            effects.push(Effect::Answer { upto: self.shown, state: self.state });
        }
        if over && self.active {
            effects.push(Effect::Deactivate);
        }
        effects
    }

    /// Clears the marks of what was performed. An effect that was marked again meanwhile stays marked.
    pub fn clear(&mut self, done: &[Done]) {
        for effect in done {
            match effect {
                Effect::Activate => self.active = true,
                Effect::Deactivate => self.active = false,
                Effect::Fill { form: done, .. } => {
                    for act in &mut self.acts {
                        if let Did::Unblocked { form: Some(form), unwritten, .. } = &mut act.did
                            && form == done
                        {
                            *unwritten = false;
                        }
                    }
                }
                Effect::Create { job, number, .. } | Effect::Trigger { job, number } => {
                    if let Some(cell) = self.cells.get_mut(job.0 as usize)
                        && cell.attempt == *number
                    {
                        cell.create = false;
                    }
                }
                Effect::Revoke { job, number, .. } | Effect::Recall { job, number } => {
                    if let Some(cell) = self.cells.get_mut(job.0 as usize)
                        && cell.attempt == *number
                    {
                        cell.revoke = false;
                    }
                }
                Effect::Publish { place, line } => {
                    if let Some(own) = self.lines.get_mut(*place) {
                        own.published = own.published.max(line.issued);
                    }
                }
                Effect::Join { job, round, early, .. } => {
                    if let Some(cell) = self.cells.get_mut(job.0 as usize)
                        && cell.round == *round
                        // It has become ready meanwhile: that is still to be said.
                        && *early == (cell.state == JobState::Waiting)
                    {
                        cell.join = false;
                    }
                }
                Effect::Leave { job, round, .. } => {
                    if let Some(cell) = self.cells.get_mut(job.0 as usize)
                        && cell.round.saturating_sub(u32::from(cell.in_group)) <= *round
                    {
                        cell.leave = false;
                    }
                }
                Effect::Answer { upto, .. } => self.answered = self.answered.max(*upto),
                Effect::Show { upto } => self.told = self.told.max(*upto),
            }
        }
    }
}
