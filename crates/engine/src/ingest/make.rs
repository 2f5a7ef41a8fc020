//! From a wish to a build.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tidegate_core::build::{Build, Facts, Hold, Input, Origin, Planned, TriggeredBy};
use tidegate_core::diagnostic::Diagnostic;
use tidegate_core::event::GitRef;
use tidegate_core::ids::{BuildId, CommitSha, PipelineSlug, derived_uuid};
use tidegate_core::plan::{Env, Segment};
use tidegate_core::trust::Trust;
use tidegate_core::wire::gate::segment_key;
use tidegate_pipeline::{FindError, SEARCH_PATHS};

use super::at::At;
use crate::actors::Actor;
use crate::api::{ApiError, BuildName, NotFound};
use crate::engine::{Engine, PipelineSettings};
use crate::error::Error;
use crate::expand::{Text, errors_in_words};
use crate::gate::MetaDataRecord;
use crate::keys;
use crate::ports::{Expect, PortError, RepositorySource};

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct BuildKeyRecord {
    build: BuildId,
    number: u64,
    /// What is built: found out once, because a name may mean another commit when it is looked up again.
    commit: CommitSha,
}

/// What is to be built.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) git_ref: Option<GitRef>,
    pub(crate) commit: CommitSha,
    /// The commit as it was asked for. The build's key is made of this: a branch that is asked for again after a lost
    /// answer may have moved in between, and is the same wish all the same.
    pub(crate) asked: String,
    pub(crate) message: String,
    pub(crate) author: (String, String),
    pub(crate) creator: String,
    pub(crate) source: &'static str,
    pub(crate) trust: Trust,
    pub(crate) env: Env,
    pub(crate) meta_data: Vec<(String, String)>,
    pub(crate) default_branch: String,
    pub(crate) rebuilt_from: Option<(BuildId, u64)>,
    pub(crate) triggered_by: Option<TriggeredBy>,
    /// The event that made it, and what it was about.
    pub(crate) origin: Option<Box<Origin>>,
    /// Why it is not planned yet.
    pub(crate) hold: Option<Hold>,
    /// Why it fails before it is planned.
    pub(crate) refusal: Option<(String, Vec<Diagnostic>)>,
    /// What made it: two wishes with one trigger are one build.
    pub(crate) trigger: String,
}

impl Wanted {
    /// What is made by this trigger, with everything else to be filled in. It is not trusted unless somebody says so.
    pub(crate) fn new(source: &'static str, trigger: String) -> Self {
        Self {
            git_ref: None,
            commit: CommitSha::zero(),
            asked: String::new(),
            message: String::new(),
            author: Default::default(),
            creator: String::new(),
            source,
            trust: Trust::Untrusted,
            env: Vec::new(),
            meta_data: Vec::new(),
            default_branch: String::new(),
            rebuilt_from: None,
            triggered_by: None,
            origin: None,
            hold: None,
            refusal: None,
            trigger,
        }
    }
}

