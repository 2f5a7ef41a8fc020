//! Pull requests.
//!
//! One from the repository itself is a branch of it: its pushes are built, with the pull request's variables, and what is
//! told of the pull request joins the build of its head (`docs/decisions/0200`). One from a fork has builds of its own, whose
//! trust is computed here, once.

use tidegate_core::build::{Build, BuildState, Hold, Input, Origin, PullRequestFacts};
use tidegate_core::diagnostic::Diagnostic;
use tidegate_core::event::{GitRef, PullAction, PullRequest};
use tidegate_core::ids::{BuildId, DeliveryId, RepositoryId, RepositoryName};
use tidegate_core::trust::{self, Trust, Verdict};

use super::refs::Told;
use super::{Outcome, Wanted};
use crate::actors::Actor;
use crate::engine::{Engine, PipelineSettings};
use crate::error::Error;
use crate::keys;
use crate::ports::{CommitInfo, Expect, PortError, RepositorySource};

/// What the pipelines are to do about a pull request.
struct Plan<'a> {
    pull: &'a PullRequest,
    repository: &'a RepositorySource,
    git_ref: GitRef,
    /// The trigger of the move that brought its head here.
    trigger: String,
    /// A build of its own, whatever is there already.
    anew: Option<String>,
    trust: Trust,
    hold: Option<Hold>,
    refusal: Option<(String, Vec<Diagnostic>)>,
    commit: CommitInfo,
}

impl Engine {
    pub(super) async fn ingest_pull_request(
        &self,
        delivery: &DeliveryId,
        pull: &PullRequest,
    ) -> Result<Outcome, Error> {
        let id = pull.repository.id;
        let repository = match self.known(&pull.repository, pull.installation).await? {
            Ok(repository) => repository,
            Err(why) => return Ok(Outcome::none(why)),
        };
        self.note_pull(pull).await?;
        let git_ref = ref_of(pull);
        if let PullAction::Closed { merged } = pull.action {
            return self.pull_is_closed(pull, &git_ref, merged).await;
        }
        if !pull.open {
            return Ok(Outcome::none(format!("the pull request #{} is closed", pull.number)));
        }
        let mut pipelines = self.pipelines_of(id).await?;
        pipelines.retain(|p| p.builds_pull_requests(&pull.base_branch));
        if pipelines.is_empty() {
            let base = &pull.base_branch;
            return Ok(Outcome::none(format!(
                "no pipeline of `{}` builds pull requests into `{base}`",
                repository.full_name
            )));
        }
        let told = match &pull.action {
            PullAction::Synchronize { before: Some(before) } => Told::Moved(before, &pull.head.commit),
            _ => Told::At(&pull.head.commit),
        };
        let trigger = self.note_move(id, &git_ref, told, delivery).await?;
        let anew = match pull.action {
            PullAction::Reopened | PullAction::Retargeted { .. } => Some(own_trigger(pull, delivery)),
            PullAction::Opened
            | PullAction::Synchronize { .. }
            | PullAction::Relabeled { .. }
            | PullAction::Closed { .. } => None,
        };
        self.build_pull(pull, &repository, &pipelines, trigger, anew, delivery).await
    }

