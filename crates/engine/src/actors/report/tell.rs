//! Telling the forge of one item.

use std::time::Duration;

use tidegate_core::build::Build;
use tidegate_core::report::Check;
use tidegate_core::time::Timestamp;

use super::{CheckRecord, Item, ReportRecord};
use crate::engine::{Engine, Loaded};
use crate::environment::build_url;
use crate::error::Error;
use crate::ports::{CommitStatus, Expect, Forge, KnownCheck, PortError, RepositorySource};

/// How long a call of ours may be on its way: no function lives longer (`spec/aws-limits.md`, Lambda).
const LONGEST_CALL: Duration = Duration::from_secs(15 * 60);
/// Between two updates of which the later one says only how many jobs are done.
const CALM: Duration = Duration::from_secs(20);

/// What came of showing an item.
pub(super) enum Told {
    /// The forge shows it.
    UpToDate,
    /// It is to be looked at again then.
    At(Timestamp),
    /// It is to be looked at again at once.
    Again,
}

/// What came of a call.
struct Outcome {
    posted: bool,
    refused: Option<String>,
    check: Option<CheckRecord>,
}

impl Engine {
    /// Shows an item, unless it is shown.
    pub(super) async fn show_item(
        &self,
        build: &Build,
        item: &Item,
        known: Option<Loaded<ReportRecord>>,
    ) -> Result<Told, Error> {
        let now = self.now();
        let doubt = known.as_ref().and_then(|k| k.body.doubtful_until).filter(|until| *until > now);
        let same = |record: &ReportRecord| {
            record.status == item.status && item.check.as_ref().is_none_or(|check| record.told_of(check))
        };
        let settled = known.as_ref().filter(|k| {
            same(&k.body)
                && (k.body.posted || self.ports.forge.is_none() || k.body.refused.is_some())
                && (k.body.doubtful_until.is_none() || doubt.is_some())
        });
        if settled.is_some() {
            return Ok(doubt.map_or(Told::UpToDate, Told::At));
        }
        let repository = self.repository(build.facts.repository).await?;
        let (Some(forge), Some(repository)) = (&self.ports.forge, &repository) else {
            // Nobody is told; answers show what would be.
            let record = ReportRecord::new(item.status.clone(), now);
            let expect = known.map_or(Expect::Absent, |k| Expect::Version(k.version));
            return match self.save(item.key.clone(), &record, expect).await {
                Ok(_) => Ok(Told::UpToDate),
                Err(Error::Port(PortError::Conflict)) => Ok(Told::Again),
                Err(error) => Err(error),
            };
        };
        if let (Some(record), Some(check)) = (known.as_ref().map(|k| &k.body), &item.check)
            && record.posted
            && record.check.as_ref().is_some_and(|told| told.urgency == check.urgency())
            && record.at + CALM > now
        {
            return Ok(Told::At(record.at + CALM));
        }
        let lane = match forge.lane(repository).await {
            Ok(lane) => lane,
            Err(PortError::Reject { why }) => return self.refused(item, known, why).await,
            Err(error) => return Err(error.into()),
        };
        let slot = known.as_ref().and_then(|k| k.body.slot);
        let creates = known.as_ref().and_then(|k| k.body.check.as_ref()).is_none_or(|check| check.id.is_none());
        let at = self.take_slot(&lane, slot, creates).await?;
        if at > now {
            if slot == Some(at) {
                return Ok(Told::At(at));
            }
            let record = match &known {
                Some(known) => ReportRecord { slot: Some(at), ..known.body.clone() },
                None => ReportRecord { slot: Some(at), ..ReportRecord::new(item.status.clone(), now) },
            };
            let expect = known.map_or(Expect::Absent, |k| Expect::Version(k.version));
            return match self.save(item.key.clone(), &record, expect).await {
                Ok(_) => Ok(Told::At(at)),
                Err(Error::Port(PortError::Conflict)) => Ok(Told::Again),
                Err(error) => Err(error),
            };
        }
        self.tell_forge(&**forge, repository, &lane, build, item, known).await
    }

