//! From a verified event to a build (design, "From a push to a result", 2).
//!
//! The `ingest` queue is at-least-once and unordered. What is acknowledged: everything that was decided, whether it made
//! a build or not, and messages that cannot be read (they are logged and moved aside by the queue's dead letters only if
//! reading may work later: an unreadable text never will, so it is dropped). What is retried: every failure of a port. The
//! delivery record is written last, so that a crash anywhere before is repaired by the message coming again
//! (`spec/hazards.md` C3).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tidegate_core::build::{Build, Facts, TriggeredBy};
use tidegate_core::event::{Event, EventKind, GitRef, Push};
use tidegate_core::ids::{BuildId, CommitSha, DeliveryId, PipelineSlug, derived_uuid};
use tidegate_core::plan::Env;
use tidegate_core::time::Timestamp;
use tidegate_core::trust::Trust;
use tidegate_core::wire::gate::segment_key;
use tidegate_pipeline::{FindError, SEARCH_PATHS, branches_match};

use crate::actors::Actor;
use crate::engine::{Engine, PipelineSettings};
use crate::error::Error;
use crate::expand::{Text, errors_in_words};
use crate::gate::MetaDataRecord;
use crate::keys;
use crate::ports::{Expect, PortError, RepositorySource};

/// The queue of verified events.
pub const INGEST: &str = "ingest";
/// How many moves of a ref are remembered.
const MOVES: usize = 20;

/// What became of a delivery.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct DeliveryRecord {
    /// When it was decided.
    pub at: Timestamp,
    /// The builds it led to.
    pub builds: Vec<BuildId>,
    /// Why it led to none, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The last moves of a ref.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
struct RefRecord {
    moves: Vec<Move>,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct Move {
    before: String,
    after: String,
    /// The delivery that told of it first: the trigger of its build.
    trigger: String,
}

impl RefRecord {
    /// The trigger of this move. Two deliveries tell of one move when the ref has not come back to `before` in between;
    /// A to B, back to A, and to B again are three moves (`spec/hazards.md` C4).
    fn trigger_of(&mut self, before: &str, after: &str, delivery: &str) -> String {
        let same = |m: &&Move| m.trigger == delivery && m.before == before && m.after == after;
        if let Some(known) = self.moves.iter().find(same) {
            return known.trigger.clone();
        }
        let last = self.moves.iter().rposition(|m| m.before == before && m.after == after);
        if let Some(place) = last
            && !self.moves[place + 1..].iter().any(|m| m.after == before)
        {
            return self.moves[place].trigger.clone();
        }
        let new = Move { before: before.to_owned(), after: after.to_owned(), trigger: delivery.to_owned() };
        self.moves.push(new);
        if self.moves.len() > MOVES {
            self.moves.remove(0);
        }
        delivery.to_owned()
    }
}

/// What events told of a repository.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct RepositoryRecord {
    default_branch: String,
}

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
    pub(crate) before: String,
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
    /// What made it: two wishes with one trigger are one build.
    pub(crate) trigger: String,
}