    /// Makes the builds of a pull request, or finds those that it joins. `anew` is the trigger of builds that are made
    /// whatever is there already.
    pub(super) async fn build_pull(
        &self,
        pull: &PullRequest,
        repository: &RepositorySource,
        pipelines: &[PipelineSettings],
        trigger: String,
        anew: Option<String>,
        delivery: &DeliveryId,
    ) -> Result<Outcome, Error> {
        let git_ref = ref_of(pull);
        let commit = match self.ports.repositories.commit(repository, &pull.head.commit, Some(&git_ref.full())).await {
            Ok(info) => info,
            // The build says so when it is made; the title is better than nothing.
            Err(PortError::Reject { .. }) => CommitInfo { message: pull.title.clone(), ..CommitInfo::default() },
            Err(error) => return Err(error.into()),
        };
        if let Some(token) = tidegate_core::skip::skip_token(&commit.message) {
            return Ok(Outcome::none(format!("the commit message of the head says `{token}`")));
        }
        let policy = match pull.is_fork() {
            true => self.policy_of(repository).await?,
            false => Ok(trust::Policy::default()),
        };
        let private = self.is_private(&pull.repository).await?;
        let origin = trust::Origin {
            fork: pull.is_fork(),
            gone: pull.head.repository.is_none(),
            private,
            author: pull.author.id,
            sender: pull.sender.id,
        };
        let mut plan = Plan {
            pull,
            repository,
            git_ref,
            trigger,
            anew,
            trust: Trust::Untrusted,
            hold: None,
            refusal: None,
            commit,
        };
        let (mut builds, mut whys) = (Vec::new(), Vec::new());
        for pipeline in pipelines {
            let verdict = match &policy {
                Ok(policy) => trust::judge(origin, pipeline.forks, policy),
                // Nobody knows what it would have said.
                Err(_) => match trust::judge(origin, pipeline.forks, &trust::Policy::default()) {
                    Verdict::Build(_) | Verdict::Hold => Verdict::Hold,
                    refused @ Verdict::Refuse(_) => refused,
                },
            };
            (plan.trust, plan.hold) = match verdict {
                Verdict::Build(trust) => (trust, None),
                Verdict::Hold => (Trust::Untrusted, Some(Hold::Approval)),
                Verdict::Refuse(why) => {
                    whys.push(why.to_owned());
                    continue;
                }
            };
            plan.refusal = match &policy {
                Err((why, findings)) => Some((why.clone(), findings.clone())),
                Ok(_) if plan.trust < Trust::Trusted => self.no_isolation().map(|why| (why, Vec::new())),
                Ok(_) => None,
            };
            match self.build_pull_by(&plan, pipeline, delivery).await? {
                Ok(build) => builds.push(build),
                Err(why) => whys.push(why),
            }
        }
        Ok(match builds.is_empty() {
            true => Outcome::none(whys.into_iter().next().unwrap_or_else(|| "no pipeline builds it".to_owned())),
            false => Outcome::builds(builds),
        })
    }

    async fn build_pull_by(
        &self,
        plan: &Plan<'_>,
        pipeline: &PipelineSettings,
        delivery: &DeliveryId,
    ) -> Result<Result<BuildId, String>, Error> {
        let Plan { pull, repository, .. } = plan;
        let facts = self.pull_facts(repository, pull);
        let mut wanted = Wanted {
            git_ref: Some(plan.git_ref.clone()),
            commit: pull.head.commit.clone(),
            asked: pull.head.commit.to_string(),
            message: plan.commit.message.clone(),
            author: (plan.commit.author_name.clone(), plan.commit.author_email.clone()),
            creator: pull.sender.login.clone(),
            trust: plan.trust,
            default_branch: pull.repository.default_branch.clone(),
            hold: plan.hold,
            refusal: plan.refusal.clone(),
            origin: Some(Box::new(Origin {
                event: "pull_request".to_owned(),
                action: pull.action.name().to_owned(),
                pull_request: Some(facts.clone()),
                merge_queue: None,
            })),
            ..Wanted::new("webhook", plan.anew.clone().unwrap_or_else(|| plan.trigger.clone()))
        };
        if plan.anew.is_none() {
            let there = self.newest_at(repository.id, &pull.head.commit, Some(&plan.git_ref)).await?;
            let build = match there.into_iter().find(|b| b.facts.pipeline == pipeline.slug) {
                Some(build) => build,
                None => {
                    let id = match self.make_expiring(plan, pipeline, &wanted).await? {
                        Ok(id) => id,
                        Err(why) => return Ok(Err(why)),
                    };
                    // The push may have made it at the same time, without knowing of the pull request.
                    match self.load::<Build>(&keys::build(&id)).await? {
                        Some(build) => build.body,
                        None => return Ok(Ok(id)),
                    }
                }
            };
            if build.pull_request() == Some(&facts) {
                return Ok(Ok(build.facts.id));
            }
            if self.joins(&build, &facts, plan, repository, pipeline).await? {
                let input = Input::PullRequest(Box::new(facts));
                self.tell(&Actor::Build(build.facts.id.clone()), &input).await?;
                return Ok(Ok(build.facts.id));
            }
            wanted.trigger = own_trigger(pull, delivery);
        }
        self.make_expiring(plan, pipeline, &wanted).await
    }