impl Engine {
    /// As [`Engine::make_build`], but for the repository of an App without a pipeline file: nobody has asked for that to be
    /// built. Returns why no build was made.
    pub(super) async fn make_if_there(
        &self,
        repository: &RepositorySource,
        pipeline: &PipelineSettings,
        wanted: &Wanted,
    ) -> Result<Result<BuildId, String>, Error> {
        let configured = self.settings.repositories.iter().any(|r| r.id == repository.id);
        if !configured {
            let git_ref = wanted.git_ref.as_ref().map(GitRef::full);
            let places = places(pipeline);
            match self.ports.repositories.files(repository, &wanted.commit, git_ref.as_deref(), &places).await {
                Ok(files) if files.iter().all(|file| file.content.is_none()) => {
                    let commit = wanted.commit.short();
                    return Ok(Err(format!("`{}` has no pipeline file at commit {commit}", repository.full_name)));
                }
                // What is wrong is said by the build.
                Ok(_) | Err(PortError::Reject { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.make_build(repository, pipeline, wanted).await.map(Ok)
    }

    /// Makes the build that is wanted, once. A crash after any line is repaired by the same call again.
    pub(crate) async fn make_build(
        &self,
        repository: &RepositorySource,
        pipeline: &PipelineSettings,
        wanted: &Wanted,
    ) -> Result<BuildId, Error> {
        Ok(self.make_numbered_build(repository, pipeline, wanted).await?.0)
    }

    /// As [`Engine::make_build`], with the build's number.
    pub(crate) async fn make_numbered_build(
        &self,
        repository: &RepositorySource,
        pipeline: &PipelineSettings,
        wanted: &Wanted,
    ) -> Result<(BuildId, u64), Error> {
        let BuildKeyRecord { build: id, number, commit } = self.identify(repository, pipeline, wanted).await?;
        if self.ports.store.get(&keys::build(&id)).await?.is_some() {
            self.ring(&Actor::Build(id.clone())).await?;
            self.supersede(pipeline, &id, number, wanted.git_ref.as_ref()).await?;
            return Ok((id, number));
        }
        let facts = Facts {
            id: id.clone(),
            number,
            pipeline: pipeline.slug.clone(),
            repository: repository.id,
            repository_name: repository.full_name.clone(),
            git_ref: wanted.git_ref.clone(),
            commit,
            message: wanted.message.clone(),
            author: wanted.author.clone(),
            creator: wanted.creator.clone(),
            source: wanted.source.to_owned(),
            trust: wanted.trust,
            env: wanted.env.clone(),
            created_at: self.now(),
            default_branch: wanted.default_branch.clone(),
            rebuilt_from: wanted.rebuilt_from.as_ref().map(|(id, _)| id.clone()),
            rebuilt_number: wanted.rebuilt_from.as_ref().map(|(_, number)| *number),
            triggered_by: wanted.triggered_by.clone().map(Box::new),
            origin: wanted.origin.clone(),
        };
        let at = At {
            build: id.clone(),
            pipeline: pipeline.slug.clone(),
            git_ref: wanted.git_ref.as_ref().map_or_else(String::new, GitRef::full),
            trigger: wanted.trigger.clone(),
        };
        let place = keys::at(repository.id, &facts.commit, &pipeline.slug, number);
        let build = match (&wanted.refusal, wanted.hold) {
            (Some((why, findings)), _) => Build::failed(facts, why.clone(), findings.clone()),
            (None, Some(hold)) => Build::held(facts, hold),
            (None, None) => self.plan(repository, pipeline, facts).await?,
        };
        self.save(place, &at, Expect::Any).await?;
        let actor = Actor::Build(id.clone());
        self.save(keys::pipeline(&pipeline.slug), &repository.id, Expect::Any).await?;
        for (name, value) in &wanted.meta_data {
            let record = MetaDataRecord { value: value.clone(), by: None };
            match self.save(keys::meta_data(&id, name), &record, Expect::Absent).await {
                Ok(_) | Err(Error::Port(PortError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
        // On the index before there is anything that could be forgotten (`spec/hazards.md` C10).
        self.save(keys::active(&actor), &(), Expect::Any).await?;
        match self.save(keys::build(&id), &build, Expect::Absent).await {
            Ok(_) | Err(Error::Port(PortError::Conflict)) => {}
            Err(error) => return Err(error),
        }
        self.ring(&actor).await?;
        self.supersede(pipeline, &id, number, wanted.git_ref.as_ref()).await?;
        Ok((id, number))
    }

    /// Id, number and commit of the wanted build: the record that is there, or a new one. Numbers may have gaps, never doubles.
    async fn identify(
        &self,
        repository: &RepositorySource,
        pipeline: &PipelineSettings,
        wanted: &Wanted,
    ) -> Result<BuildKeyRecord, Error> {
        let git_ref = wanted.git_ref.as_ref().map_or_else(String::new, GitRef::full);
        let mut hash = Sha256::new();
        let parts = [
            &repository.id.to_string(),
            pipeline.slug.as_str(),
            wanted.source,
            &git_ref,
            // Once the commit before, which the trigger stands for now.
            "",
            &wanted.asked,
            &wanted.trigger,
        ];
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        let digest: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        let key = keys::build_key(&digest);
        loop {
            if let Some(known) = self.load::<BuildKeyRecord>(&key).await? {
                return Ok(known.body);
            }
            self.remember(&key).await?;
            let number = self.next_number(&pipeline.slug).await?;
            let name = format!("{digest}/{:032x}", self.ports.ids.random());
            let build =
                BuildId::new(derived_uuid("build", &name).to_string()).map_err(|e| PortError::fatal(e.to_string()))?;
            let record = BuildKeyRecord { build, number, commit: wanted.commit.clone() };
            match self.save(key.clone(), &record, Expect::Absent).await {
                Ok(_) => return Ok(record),
                Err(Error::Port(PortError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn next_number(&self, pipeline: &PipelineSlug) -> Result<u64, Error> {
        let key = keys::counter(pipeline);
        loop {
            let (last, expect) = match self.load::<u64>(&key).await? {
                Some(known) => (known.body, Expect::Version(known.version)),
                None => (0, Expect::Absent),
            };
            match self.save(key.clone(), &(last + 1), expect).await {
                Ok(_) => return Ok(last + 1),
                Err(Error::Port(PortError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads the pipeline file and expands it. What is wrong with the file or the commit makes a failed build; what is
    /// wrong with the network makes a retry.
    async fn plan(
        &self,
        repository: &RepositorySource,
        pipeline: &PipelineSettings,
        facts: Facts,
    ) -> Result<Build, Error> {
        let segment = match self.expand_file(repository, pipeline, &facts).await? {
            Ok(segment) => segment,
            Err((why, diagnostics)) => return Ok(Build::failed(facts, why, diagnostics)),
        };
        let blob = segment_key(&facts.id, "0");
        self.store_segment(&blob, &segment).await?;
        // The segment that is stored counts: a repetition may have read another version of our own code.
        let stored = self.segment(&blob).await?;
        Ok(Build::new(facts, blob, &stored))
    }

    /// What the first segment of a build with these facts would be; `None` where it would have none.
    pub(super) async fn first_segment(
        &self,
        repository: &RepositorySource,
        pipeline: &PipelineSettings,
        facts: &Facts,
    ) -> Result<Option<Segment>, Error> {
        Ok(self.expand_file(repository, pipeline, facts).await?.ok())
    }

    /// The pipeline file at the commit, expanded; or what is wrong with the file or the commit.
    async fn expand_file(
        &self,
        repository: &RepositorySource,
        pipeline: &PipelineSettings,
        facts: &Facts,
    ) -> Result<Result<Segment, (String, Vec<Diagnostic>)>, Error> {
        let places = places(pipeline);
        let git_ref = facts.git_ref.as_ref().map(GitRef::full);
        let read = self.ports.repositories.files(repository, &facts.commit, git_ref.as_deref(), &places).await;
        let files = match read {
            Ok(files) => files,
            Err(PortError::Reject { why }) => {
                return Ok(Err((format!("the pipeline file cannot be read: {why}"), Vec::new())));
            }
            Err(error) => return Err(error.into()),
        };
        let content = |path: &str| files.iter().find(|f| f.path == path).and_then(|f| f.content.clone());
        let chosen = match &pipeline.file {
            Some(file) if content(file).is_some() => Ok(file.as_str()),
            Some(file) => Err(format!("there is no pipeline file `{file}` at commit {}", facts.commit.short())),
            None => tidegate_pipeline::find(|path| content(path).is_some()).map_err(|error| match error {
                FindError::Missing => format!(
                    "there is no pipeline file at commit {}: looked for {}",
                    facts.commit.short(),
                    SEARCH_PATHS.join(", ")
                ),
                several @ FindError::Several(_) => several.to_string(),
            }),
        };
        let (path, bytes) = match chosen.map(|path| (path, content(path).unwrap_or_default())) {
            Ok(found) => found,
            Err(why) => return Ok(Err((why, Vec::new()))),
        };
        let text = Text { name: path, bytes: &bytes, env: Vec::new(), interpolate: true };
        let (segment, diagnostics) = self.expand(text, facts, repository).await?;
        let Some(segment) = segment else {
            let why = format!("{} in `{path}`", errors_in_words(&diagnostics));
            return Ok(Err((why, diagnostics)));
        };
        if let Err(why) = self.settings.limits_of(facts.trust).check_jobs(0, &segment) {
            return Ok(Err((why.to_string(), diagnostics)));
        }
        Ok(Ok(segment))
    }

    /// Lets a build be planned that was held, for a person who may. When this returns, the approval is in the build's record.
    ///
    /// # Errors
    /// Not found; refused where it does not wait for approval; or a port failed.
    pub async fn approve(&self, name: &BuildName, by: &str) -> Result<BuildId, ApiError> {
        let id = self.find_build(name).await?;
        let known = self.load::<Build>(&keys::build(&id)).await?;
        let build = known.ok_or_else(|| NotFound(format!("there is no build `{id}`")))?.body;
        let name = format!("{}#{}", build.facts.pipeline, build.facts.number);
        if build.hold.is_none() || build.cancel.is_some() {
            return Err(ApiError::Refused(format!("{name} waits for no approval")));
        }
        let Some((repository, pipeline)) = self.find_pipeline(build.facts.pipeline.as_str()).await? else {
            return Err(ApiError::Refused(self.no_pipeline(build.facts.pipeline.as_str())));
        };
        let plan = match self.no_isolation() {
            Some(why) => Planned::Failed { failure: why, diagnostics: Vec::new() },
            None => match self.expand_file(&repository, &pipeline, &build.facts).await? {
                Ok(segment) => {
                    let blob = segment_key(&id, "0");
                    self.store_segment(&blob, &segment).await?;
                    Planned::Segment(blob)
                }
                Err((failure, diagnostics)) => Planned::Failed { failure, diagnostics },
            },
        };
        let actor = Actor::Build(id.clone());
        self.tell(&actor, &Input::Approved { by: by.to_owned(), plan }).await?;
        self.step(&actor).await?;
        Ok(id)
    }
}

/// Where the file of a pipeline may be.
fn places(pipeline: &PipelineSettings) -> Vec<&str> {
    match &pipeline.file {
        Some(file) => vec![file.as_str()],
        None => SEARCH_PATHS.to_vec(),
    }
}
