//! What is old enough is deleted: builds with everything that belongs to them, and what is remembered of deliveries.
//!
//! The list entry of a build is what it is found by, so it goes last; it is marked first, so that nobody is shown half a
//! build. The build's record goes second, under the version that was judged: whoever retries a job of the build in that
//! moment has written another version, and the build stays. A crash after any line is repaired by the next sweep, which
//! finds the marked entry.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_core::build::Build;
use tidegate_core::ids::{BuildId, PipelineSlug, RepositoryId};
use tidegate_core::time::Timestamp;

use crate::actors::Actor;
use crate::engine::{Engine, Loaded, open};
use crate::error::Error;
use crate::keys;
use crate::list::ListEntry;
use crate::ports::{Expect, Key, PortError};

/// Entries that one sweep looks at, of each pipeline.
const PAGE: usize = 200;
/// Builds that one sweep deletes at most.
const BUILDS: usize = 20;
/// Remembered deliveries and keys that one sweep deletes at most.
const MEMORIES: usize = 500;
/// After everything was looked at, the next round begins this much later.
const ROUND: Duration = Duration::from_secs(3600);
const DAY: u64 = 86_400_000;
/// How many days before the last one that was looked at are looked for at first.
const FIRST_DAYS: u64 = 30;

/// A build that is or was to be deleted.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Expired {
    /// Its id.
    pub id: BuildId,
    /// Its number.
    pub number: u64,
    /// Slug of its pipeline.
    pub pipeline: String,
    /// Its state.
    pub state: String,
    /// When it ended.
    pub finished_at: Option<String>,
    /// Bytes of its logs, artifacts and other blobs.
    pub bytes: u64,
}

/// What a look at what is old led to.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct RetentionAnswer {
    /// How long builds are kept after their end, in seconds.
    pub keep_seconds: u64,
    /// Whether the builds were deleted; `false` for a dry run.
    pub deleted: bool,
    /// The builds.
    pub builds: Vec<Expired>,
}

/// How far the sweep has looked.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
struct Cursor {
    /// The last entry that was looked at; none at the beginning of a round.
    after: Option<String>,
    /// No look before this.
    rest_until: Timestamp,
}

impl Engine {
    fn is_due(&self, entry: &ListEntry, now: Timestamp) -> bool {
        let old = entry.finished_at.is_some_and(|at| now.since(at) >= self.settings.retention);
        entry.gone || (entry.state.is_final() && old)
    }

