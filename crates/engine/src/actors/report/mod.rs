//! The report actor: makes the forge show what the record says. Level-triggered: it compares, it does not remember events.
//!
//! A build has one item to show, and one more for each job that has a check of its own. Whatever cannot be shown now (the lane
//! is full, the forge wants to be left alone, only the number of finished jobs has changed) is looked at again at a time that
//! the doorbell carries; the note that the build is unreported stays until everything is shown, so that the sweep comes back
//! if the doorbell is lost.

mod lane;
mod tell;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_core::attempt::Attempt;
use tidegate_core::build::{Build, Graph};
use tidegate_core::ids::{AttemptId, BuildId, JobIndex};
use tidegate_core::report::{Check, Sources, Status, StatusState, build_check, is_culprit, job_check, status};
use tidegate_core::time::Timestamp;

use crate::engine::{Engine, Loaded, open};
use crate::environment::build_url;
use crate::error::Error;
use crate::keys;
use crate::ports::{Expect, Key, PortError, Shows};

use tell::Told;

/// Which jobs have a check of their own.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum JobChecks {
    /// None: the check of the build names what failed.
    Never,
    /// Those that failed, at most ten of a build; they keep it when they are run again.
    #[default]
    Failed,
    /// All.
    All,
}

/// How many failed jobs have a check of their own: a build in which everything fails must not use up the budget of all others.
const MOST_FAILED: usize = 10;
/// How many attempts of failed jobs are read to find out which failed first.
const MOST_READ: usize = 100;

/// What the forge was last told of a build, or of one of its jobs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ReportRecord {
    /// The status.
    pub status: Status,
    /// When it was decided.
    pub at: Timestamp,
    /// Whether it was posted; `false` where no forge is configured.
    pub posted: bool,
    /// Why it could not be posted, if it was refused for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The forge is being told; whoever wrote this has not said yet what came of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub telling: bool,
    /// Until then a step that was overtaken may still tell the forge something older: it is told again afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubtful_until: Option<Timestamp>,
    /// When it may be told: its place in the lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Timestamp>,
    /// The check run, where results are shown as checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckRecord>,
}

/// What is known of a check run.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct CheckRecord {
    /// The forge's id of it; `None` before it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// What it was told last: [`Check::digest`].
    pub digest: String,
    /// [`Check::urgency`] of that.
    pub urgency: String,
    /// How many annotations it has.
    #[serde(default)]
    pub annotations: usize,
    /// It may have been made without our knowing its id: it is looked for before it is made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tried: bool,
}

/// Something that the forge shows.
#[derive(Clone, Debug)]
struct Item {
    key: Key,
    status: Status,
    check: Option<Check>,
}

impl Engine {
    pub(super) async fn step_report(&self, id: &BuildId) -> Result<(), Error> {
        let note = self.ports.store.get(&keys::unreported(id)).await?;
        // Before the build: what is written below depends on nobody having written since, so that a step that slept between
        // the two readings cannot tell what an old build says after another told what a newer one says.
        let known = self.known_reports(id).await?;
        let Some((build, graph)) = self.load_build(id).await? else { return Ok(()) };
        let mut next: Option<Timestamp> = None;
        for item in self.items(&build, &graph, &known).await? {
            let known = known.get(&item.key.sk).cloned();
            match self.show_item(&build, &item, known).await? {
                Told::UpToDate => {}
                Told::At(at) => next = next.into_iter().chain([at]).min(),
                Told::Again => return self.ring(&super::Actor::Report(id.clone())).await,
            }
        }
        let waits = self.notify(&build, &graph).await?;
        next = next.into_iter().chain(waits).min();
        if let Some(at) = next {
            // The note stays, so that the sweep brings us back when the pause is over.
            let pause = at.since(self.now()).max(Duration::from_millis(1));
            return self.ring_later(&super::Actor::Report(id.clone()), pause).await;
        }
        if let Some(note) = note {
            // A note that was written meanwhile stays, and its doorbell brings us back.
            match self.ports.store.delete_if(&note.key, Expect::Version(note.version)).await {
                Ok(()) | Err(PortError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// What the forge was told, by the place of its record.
    async fn known_reports(&self, id: &BuildId) -> Result<BTreeMap<String, Loaded<ReportRecord>>, Error> {
        let main = keys::report(id);
        let mut known = BTreeMap::new();
        if !self.has_checks() {
            if let Some(record) = self.load::<ReportRecord>(&main).await? {
                known.insert(main.sk, record);
            }
            return Ok(known);
        }
        let (records, _) = self.list(&main.pk, usize::MAX).await?;
        for record in records {
            let body = open(&record.key, &record.body)?;
            known.insert(record.key.sk, Loaded { body, version: record.version });
        }
        Ok(known)
    }

    fn has_checks(&self) -> bool {
        self.ports.forge.as_ref().is_some_and(|forge| forge.shows() == Shows::Checks)
    }

    /// What is to be shown: the build first.
    async fn items(
        &self,
        build: &Build,
        graph: &Graph,
        known: &BTreeMap<String, Loaded<ReportRecord>>,
    ) -> Result<Vec<Item>, Error> {
        let id = &build.facts.id;
        let main = keys::report(id);
        if !self.has_checks() {
            return Ok(vec![Item { key: main, status: status(build, graph), check: None }]);
        }
        let attempts = self.failed_attempts(build).await?;
        let link = build_url(&self.settings, build);
        let sources = Sources { build, graph, attempts: &attempts, link: &link, limits: &self.settings.limits };
        let (status, check) = build_check(&sources);
        let mut items = vec![Item { key: main, status, check: Some(check) }];
        let mut failed = 0;
        for (place, cell) in (0u32..).zip(build.cells.iter()) {
            let job = JobIndex(place);
            let key = keys::report_of_job(id, job);
            let wanted = known.contains_key(&key.sk)
                || match self.settings.job_checks {
                    JobChecks::Never => false,
                    JobChecks::Failed => is_culprit(cell.state) && failed < MOST_FAILED,
                    JobChecks::All => graph.job(job).is_some_and(|written| written.command.is_some()),
                };
            failed += usize::from(is_culprit(cell.state));
            let Some(check) = wanted.then(|| job_check(&sources, job)).flatten() else { continue };
            // Only shown as a check: this is what answers tell of it.
            let (context, description) = (check.name.clone(), check.title.clone());
            let status = Status { context, state: StatusState::Pending, description };
            items.push(Item { key, status, check: Some(check) });
        }
        Ok(items)
    }

    /// The latest attempts of jobs that failed.
    async fn failed_attempts(&self, build: &Build) -> Result<BTreeMap<JobIndex, Attempt>, Error> {
        let failed = (0u32..).zip(build.cells.iter()).filter(|(_, c)| is_culprit(c.state) && c.attempt > 0);
        let mut attempts = BTreeMap::new();
        for (place, cell) in failed.take(MOST_READ) {
            let job = JobIndex(place);
            let id = AttemptId { build: build.facts.id.clone(), job, number: cell.attempt };
            if let Some(attempt) = self.load::<Attempt>(&keys::attempt(&id)).await? {
                attempts.insert(job, attempt.body);
            }
        }
        Ok(attempts)
    }
}