    /// Tells the forge, between two writes of the record: before, that it is about to be told, so that a crash in between
    /// leads to telling it again; after, that it was told. Whoever finds that somebody else wrote meanwhile may have told
    /// something older later than the other told something newer: the record is marked, and everything told again. It may
    /// also die before it can mark anything: whoever overtakes an intent tells the forge once more when no call can be on
    /// its way any longer.
    async fn tell_forge(
        &self,
        forge: &dyn Forge,
        repository: &RepositorySource,
        lane: &str,
        build: &Build,
        item: &Item,
        known: Option<Loaded<ReportRecord>>,
    ) -> Result<Told, Error> {
        let key = item.key.clone();
        let now = self.now();
        // An intent without an outcome: whoever wrote it has died, or sleeps and tells what it meant to tell after us.
        let overtaken = known.as_ref().is_some_and(|k| k.body.telling);
        let doubtful_until = match known.as_ref().and_then(|k| k.body.doubtful_until) {
            _ if overtaken => Some(now + LONGEST_CALL),
            until => until.filter(|until| *until > now),
        };
        let before = known.as_ref().and_then(|k| k.body.check.clone()).unwrap_or_default();
        let check = item.check.as_ref().map(|check| CheckRecord {
            digest: check.digest(),
            urgency: check.urgency(),
            tried: true,
            ..before.clone()
        });
        let intent = ReportRecord {
            telling: true,
            doubtful_until,
            check: check.clone(),
            ..ReportRecord::new(item.status.clone(), now)
        };
        let expect = known.map_or(Expect::Absent, |k| Expect::Version(k.version));
        let version = match self.save(key.clone(), &intent, expect).await {
            Ok(version) => version,
            Err(Error::Port(PortError::Conflict)) => return Ok(Told::Again),
            Err(error) => return Err(error),
        };
        // What a call whose answer nobody saw has done is asked for.
        let unsure = overtaken || before.tried && (before.id.is_none() || before.digest.is_empty());
        let outcome = match (&item.check, check) {
            (Some(check), Some(record)) => {
                self.post_check(forge, repository, build, check, CheckRecord { tried: unsure, ..record }).await
            }
            _ => self.post_status(forge, repository, build, item).await,
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                // Told or not, this call is over: the next one has nobody to fear, and has to look what there is.
                let unknown = intent.check.clone().map(|check| CheckRecord { digest: String::new(), ..check });
                let over = ReportRecord { telling: false, check: unknown, ..intent };
                if let Err(why) = self.save(key, &over, Expect::Version(version)).await {
                    tracing::debug!(build.id = %build.facts.id, %why, "a failed report is not written down: it is told twice");
                }
                let PortError::Retry { after: Some(after), why } = error else { return Err(error.into()) };
                tracing::warn!(build.id = %build.facts.id, lane, seconds = after.as_secs(), %why, "the forge wants to be left alone");
                let until = now + after;
                self.close_lane(lane, until).await?;
                return Ok(Told::At(until));
            }
        };
        let told = ReportRecord {
            posted: outcome.posted,
            refused: outcome.refused,
            telling: false,
            check: outcome.check,
            ..intent
        };
        match self.save(key.clone(), &told, Expect::Version(version)).await {
            // With doubts the note must stay: another step sees to that. So does what did not fit one request.
            Ok(_) if told.doubtful_until.is_some() || !told.posted && told.refused.is_none() => return Ok(Told::Again),
            Ok(_) => return Ok(Told::UpToDate),
            Err(Error::Port(PortError::Conflict)) => {}
            Err(error) => return Err(error),
        }
        loop {
            let Some(other) = self.load::<ReportRecord>(&key).await? else { return Ok(Told::Again) };
            let doubtful = ReportRecord { posted: false, refused: None, ..other.body };
            match self.save(key.clone(), &doubtful, Expect::Version(other.version)).await {
                Ok(_) => return Ok(Told::Again),
                Err(Error::Port(PortError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes down that the forge does not let us.
    async fn refused(&self, item: &Item, known: Option<Loaded<ReportRecord>>, why: String) -> Result<Told, Error> {
        tracing::warn!(record = %item.key, %why, "what a build says cannot be shown");
        let before = known.as_ref().and_then(|k| k.body.check.clone()).unwrap_or_default();
        let check =
            item.check.as_ref().map(|check| CheckRecord { digest: check.digest(), urgency: check.urgency(), ..before });
        let record = ReportRecord { refused: Some(why), check, ..ReportRecord::new(item.status.clone(), self.now()) };
        let expect = known.map_or(Expect::Absent, |k| Expect::Version(k.version));
        match self.save(item.key.clone(), &record, expect).await {
            Ok(_) => Ok(Told::UpToDate),
            Err(Error::Port(PortError::Conflict)) => Ok(Told::Again),
            Err(error) => Err(error),
        }
    }

    async fn post_status(
        &self,
        forge: &dyn Forge,
        repository: &RepositorySource,
        build: &Build,
        item: &Item,
    ) -> Result<Outcome, PortError> {
        let status = CommitStatus {
            context: item.status.context.clone(),
            state: item.status.state,
            description: item.status.description.clone(),
            target_url: Some(build_url(&self.settings, build)).filter(|url| !url.is_empty()),
        };
        match forge.set_status(repository, &build.facts.commit, &status).await {
            Ok(()) => Ok(Outcome { posted: true, refused: None, check: None }),
            Err(PortError::Reject { why }) => {
                tracing::warn!(build.id = %build.facts.id, %why, "the commit status was refused");
                Ok(Outcome { posted: false, refused: Some(why), check: None })
            }
            Err(error) => Err(error),
        }
    }

    /// `record.tried`: a check may be there although its id is not known, or have more annotations than is known.
    async fn post_check(
        &self,
        forge: &dyn Forge,
        repository: &RepositorySource,
        build: &Build,
        check: &Check,
        record: CheckRecord,
    ) -> Result<Outcome, PortError> {
        let commit = &build.facts.commit;
        let mut known = record.id.map(|id| KnownCheck { id, annotations: record.annotations });
        if record.tried {
            known = match forge.find_check(repository, commit, check).await {
                Ok(found) => found,
                Err(PortError::Reject { why }) => return Ok(refusal(build, check, record, why)),
                Err(error) => return Err(error),
            };
        }
        let updated = match known {
            Some(known) => forge.update_check(repository, known, check).await,
            None => Ok(None),
        };
        let told = match updated {
            // It was deleted, or never there.
            Ok(None) => forge.create_check(repository, commit, check).await,
            Ok(Some(known)) => Ok(known),
            Err(error) => Err(error),
        };
        match told {
            Ok(told) => {
                let record = CheckRecord { id: Some(told.id), annotations: told.annotations, tried: true, ..record };
                Ok(Outcome { posted: told.annotations >= check.annotations.len(), refused: None, check: Some(record) })
            }
            Err(PortError::Reject { why }) => Ok(refusal(build, check, record, why)),
            Err(error) => Err(error),
        }
    }
}

fn refusal(build: &Build, check: &Check, record: CheckRecord, why: String) -> Outcome {
    tracing::warn!(build.id = %build.facts.id, check = check.name, %why, "the check was refused");
    Outcome { posted: false, refused: Some(why), check: Some(record) }
}

impl ReportRecord {
    fn new(status: tidegate_core::report::Status, at: Timestamp) -> Self {
        Self { status, at, posted: false, refused: None, telling: false, doubtful_until: None, slot: None, check: None }
    }

    fn told_of(&self, check: &Check) -> bool {
        self.check.as_ref().is_some_and(|told| told.digest == check.digest())
    }
}
