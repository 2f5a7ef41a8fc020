//! Which repositories there are: those that are configured, and those that GitHub has given to the App.
//!
//! Everything is keyed by numeric ids. Names follow them: a repository that was renamed or transferred keeps its pipeline,
//! its numbers and its builds, and is called by its new name from then on.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_core::build::Input;
use tidegate_core::event::{Changed, Installation, InstallationChange, Repository, RepositoryChange};
use tidegate_core::ids::{BuildId, PipelineSlug, RepositoryId, RepositoryName};
use tidegate_core::time::Timestamp;

use super::Outcome;
use crate::actors::Actor;
use crate::engine::{Engine, Loaded, PipelineSettings};
use crate::error::Error;
use crate::keys;
use crate::list::ListEntry;
use crate::ports::{Expect, PortError, RepositorySource};

/// Deliveries are late by minutes. What is told this long after a repository was taken away shows that it is there again.
const LATE: Duration = Duration::from_secs(3_600);
/// How many of a repository's newest builds are looked at when it is taken away.
const NEWEST: usize = 500;

/// What events told of a repository.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct RepositoryRecord {
    /// Empty when not known.
    #[serde(default)]
    pub(crate) default_branch: String,
    /// What people call it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<RepositoryName>,
    /// Everybody may read it, as far as is known.
    #[serde(default)]
    public: bool,
    /// Its pipeline, where it is not configured: chosen once, whatever the repository is called later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slug: Option<PipelineSlug>,
    /// The installation of the App that gave it to us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    installation: Option<u64>,
    /// It is out of reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone: Option<Gone>,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct Gone {
    /// Why, for people.
    why: String,
    at: Timestamp,
}

impl Engine {
    async fn record(&self, id: RepositoryId) -> Result<Option<Loaded<RepositoryRecord>>, Error> {
        self.load(&keys::repository(id)).await
    }

