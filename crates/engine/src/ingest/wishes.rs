//! What people ask for on GitHub's own pages: buttons of checks, and commands in comments.

use tidegate_core::build::{Build, BuildState, Hold, Input};
use tidegate_core::event::{Ask, Comment, PullAction, PullHead, PullRequest, Rerun, RerunOf};
use tidegate_core::ids::{BuildId, CommitSha, DeliveryId, JobIndex, RepositoryId, job_uuid};

use super::Outcome;
use super::pull_request::ref_of;
use super::refs::Told;
use crate::actors::Actor;
use crate::api::{ApiError, BuildName, Rebuild};
use crate::engine::Engine;
use crate::error::Error;
use crate::keys;
use crate::ports::{PortError, PullRequestState, RepositorySource};

/// Why nothing was done, or the build with which something was done.
type Did = Result<BuildId, String>;

impl Engine {
    pub(super) async fn ingest_rerun(&self, delivery: &DeliveryId, rerun: &Rerun) -> Result<Outcome, Error> {
        if !self.settings.forge.is_ours(rerun.app, &rerun.client_id) {
            return Ok(Outcome::none(match &self.settings.forge.app {
                Some(ours) => format!("a check of another App ({}, not {ours})", rerun.app),
                None => "no App is configured, so that no check is ours: `[github] app_id`".to_owned(),
            }));
        }
        let repository = match self.known(&rerun.repository, rerun.installation).await? {
            Ok(repository) => repository,
            Err(why) => return Ok(Outcome::none(why)),
        };
        let by = &rerun.sender.login;
        let key = format!("rerun/{delivery}");
        let (builds, job, button) = match &rerun.of {
            RerunOf::Suite => (self.newest_at(repository.id, &rerun.commit, None).await?, None, None),
            RerunOf::Check { external_id, name, button, .. } => {
                let found = self.checked(repository.id, &rerun.commit, external_id, name).await?;
                let Some((build, job)) = found else {
                    return Ok(Outcome::none(format!("there is no build of the check `{name}` any more")));
                };
                (vec![build], job, button.as_deref())
            }
        };
        if button == Some("approve")
            && let Err(why) = self.may_write(&repository, by).await?
        {
            return Ok(Outcome::none(why));
        }
        let mut did: Vec<Did> = Vec::new();
        for build in builds {
            did.push(match button {
                None | Some("retry" | "rerun") => self.run_again(&build, job, by, &key, true).await?,
                Some("rebuild") => self.rebuilt(&build, by, &key).await?,
                Some("cancel") => self.canceled(&build, by).await?,
                Some("approve") => self.approve_held(&build, by).await?,
                Some(other) => Err(format!("there is no button `{}`", other.escape_debug())),
            });
        }
        Ok(Outcome::of(did, "there is no build of this commit"))
    }

    pub(super) async fn ingest_comment(&self, delivery: &DeliveryId, comment: &Comment) -> Result<Outcome, Error> {
        let repository = match self.known(&comment.repository, comment.installation).await? {
            Ok(repository) => repository,
            Err(why) => return Ok(Outcome::none(why)),
        };
        let by = &comment.author.login;
        if let Err(why) = self.may_write(&repository, by).await? {
            return Ok(Outcome::none(why));
        }
        let number = comment.number;
        match &comment.ask {
            Ask::ApproveWhat(what) => Ok(Outcome::none(format!(
                "`/approve {what}` does not name a commit: write all of its 40 digits, so that nothing else can be meant"
            ))),
            Ask::Approve(commit) => {
                let full = format!("refs/pull/{number}/head");
                let mut did = Vec::new();
                for at in self.builds_at(repository.id, commit).await?.into_iter().filter(|at| at.git_ref == full) {
                    let Some(build) = self.load::<Build>(&keys::build(&at.build)).await? else { continue };
                    if build.body.hold.is_some() && build.body.cancel.is_none() {
                        did.push(self.approve_held(&build.body, by).await?);
                    }
                }
                let none = format!("no build of pull request #{number} waits for approval at {commit}");
                Ok(Outcome::of(did, &none))
            }
            Ask::Retest => {
                let pull = match self.pull_now(&repository, comment).await? {
                    Ok(pull) => pull,
                    Err(why) => return Ok(Outcome::none(why)),
                };
                let git_ref = ref_of(&pull);
                let key = format!("comment/{}", comment.id);
                let builds = self.newest_at(repository.id, &pull.head.commit, Some(&git_ref)).await?;
                if builds.is_empty() {
                    let told = Told::At(&pull.head.commit);
                    let trigger = self.note_move(repository.id, &git_ref, told, delivery).await?;
                    let mut pipelines = self.pipelines_of(repository.id).await?;
                    pipelines.retain(|p| p.builds_pull_requests(&pull.base_branch));
                    return self.build_pull(&pull, &repository, &pipelines, trigger, None, delivery).await;
                }
                let mut did = Vec::new();
                for build in builds {
                    did.push(self.run_again(&build, None, by, &key, false).await?);
                }
                Ok(Outcome::of(did, "there is no build of this pull request"))
            }
        }
    }

