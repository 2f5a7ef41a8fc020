//! What the owner of the world has configured.

use std::time::Duration;

use tidegate_core::build::Limits;
use tidegate_core::ids::{PipelineSlug, RepositoryId, RepositoryName};
use tidegate_core::schedule::Schedule;
use tidegate_core::trust::Trust;
use tidegate_engine::ports::RepositorySource;
use tidegate_engine::{
    ForgeSettings, NotifySettings, Pace, PipelineSettings, ScheduleSettings, Settings, UntrustedSettings,
};

use crate::sabotage::Sabotage;
use crate::world::origins::{TIMETABLES, Timetable};
use crate::world::{WAIT, World, listeners, retention, supersede};

impl World {
    pub(super) fn settings(&self) -> Settings {
        let mut policy = self.policy.clone();
        match self.plan.sabotage {
            Some(Sabotage::TrustNotChecked) => {
                policy.pools.iter_mut().for_each(|p| p.trust = Trust::Trusted);
            }
            Some(Sabotage::ImpatientWithSilence) => policy.silence = Duration::from_secs(40),
            _ => {}
        }
        let repositories: Vec<RepositorySource> = repositories(self.plan.small);
        // One build alone may be as large as the machine can bear.
        let alone = self.plan.single.is_some();
        let pipelines = repositories
            .iter()
            .enumerate()
            .map(|(n, r)| {
                let slug = PipelineSlug::new(format!("pipeline-{n}")).unwrap_or_else(|e| panic!("{e}"));
                let (skip_intermediate, cancel_intermediate) = supersede::filters(n, self.plan.small);
                let scheduled =
                    TIMETABLES.iter().filter(|t| t.pipeline == n && !self.plan.small && self.plan.even.is_none());
                PipelineSettings {
                    skip_intermediate,
                    cancel_intermediate,
                    schedules: scheduled.map(schedule).collect(),
                    file: Some("pipeline.yml".to_owned()),
                    branches: if n == 1 { vec!["!wip-*".to_owned()] } else { Vec::new() },
                    ..PipelineSettings::new(slug, r.id)
                }
            })
            .collect();
        Settings {
            repositories,
            pipelines,
            policy,
            limits: Limits {
                wait: WAIT,
                jobs: if alone { usize::MAX } else { Limits::default().jobs },
                upload_jobs: if alone { usize::MAX } else { Limits::default().upload_jobs },
                ..Limits::default()
            },
            pipeline: if alone { tidegate_pipeline::Limits::CEILING } else { tidegate_pipeline::Limits::default() },
            grace: Duration::from_secs(5),
            log_limit: 1 << 20,
            organization: "sim".to_owned(),
            base_url: "sim:".to_owned(),
            delivery_memory: Duration::from_secs(14 * 24 * 3600),
            retention: match (self.plan.sabotage, alone || self.plan.even.is_some()) {
                (Some(Sabotage::DeletedTooEarly), _) => Duration::from_secs(600),
                (_, true) => Duration::from_secs(90 * 24 * 3600),
                (_, false) => retention::RETENTION,
            },
            notify: NotifySettings {
                webhook_secret: Some(listeners::secret()),
                slack_url: Some(listeners::SLACK.into()),
            },
            look_every: tidegate_core::lost::EVERY,
            job_checks: tidegate_engine::JobChecks::default(),
            pace: self.pace(),
            forge: ForgeSettings::default(),
            untrusted: UntrustedSettings::default(),
        }
    }

    /// The records of these worlds are small: in every other of them all the same every step is followed by a pause.
    fn pace(&self) -> Pace {
        match &self.plan.single {
            None if self.plan.seed.is_multiple_of(2) => Pace { free: 0, rate: 2048, ..Pace::default() },
            Some(_) | None => Pace::default(),
        }
    }
}

fn schedule(table: &Timetable) -> ScheduleSettings {
    ScheduleSettings {
        cron: Schedule::parse(table.cron).unwrap_or_else(|e| panic!("{e}")),
        branch: Some(table.branch.to_owned()),
        env: Vec::new(),
        message: None,
    }
}

/// The configured repositories.
fn repositories(small: bool) -> Vec<RepositorySource> {
    (0..if small { 1 } else { 3 })
        .map(|n| RepositorySource {
            id: RepositoryId(100 + n),
            full_name: RepositoryName::new(format!("sim/repo-{n}")).unwrap_or_else(|e| panic!("{e}")),
            clone_url: format!("sim:repo-{n}"),
        })
        .collect()
}
