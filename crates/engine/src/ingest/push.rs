//! Pushes, and refs that are gone.

use tidegate_core::build::Origin;
use tidegate_core::event::{GitRef, HeadCommit, Push, RefDeleted, Repository};
use tidegate_core::ids::{BuildId, CommitSha, DeliveryId, RepositoryId};
use tidegate_core::trust::Trust;
use tidegate_pipeline::branches_match;

use super::refs::Told;
use super::{Outcome, Wanted};
use crate::engine::{Engine, PipelineSettings};
use crate::error::Error;
use crate::ports::{PortError, RepositorySource};

/// Branches of merge queues: what is to be built there is told by events of their own.
const QUEUES: &str = "gh-readonly-queue/";

impl Engine {
    pub(super) async fn ingest_push(&self, delivery: &DeliveryId, push: &Push) -> Result<Outcome, Error> {
        let id = push.repository.id;
        let repository = match self.known(&push.repository, push.installation).await? {
            Ok(repository) => repository,
            Err(why) => return Ok(Outcome::none(why)),
        };
        let told = Told::Moved(&push.before, &push.after);
        let trigger = self.note_move(id, &push.git_ref, told, delivery).await?;
        self.build_push(&repository, push, trigger).await
    }

    /// Builds a move of a ref that no event has told of. Doing so again makes nothing twice, and neither does the event when it
    /// comes after all.
    pub(crate) async fn found_move(
        &self,
        repository: &RepositorySource,
        git_ref: &GitRef,
        after: &CommitSha,
        head: HeadCommit,
    ) -> Result<Vec<BuildId>, Error> {
        let id = repository.id;
        // Nobody delivered it; the trigger is made of what is known of the ref.
        let delivery = DeliveryId::new("poll").map_err(|error| PortError::fatal(error.to_string()))?;
        let trigger = self.note_move(id, git_ref, Told::Found(after), &delivery).await?;
        let default_branch = self.default_branch(repository).await?;
        let push = Push {
            repository: Repository { id, full_name: repository.full_name.clone(), default_branch, private: None },
            git_ref: git_ref.clone(),
            before: CommitSha::zero(),
            after: after.clone(),
            created: false,
            deleted: false,
            forced: false,
            pusher: head.author_name.clone(),
            head: Some(head),
            sender: None,
            installation: None,
        };
        let outcome = self.build_push(repository, &push, trigger).await?;
        Ok(outcome.builds)
    }

    async fn build_push(&self, repository: &RepositorySource, push: &Push, trigger: String) -> Result<Outcome, Error> {
        let id = repository.id;
        if push.deleted || push.after.is_zero() {
            return self.ref_is_gone(id, &push.git_ref, Some(&push.before)).await;
        }
        if let Some(token) = push.head.as_ref().and_then(|h| h.skip.as_ref()) {
            return Ok(Outcome::none(format!("the commit message says `{token}`")));
        }
        let name = push.git_ref.name();
        if name.starts_with(QUEUES) {
            return Ok(Outcome::none("the merge queue says what is to be built of its branches"));
        }
        // A push to the branch of an open pull request is built with the pull request's variables.
        let pull = match &push.git_ref {
            GitRef::Branch(branch) => self.open_pull(id, branch).await?,
            GitRef::Tag(_) | GitRef::Pull { .. } => None,
        };
        let is_wanted = |p: &PipelineSettings| {
            branches_match(&p.branches, name)
                || pull.as_ref().is_some_and(|pull| p.builds_pull_requests(&pull.base_branch))
        };
        let pipelines: Vec<PipelineSettings> = self.pipelines_of(id).await?.into_iter().filter(is_wanted).collect();
        if pipelines.is_empty() {
            return Ok(Outcome::none(format!("no pipeline of `{}` builds `{name}`", repository.full_name)));
        }
        let head = push.head.as_ref();
        // For an annotated tag `after` is the tag object; the head commit is the commit (`spec/github.md` 6.2).
        let commit = head.map_or_else(|| push.after.clone(), |h| h.id.clone());
        let origin = Origin { event: "push".to_owned(), ..Origin::default() };
        let mut builds = Vec::new();
        for pipeline in &pipelines {
            let pull_request = pull
                .as_ref()
                .filter(|pull| pipeline.builds_pull_requests(&pull.base_branch))
                .map(|pull| self.pull_facts(repository, pull));
            let wanted = Wanted {
                git_ref: Some(push.git_ref.clone()),
                commit: commit.clone(),
                asked: commit.to_string(),
                message: head.map_or_else(String::new, |h| h.message.clone()),
                author: head.map_or_else(Default::default, |h| (h.author_name.clone(), h.author_email.clone())),
                creator: push.pusher.clone(),
                // Whoever can push to a branch or a tag of the repository itself has write access.
                trust: Trust::Trusted,
                default_branch: push.repository.default_branch.clone(),
                origin: Some(Box::new(Origin { pull_request, ..origin.clone() })),
                ..Wanted::new("webhook", trigger.clone())
            };
            match self.make_if_there(repository, pipeline, &wanted).await? {
                Ok(build) => builds.push(build),
                Err(why) => return Ok(Outcome::none(why)),
            }
        }
        Ok(Outcome::builds(builds))
    }

    pub(super) async fn ingest_deleted(&self, deleted: &RefDeleted) -> Result<Outcome, Error> {
        match self.known(&deleted.repository, deleted.installation).await? {
            Ok(_) => self.ref_is_gone(deleted.repository.id, &deleted.git_ref, None).await,
            Err(why) => Ok(Outcome::none(why)),
        }
    }

    /// Cancels what was built of a branch that is gone, where its pipelines say so. Builds of tags go on: a release is not
    /// undone by tidying up.
    async fn ref_is_gone(
        &self,
        repository: RepositoryId,
        git_ref: &GitRef,
        head: Option<&CommitSha>,
    ) -> Result<Outcome, Error> {
        let why = format!("`{}` was deleted", git_ref.full());
        let GitRef::Branch(name) = git_ref else { return Ok(Outcome::none(why)) };
        let pipelines = self.pipelines_of(repository).await?;
        let ends = |pipeline: &tidegate_core::ids::PipelineSlug| {
            pipelines.iter().any(|p| p.slug == *pipeline && p.cancel_deleted_branches)
        };
        let moves = self.ended_moves(repository, git_ref, head).await?;
        let by = format!("the deletion of branch {name}");
        self.cancel_moves(repository, git_ref, &moves, &by, |build| ends(&build.facts.pipeline)).await?;
        Ok(Outcome::none(why))
    }
}