impl Engine {
    /// Decides about a verified event. Doing so again, at any time and after any crash, leads to the same builds.
    ///
    /// # Errors
    /// A port failed: ask again.
    pub async fn ingest(&self, event: &Event) -> Result<DeliveryRecord, Error> {
        let key = keys::delivery(&event.delivery);
        if let Some(known) = self.load::<DeliveryRecord>(&key).await? {
            tracing::info!(delivery.id = %event.delivery, "a doubled delivery: nothing to do");
            return Ok(known.body);
        }
        let outcome = match &event.kind {
            EventKind::Ping { hook } => Err(format!("a greeting from webhook {hook}")),
            EventKind::Ignored { event, why } => Err(format!("`{event}`: {why}")),
            EventKind::Push(push) => self.ingest_push(&event.delivery, push).await?,
        };
        let (builds, why) = match outcome {
            Ok(builds) => (builds, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        match &why {
            Some(why) => tracing::info!(delivery.id = %event.delivery, %why, "no build"),
            None => {
                for build in &builds {
                    tracing::info!(delivery.id = %event.delivery, build.id = %build, "build made");
                }
            }
        }
        let record = DeliveryRecord { at: self.now(), builds, why };
        self.remember(&key).await?;
        self.save(key, &record, Expect::Any).await?;
        Ok(record)
    }

    async fn ingest_push(&self, delivery: &DeliveryId, push: &Push) -> Result<Result<Vec<BuildId>, String>, Error> {
        let id = push.repository.id;
        let Some(repository) = self.repository(id) else {
            return Ok(Err(format!("the repository `{}` (id {id}) is not configured", push.repository.full_name)));
        };
        let trigger = self.note_move(push, delivery).await?;
        self.note_default_branch(repository, &push.repository.default_branch).await?;
        if push.deleted || push.after.is_zero() {
            return Ok(Err(format!("`{}` was deleted", push.git_ref.full())));
        }
        if let Some(token) = push.head.as_ref().and_then(|h| h.skip.as_ref()) {
            return Ok(Err(format!("the commit message says `{token}`")));
        }
        let name = push.git_ref.name();
        let pipelines: Vec<PipelineSettings> =
            self.pipelines_of(repository).into_iter().filter(|p| branches_match(&p.branches, name)).collect();
        if pipelines.is_empty() {
            return Ok(Err(format!("no pipeline of `{}` builds `{name}`", repository.full_name)));
        }
        let head = push.head.as_ref();
        // For an annotated tag `after` is the tag object; the head commit is the commit (`spec/github.md` 6.2).
        let commit = head.map_or_else(|| push.after.clone(), |h| h.id.clone());
        let wanted = Wanted {
            git_ref: Some(push.git_ref.clone()),
            before: push.before.to_string(),
            commit: commit.clone(),
            asked: commit.to_string(),
            message: head.map_or_else(String::new, |h| h.message.clone()),
            author: head.map_or_else(Default::default, |h| (h.author_name.clone(), h.author_email.clone())),
            creator: push.pusher.clone(),
            source: "webhook",
            // Whoever can push to a branch or a tag of the repository itself has write access.
            trust: Trust::Trusted,
            env: Vec::new(),
            meta_data: Vec::new(),
            default_branch: push.repository.default_branch.clone(),
            rebuilt_from: None,
            triggered_by: None,
            trigger,
        };
        let mut builds = Vec::new();
        for pipeline in &pipelines {
            builds.push(self.make_build(repository, pipeline, &wanted).await?);
        }
        Ok(Ok(builds))
    }

    /// Writes down that a ref moved, and says which delivery told of the move first.
    async fn note_move(&self, push: &Push, delivery: &DeliveryId) -> Result<String, Error> {
        let key = keys::git_ref(push.repository.id, &push.git_ref);
        loop {
            let (known, expect) = match self.load::<RefRecord>(&key).await? {
                Some(known) => (known.body, Expect::Version(known.version)),
                None => (RefRecord::default(), Expect::Absent),
            };
            let mut next = known.clone();
            let trigger = next.trigger_of(push.before.as_str(), push.after.as_str(), delivery.as_str());
            if next == known {
                return Ok(trigger);
            }
            match self.save(key.clone(), &next, expect).await {
                Ok(_) => return Ok(trigger),
                Err(Error::Port(PortError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn note_default_branch(&self, repository: &RepositorySource, name: &str) -> Result<(), Error> {
        let key = keys::repository(repository.id);
        let known = self.load::<RepositoryRecord>(&key).await?;
        if name.is_empty() || known.is_some_and(|known| known.body.default_branch == name) {
            return Ok(());
        }
        self.save(key, &RepositoryRecord { default_branch: name.to_owned() }, Expect::Any).await.map(|_| ())
    }

    /// The default branch of a repository: what its events said last, else `main` or `master` if it is there, else
    /// nothing.
    pub(crate) async fn default_branch(&self, repository: &RepositorySource) -> Result<String, Error> {
        if let Some(known) = self.load::<RepositoryRecord>(&keys::repository(repository.id)).await? {
            return Ok(known.body.default_branch);
        }
        for name in ["main", "master"] {
            match self.ports.repositories.resolve(repository, name).await {
                Ok(Some(_)) => return Ok(name.to_owned()),
                Ok(None) | Err(PortError::Reject { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(String::new())
    }

    /// The pipeline of this name and its repository.
    pub(crate) fn find_pipeline(&self, slug: &str) -> Option<(&RepositorySource, PipelineSettings)> {
        self.settings.repositories.iter().find_map(|repository| {
            let pipeline = self.pipelines_of(repository).into_iter().find(|p| p.slug.as_str() == slug)?;
            Some((repository, pipeline))
        })
    }

    /// That there is no such pipeline, and which there are.
    pub(crate) fn no_pipeline(&self, slug: &str) -> String {
        let pipelines = self.settings.repositories.iter().flat_map(|r| self.pipelines_of(r));
        let all: Vec<String> = pipelines.map(|p| p.slug.to_string()).collect();
        let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
        format!("there is no pipeline `{slug}`; configured: {all}")
    }

    /// The pipelines of a repository: those configured, or one of the repository's own name.
    pub(crate) fn pipelines_of(&self, repository: &RepositorySource) -> Vec<PipelineSettings> {
        let configured: Vec<PipelineSettings> =
            self.settings.pipelines.iter().filter(|p| p.repository == repository.id).cloned().collect();
        if !configured.is_empty() {
            return configured;
        }
        let name = repository.full_name.as_str().split('/').next_back().unwrap_or_default();
        PipelineSlug::new(name).map(|slug| PipelineSettings::new(slug, repository.id)).into_iter().collect()
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
        let branch = wanted.git_ref.as_ref().map_or("", GitRef::name);
        if self.ports.store.get(&keys::build(&id)).await?.is_some() {
            self.ring(&Actor::Build(id.clone())).await?;
            self.supersede(pipeline, &id, number, branch).await?;
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
        };
        let build = self.plan(repository, pipeline, facts).await?;
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
        self.supersede(pipeline, &id, number, branch).await?;
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
            &wanted.before,
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
        let places: Vec<&str> = match &pipeline.file {
            Some(file) => vec![file.as_str()],
            None => SEARCH_PATHS.to_vec(),
        };
        let git_ref = facts.git_ref.as_ref().map(GitRef::full);
        let read = self.ports.repositories.files(repository, &facts.commit, git_ref.as_deref(), &places).await;
        let files = match read {
            Ok(files) => files,
            Err(PortError::Reject { why }) => {
                return Ok(Build::failed(facts, format!("the pipeline file cannot be read: {why}"), Vec::new()));
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
            Err(why) => return Ok(Build::failed(facts, why, Vec::new())),
        };
        let text = Text { name: path, bytes: &bytes, env: Vec::new(), interpolate: true };
        let (segment, diagnostics) = self.expand(text, &facts, repository).await?;
        let Some(segment) = segment else {
            let why = format!("{} in `{path}`", errors_in_words(&diagnostics));
            return Ok(Build::failed(facts, why, diagnostics));
        };
        if let Err(why) = self.settings.limits.check_jobs(0, &segment) {
            return Ok(Build::failed(facts, why.to_string(), diagnostics));
        }
        let blob = segment_key(&facts.id, "0");
        self.store_segment(&blob, &segment).await?;
        // The segment that is stored counts: a repetition may have read another version of our own code.
        let stored = self.segment(&blob).await?;
        Ok(Build::new(facts, blob, &stored))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_are_told_apart() {
        let mut record = RefRecord::default();
        assert_eq!(record.trigger_of("a", "b", "1"), "1");
        assert_eq!(record.trigger_of("a", "b", "1"), "1", "the same delivery");
        assert_eq!(record.trigger_of("a", "b", "2"), "1", "another delivery of the same move");
        assert_eq!(record.trigger_of("b", "a", "3"), "3");
        assert_eq!(record.trigger_of("a", "b", "4"), "4", "the same commits, a new move");
        assert_eq!(record.trigger_of("a", "b", "1"), "1", "a late repetition of the first");
        assert_eq!(record.trigger_of("b", "c", "5"), "5");
        assert_eq!(record.trigger_of("a", "b", "6"), "4", "late news of an old move");
    }
}
