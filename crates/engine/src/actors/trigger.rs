//! Builds that trigger steps make (`spec/pipeline.md` 1.5).
//!
//! Before a build is made, a record says which one it will be, commit and all: whoever repeats the step makes the same
//! one, although the branch may have moved. A recall writes into the same record, so that exactly one of "made" and
//! "never made" is true.

use serde::{Deserialize, Serialize};
use tidegate_core::build::{Build, BuildState, Graph, Input, MAX_TRIGGER_DEPTH, TriggerEnd, TriggeredBy};
use tidegate_core::event::GitRef;
use tidegate_core::ids::{BuildId, CommitSha, JobIndex};
use tidegate_core::plan::{Env, StepKind, TriggerStep};

use super::Actor;
use crate::engine::{Engine, Loaded};
use crate::error::Error;
use crate::ingest::Wanted;
use crate::keys;
use crate::ports::{Expect, PortError};

/// What became of one try of a trigger step.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum TriggeredRecord {
    /// This build is to be made.
    Intended(Box<Intent>),
    /// It is there.
    Made {
        /// The build.
        build: BuildId,
        /// `pipeline#number`.
        name: String,
    },
    /// It cannot be made.
    Refused {
        /// For people.
        why: String,
    },
    /// It was cancelled before.
    Recalled,
}

/// A build that is to be made.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Intent {
    pipeline: String,
    git_ref: Option<GitRef>,
    commit: CommitSha,
    message: String,
    env: Env,
    meta_data: Vec<(String, String)>,
    default_branch: String,
    by: TriggeredBy,
}

impl Engine {
    /// Makes the build that a trigger step wants, once, and says what the step must know.
    pub(super) async fn trigger(
        &self,
        build: &Build,
        graph: &Graph,
        job: JobIndex,
        number: u32,
    ) -> Result<Option<Input>, Error> {
        let Some(StepKind::Trigger(step)) = graph.job(job).map(|j| &j.step.kind) else { return Ok(None) };
        let key = keys::triggered(&build.facts.id, job, number);
        loop {
            let end = match self.load::<TriggeredRecord>(&key).await? {
                None => {
                    let record = self.intend(build, graph, step, job, number).await?;
                    match self.save(key.clone(), &record, Expect::Absent).await {
                        Ok(_) | Err(Error::Port(PortError::Conflict)) => continue,
                        Err(error) => return Err(error),
                    }
                }
                Some(Loaded { body: TriggeredRecord::Intended(intent), version }) => {
                    let record = self.fulfil(build, &intent).await?;
                    match self.save(key.clone(), &record, Expect::Version(version)).await {
                        Ok(_) | Err(Error::Port(PortError::Conflict)) => continue,
                        Err(error) => return Err(error),
                    }
                }
                Some(Loaded { body: TriggeredRecord::Made { .. }, .. }) => TriggerEnd::Made,
                Some(Loaded { body: TriggeredRecord::Refused { .. }, .. }) => TriggerEnd::Refused,
                Some(Loaded { body: TriggeredRecord::Recalled, .. }) => TriggerEnd::Recalled,
            };
            return Ok(Some(Input::Triggered { job, number, end }));
        }
    }

    /// What a trigger step asks for, with everything that may be different later.
    async fn intend(
        &self,
        build: &Build,
        graph: &Graph,
        step: &TriggerStep,
        job: JobIndex,
        number: u32,
    ) -> Result<TriggeredRecord, Error> {
        let refused = |why: String| Ok(TriggeredRecord::Refused { why });
        let depth = build.facts.triggered_by.as_ref().map_or(0, |by| by.depth) + 1;
        if depth > MAX_TRIGGER_DEPTH {
            let why = format!("{MAX_TRIGGER_DEPTH} builds have triggered each other already, which is the limit");
            return refused(why);
        }
        let Some((repository, pipeline)) = self.find_pipeline(&step.pipeline).await? else {
            return refused(self.no_pipeline(&step.pipeline));
        };
        let default_branch = self.default_branch(&repository).await?;
        let branch = step.branch.clone().unwrap_or_else(|| default_branch.clone());
        let git_ref = match branch.as_str() {
            "" => None,
            name => match GitRef::parse(&format!("refs/heads/{name}")) {
                Some(git_ref) => Some(git_ref),
                None => return refused(format!("`{name}` is not a branch name")),
            },
        };
        let commit = step.commit.as_deref().filter(|commit| *commit != "HEAD");
        let rev = commit.or_else(|| git_ref.as_ref().map(GitRef::name)).unwrap_or("HEAD");
        let commit = match CommitSha::new(rev) {
            Ok(commit) => commit,
            Err(_) => match self.ports.repositories.resolve(&repository, rev).await {
                Ok(Some(commit)) => commit,
                Ok(None) => return refused(format!("`{}` has no commit `{rev}`", repository.full_name)),
                Err(PortError::Reject { why }) => return refused(why),
                Err(error) => return Err(error.into()),
            },
        };
        let by = TriggeredBy {
            build: build.facts.id.clone(),
            number: build.facts.number,
            pipeline: build.facts.pipeline.clone(),
            job,
            attempt: number,
            depth,
        };
        let label = graph.job(job).map_or_else(String::new, |j| j.label().to_owned());
        Ok(TriggeredRecord::Intended(Box::new(Intent {
            pipeline: pipeline.slug.to_string(),
            git_ref,
            commit,
            message: step.message.clone().unwrap_or(label),
            env: step.env.clone(),
            meta_data: step.meta_data.clone(),
            default_branch,
            by,
        })))
    }