    /// Whether somebody may write to a repository, asked now; or why that is not so.
    async fn may_write(&self, repository: &RepositorySource, login: &str) -> Result<Result<(), String>, Error> {
        let Some(forge) = &self.ports.forge else {
            return Ok(Err("nobody's permission can be asked for, because `[github]` is not configured".to_owned()));
        };
        let who = login.escape_debug();
        Ok(match forge.permission(repository, login).await {
            Ok(permission) if permission.can_write() => Ok(()),
            Ok(_) => Err(format!("`{who}` has no write access to `{}`", repository.full_name)),
            Err(PortError::Reject { why }) => Err(format!("what `{who}` may do cannot be found out: {why}")),
            Err(error) => return Err(error.into()),
        })
    }

    /// The pull request below which somebody commented, by what GitHub says now.
    async fn pull_now(
        &self,
        repository: &RepositorySource,
        comment: &Comment,
    ) -> Result<Result<PullRequest, String>, Error> {
        let number = comment.number;
        let known = self.load::<PullRequest>(&keys::pull(repository.id, number)).await?.map(|k| k.body);
        let Some(forge) = &self.ports.forge else { return Ok(Err("`[github]` is not configured".to_owned())) };
        let now = match forge.pull_request(repository, number).await {
            Ok(Some(now)) => now,
            Ok(None) => return Ok(Err(format!("there is no pull request #{number}"))),
            Err(PortError::Reject { why }) => return Ok(Err(why)),
            Err(error) => return Err(error.into()),
        };
        if now.state != PullRequestState::Open {
            return Ok(Err(format!("the pull request #{number} is closed")));
        }
        // Who moved it elsewhere does not answer for what is there now.
        let seen = known.filter(|known| known.head.commit == now.head.sha);
        let owner = now.head.repository_name.as_ref().and_then(|name| name.as_str().split_once('/'));
        Ok(Ok(PullRequest {
            action: PullAction::Relabeled { action: "retest".to_owned() },
            repository: comment.repository.clone(),
            number,
            head: PullHead {
                commit: now.head.sha,
                branch: now.head.branch,
                owner: owner.map_or("unknown", |(owner, _)| owner).to_owned(),
                repository: now.head.repository,
                full_name: now.head.repository_name,
            },
            base_branch: now.base.branch,
            base: now.base.sha,
            draft: now.draft,
            open: true,
            labels: now.labels,
            title: now.title,
            // Who has opened it and who moved it last is in no answer of the API: where no event told, nobody that is known.
            author: seen.as_ref().map(|k| k.author.clone()).unwrap_or_default(),
            sender: seen.as_ref().map(|k| k.sender.clone()).unwrap_or_default(),
            updated_at: String::new(),
            installation: comment.installation,
        }))
    }