    /// Makes a build of a pull request; with it, what older commits of a fork's wait for is over.
    async fn make_expiring(
        &self,
        plan: &Plan<'_>,
        pipeline: &PipelineSettings,
        wanted: &Wanted,
    ) -> Result<Result<BuildId, String>, Error> {
        let made = self.make_if_there(plan.repository, pipeline, wanted).await?;
        if let (Ok(newest), true) = (&made, plan.pull.is_fork()) {
            self.expire_approvals(plan, pipeline, newest).await?;
        }
        Ok(made)
    }

    /// Whether the build is the pull request's: it is for no other one, and its plan is what the pull request as it is now
    /// leads to. A pipeline whose steps depend on labels, say, is planned anew when they change.
    async fn joins(
        &self,
        build: &Build,
        facts: &PullRequestFacts,
        plan: &Plan<'_>,
        repository: &RepositorySource,
        pipeline: &PipelineSettings,
    ) -> Result<bool, Error> {
        match build.pull_request() {
            Some(known) if known.number != facts.number || known.base_branch != facts.base_branch => return Ok(false),
            Some(_) | None => {}
        }
        // What is not planned yet will be planned by what is known then; and trust is never other than it was.
        if build.hold.is_some() || !build.failure.is_empty() || build.facts.trust != plan.trust {
            return Ok(build.facts.trust == plan.trust);
        }
        let mut as_now = build.facts.clone();
        as_now.origin.get_or_insert_default().pull_request = Some(facts.clone());
        let Some(first) = build.segments.first() else { return Ok(true) };
        let Some(anew) = self.first_segment(repository, pipeline, &as_now).await? else { return Ok(true) };
        Ok(self.segment(&first.blob).await?.does_the_same_as(&anew))
    }

    /// Builds of older commits of a fork's pull request that wait for approval, or have not begun, are skipped: what was
    /// approved was that commit.
    async fn expire_approvals(
        &self,
        plan: &Plan<'_>,
        pipeline: &PipelineSettings,
        newest: &BuildId,
    ) -> Result<(), Error> {
        let id = plan.repository.id;
        let Some(number) = self.load::<Build>(&keys::build(newest)).await?.map(|b| b.body.facts.number) else {
            return Ok(());
        };
        let by = format!("{}#{number}", pipeline.slug);
        for m in self.moves(id, &plan.git_ref).await? {
            let Ok(commit) = tidegate_core::ids::CommitSha::new(m.after.as_str()) else { continue };
            for build in self.newest_at(id, &commit, Some(&plan.git_ref)).await? {
                if build.facts.pipeline == pipeline.slug
                    && build.facts.number < number
                    && build.state == BuildState::Blocked
                    && build.hold.is_some()
                {
                    let input = Input::Superseded { by: by.clone(), skip: true, cancel: true };
                    self.tell(&Actor::Build(build.facts.id.clone()), &input).await?;
                }
            }
        }
        Ok(())
    }

    /// A pull request that is closed is not worth a machine, where it came from a fork; a branch of the repository itself is
    /// still there, and goes on.
    async fn pull_is_closed(&self, pull: &PullRequest, git_ref: &GitRef, merged: bool) -> Result<Outcome, Error> {
        let how = if merged { "merged" } else { "closed" };
        let why = format!("the pull request #{} was {how}", pull.number);
        if !pull.is_fork() {
            return Ok(Outcome::none(why));
        }
        let id = pull.repository.id;
        let moves = self.moves(id, git_ref).await?;
        let mut ended = 0;
        let mut commits: Vec<&str> = moves.iter().map(|m| m.after.as_str()).collect();
        commits.sort_unstable();
        commits.dedup();
        for commit in commits {
            let Ok(commit) = tidegate_core::ids::CommitSha::new(commit) else { continue };
            for at in self.builds_at(id, &commit).await?.into_iter().filter(|at| at.git_ref == git_ref.full()) {
                let Some(build) = self.load::<Build>(&keys::build(&at.build)).await? else { continue };
                if !build.body.state.is_final() {
                    self.tell(&Actor::Build(at.build), &Input::Cancel { by: why.clone() }).await?;
                    ended += 1;
                }
            }
        }
        Ok(Outcome::none(if ended > 0 { format!("{why}; builds canceled: {ended}") } else { why }))
    }