    async fn fulfil(&self, parent: &Build, intent: &Intent) -> Result<TriggeredRecord, Error> {
        let Some((repository, pipeline)) = self.find_pipeline(&intent.pipeline).await? else {
            return Ok(TriggeredRecord::Refused { why: self.no_pipeline(&intent.pipeline) });
        };
        let by = &intent.by;
        let wanted = Wanted {
            git_ref: intent.git_ref.clone(),
            commit: intent.commit.clone(),
            asked: String::new(),
            message: intent.message.clone(),
            author: Default::default(),
            creator: parent.facts.creator.clone(),
            source: "trigger_job",
            // Trust never rises: what a build makes is trusted as the build is.
            trust: parent.facts.trust,
            env: intent.env.clone(),
            meta_data: intent.meta_data.clone(),
            default_branch: intent.default_branch.clone(),
            rebuilt_from: None,
            triggered_by: Some(by.clone()),
            origin: None,
            hold: None,
            refusal: None,
            trigger: format!("trigger/{}/{}/{}", by.build, by.job, by.attempt),
        };
        let (build, number) = self.make_numbered_build(&repository, &pipeline, &wanted).await?;
        Ok(TriggeredRecord::Made { build, name: format!("{}#{number}", pipeline.slug) })
    }

    /// Cancels the build that a trigger step made, or sees to it that none will be made.
    pub(super) async fn recall(
        &self,
        build: &Build,
        graph: &Graph,
        job: JobIndex,
        number: u32,
    ) -> Result<Option<Input>, Error> {
        let key = keys::triggered(&build.facts.id, job, number);
        if self.load::<TriggeredRecord>(&key).await?.is_none() {
            match self.save(key.clone(), &TriggeredRecord::Recalled, Expect::Absent).await {
                Ok(_) | Err(Error::Port(PortError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
        // What was begun is made first, and then cancelled like any other.
        let news = self.trigger(build, graph, job, number).await?;
        if let Some(Loaded { body: TriggeredRecord::Made { build: child, .. }, .. }) = self.load(&key).await? {
            if let Some(end) = self.child_end(&child).await? {
                return Ok(Some(Input::Triggered { job, number, end }));
            }
            let by = format!("{}#{}", build.facts.pipeline, build.facts.number);
            self.tell(&Actor::Build(child), &Input::Cancel { by }).await?;
        }
        Ok(news)
    }

    async fn child_end(&self, child: &BuildId) -> Result<Option<TriggerEnd>, Error> {
        let known = self.load::<Build>(&keys::build(child)).await?;
        Ok(known.map(|k| k.body.state).filter(|state| state.is_final()).map(TriggerEnd::Ended))
    }

    /// Tells the step that made a build how it ended.
    pub(super) async fn answer(&self, build: &Build, state: BuildState) -> Result<(), Error> {
        let Some(by) = &build.facts.triggered_by else { return Ok(()) };
        if self.ports.store.get(&keys::build(&by.build)).await?.is_none() {
            return Ok(());
        }
        let end = TriggerEnd::Ended(state);
        let input = Input::Triggered { job: by.job, number: by.attempt, end };
        self.tell(&Actor::Build(by.build.clone()), &input).await
    }

    /// Says again what a trigger step may have missed.
    pub(crate) async fn audit_trigger(&self, build: &BuildId, job: JobIndex, number: u32) -> Result<(), Error> {
        let record = self.load::<TriggeredRecord>(&keys::triggered(build, job, number)).await?;
        if let Some(Loaded { body: TriggeredRecord::Made { build: child, .. }, .. }) = record
            && let Some(end) = self.child_end(&child).await?
        {
            let input = Input::Triggered { job, number, end };
            self.tell(&Actor::Build(build.clone()), &input).await?;
        }
        Ok(())
    }
}
