//! Reads records and says what they hold, in the shapes of [`answers`](super::answers).

use std::collections::BTreeMap;

use tidegate_core::attempt::{Attempt, Phase};
use tidegate_core::build::{Build, Graph, Hold, JobState, quarantine};
use tidegate_core::ids::{BuildId, JobIndex, job_uuid};
use tidegate_core::plan::StepKind;

use super::ApiError;
use super::answers::{
    AnnotationAnswer, ArtifactAnswer, AttemptAnswer, BuildAnswer, BuildLine, Builds, FormAnswer, JobAnswer,
    NoticeAnswer, TriggeredAnswer, acts, shown_state, text,
};
use super::find::{BuildName, JobName, NotFound, find_job};
use crate::actors::ReportRecord;
use crate::actors::notify::NoticeRecord;
use crate::actors::trigger::TriggeredRecord;
use crate::engine::{Engine, open};
use crate::gate::ArtifactRecord;
use crate::keys;
use crate::list::ListEntry;

impl Engine {
    /// Builds, newest first, of one pipeline or of all.
    ///
    /// # Errors
    /// A port failed.
    pub async fn list_builds(&self, pipeline: Option<&str>, limit: usize) -> Result<Builds, ApiError> {
        let mut entries: Vec<ListEntry> = Vec::new();
        for (slug, repository) in self.known_pipelines().await? {
            if pipeline.is_some_and(|wanted| wanted != slug.as_str()) {
                continue;
            }
            let partition = keys::list_partition(repository, &slug);
            let mut after: Option<String> = None;
            let mut left = limit;
            while left > 0 {
                let page = self.ports.store.query(&partition, "", after.as_deref(), left.min(1000)).await?;
                left = left.saturating_sub(page.records.len());
                for record in page.records {
                    let entry: ListEntry = open(&record.key, &record.body)?;
                    entries.extend((!entry.gone).then_some(entry));
                }
                match page.last.filter(|_| page.more) {
                    Some(last) => after = Some(last),
                    None => break,
                }
            }
        }
        entries.sort_by_key(|entry| std::cmp::Reverse((entry.created_at, entry.number)));
        entries.truncate(limit);
        Ok(Builds { builds: entries.into_iter().map(BuildLine::from).collect() })
    }

    /// A build with its jobs.
    ///
    /// # Errors
    /// Not found, or a port failed.
    pub async fn show_build(&self, name: &BuildName) -> Result<BuildAnswer, ApiError> {
        let id = self.find_build(name).await?;
        let (build, graph) =
            self.load_build(&id).await?.ok_or_else(|| NotFound(format!("there is no build `{id}`")))?;
        let mut attempts = self.attempts(&id).await?;
        attempts.sort_by(|a, b| a.id.cmp(&b.id));
        let mut notices = Vec::new();
        for record in self.list(&keys::notices(&id), 200).await?.0 {
            let notice: NoticeRecord = open(&record.key, &record.body)?;
            let NoticeRecord { service, told, tries, why, given_up, .. } = notice;
            notices.push(NoticeAnswer { service, told, tries, why, given_up });
        }
        let triggers = self.show_triggers(&build, &graph).await?;
        let job = |job: JobIndex| {
            let mut answer = self.show_job(&build, &graph, job, &attempts);
            if let Some((triggered, why)) = triggers.get(&job) {
                if answer.state == "scheduled" && triggered.is_some() {
                    answer.state = "running".to_owned();
                }
                answer.triggered.clone_from(triggered);
                answer.reason = why.clone().or(answer.reason);
            }
            answer
        };
        let jobs = graph.jobs_in_order().map(job).collect();
        let status = self.load::<ReportRecord>(&keys::report(&id)).await?.map(|r| r.body);
        let annotations = self.annotations(&id).await?.into_iter().map(|(context, record, body)| AnnotationAnswer {
            context,
            style: record.style,
            priority: record.priority,
            body,
            job_id: job_uuid(&id, record.by.job).to_string(),
            created_at: text(record.created_at),
            updated_at: text(record.updated_at),
        });
        let annotations = annotations.collect();
        let line = BuildLine::from(ListEntry::of(&build, &graph, build.shown));
        Ok(BuildAnswer {
            build: line,
            jobs,
            failure: build.failure.clone(),
            waits: match (build.hold, &build.cancel) {
                (Some(Hold::Approval), None) => format!(
                    "its commit comes from a fork: somebody with write access comments `/approve {}` on the pull request",
                    build.facts.commit
                ),
                (Some(Hold::Approval), Some(_)) | (None, _) => String::new(),
            },
            trust: Some(build.facts.trust),
            pull_request: build.pull_request().cloned(),
            diagnostics: build.diagnostics.clone(),
            status,
            acts: acts(&build, &graph),
            notices,
            triggered_by: build.facts.triggered_by.as_ref().map(|by| TriggeredAnswer {
                id: by.build.clone(),
                number: by.number,
                pipeline: by.pipeline.to_string(),
                state: None,
            }),
            rebuilt_from: build.facts.rebuilt_from.clone(),
            rebuilt_number: build.facts.rebuilt_number,
            creator: build.facts.creator.clone(),
            source: build.facts.source.clone(),
            canceled_by: build.cancel.map(|c| c.by),
            annotations,
        })
    }

