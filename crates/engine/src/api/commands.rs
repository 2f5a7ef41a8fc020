//! What people want of builds: cancel, retry, create.

use serde::{Deserialize, Serialize};
use tidegate_core::build::{Build, Input};
use tidegate_core::event::GitRef;
use tidegate_core::ids::{BuildId, CommitSha};
use tidegate_core::trust::Trust;

use super::ApiError;
use super::find::{BuildName, JobName, NotFound, find_job};
use crate::actors::Actor;
use crate::engine::Engine;
use crate::ingest::Wanted;
use crate::keys;

/// A wish for a build.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct CreateBuild {
    /// Slug of the pipeline.
    pub pipeline: String,
    /// The branch.
    #[serde(default)]
    pub branch: Option<String>,
    /// The commit: an id, or anything that git resolves; the head of the branch when not given.
    #[serde(default)]
    pub commit: Option<String>,
    /// The message; that of nothing when not given.
    #[serde(default)]
    pub message: Option<String>,
    /// Environment of the build.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// Makes a repetition harmless: the same key is the same build.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// Who asks.
    #[serde(default)]
    pub by: String,
}

/// A wish for a build like another.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Rebuild {
    /// Makes a repetition harmless: the same key is the same build.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// Who asks.
    #[serde(default)]
    pub by: String,
}

impl Engine {
    /// Cancels a build. When this returns, no job that was not taken by a machine will start (invariant I10), and machines
    /// that hold jobs are told with their next beat. Cancelling what is over changes nothing.
    ///
    /// # Errors
    /// Not found, or a port failed.
    pub async fn cancel_build(&self, name: &BuildName, by: &str) -> Result<BuildId, ApiError> {
        let id = self.find_build(name).await?;
        let actor = Actor::Build(id.clone());
        let known = self.load::<Build>(&keys::build(&id)).await?;
        let build = known.ok_or_else(|| NotFound(format!("there is no build `{id}`")))?.body;
        if build.state.is_final() {
            let state = build.state.name();
            return Err(ApiError::Refused(format!("build #{} is over: it {}", build.facts.number, verb(state))));
        }
        self.tell(&actor, &Input::Cancel { by: by.to_owned() }).await?;
        // The step folds the wish in and ends every attempt that nobody holds, before we answer.
        self.step(&actor).await?;
        Ok(id)
    }

    /// Runs a job again, or all jobs that failed.
    ///
    /// # Errors
    /// Not found; refused where the step or the state does not allow it.
    pub async fn retry(&self, name: &BuildName, job: Option<&JobName>, by: &str) -> Result<BuildId, ApiError> {
        let id = self.find_build(name).await?;
        let (build, graph) =
            self.load_build(&id).await?.ok_or_else(|| NotFound(format!("there is no build `{id}`")))?;
        let job = job.map(|job| find_job(&build, &graph, job)).transpose()?;
        match job {
            Some(job) => {
                if let Some(why) = build.retry_refused(&graph, job) {
                    return Err(ApiError::Refused(why));
                }
            }
            None => {
                let failed = (0u32..).zip(build.cells.iter()).any(|(place, cell)| {
                    cell.state.is_failure()
                        && build.retry_refused(&graph, tidegate_core::ids::JobIndex(place)).is_none()
                });
                if !failed {
                    return Err(ApiError::Refused(format!("build #{} has no failed job to retry", build.facts.number)));
                }
            }
        }
        let actor = Actor::Build(id.clone());
        let wish = format!("{:032x}", self.ports.ids.random());
        self.tell(&actor, &Input::Retry { job, by: by.to_owned(), wish }).await?;
        self.step(&actor).await?;
        Ok(id)
    }

    /// Makes a build again: the same commit, branch, message and environment (`spec/pipeline.md` 1.20).
    ///
    /// # Errors
    /// Not found; refused where its pipeline is not configured any more.
    pub async fn rebuild(&self, name: &BuildName, wish: &Rebuild) -> Result<BuildId, ApiError> {
        let id = self.find_build(name).await?;
        let known = self.load::<Build>(&keys::build(&id)).await?;
        let old = known.ok_or_else(|| NotFound(format!("there is no build `{id}`")))?.body.facts;
        let Some((repository, pipeline)) = self.find_pipeline(old.pipeline.as_str()).await? else {
            return Err(ApiError::Refused(self.no_pipeline(old.pipeline.as_str())));
        };
        if repository.id != old.repository {
            let why = format!("`{}` is a pipeline of another repository now", old.pipeline);
            return Err(ApiError::Refused(why));
        }
        let key = wish.idempotency_key.clone().unwrap_or_else(|| format!("{:032x}", self.ports.ids.random()));
        let wanted = Wanted {
            git_ref: old.git_ref,
            asked: old.commit.to_string(),
            commit: old.commit,
            message: old.message,
            author: old.author,
            creator: wish.by.clone(),
            source: "api",
            trust: old.trust,
            env: old.env,
            meta_data: Vec::new(),
            default_branch: old.default_branch,
            rebuilt_from: Some((id, old.number)),
            triggered_by: None,
            origin: old.origin,
            hold: None,
            refusal: None,
            trigger: format!("rebuild/{key}"),
        };
        let new = self.make_build(&repository, &pipeline, &wanted).await?;
        self.step(&Actor::Build(new.clone())).await?;
        Ok(new)
    }

    /// Makes a build of a pipeline at a commit.
    ///
    /// # Errors
    /// Not found: no such pipeline or commit.
    pub async fn create_build(&self, wish: &CreateBuild) -> Result<BuildId, ApiError> {
        let Some((repository, pipeline)) = self.find_pipeline(&wish.pipeline).await? else {
            return Err(NotFound(self.no_pipeline(&wish.pipeline)).into());
        };
        let git_ref = match &wish.branch {
            Some(name) => {
                let full = format!("refs/heads/{name}");
                Some(GitRef::parse(&full).ok_or_else(|| ApiError::Refused(format!("`{name}` is not a branch name")))?)
            }
            None => None,
        };
        let wanted = wish.commit.as_deref().filter(|c| *c != "HEAD");
        let rev = wanted.or(wish.branch.as_deref()).unwrap_or("HEAD");
        let commit = match CommitSha::new(rev) {
            Ok(commit) => commit,
            Err(_) => self
                .ports
                .repositories
                .resolve(&repository, rev)
                .await?
                .ok_or_else(|| NotFound(format!("`{}` has no commit `{rev}`", repository.full_name)))?,
        };
        let trigger = match &wish.idempotency_key {
            Some(key) => format!("api/{key}"),
            None => format!("api/{:032x}", self.ports.ids.random()),
        };
        let wanted = Wanted {
            git_ref,
            commit,
            asked: rev.to_owned(),
            message: wish.message.clone().unwrap_or_default(),
            author: Default::default(),
            creator: wish.by.clone(),
            source: "api",
            trust: Trust::Trusted,
            env: wish.env.clone(),
            meta_data: Vec::new(),
            default_branch: self.default_branch(&repository).await?,
            rebuilt_from: None,
            triggered_by: None,
            origin: None,
            hold: None,
            refusal: None,
            trigger,
        };
        let id = self.make_build(&repository, &pipeline, &wanted).await?;
        // The list entry by which people find the build is written by its first step.
        self.step(&Actor::Build(id.clone())).await?;
        Ok(id)
    }
}

fn verb(state: &str) -> &str {
    match state {
        "canceled" => "was canceled",
        "not_run" => "had nothing to run",
        state => state,
    }
}