    /// The build that a check shows, and the job of it if it shows one: by our own id, or by the check's name.
    async fn checked(
        &self,
        repository: RepositoryId,
        commit: &CommitSha,
        external_id: &str,
        name: &str,
    ) -> Result<Option<(Build, Option<JobIndex>)>, Error> {
        let ours = |build: &Build| build.facts.repository == repository && build.facts.commit == *commit;
        let (build, job) = external_id.split_once('/').unwrap_or((external_id, ""));
        if let Ok(id) = BuildId::new(build)
            && let Some(build) = self.load::<Build>(&keys::build(&id)).await?.map(|b| b.body).filter(ours)
        {
            return Ok(Some((build, job.parse().ok().map(JobIndex))));
        }
        let builds = self.newest_at(repository, commit, None).await?;
        for build in builds {
            let count = u32::try_from(build.cells.len()).unwrap_or(u32::MAX);
            let job = (0..count)
                .map(JobIndex)
                .find(|job| !external_id.is_empty() && job_uuid(&build.facts.id, *job).to_string() == external_id);
            let of_pipeline = name
                .strip_prefix("tidegate/")
                .is_some_and(|rest| rest.split(['/', ' ', ':']).next() == Some(build.facts.pipeline.as_str()));
            if job.is_some() || of_pipeline {
                return Ok(Some((build, job)));
            }
        }
        Ok(None)
    }

    /// Runs a build again: what failed of it, or all of it where nothing of it can be run again alone. What passed is only
    /// made again where that was `meant`.
    async fn run_again(
        &self,
        build: &Build,
        job: Option<JobIndex>,
        by: &str,
        key: &str,
        meant: bool,
    ) -> Result<Did, Error> {
        let (id, name) = (&build.facts.id, format!("{}#{}", build.facts.pipeline, build.facts.number));
        if build.hold.is_some() && build.cancel.is_none() {
            return Ok(Err(format!("{name} waits for approval: `/approve {}`", build.facts.commit)));
        }
        let Some((build, graph)) = self.load_build(id).await? else { return Ok(Err(format!("{name} is gone"))) };
        let can = |job: JobIndex| {
            let failed = build.cells.get(job.0 as usize).is_some_and(|cell| cell.state.is_failure());
            failed && build.retry_refused(&graph, job).is_none()
        };
        let count = u32::try_from(build.cells.len()).unwrap_or(u32::MAX);
        let retried = match job {
            Some(job) => can(job),
            None => build.cancel.is_none() && (0..count).map(JobIndex).any(can),
        };
        if retried {
            // The same for the same event: an event that is handled again is one wish.
            let wish = format!("{key}/{}", job.map_or_else(|| "all".to_owned(), |job| job.to_string()));
            self.tell(&Actor::Build(id.clone()), &Input::Retry { job, by: by.to_owned(), wish }).await?;
            return Ok(Ok(id.clone()));
        }
        if !build.state.is_final() {
            return Ok(Err(format!("{name} is not over: nothing of it is to be run again")));
        }
        let over = !matches!(build.state, BuildState::Passed | BuildState::NotRun);
        if meant || over { self.rebuilt(&build, by, key).await } else { Ok(Err(format!("{name} has passed"))) }
    }

    async fn rebuilt(&self, build: &Build, by: &str, key: &str) -> Result<Did, Error> {
        let wish = Rebuild { idempotency_key: Some(format!("{key}/{}", build.facts.id)), by: by.to_owned() };
        answered(self.rebuild(&BuildName::Id(build.facts.id.clone()), &wish).await)
    }

    async fn canceled(&self, build: &Build, by: &str) -> Result<Did, Error> {
        answered(self.cancel_build(&BuildName::Id(build.facts.id.clone()), by).await)
    }

    async fn approve_held(&self, build: &Build, by: &str) -> Result<Did, Error> {
        if build.hold != Some(Hold::Approval) {
            return Ok(Err(format!("{}#{} waits for no approval", build.facts.pipeline, build.facts.number)));
        }
        answered(self.approve(&BuildName::Id(build.facts.id.clone()), by).await)
    }
}

fn answered(answer: Result<BuildId, ApiError>) -> Result<Did, Error> {
    match answer {
        Ok(build) => Ok(Ok(build)),
        Err(ApiError::Engine(error)) => Err(error),
        Err(error @ (ApiError::NotFound(_) | ApiError::Refused(_))) => Ok(Err(error.to_string())),
    }
}