    /// What the trigger steps of a build made, or why they made nothing.
    pub(super) async fn show_triggers(
        &self,
        build: &Build,
        graph: &Graph,
    ) -> Result<BTreeMap<JobIndex, (Option<TriggeredAnswer>, Option<String>)>, ApiError> {
        let mut triggers = BTreeMap::new();
        for (place, cell) in (0u32..).zip(build.cells.iter()) {
            let job = JobIndex(place);
            let is_trigger = graph.job(job).is_some_and(|j| matches!(j.step.kind, StepKind::Trigger(_)));
            if !is_trigger || cell.attempt == 0 {
                continue;
            }
            let key = keys::triggered(&build.facts.id, job, cell.attempt);
            let shown = match self.load::<TriggeredRecord>(&key).await?.map(|r| r.body) {
                Some(TriggeredRecord::Made { build: child, .. }) => {
                    let child = self.load::<Build>(&keys::build(&child)).await?.map(|b| b.body);
                    let triggered = child.map(|child| TriggeredAnswer {
                        id: child.facts.id,
                        number: child.facts.number,
                        pipeline: child.facts.pipeline.to_string(),
                        state: Some(child.state),
                    });
                    (triggered, None)
                }
                Some(TriggeredRecord::Refused { why }) => (None, Some(why)),
                Some(TriggeredRecord::Intended(_) | TriggeredRecord::Recalled) | None => (None, None),
            };
            triggers.insert(job, shown);
        }
        Ok(triggers)
    }

    pub(super) async fn attempts(&self, build: &BuildId) -> Result<Vec<Attempt>, ApiError> {
        let mut attempts = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.store.query(&keys::attempts(build), "", after.as_deref(), 1000).await?;
            for record in &page.records {
                attempts.push(open(&record.key, &record.body)?);
            }
            match page.last.filter(|_| page.more) {
                Some(last) => after = Some(last),
                None => return Ok(attempts),
            }
        }
    }

    fn show_job(&self, build: &Build, graph: &Graph, job: JobIndex, attempts: &[Attempt]) -> JobAnswer {
        let own: Vec<&Attempt> = attempts.iter().filter(|a| a.id.job == job).collect();
        let state = build.cells.get(job.0 as usize).map_or(JobState::Waiting, |c| c.state);
        let written = graph.job(job);
        let kind = match written.map(|w| &w.step.kind) {
            Some(StepKind::Command(_)) | None => "command",
            Some(StepKind::Wait { .. }) => "wait",
            Some(StepKind::Block(_)) => "block",
            Some(StepKind::Input(_)) => "input",
            Some(StepKind::Trigger(_)) => "trigger",
        };
        let waiting = match (state, own.last()) {
            (JobState::Scheduled, Some(last)) if last.phase == Phase::Queued => {
                let pool = self.settings.policy.pool_for(&last.requirement, build.facts.trust);
                Some(match pool {
                    Some(pool) if pool.width == 0 => format!("pool `{}` has width 0", pool.name),
                    Some(pool) => format!("for a machine of pool `{}` (width {})", pool.name, pool.width),
                    None => format!("no pool offers `{}`; it expires at {}", last.requirement, last.deadline),
                })
            }
            _ => None,
        };
        let form = match written.map(|w| &w.step.kind) {
            Some(StepKind::Block(manual) | StepKind::Input(manual)) if state == JobState::Blocked => {
                Some(FormAnswer::from(&**manual))
            }
            _ => None,
        };
        let unblocked = build.unblocked(job).filter(|_| state == JobState::Unblocked);
        JobAnswer {
            id: job_uuid(&build.facts.id, job).to_string(),
            kind: kind.to_owned(),
            key: written.and_then(|w| w.step.key.clone()),
            label: written.map_or_else(String::new, |w| w.label().to_owned()),
            index: written.map_or(0, |w| w.index),
            state: shown_state(state, own.last().copied()).to_owned(),
            ready_at: own.first().map(|a| text(a.created_at)),
            waiting,
            form,
            triggered: None,
            reason: build.cells.get(job.0 as usize).and_then(|cell| quarantine(cell, &self.settings.limits)),
            unblocked_by: unblocked.map(|act| act.by.clone()),
            unblocked_at: unblocked.map(|act| text(act.at)),
            attempts: own.into_iter().map(AttemptAnswer::from).collect(),
        }
    }

    /// Artifacts of a build, of all its jobs or of one, in the order of jobs.
    ///
    /// # Errors
    /// Not found, or a port failed.
    pub async fn list_artifacts(
        &self,
        name: &BuildName,
        job: Option<&JobName>,
    ) -> Result<Vec<ArtifactAnswer>, ApiError> {
        let id = self.find_build(name).await?;
        let (build, graph) =
            self.load_build(&id).await?.ok_or_else(|| NotFound(format!("there is no build `{id}`")))?;
        let wanted = job.map(|job| find_job(&build, &graph, job)).transpose()?;
        let mut answers = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.store.query(&keys::artifacts(&id), "", after.as_deref(), 1000).await?;
            for record in &page.records {
                let artifact: ArtifactRecord = open(&record.key, &record.body)?;
                let job = artifact.attempt.job;
                if !artifact.uploaded || wanted.is_some_and(|w| w != job) {
                    continue;
                }
                answers.push(ArtifactAnswer {
                    key: tidegate_core::wire::gate::artifact_key(&artifact.attempt, artifact.file.number),
                    path: artifact.file.path,
                    size: artifact.file.size,
                    sha256: artifact.file.sha256,
                    content_type: artifact.file.content_type,
                    job: graph.job(job).map_or_else(String::new, |j| j.label().to_owned()),
                    job_id: job_uuid(&id, job).to_string(),
                    attempt: artifact.attempt.number,
                });
            }
            match page.last.filter(|_| page.more) {
                Some(last) => after = Some(last),
                None => return Ok(answers),
            }
        }
    }
}
