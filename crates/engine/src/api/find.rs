//! From what people write to what they mean: BUILD is `N`, `slug#N` or the id; JOB is key, `key:index`, label or id.

use std::str::FromStr;

use tidegate_core::build::{Build, Graph};
use tidegate_core::ids::{BuildId, JobIndex, PipelineSlug, RepositoryId, job_uuid};

use crate::engine::{Engine, open};
use crate::error::Error;
use crate::keys;
use crate::list::ListEntry;

use super::ApiError;

/// What was named is not there, or is not one thing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct NotFound(pub String);

/// How people name a build.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BuildName {
    /// `N`: of the only pipeline, or of the only one that has such a number.
    Number(u64),
    /// `slug#N`.
    Of(PipelineSlug, u64),
    /// The id.
    Id(BuildId),
}

impl FromStr for BuildName {
    type Err = NotFound;
    fn from_str(text: &str) -> Result<Self, NotFound> {
        let unknown = || NotFound(format!("`{text}` names no build: write a number, `pipeline#number` or an id"));
        if let Some((slug, number)) = text.rsplit_once('#') {
            let slug = PipelineSlug::new(slug).map_err(|e| NotFound(e.to_string()))?;
            return Ok(BuildName::Of(slug, number.parse().map_err(|_| unknown())?));
        }
        if let Ok(number) = text.parse() {
            return Ok(BuildName::Number(number));
        }
        BuildId::new(text).map(BuildName::Id).map_err(|_| unknown())
    }
}

/// How people name a job: as they wrote it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JobName(pub String);

impl Engine {
    /// Pipelines that ever had a build, with their repositories.
    pub(crate) async fn known_pipelines(&self) -> Result<Vec<(PipelineSlug, RepositoryId)>, Error> {
        let (records, _) = self.list(keys::PIPELINES, 1_000).await?;
        let mut pipelines = Vec::new();
        for record in records {
            let repository: RepositoryId = open(&record.key, &record.body)?;
            if let Ok(slug) = PipelineSlug::new(record.key.sk) {
                pipelines.push((slug, repository));
            }
        }
        Ok(pipelines)
    }

    /// The build that is meant.
    ///
    /// # Errors
    /// Not found, or more than one.
    pub async fn find_build(&self, name: &BuildName) -> Result<BuildId, ApiError> {
        let (wanted, number) = match name {
            BuildName::Id(id) => return Ok(id.clone()),
            BuildName::Of(slug, number) => (Some(slug), *number),
            BuildName::Number(number) => (None, *number),
        };
        let mut found: Vec<ListEntry> = Vec::new();
        for (slug, repository) in self.known_pipelines().await? {
            if wanted.is_none_or(|w| *w == slug) {
                let key = keys::list_entry(repository, &slug, number);
                found.extend(self.load::<ListEntry>(&key).await?.map(|l| l.body).filter(|entry| !entry.gone));
            }
        }
        match found.as_slice() {
            [one] => Ok(one.id.clone()),
            [] => Err(NotFound(match wanted {
                Some(slug) => format!("there is no build #{number} of `{slug}`"),
                None => format!("there is no build #{number}"),
            })
            .into()),
            several => {
                let names: Vec<String> = several.iter().map(|l| format!("{}#{number}", l.pipeline)).collect();
                Err(NotFound(format!("#{number} is a build of several pipelines: write one of {}", names.join(", ")))
                    .into())
            }
        }
    }
}

/// The job that is meant, out of a build's.
///
/// # Errors
/// Not found, or more than one; names what there is.
pub(super) fn find_job(build: &Build, graph: &Graph, name: &JobName) -> Result<JobIndex, NotFound> {
    let wanted = name.0.as_str();
    let jobs: Vec<JobIndex> = graph.jobs_in_order().collect();
    let id_is = |job: JobIndex| job_uuid(&build.facts.id, job).to_string() == wanted;
    if let Some(&job) = jobs.iter().find(|&&job| id_is(job)) {
        return Ok(job);
    }
    let (key, index) = match wanted.rsplit_once(':') {
        Some((key, index)) if index.parse::<usize>().is_ok() => (key, index.parse::<usize>().ok()),
        _ => (wanted, None),
    };
    let pick = |by: &dyn Fn(JobIndex) -> bool| jobs.iter().copied().filter(|&job| by(job)).collect::<Vec<_>>();
    let key_of = |job: JobIndex| graph.job(job).and_then(|j| j.step.key.clone());
    let label_of = |job: JobIndex| graph.job(job).map(|j| j.label().to_owned());
    let index_of = |job: JobIndex| graph.job(job).map(|j| j.index);
    let found = if index.is_some() {
        pick(&|job| {
            index_of(job) == index && (key_of(job).as_deref() == Some(key) || label_of(job).as_deref() == Some(key))
        })
    } else {
        let by_key = pick(&|job| key_of(job).as_deref() == Some(wanted));
        if by_key.is_empty() { pick(&|job| label_of(job).as_deref() == Some(wanted)) } else { by_key }
    };
    match found.as_slice() {
        [one] => Ok(*one),
        [] => {
            let names: Vec<String> =
                jobs.iter().filter_map(|&job| key_of(job).or_else(|| label_of(job))).take(20).collect();
            Err(NotFound(format!("build #{} has no job `{wanted}`; it has {}", build.facts.number, names.join(", "))))
        }
        several => Err(NotFound(format!(
            "`{wanted}` names {} jobs: write `{wanted}:0` to `{wanted}:{}`",
            several.len(),
            several.len() - 1
        ))),
    }
}