    /// Deletes some of what is old: bounded, so that a sweep ends.
    ///
    /// # Errors
    /// A port failed: the next sweep goes on.
    pub(crate) async fn sweep_old(&self) -> Result<(), Error> {
        let now = self.now();
        let mut left = BUILDS;
        for (slug, repository) in self.known_pipelines().await? {
            let key = keys::retention(&slug);
            let (known, expect) = match self.load::<Cursor>(&key).await? {
                Some(known) => (known.body, Expect::Version(known.version)),
                None => (Cursor::default(), Expect::Absent),
            };
            if known.rest_until > now || left == 0 {
                continue;
            }
            let partition = keys::list_partition(repository, &slug);
            let page = self.ports.store.query(&partition, "", known.after.as_deref(), PAGE).await?;
            let mut after = known.after.clone();
            for record in &page.records {
                if left == 0 {
                    break;
                }
                let entry: ListEntry = open(&record.key, &record.body)?;
                if self.is_due(&entry, now) && self.delete_build(repository, &slug, entry.number).await? {
                    left -= 1;
                }
                after = Some(record.key.sk.clone());
            }
            let next = match (left, page.more) {
                (0, _) | (_, true) => Cursor { after: after.or(page.last), rest_until: now },
                (_, false) => Cursor { after: None, rest_until: now + ROUND },
            };
            match self.save(key, &next, expect).await {
                Ok(_) | Err(Error::Port(PortError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
        self.forget_memories(now).await
    }

    /// Everything that is old enough to be deleted, deleted unless it is a dry run.
    ///
    /// # Errors
    /// A port failed: what was deleted until then stays deleted.
    pub async fn retention(&self, dry_run: bool) -> Result<RetentionAnswer, Error> {
        let now = self.now();
        let mut answer =
            RetentionAnswer { keep_seconds: self.settings.retention.as_secs(), deleted: !dry_run, builds: Vec::new() };
        for (slug, repository) in self.known_pipelines().await? {
            let partition = keys::list_partition(repository, &slug);
            let mut after: Option<String> = None;
            loop {
                let page = self.ports.store.query(&partition, "", after.as_deref(), PAGE).await?;
                for record in &page.records {
                    let entry: ListEntry = open(&record.key, &record.body)?;
                    if !self.is_due(&entry, now) {
                        continue;
                    }
                    let mut bytes = 0u64;
                    for prefix in prefixes(&entry.id) {
                        bytes = bytes.saturating_add(self.size_below(&prefix).await?);
                    }
                    let expired = Expired {
                        number: entry.number,
                        pipeline: entry.pipeline.to_string(),
                        state: entry.state.name().to_owned(),
                        finished_at: entry.finished_at.map(|at| at.to_string()),
                        bytes,
                        id: entry.id,
                    };
                    if dry_run || self.delete_build(repository, &slug, entry.number).await? {
                        answer.builds.push(expired);
                    }
                }
                match page.last.filter(|_| page.more) {
                    Some(last) => after = Some(last),
                    None => break,
                }
            }
        }
        Ok(answer)
    }

    /// Deletes a build and everything that belongs to it. Returns whether it is gone now.
    async fn delete_build(&self, repository: RepositoryId, slug: &PipelineSlug, number: u64) -> Result<bool, Error> {
        let listed = keys::list_entry(repository, slug, number);
        let Some(Loaded { body: entry, version }) = self.load::<ListEntry>(&listed).await? else { return Ok(false) };
        let id = entry.id.clone();
        let key = keys::build(&id);
        let now = self.now();
        let build = self.load::<Build>(&key).await?;
        if let Some(known) = &build {
            let build = &known.body;
            let old = build.finished_at.is_some_and(|at| now.since(at) >= self.settings.retention);
            let settled = !build.active && build.told >= build.shown;
            if !(build.state.is_final() && old && settled) {
                return Ok(false);
            }
        }
        if !entry.gone {
            let gone = ListEntry { gone: true, ..entry };
            match self.save(listed.clone(), &gone, Expect::Version(version)).await {
                Ok(_) => {}
                // Something is being shown: it is not over.
                Err(Error::Port(PortError::Conflict)) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        if let Some(known) = &build {
            match self.ports.store.delete_if(&key, Expect::Version(known.version)).await {
                Ok(()) => {}
                Err(PortError::Conflict) => {
                    // Somebody wants it still: it is shown again by its next step.
                    self.unmark(&listed).await?;
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(known) = &build {
            let facts = &known.body.facts;
            let place = keys::at(repository, &facts.commit, slug, number);
            self.ports.store.delete_if(&place, Expect::Any).await?;
        }
        let actor = Actor::Build(id.clone());
        let partitions = [
            keys::attempts(&id),
            keys::artifacts(&id),
            keys::meta_data_of(&id),
            keys::forms(&id),
            keys::triggers(&id),
            keys::annotations(&id),
            keys::notices(&id),
            keys::report(&id).pk,
            keys::inbox(&actor),
        ];
        for partition in partitions {
            self.delete_partition(&partition).await?;
        }
        for key in [keys::unreported(&id), keys::active(&actor), keys::pause(&actor)] {
            self.ports.store.delete_if(&key, Expect::Any).await?;
        }
        for prefix in prefixes(&id) {
            self.delete_below(&prefix).await?;
        }
        self.ports.store.delete_if(&listed, Expect::Any).await?;
        tracing::info!(build.id = %id, pipeline = %slug, number, "an old build was deleted");
        Ok(true)
    }

    async fn unmark(&self, listed: &Key) -> Result<(), Error> {
        let Some(known) = self.load::<ListEntry>(listed).await? else { return Ok(()) };
        let entry = ListEntry { gone: false, ..known.body };
        match self.save(listed.clone(), &entry, Expect::Version(known.version)).await {
            Ok(_) | Err(Error::Port(PortError::Conflict)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn delete_partition(&self, pk: &str) -> Result<(), Error> {
        loop {
            let page = self.ports.store.query(pk, "", None, PAGE).await?;
            if page.records.is_empty() && !page.more {
                return Ok(());
            }
            for record in &page.records {
                self.ports.store.delete_if(&record.key, Expect::Any).await?;
            }
        }
    }

    async fn delete_below(&self, prefix: &str) -> Result<(), Error> {
        loop {
            let blobs = self.ports.blobs.list(prefix, None, PAGE).await?;
            if blobs.is_empty() {
                return Ok(());
            }
            for blob in &blobs {
                self.ports.blobs.delete(&blob.key).await?;
            }
        }
    }

    async fn size_below(&self, prefix: &str) -> Result<u64, Error> {
        let (mut sum, mut after) = (0u64, None::<String>);
        loop {
            let blobs = self.ports.blobs.list(prefix, after.as_deref(), 1_000).await?;
            let Some(last) = blobs.last() else { return Ok(sum) };
            after = Some(last.key.clone());
            sum = blobs.iter().fold(sum, |sum, blob| sum.saturating_add(blob.size));
        }
    }

    /// Notes that a record is to be forgotten once deliveries of its day are not remembered any more.
    pub(crate) async fn remember(&self, key: &Key) -> Result<(), Error> {
        self.save(keys::dated(self.now().0 / DAY, key), key, Expect::Any).await.map(|_| ())
    }

    /// Forgets deliveries, and which builds they led to, of days that are long past.
    async fn forget_memories(&self, now: Timestamp) -> Result<(), Error> {
        let memory = u64::try_from(self.settings.delivery_memory.as_millis()).unwrap_or(u64::MAX);
        // The whole of the day is past.
        let last = (now.0.saturating_sub(memory) / DAY).saturating_sub(1);
        let key = keys::memories();
        let (first, expect) = match self.load::<u64>(&key).await? {
            Some(known) => (known.body, Expect::Version(known.version)),
            None => (last.saturating_sub(FIRST_DAYS), Expect::Absent),
        };
        let mut left = MEMORIES;
        let mut day = first;
        while day <= last && left > 0 {
            let page = self.ports.store.query(&keys::dated_partition(day), "", None, left.min(PAGE)).await?;
            for record in &page.records {
                let target: Key = open(&record.key, &record.body)?;
                self.ports.store.delete_if(&target, Expect::Any).await?;
                self.ports.store.delete_if(&record.key, Expect::Any).await?;
            }
            left = left.saturating_sub(page.records.len().max(1));
            if page.records.is_empty() && !page.more {
                day += 1;
            }
        }
        if day == first {
            return Ok(());
        }
        match self.save(key, &day, expect).await {
            Ok(_) | Err(Error::Port(PortError::Conflict)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Where the blobs of a build are.
fn prefixes(build: &BuildId) -> [String; 4] {
    ["logs", "artifacts", "plans", "annotations"].map(|kind| format!("{kind}/{build}/"))
}