    /// What is missing before work that is not trusted may run here, in words for its author.
    pub(super) fn no_isolation(&self) -> Option<String> {
        self.settings.policy.no_place_for_strangers().map(|why| {
            format!(
                "code of a fork is not trusted, and nothing here may run it: {why}. The owner of this server finds what to \
                 do in docs/trust.md"
            )
        })
    }

    /// Writes down what a pull request looks like, unless something newer is known.
    async fn note_pull(&self, pull: &PullRequest) -> Result<(), Error> {
        let id = pull.repository.id;
        let key = keys::pull(id, pull.number);
        loop {
            let known = self.load::<PullRequest>(&key).await?;
            if known.as_ref().is_some_and(|k| k.body.updated_at > pull.updated_at) {
                break;
            }
            let expect = known.map_or(Expect::Absent, |k| Expect::Version(k.version));
            match self.save(key.clone(), pull, expect).await {
                Ok(_) => break,
                Err(Error::Port(PortError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
        if !pull.is_fork() {
            let key = keys::pull_of_branch(id, &pull.head.branch, pull.number);
            self.save(key, &pull.number, Expect::Any).await?;
        }
        Ok(())
    }

    /// The open pull request of a branch of the repository itself, as far as is known; the first of several.
    pub(super) async fn open_pull(&self, id: RepositoryId, branch: &str) -> Result<Option<PullRequest>, Error> {
        let (records, _) = self.list(&keys::pulls_of_branch(id, branch), 100).await?;
        for record in records {
            let number: u64 = crate::engine::open(&record.key, &record.body)?;
            let known = self.load::<PullRequest>(&keys::pull(id, number)).await?.map(|k| k.body);
            match known {
                Some(pull) if pull.open && !pull.is_fork() => return Ok(Some(pull)),
                // Closed: it need not be looked at again, until it says that it is open.
                Some(_) | None => {
                    self.ports.store.delete_if(&record.key, Expect::Version(record.version)).await.or_else(|error| {
                        match error {
                            PortError::Conflict => Ok(()),
                            error => Err(error),
                        }
                    })?
                }
            }
        }
        Ok(None)
    }

    /// A pull request as jobs and conditions see it.
    pub(super) fn pull_facts(&self, repository: &RepositorySource, pull: &PullRequest) -> PullRequestFacts {
        let head = pull.head.full_name.as_ref().unwrap_or(&pull.repository.full_name);
        PullRequestFacts {
            number: pull.number,
            base_branch: pull.base_branch.clone(),
            draft: pull.draft,
            labels: pull.labels.clone(),
            repository: beside(repository, head, &self.settings.forge.web_url),
            fork: pull.is_fork(),
        }
    }
}

/// The ref of a pull request's head: a branch of the repository, or what GitHub keeps of a fork's.
pub(super) fn ref_of(pull: &PullRequest) -> GitRef {
    match pull.is_fork() {
        false => GitRef::Branch(pull.head.branch.clone()),
        true => GitRef::Pull { number: pull.number, branch: format!("{}:{}", pull.head.owner, pull.head.branch) },
    }
}

/// The trigger of a build that joins no other one. Two deliveries of one event, of an App and of a webhook, say, have one.
fn own_trigger(pull: &PullRequest, delivery: &DeliveryId) -> String {
    let when = if pull.updated_at.is_empty() { delivery.as_str() } else { &pull.updated_at };
    format!("pull/{}/{}/{when}", pull.number, pull.action.name())
}

/// Where another repository of the same server is.
fn beside(repository: &RepositorySource, other: &RepositoryName, web_url: &str) -> String {
    let url = repository.clone_url.as_str();
    let stem = url.strip_suffix(".git").unwrap_or(url);
    match stem.strip_suffix(repository.full_name.as_str()).filter(|start| start.contains("://")) {
        Some(start) => format!("{start}{other}.git"),
        None => format!("{web_url}/{other}.git"),
    }
}
