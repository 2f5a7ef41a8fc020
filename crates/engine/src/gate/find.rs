//! Artifacts of a build for its later jobs.

use futures_util::future::try_join_all;
use tidegate_core::ids::{JobIndex, job_uuid};
use tidegate_core::wire::gate::artifact_key;
use tidegate_core::wire::job::{
    FetchArtifacts, FetchArtifactsAnswer, FindArtifacts, FindArtifactsAnswer, FoundArtifact,
};

use super::{ArtifactRecord, Caller, GateError, URL_LIFETIME};
use crate::engine::{Engine, open};
use crate::keys;
use crate::ports::Method;

/// How many records one answer looks at.
const PAGE: usize = 500;

impl Engine {
    /// Lists artifacts of the build of the caller's attempt.
    ///
    /// # Errors
    /// Refused unless the caller holds the attempt; invalid for a step that the build does not have.
    pub async fn find_artifacts(
        &self,
        caller: &Caller,
        request: &FindArtifacts,
    ) -> Result<FindArtifactsAnswer, GateError> {
        self.held(caller, &request.boot, &request.attempt).await?;
        let id = &request.attempt.build;
        let Some((build, graph)) = self.load_build(id).await? else {
            return Err(GateError::Invalid("the build is gone".to_owned()));
        };
        let is = |job: JobIndex, name: &str| {
            job_uuid(id, job).to_string() == name
                || graph.job(job).is_some_and(|j| j.step.key.as_deref() == Some(name) || j.label() == name)
        };
        let wanted: Option<Vec<JobIndex>> =
            request.step.as_deref().map(|name| graph.jobs_in_order().filter(|&job| is(job, name)).collect());
        if wanted.as_ref().is_some_and(Vec::is_empty) {
            let name = request.step.as_deref().unwrap_or_default();
            return Err(GateError::Invalid(format!("the build has no step `{}`", name.escape_debug())));
        }
        let page = self.ports.store.query(&keys::artifacts(id), "", request.after.as_deref(), PAGE).await?;
        let mut files = Vec::new();
        for record in &page.records {
            let artifact: ArtifactRecord = open(&record.key, &record.body)?;
            let job = artifact.attempt.job;
            let latest = build.cells.get(job.0 as usize).is_none_or(|cell| cell.attempt == artifact.attempt.number);
            let of_step = wanted.as_ref().is_none_or(|wanted| wanted.contains(&job));
            if artifact.uploaded && of_step && (latest || request.retried) {
                files.push(FoundArtifact {
                    job_id: job_uuid(id, job).to_string(),
                    created_at: artifact.at.to_string(),
                    attempt: artifact.attempt,
                    file: artifact.file,
                });
            }
        }
        Ok(FindArtifactsAnswer { files, next: page.last.filter(|_| page.more) })
    }

    /// Where the contents of artifacts of the build of the caller's attempt are.
    ///
    /// # Errors
    /// Refused unless the caller holds the attempt; invalid for artifacts of other builds and for more than 100.
    pub async fn fetch_artifacts(
        &self,
        caller: &Caller,
        request: &FetchArtifacts,
    ) -> Result<FetchArtifactsAnswer, GateError> {
        self.held(caller, &request.boot, &request.attempt).await?;
        if request.files.len() > 100 {
            return Err(GateError::Invalid("at most 100 files in one request".to_owned()));
        }
        if request.files.iter().any(|(attempt, _)| attempt.build != request.attempt.build) {
            return Err(GateError::Invalid("an artifact of another build".to_owned()));
        }
        let urls = request.files.iter().map(|(attempt, number)| async move {
            self.ports.blobs.presign(Method::Get, &artifact_key(attempt, *number), URL_LIFETIME).await
        });
        let urls = try_join_all(urls).await?.into_iter().map(|url| url.0).collect();
        Ok(FetchArtifactsAnswer { urls })
    }
}
