//! Somebody who asks why: whatever waits has a sentence, and the sentence is true.

use tidegate_core::build::JobState;
use tidegate_core::ids::{BuildId, JobIndex, job_uuid};
use tidegate_core::why::Kind;
use tidegate_engine::api::{ApiError, BuildName, JobName, WhyAnswer};

use crate::exec::lock;
use crate::world::{SECOND, World};

/// What the world itself knows of a job.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Seen {
    /// The command of this attempt runs on a machine.
    Running(u32),
    /// This attempt waits for a machine.
    Queued(u32),
}

impl World {
    pub(crate) async fn ask_why(&self) {
        loop {
            let pause = self.draw(|r| r.range(20 * SECOND, 130 * SECOND));
            self.sleep(pause).await;
            if self.is_calm() {
                return;
            }
            let Some((id, job)) = self.somebody_who_waits() else { continue };
            let before = self.seen(&id, job);
            // Of one job, or of all that are worth a word.
            let alone = self.draw(|r| r.chance(0.7));
            let name = alone.then(|| JobName(job_uuid(&id, job).to_string()));
            let of = BuildName::Id(id.clone());
            let answer = self.call(|engine| async move {
                match engine.why(&of, name.as_ref()).await {
                    Ok(answer) => Some(Ok(answer)),
                    Err(ApiError::Engine(_)) => None,
                    Err(error) => Some(Err(error.to_string())),
                }
            });
            let Some(Some(answer)) = answer.await else { continue };
            self.count("people: ask why");
            let known = before.filter(|seen| self.seen(&id, job) == Some(*seen) && alone);
            if let Err(what) = answer.and_then(|answer| judge(&answer, known, alone))
                && !lock(&self.ledger).builds.get(&id).is_some_and(|made| made.deleted)
            {
                self.violate("I19", format!("of job {job} of build {id}: {what}"));
            }
        }
    }

    /// A job of a build that is not over.
    fn somebody_who_waits(&self) -> Option<(BuildId, JobIndex)> {
        let ids: Vec<BuildId> = lock(&self.ledger).builds.keys().cloned().collect();
        if ids.is_empty() {
            return None;
        }
        // Some are over: a few are looked at.
        for _ in 0..8 {
            let id = &ids[self.draw(|r| r.index(ids.len()))];
            let Some(build) = self.record(id).filter(|build| !build.state.is_final()) else { continue };
            let open: Vec<u32> = (0u32..)
                .zip(build.cells.iter())
                .filter(|(_, cell)| !cell.state.is_final() || cell.state == JobState::WaitingFailed)
                .map(|(place, _)| place)
                .collect();
            if !open.is_empty() {
                return Some((id.clone(), JobIndex(open[self.draw(|r| r.index(open.len()))])));
            }
        }
        None
    }

    fn seen(&self, id: &BuildId, job: JobIndex) -> Option<Seen> {
        let ledger = lock(&self.ledger);
        let (number, tried) = ledger.builds.get(id)?.attempts.get(&job)?.iter().next_back()?;
        match &tried.run {
            Some(run) => (!run.over && tried.is_held()).then_some(Seen::Running(*number)),
            None => tried.is_queued().then_some(Seen::Queued(*number)),
        }
    }
}

/// What is wrong with an answer.
fn judge(answer: &WhyAnswer, known: Option<Seen>, alone: bool) -> Result<(), String> {
    if answer.sentence.trim().is_empty() {
        return Err("the build has no sentence".to_owned());
    }
    if alone && answer.jobs.len() != 1 {
        return Err(format!("one job was asked for, and {} are explained", answer.jobs.len()));
    }
    for job in &answer.jobs {
        if job.because.trim().is_empty() || (job.waits && job.until.trim().is_empty()) {
            return Err(format!("{} is {} and has no sentence: {job:?}", job.label, job.state));
        }
        let fits = match known {
            Some(Seen::Running(_)) => matches!(job.kind, Kind::Running | Kind::Canceling),
            Some(Seen::Queued(_)) => matches!(job.kind, Kind::Machine | Kind::Canceling),
            None => true,
        };
        if !fits {
            return Err(format!("{known:?} before and after, and it is said that it {}", job.because));
        }
    }
    Ok(())
}
