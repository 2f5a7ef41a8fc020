//! Builds at times. A schedule's record says which slot was the last; the slot is part of the build's key, so that a crash
//! between the build and the record leads to the same build again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_core::event::GitRef;
use tidegate_core::ids::{CommitSha, derived_uuid};
use tidegate_core::time::Timestamp;
use tidegate_core::trust::Trust;

use crate::engine::{Engine, PipelineSettings, ScheduleSettings};
use crate::error::Error;
use crate::ingest::Wanted;
use crate::keys;
use crate::ports::{Expect, PortError, RepositorySource};

/// Longest pause between two looks at the schedules.
const LOOK: Duration = Duration::from_secs(60);

/// What is known of a schedule.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct ScheduleRecord {
    /// The last slot that was dealt with; at first, when the schedule was seen for the first time.
    last: Timestamp,
    /// Why that slot made no build, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// The number of the build that it made; of a schedule that was never due, and of one that could not be built, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    build: Option<u64>,
}

/// The schedules that are configured.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Schedules {
    /// In the order of the configuration.
    pub schedules: Vec<ScheduleAnswer>,
}

/// A schedule.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ScheduleAnswer {
    /// Its pipeline.
    pub pipeline: String,
    /// When it is due, as configured.
    pub cron: String,
    /// Which branch it builds; `None` is the default branch.
    pub branch: Option<String>,
    /// When it is due next.
    pub next: Option<String>,
    /// When it was due last, if it ever was.
    pub last: Option<String>,
    /// The number of the build that this made.
    pub build: Option<u64>,
    /// Why it made none.
    pub why: Option<String>,
}

impl Engine {
    /// Makes the builds that are due. Returns how long until the next look.
    ///
    /// # Errors
    /// A port failed: the next look makes up for it. One schedule does not keep the others from being looked at.
    pub async fn run_schedules(&self) -> Result<Duration, Error> {
        let mut pause = LOOK;
        let mut failed = None;
        for repository in &self.settings.repositories {
            for pipeline in self.configured_pipelines(repository) {
                for schedule in &pipeline.schedules {
                    if let Err(error) = self.run_schedule(repository, &pipeline, schedule).await {
                        tracing::warn!(pipeline = %pipeline.slug, cron = schedule.cron.as_str(), %error, "a schedule waits");
                        failed = Some(error);
                    }
                    pause = schedule.cron.pause(self.now(), pause);
                }
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(pause.max(Duration::from_millis(100))),
        }
    }

    async fn run_schedule(
        &self,
        repository: &RepositorySource,
        pipeline: &PipelineSettings,
        schedule: &ScheduleSettings,
    ) -> Result<(), Error> {
        let id = schedule_id(schedule)?;
        let key = keys::schedule(&pipeline.slug, &id);
        let now = self.now();
        let Some(known) = self.load::<ScheduleRecord>(&key).await? else {
            // New: it is due from now on.
            return match self.save(key, &ScheduleRecord { last: now, why: None, build: None }, Expect::Absent).await {
                Ok(_) | Err(Error::Port(PortError::Conflict)) => Ok(()),
                Err(error) => Err(error),
            };
        };
        let Some(slot) = schedule.cron.due(known.body.last, now) else { return Ok(()) };
        let made = self.build_slot(repository, pipeline, schedule, &format!("schedule/{id}/{}", slot.0)).await?;
        let (build, why) = match made {
            Ok(number) => {
                tracing::info!(pipeline = %pipeline.slug, %slot, build.number = number, "a schedule was due");
                (Some(number), None)
            }
            Err(why) => {
                tracing::warn!(pipeline = %pipeline.slug, %slot, why, "a schedule made no build");
                (None, Some(why))
            }
        };
        match self.save(key, &ScheduleRecord { last: slot, why, build }, Expect::Version(known.version)).await {
            // Somebody else made the same build.
            Ok(_) | Err(Error::Port(PortError::Conflict)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes the build of a slot. Returns its number, or why it cannot be made.
    async fn build_slot(
        &self,
        repository: &RepositorySource,
        pipeline: &PipelineSettings,
        schedule: &ScheduleSettings,
        trigger: &str,
    ) -> Result<Result<u64, String>, Error> {
        let default_branch = self.default_branch(repository).await?;
        let branch = schedule.branch.clone().unwrap_or_else(|| default_branch.clone());
        let git_ref = GitRef::parse(&format!("refs/heads/{branch}"));
        let rev = git_ref.as_ref().map_or("HEAD", GitRef::name);
        let commit: CommitSha = match self.ports.repositories.resolve(repository, rev).await {
            Ok(Some(commit)) => commit,
            Ok(None) => return Ok(Err(format!("`{}` has no branch `{rev}`", repository.full_name))),
            Err(PortError::Reject { why }) => return Ok(Err(why)),
            Err(error) => return Err(error.into()),
        };
        let wanted = Wanted {
            git_ref,
            commit,
            asked: String::new(),
            message: schedule.message.clone().unwrap_or_else(|| "Scheduled build".to_owned()),
            author: Default::default(),
            creator: format!("schedule `{}`", schedule.cron.as_str()),
            source: "schedule",
            trust: Trust::Trusted,
            env: schedule.env.clone(),
            meta_data: Vec::new(),
            default_branch,
            rebuilt_from: None,
            triggered_by: None,
            origin: None,
            hold: None,
            refusal: None,
            trigger: trigger.to_owned(),
        };
        Ok(Ok(self.make_numbered_build(repository, pipeline, &wanted).await?.1))
    }

    /// The schedules: when each is due, and what became of it the last time.
    ///
    /// # Errors
    /// A port failed.
    pub async fn list_schedules(&self) -> Result<Schedules, Error> {
        let now = self.now();
        let mut schedules = Vec::new();
        for pipeline in self.settings.repositories.iter().flat_map(|r| self.configured_pipelines(r)) {
            for schedule in &pipeline.schedules {
                let key = keys::schedule(&pipeline.slug, &schedule_id(schedule)?);
                let known = self.load::<ScheduleRecord>(&key).await?.map(|known| known.body);
                let was_due = known.filter(|known| known.build.is_some() || known.why.is_some());
                schedules.push(ScheduleAnswer {
                    pipeline: pipeline.slug.to_string(),
                    cron: schedule.cron.as_str().to_owned(),
                    branch: schedule.branch.clone(),
                    next: schedule.cron.next(now).map(|at| at.to_string()),
                    last: was_due.as_ref().map(|known| known.last.to_string()),
                    build: was_due.as_ref().and_then(|known| known.build),
                    why: was_due.and_then(|known| known.why),
                });
            }
        }
        Ok(Schedules { schedules })
    }
}

/// The id of a schedule: what is changed is another schedule, due from then on.
fn schedule_id(schedule: &ScheduleSettings) -> Result<String, Error> {
    let parts = serde_json::to_string(&(schedule.cron.as_str(), &schedule.branch, &schedule.env))?;
    Ok(derived_uuid("schedule", &parts).to_string())
}
