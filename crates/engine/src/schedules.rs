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
            for pipeline in self.pipelines_of(repository) {
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
        let parts = serde_json::to_string(&(schedule.cron.as_str(), &schedule.branch, &schedule.env))?;
        let id = derived_uuid("schedule", &parts).to_string();
        let key = keys::schedule(&pipeline.slug, &id);
        let now = self.now();
        let Some(known) = self.load::<ScheduleRecord>(&key).await? else {
            // New: it is due from now on.
            return match self.save(key, &ScheduleRecord { last: now, why: None }, Expect::Absent).await {
                Ok(_) | Err(Error::Port(PortError::Conflict)) => Ok(()),
                Err(error) => Err(error),
            };
        };
        let Some(slot) = schedule.cron.due(known.body.last, now) else { return Ok(()) };
        let why = self.build_slot(repository, pipeline, schedule, &format!("schedule/{id}/{}", slot.0)).await?;
        match &why {
            Some(why) => tracing::warn!(pipeline = %pipeline.slug, %slot, why, "a schedule made no build"),
            None => tracing::info!(pipeline = %pipeline.slug, %slot, "a schedule was due"),
        }
        match self.save(key, &ScheduleRecord { last: slot, why }, Expect::Version(known.version)).await {
            // Somebody else made the same build.
            Ok(_) | Err(Error::Port(PortError::Conflict)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes the build of a slot. Returns why it cannot be made.
    async fn build_slot(
        &self,
        repository: &RepositorySource,
        pipeline: &PipelineSettings,
        schedule: &ScheduleSettings,
        trigger: &str,
    ) -> Result<Option<String>, Error> {
        let default_branch = self.default_branch(repository).await?;
        let branch = schedule.branch.clone().unwrap_or_else(|| default_branch.clone());
        let git_ref = GitRef::parse(&format!("refs/heads/{branch}"));
        let rev = git_ref.as_ref().map_or("HEAD", GitRef::name);
        let commit: CommitSha = match self.ports.repositories.resolve(repository, rev).await {
            Ok(Some(commit)) => commit,
            Ok(None) => return Ok(Some(format!("`{}` has no branch `{rev}`", repository.full_name))),
            Err(PortError::Reject { why }) => return Ok(Some(why)),
            Err(error) => return Err(error.into()),
        };
        let wanted = Wanted {
            git_ref,
            before: String::new(),
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
            trigger: trigger.to_owned(),
        };
        self.make_build(repository, pipeline, &wanted).await?;
        Ok(None)
    }
}