    /// Changes what is known of a repository.
    async fn note_repository(
        &self,
        id: RepositoryId,
        change: impl Fn(&mut RepositoryRecord),
    ) -> Result<RepositoryRecord, Error> {
        loop {
            let (known, expect) = match self.record(id).await? {
                Some(known) => (known.body, Expect::Version(known.version)),
                None => (RepositoryRecord::default(), Expect::Absent),
            };
            let mut next = known.clone();
            change(&mut next);
            if next == known {
                return Ok(next);
            }
            match self.save(keys::repository(id), &next, expect).await {
                Ok(_) => return Ok(next),
                Err(Error::Port(PortError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn configured(&self, id: RepositoryId) -> Option<&RepositorySource> {
        self.settings.repositories.iter().find(|r| r.id == id)
    }

    /// How to reach a repository, if it is configured or was given to the App. By the name that it has now.
    pub(crate) async fn repository(&self, id: RepositoryId) -> Result<Option<RepositorySource>, Error> {
        let record = self.record(id).await?.map(|r| r.body);
        let name = record.as_ref().and_then(|r| r.name.clone());
        if let Some(configured) = self.configured(id) {
            return Ok(Some(RepositorySource {
                full_name: name.unwrap_or_else(|| configured.full_name.clone()),
                ..configured.clone()
            }));
        }
        let given = record.filter(|r| r.slug.is_some() && r.gone.is_none() && self.settings.forge.app.is_some());
        Ok(given.and(name).map(|name| RepositorySource {
            id,
            clone_url: format!("{}/{name}.git", self.settings.forge.web_url),
            full_name: name,
        }))
    }

    /// The repository that an event is about, with what the event says of it noted; or why its events are of no interest.
    pub(super) async fn known(
        &self,
        event: &Repository,
        installation: Option<u64>,
    ) -> Result<Result<RepositorySource, String>, Error> {
        let id = event.id;
        let configured = self.configured(id).is_some();
        let given = self.settings.forge.app.is_some() && installation.is_some();
        if !configured && !given {
            return Ok(Err(format!("the repository `{}` (id {id}) is not configured", event.full_name)));
        }
        let now = self.now();
        let record = self
            .note_repository(id, |record| {
                if !event.default_branch.is_empty() {
                    record.default_branch.clone_from(&event.default_branch);
                }
                if record.name.is_none() {
                    record.name = Some(event.full_name.clone());
                }
                // Late deliveries say what was: nothing is private again because one of them says so.
                record.public |= event.private == Some(false);
                record.installation = installation.or(record.installation);
                record.gone.take_if(|gone| now.since(gone.at) > LATE);
            })
            .await?;
        if let Some(gone) = record.gone {
            return Ok(Err(format!("`{}` is out of reach: {}", event.full_name, gone.why)));
        }
        if !configured && record.slug.is_none() {
            self.name_pipeline(id, &event.full_name).await?;
            if let Some(installation) = installation {
                self.save(keys::installed(installation, id), &(), Expect::Any).await?;
            }
        }
        let known = self.repository(id).await?;
        Ok(known.ok_or_else(|| format!("the repository `{}` (id {id}) is not known", event.full_name)))
    }

    /// Whether nobody but those who were let in may read a repository.
    pub(super) async fn is_private(&self, event: &Repository) -> Result<bool, Error> {
        let public = self.record(event.id).await?.is_some_and(|r| r.body.public);
        Ok(event.private == Some(true) && !public)
    }

    /// Chooses a name for the pipeline of a repository that is not configured: its own, or a longer one where that is taken.
    async fn name_pipeline(&self, id: RepositoryId, name: &RepositoryName) -> Result<(), Error> {
        let (owner, short) = name.as_str().split_once('/').unwrap_or_default();
        for slug in [short.to_owned(), format!("{owner}-{short}"), format!("{short}-{id}")] {
            let Ok(slug) = PipelineSlug::new(slug) else { continue };
            if self.settings.pipelines.iter().any(|p| p.slug == slug)
                || self.settings.repositories.iter().any(|r| default_slug(r).as_ref() == Some(&slug))
            {
                continue;
            }
            let key = keys::pipeline(&slug);
            let owner = match self.load::<RepositoryId>(&key).await? {
                Some(known) => known.body,
                None => match self.save(key, &id, Expect::Absent).await {
                    Ok(_) => id,
                    Err(Error::Port(PortError::Conflict)) => continue,
                    Err(error) => return Err(error),
                },
            };
            if owner == id {
                self.note_repository(id, |record| {
                    record.slug.get_or_insert_with(|| slug.clone());
                })
                .await?;
                return Ok(());
            }
        }
        Err(PortError::retry(format!("no name is free for the pipeline of `{name}`")).into())
    }

    /// The pipelines of a repository: those configured, or one of the repository's own name.
    pub(crate) async fn pipelines_of(&self, id: RepositoryId) -> Result<Vec<PipelineSettings>, Error> {
        if let Some(configured) = self.configured(id) {
            return Ok(self.configured_pipelines(configured));
        }
        let slug = self.record(id).await?.and_then(|r| r.body.slug);
        Ok(slug.map(|slug| PipelineSettings::new(slug, id)).into_iter().collect())
    }

    /// The pipelines of a repository that is configured.
    pub(crate) fn configured_pipelines(&self, repository: &RepositorySource) -> Vec<PipelineSettings> {
        let configured: Vec<PipelineSettings> =
            self.settings.pipelines.iter().filter(|p| p.repository == repository.id).cloned().collect();
        if !configured.is_empty() {
            return configured;
        }
        default_slug(repository).map(|slug| PipelineSettings::new(slug, repository.id)).into_iter().collect()
    }

    /// The pipeline of this name and its repository.
    pub(crate) async fn find_pipeline(
        &self,
        slug: &str,
    ) -> Result<Option<(RepositorySource, PipelineSettings)>, Error> {
        let configured = self.settings.repositories.iter().find_map(|repository| {
            let pipeline = self.configured_pipelines(repository).into_iter().find(|p| p.slug.as_str() == slug)?;
            Some((repository.id, pipeline))
        });
        let (id, pipeline) = match configured {
            Some(found) => found,
            None => {
                let Ok(slug) = PipelineSlug::new(slug) else { return Ok(None) };
                let Some(id) = self.load::<RepositoryId>(&keys::pipeline(&slug)).await? else { return Ok(None) };
                let pipelines = self.pipelines_of(id.body).await?;
                let Some(pipeline) = pipelines.into_iter().find(|p| p.slug == slug) else { return Ok(None) };
                (id.body, pipeline)
            }
        };
        Ok(self.repository(id).await?.map(|repository| (repository, pipeline)))
    }

    /// That there is no such pipeline, and which there are.
    pub(crate) fn no_pipeline(&self, slug: &str) -> String {
        let pipelines = self.settings.repositories.iter().flat_map(|r| self.configured_pipelines(r));
        let all: Vec<String> = pipelines.map(|p| p.slug.to_string()).collect();
        let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
        format!("there is no pipeline `{slug}`; configured: {all}")
    }

    /// The default branch of a repository: what its events said last, else `main` or `master` if it is there, else
    /// nothing.
    pub(crate) async fn default_branch(&self, repository: &RepositorySource) -> Result<String, Error> {
        let known = self.record(repository.id).await?.map(|r| r.body.default_branch);
        if let Some(known) = known.filter(|name| !name.is_empty()) {
            return Ok(known);
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

    pub(super) async fn ingest_repository(&self, change: &RepositoryChange) -> Result<Outcome, Error> {
        let event = &change.repository;
        let id = event.id;
        let was = self.record(id).await?.map(|r| r.body);
        if self.configured(id).is_none() && was.as_ref().is_none_or(|r| r.slug.is_none()) {
            return Ok(Outcome::none(format!("the repository `{}` (id {id}) is not configured", event.full_name)));
        }
        let now = self.now();
        let gone = |why: &str| Some(Gone { why: why.to_owned(), at: now });
        self.note_repository(id, |record| {
            record.name = Some(event.full_name.clone());
            if !event.default_branch.is_empty() {
                record.default_branch.clone_from(&event.default_branch);
            }
            match change.changed {
                Changed::Name => {}
                Changed::Publicized => record.public = true,
                Changed::Privatized => record.public = false,
                Changed::Unarchived => record.gone = None,
                Changed::Archived => record.gone = gone("it was archived"),
                Changed::Deleted => record.gone = gone("it was deleted"),
            }
        })
        .await?;
        let name = &event.full_name;
        Ok(Outcome::none(match change.changed {
            Changed::Name => match was.and_then(|r| r.name).filter(|was| was != name) {
                Some(was) => format!("`{was}` is called `{name}` now"),
                None => format!("`{name}` has other settings"),
            },
            Changed::Privatized => format!("`{name}` is private now"),
            Changed::Unarchived => format!("`{name}` is not archived any more"),
            Changed::Publicized => {
                // Whoever was trusted for the repository being private is not any more, at once.
                let ended = self.cancel_builds(id, "everybody may read the repository now", |build| {
                    build.facts.trust == tidegate_core::trust::Trust::Trusted
                        && build.pull_request().is_some_and(|pull| pull.fork)
                });
                format!("`{name}` is public now; builds canceled: {}", ended.await?.len())
            }
            Changed::Archived | Changed::Deleted => {
                let ended = self.cancel_builds(id, "the repository is out of reach", |_| true).await?;
                format!("`{name}` is out of reach; builds canceled: {}", ended.len())
            }
        }))
    }

    pub(super) async fn ingest_installation(&self, event: &Installation) -> Result<Outcome, Error> {
        if self.settings.forge.app.is_none() {
            return Ok(Outcome::none("no App is configured: `[github] app_id`"));
        }
        if let Some(app) = event.app
            && !self.settings.forge.is_ours(app, &event.client_id)
        {
            return Ok(Outcome::none(format!("an installation of another App ({app})")));
        }
        let away = match event.change {
            InstallationChange::Changed | InstallationChange::Unsuspended => None,
            InstallationChange::Suspended => Some("the installation of the App was suspended"),
            InstallationChange::Deleted => Some("the App was uninstalled"),
        };
        let mut lost: Vec<(RepositoryId, &str)> = Vec::new();
        match away {
            Some(why) => {
                // What the event leaves out is known by the installation that gave it.
                for id in self.of_installation(event.id).await? {
                    lost.push((id, why));
                }
                lost.extend(event.repositories.iter().map(|(id, _)| (*id, why)));
            }
            None => {
                for id in self.of_installation(event.id).await? {
                    if event.change == InstallationChange::Unsuspended {
                        self.note_repository(id, |record| record.gone = None).await?;
                    }
                }
                for (id, name) in &event.repositories {
                    self.note_repository(*id, |record| {
                        record.gone = None;
                        record.installation = Some(event.id);
                        record.name.get_or_insert_with(|| name.clone());
                    })
                    .await?;
                    if self.configured(*id).is_none() && self.record(*id).await?.is_none_or(|r| r.body.slug.is_none()) {
                        self.name_pipeline(*id, name).await?;
                    }
                    self.save(keys::installed(event.id, *id), &(), Expect::Any).await?;
                }
                lost.extend(event.removed.iter().map(|(id, _)| (*id, "access to it was taken away")));
            }
        }
        lost.sort_unstable();
        lost.dedup();
        let mut ended = 0;
        for (id, why) in &lost {
            // What is configured by hand may be reached in other ways.
            if self.configured(*id).is_some() {
                continue;
            }
            let now = self.now();
            self.note_repository(*id, |record| record.gone = Some(Gone { why: (*why).to_owned(), at: now })).await?;
            ended += self.cancel_builds(*id, why, |_| true).await?.len();
        }
        Ok(Outcome::none(format!(
            "installation {}: {} repositories given, {} taken away, builds canceled: {ended}",
            event.id,
            if away.is_none() { event.repositories.len() } else { 0 },
            lost.len()
        )))
    }

    async fn of_installation(&self, installation: u64) -> Result<Vec<RepositoryId>, Error> {
        let (records, _) = self.list(&keys::installation(installation), 10_000).await?;
        Ok(records.iter().filter_map(|r| r.key.sk.parse().ok().map(RepositoryId)).collect())
    }

    /// Cancels the newest builds of a repository that are not over, where they are wanted.
    async fn cancel_builds(
        &self,
        id: RepositoryId,
        by: &str,
        wanted: impl Fn(&tidegate_core::build::Build) -> bool,
    ) -> Result<Vec<BuildId>, Error> {
        let mut ended = Vec::new();
        for pipeline in self.pipelines_of(id).await? {
            let (records, _) = self.list(&keys::list_partition(id, &pipeline.slug), NEWEST).await?;
            for record in records {
                let entry: ListEntry = crate::engine::open(&record.key, &record.body)?;
                if entry.state.is_final() {
                    continue;
                }
                let Some(build) = self.load(&keys::build(&entry.id)).await? else { continue };
                if wanted(&build.body) {
                    self.tell(&Actor::Build(entry.id.clone()), &Input::Cancel { by: by.to_owned() }).await?;
                    ended.push(entry.id);
                }
            }
        }
        Ok(ended)
    }
}

/// The pipeline that a repository has where none is configured: of the repository's own name.
fn default_slug(repository: &RepositorySource) -> Option<PipelineSlug> {
    let name = repository.full_name.as_str().split('/').next_back().unwrap_or_default();
    PipelineSlug::new(name).ok()
}
