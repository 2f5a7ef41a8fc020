//! Planted defects: each is a lie of an adapter that makes the engine behave as if the defect were in it. The simulator has to
//! find every one by the invariant that it breaks, or it is worth nothing.

use std::collections::BTreeMap;
use std::str::FromStr;

use bytes::Bytes;
use tidegate_core::attempt::{Attempt, Cause, Phase};
use tidegate_core::build::{self, Build, BuildState, Cells, JobState, TriggerEnd};
use tidegate_core::fleet;
use tidegate_core::group;
use tidegate_core::ids::BuildId;
use tidegate_core::wire::envelope;
use tidegate_engine::ports::{Expect, Key, LaunchRequest, Page, Put, Record, Version};

use crate::exec::{TaskId, lock};
use crate::world::{MINUTE, SECOND, Side, World};

macro_rules! sabotages {
    ($($variant:ident $name:literal $invariants:literal $what:literal,)+) => {
        /// A planted defect.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum Sabotage { $(#[doc = $what] $variant,)+ }

        impl Sabotage {
            pub(crate) const ALL: &[Sabotage] = &[$(Sabotage::$variant,)+];
            pub(crate) fn name(self) -> &'static str {
                match self { $(Sabotage::$variant => $name,)+ }
            }
            /// The invariants of which one must find it.
            pub(crate) fn invariants(self) -> &'static str {
                match self { $(Sabotage::$variant => $invariants,)+ }
            }
            pub(crate) fn what(self) -> &'static str {
                match self { $(Sabotage::$variant => $what,)+ }
            }
        }
    };
}

sabotages! {
    BuildKeyNotConditional "build-key-not-conditional" "I1 I15" "who looks for the build of a delivery never finds it: a redelivery builds again",
    DeliveryRecordedFirst "delivery-recorded-first" "I1 I9" "a delivery is written down as decided before its build is made",
    SignatureNotChecked "signature-not-checked" "I2" "deliveries of strangers pass for signed",
    ClaimWithoutCondition "claim-without-condition" "I3" "a claim is written whatever became of the attempt meanwhile",
    LateResultAccepted "late-result-accepted" "I3" "a result that comes after the end replaces the end",
    ImpatientWithSilence "impatient-with-silence" "I3 I11" "a silent machine is given up before its agent gives up itself",
    TrustNotChecked "trust-not-checked" "I4" "a pool's trust is not compared with the work's",
    HolderNotChecked "holder-not-checked" "I4" "the gate takes anybody's word for holding an attempt",
    NoHardStop "no-hard-stop" "I5" "machines are launched without a hard stop, and idle ones never leave",
    LaunchWithoutIntent "launch-without-intent" "I6" "each try of a launch has a token of its own",
    LetterLost "letter-lost" "I7" "the end of an attempt is not told, and the sweep does not look",
    GroupNeverFreed "group-never-freed" "I7" "who leaves a concurrency group is kept in it",
    EffectsClearedFirst "effects-cleared-first" "I7" "marks of effects are cleared by the write that sets them",
    LastStatusDropped "last-status-dropped" "I8" "GitHub is not told how a build ended",
    TicketDeletedFirst "ticket-deleted-first" "I9" "a ticket is deleted when it is received, before the claim",
    DeadLettersUnseen "dead-letters-unseen" "I9 I1" "nobody looks at the dead letters",
    CancelIgnoredWhileQueued "cancel-ignored-while-queued" "I10" "a cancel does not end attempts that nobody has",
    CancelMarkLost "cancel-mark-lost" "I10" "the mark on a held attempt that it is cancelled is not written",
    LossCountedAsFailure "loss-counted-as-failure" "I11 I20" "a lost machine is told to the build as a failure of the job",
    BusyMachineEnded "busy-machine-ended" "I11" "a machine that works is taken for gone",
    ResultBeforeUploads "result-before-uploads" "I12" "a result is applied before the uploads that its job made",
    LateStatusStands "late-status-stands" "I8" "a report step that slept tells an old status last, and nobody doubts it",
    PlanOfAnotherCommit "plan-of-another-commit" "I3" "a build is made with the pipeline file of where its branch points by then",
    LinesPublishedAgain "lines-published-again" "I6 I7" "lines that were used up are published again, and believed",
    LaunchAfterSleep "launch-after-sleep" "I6" "a step that slept makes the launch that it had decided before",
    IntentGivenUp "intent-given-up" "I6" "a launch is made by two at once, of whom one may give it up",
    OpenedByNobody "opened-by-nobody" "I13 I3" "a step that waits for a person is open when it is reached",
    FormNotWritten "form-not-written" "I13" "what a person filled in is not in the meta-data",
    TriggeredFailurePasses "triggered-failure-passes" "I14" "a step is told that its build passed, which failed",
    TriggerDepthForgotten "trigger-depth-forgotten" "I14" "builds do not know how many made each other",
    SlotMadeTwice "slot-made-twice" "I15" "two who look at a schedule do not find each other's build",
    SlotNotedFirst "slot-noted-first" "I15" "a slot is written down as dealt with before its build is made",
    OlderEndsNewer "older-ends-newer" "I16" "builds that are known of a branch are taken for newer",
    NoticeRecordedFirst "notice-recorded-first" "I17" "a service counts as told before it is told",
    DeletedTooEarly "deleted-too-early" "I18" "builds are deleted minutes after their end",
    DeletedInPart "deleted-in-part" "I18" "what was reported of a build stays when the build is deleted",
    KeyOfTheCommit "key-of-the-commit" "I1" "the key of a build has the commit in it that a branch points at by then",
    BuildReadFirst "build-read-first" "I8" "a report step reads the build before what was told, and may sleep in between",
    RecordReadFirst "record-read-first" "I10" "a cancel is acknowledged by what a build's record was before its inbox was read",
    AuditOfOldNews "audit-of-old-news" "I11" "what the cloud said before an audit slept is taken for what it says now",
    WhyOfOldRecords "why-of-old-records" "I19" "who asks why is told what was true before a machine took the job",
    RuleUsesForgotten "rule-uses-forgotten" "I20" "how often a rule of `retry` was used is forgotten",
    RebuiltAtTheHead "rebuilt-at-the-head" "I1" "a build that is to be made again is made of where its branch points by then",
}

impl FromStr for Sabotage {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.iter().map(|s| s.name()).collect::<Vec<_>>().join(", ");
        Self::ALL
            .iter()
            .copied()
            .find(|s| s.name() == name)
            .ok_or_else(|| format!("`{name}` is not one of {}", known()))
    }
}

/// Changes a record whose type is nobody else's business.
fn edit(bytes: &Bytes, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) -> Bytes {
    let mut body: serde_json::Value = envelope::open(bytes).unwrap_or_default();
    if let Some(body) = body.as_object_mut() {
        change(body);
    }
    reseal(&body)
}

fn reseal<T: serde::Serialize>(body: &T) -> Bytes {
    Bytes::from(envelope::seal(body).unwrap_or_default())
}

/// What is really written of a write; nothing when it is dropped.
pub(crate) fn of_put(world: &World, mut put: Put) -> Option<Put> {
    let Some(sabotage) = world.plan.sabotage else { return Some(put) };
    let pk = put.key.pk.clone();
    match sabotage {
        Sabotage::BuildKeyNotConditional if pk.starts_with("buildkey/") => put.expect = Expect::Any,
        Sabotage::ClaimWithoutCondition if pk.starts_with("attempt/") || pk.starts_with("instance/") => {
            put.expect = Expect::Any;
        }
        Sabotage::CancelIgnoredWhileQueued | Sabotage::CancelMarkLost | Sabotage::LateResultAccepted
            if pk.starts_with("attempt/") =>
        {
            if let Ok(mut attempt) = envelope::open::<Attempt>(&put.body) {
                match (&mut attempt.phase, sabotage) {
                    (Phase::Ended(end), Sabotage::CancelIgnoredWhileQueued)
                        if end.cause == Cause::Canceled && end.held.is_none() =>
                    {
                        return None;
                    }
                    (Phase::Held(held), Sabotage::CancelMarkLost) if held.cancel.is_some() => {
                        held.cancel = None;
                        put.body = reseal(&attempt);
                    }
                    (Phase::Ended(end), Sabotage::LateResultAccepted) => {
                        if let Some(late) = end.late.take() {
                            (end.cause, end.exit_status) = (late.cause, late.exit_status);
                            put.body = reseal(&attempt);
                        }
                    }
                    _ => {}
                }
            }
        }
        Sabotage::EffectsClearedFirst if pk.starts_with("build/") && put.expect != Expect::Absent => {
            if let Ok(mut build) = envelope::open::<Build>(&put.body) {
                let mut cells = Cells::default();
                for cell in build.cells.iter() {
                    cells.push(build::Cell { create: false, ..cell.clone() });
                }
                build.cells = cells;
                build.lines.iter_mut().for_each(|l| l.published = l.issued);
                put.body = reseal(&build);
            }
        }
        Sabotage::LetterLost | Sabotage::LossCountedAsFailure | Sabotage::ResultBeforeUploads
            if pk.starts_with("inbox/build/") =>
        {
            if let Ok(build::Input::Ended(mut ended)) = envelope::open::<build::Input>(&put.body) {
                match sabotage {
                    Sabotage::LetterLost if ended.job.0 == 0 => return None,
                    Sabotage::LossCountedAsFailure if matches!(ended.cause, Cause::Lost | Cause::Interrupted) => {
                        (ended.cause, ended.exit_status) = (Cause::Exit, Some(255));
                    }
                    Sabotage::ResultBeforeUploads => ended.uploads = 0,
                    _ => {}
                }
                put.body = reseal(&build::Input::Ended(ended));
            }
        }
        Sabotage::GroupNeverFreed if pk.starts_with("inbox/group/") => {
            if let Ok(group::Input::Leave { .. }) = envelope::open::<group::Input>(&put.body) {
                return None;
            }
        }
        Sabotage::LateStatusStands if pk.starts_with("report/") => {
            let record = envelope::open::<tidegate_engine::ReportRecord>(&put.body);
            if record.is_ok_and(|r| !r.posted && !r.telling && r.refused.is_none()) {
                return None;
            }
            put.body = edit(&put.body, |body| {
                body.remove("telling");
                body.remove("doubtful_until");
            });
        }
        Sabotage::IntentGivenUp if pk.starts_with("fleet/") => {
            if let Ok(mut fleet) = envelope::open::<fleet::Fleet>(&put.body) {
                let launches = fleet.pools.values_mut().flat_map(|pool| &mut pool.launches);
                launches.for_each(|launch| launch.ask_after = tidegate_core::time::Timestamp(0));
                put.body = reseal(&fleet);
            }
        }
        Sabotage::OpenedByNobody
        | Sabotage::TriggerDepthForgotten
        | Sabotage::RuleUsesForgotten
        | Sabotage::RebuiltAtTheHead
            if pk.starts_with("build/") =>
        {
            if let Ok(mut build) = envelope::open::<Build>(&put.body) {
                of_build(world, sabotage, &mut build);
                put.body = reseal(&build);
            }
        }
        Sabotage::FormNotWritten if pk.starts_with("meta/") => return None,
        Sabotage::TriggeredFailurePasses if pk.starts_with("inbox/build/") => {
            if let Ok(build::Input::Triggered { job, number, end: TriggerEnd::Ended(BuildState::Failed) }) =
                envelope::open::<build::Input>(&put.body)
            {
                let end = TriggerEnd::Ended(BuildState::Passed);
                put.body = reseal(&build::Input::Triggered { job, number, end });
            }
        }
        Sabotage::SlotMadeTwice if pk.starts_with("buildkey/") && world.looks_at_schedules() => {
            put.expect = Expect::Any
        }
        Sabotage::NoticeRecordedFirst if pk.starts_with("notice/") => {
            put.body = edit(&put.body, |body| {
                body.insert("told".to_owned(), true.into());
            });
        }
        Sabotage::KeyOfTheCommit if pk.starts_with("buildkey/") => put.key.pk = of_the_commit(world, &pk),
        Sabotage::RecordReadFirst if pk.starts_with("build/") => {
            if let Some(before) = lock(&world.store).find(&put.key).cloned() {
                lock(&world.planted).before.insert(pk, before);
            }
        }
        Sabotage::AuditOfOldNews if pk == "inbox/fleet" => {
            let now = world.timestamp();
            if let Ok(fleet::Input::Seen { alive, gone, taken, beats, .. }) = envelope::open::<fleet::Input>(&put.body)
            {
                put.body = reseal(&fleet::Input::Seen { asked_at: now, alive, gone, taken, beats });
            }
        }
        Sabotage::BusyMachineEnded if pk == "inbox/fleet" => {
            if let Ok(fleet::Input::Seen { asked_at, mut alive, mut gone, taken, beats }) =
                envelope::open::<fleet::Input>(&put.body)
                && world.draw(|r| r.chance(0.05))
            {
                let busy = lock(&world.ledger).running.keys().find(|id| alive.contains_key(*id)).cloned();
                if let Some(busy) = busy {
                    alive.remove(&busy);
                    gone.insert(busy, "sabotaged".to_owned());
                    put.body = reseal(&fleet::Input::Seen { asked_at, alive, gone, taken, beats });
                }
            }
        }
        _ => {}
    }
    Some(put)
}

/// What is really in the record of a build.
fn of_build(world: &World, sabotage: Sabotage, build: &mut Build) {
    match sabotage {
        Sabotage::OpenedByNobody => {
            let blocked = build.cells.iter_mut().filter(|cell| cell.state == JobState::Blocked);
            blocked.for_each(|cell| cell.state = JobState::Unblocked);
        }
        Sabotage::RuleUsesForgotten => build.cells.iter_mut().for_each(|cell| cell.rule_uses.clear()),
        Sabotage::TriggerDepthForgotten => {
            if let Some(by) = &mut build.facts.triggered_by {
                by.depth = 1;
            }
        }
        Sabotage::RebuiltAtTheHead if build.facts.rebuilt_from.is_some() => {
            let name = build.facts.git_ref.as_ref().map(|r| r.full()).unwrap_or_default();
            let git = lock(&world.git);
            let head = git.repos.get(&build.facts.repository).and_then(|repo| repo.refs.get(&name));
            if let Some(head) = head.and_then(|head| tidegate_core::ids::CommitSha::new(head).ok()) {
                build.facts.commit = head;
            }
        }
        _ => {}
    }
}

/// Whether the pipeline file is read from where the branch points.
pub(crate) fn reads_the_head(world: &World) -> bool {
    world.sabotaged(Sabotage::PlanOfAnotherCommit)
}

/// How long a step is made to sleep, where it has to.
pub(crate) fn sleeps(world: &World, side: Side) -> Option<u64> {
    let work = || world.work().map_or_else(String::new, |(work, _)| work);
    let canceled = |work: &str| {
        let id = work.strip_prefix("build/").and_then(|id| BuildId::new(id).ok());
        let ledger = lock(&world.ledger);
        let made = id.and_then(|id| ledger.builds.get(&id));
        made.is_some_and(|made| made.cancel_asked && made.cancel_acknowledged.is_none())
    };
    let (sleeps, chance) = match world.plan.sabotage {
        Some(Sabotage::LateStatusStands) => (side == Side::Forge, 0.05),
        Some(Sabotage::LaunchAfterSleep) => (side == Side::Queue && work() == "fleet", 0.05),
        Some(Sabotage::BuildReadFirst) => (side == Side::Store && world.has_found_a_build(), 0.15),
        Some(Sabotage::AuditOfOldNews) => (side == Side::Store && work() == "audit", 0.01),
        // Whoever cancels is a little late, and whoever performs it later still.
        Some(Sabotage::RecordReadFirst) if work() == "cancel" => {
            return (side == Side::Store).then(|| world.draw(|r| r.range(SECOND, 2 * SECOND)));
        }
        Some(Sabotage::RecordReadFirst) => (side == Side::Store && canceled(&work()), 0.2),
        _ => return None,
    };
    (sleeps && !world.is_calm() && world.draw(|r| r.chance(chance)))
        .then(|| world.draw(|r| r.range(3 * MINUTE, 4 * MINUTE)))
}

/// What time it is for whoever asks.
pub(crate) fn of_clock(world: &World) -> Option<u64> {
    if !world.sabotaged(Sabotage::LaunchAfterSleep) {
        return None;
    }
    world.work().filter(|(work, _)| work == "fleet").map(|(_, began)| began)
}

/// The key of a build with where the main branch points by now.
fn of_the_commit(world: &World, key: &str) -> String {
    let git = lock(&world.git);
    let head = git.repos.values().next().and_then(|repo| repo.refs.get("refs/heads/main"));
    format!("{key}@{}", head.map_or("", String::as_str))
}

/// What planted defects must know of the tasks that run and of what was.
#[derive(Default)]
pub(crate) struct Planted {
    /// What each task works on, and since when.
    work: BTreeMap<TaskId, (String, u64)>,
    /// Builds as report steps found them when they began.
    found: BTreeMap<TaskId, (Version, Bytes)>,
    /// Builds as they were before they were written last.
    before: BTreeMap<String, (Version, Bytes)>,
}

impl World {
    /// The task that runs now says what it works on: the name of an actor, or another word.
    pub(crate) fn works_on(&self, what: &str) {
        if self.plan.sabotage.is_some()
            && let Some((task, _)) = self.exec.current()
        {
            lock(&self.planted).work.insert(task, (what.to_owned(), self.now()));
        }
    }

    /// What the task that runs now works on, and since when.
    fn work(&self) -> Option<(String, u64)> {
        let (task, _) = self.exec.current()?;
        lock(&self.planted).work.get(&task).cloned()
    }

    /// Whether the report step that runs now has read its build.
    fn has_found_a_build(&self) -> bool {
        self.exec.current().is_some_and(|(task, _)| lock(&self.planted).found.contains_key(&task))
    }

    fn fleet_step(&self) -> bool {
        self.work().is_some_and(|(work, _)| work == "fleet")
    }
}

/// Whether a record stays although it is deleted.
pub(crate) fn of_delete(world: &World, key: &Key) -> bool {
    if world.sabotaged(Sabotage::DeletedInPart) {
        return key.pk.starts_with("report/");
    }
    if !world.sabotaged(Sabotage::LinesPublishedAgain) || !key.pk.starts_with("demand/") {
        return false;
    }
    let Some((version, body)) = lock(&world.store).find(key).cloned() else { return false };
    let Ok(line) = envelope::open::<fleet::Demand>(&body) else { return false };
    // Once: it would go round for ever.
    if line.released == 0 || world.draw(|r| r.chance(0.5)) {
        return false;
    }
    let again = reseal(&fleet::Demand { released: 0, ..line });
    let next = Version(version.0.wrapping_add(1));
    world.write_for_sabotage(Put { key: key.clone(), body: again, expect: Expect::Any, version: next });
    true
}

/// What is really read.
pub(crate) fn of_get(world: &World, key: &Key, found: Option<Record>) -> Option<Record> {
    match world.plan.sabotage {
        Some(Sabotage::BuildKeyNotConditional) if key.pk.starts_with("buildkey/") => None,
        Some(Sabotage::DeliveryRecordedFirst) if key.pk.starts_with("delivery/") && found.is_none() => {
            // Whoever asks whether it is decided leaves it decided.
            let body =
                reseal(&tidegate_engine::DeliveryRecord { at: world.timestamp(), builds: Vec::new(), why: None });
            let version = Version(world.draw(crate::rng::Rng::next128));
            let put = Put { key: key.clone(), body, expect: Expect::Any, version };
            world.write_for_sabotage(put);
            None
        }
        Some(Sabotage::SlotMadeTwice) if key.pk.starts_with("buildkey/") && world.looks_at_schedules() => None,
        Some(Sabotage::KeyOfTheCommit) if key.pk.starts_with("buildkey/") => {
            let other = Key::new(of_the_commit(world, &key.pk), key.sk.clone());
            let (version, body) = lock(&world.store).find(&other).cloned()?;
            Some(Record { key: key.clone(), version, body })
        }
        Some(Sabotage::BuildReadFirst) => {
            let Some(((work, _), (task, _))) = world.work().zip(world.exec.current()) else { return found };
            if key.pk == "unreported" && work.starts_with("report/") {
                let build = Key::new(format!("build/{}", key.sk), "build");
                if let Some(now) = lock(&world.store).find(&build).cloned() {
                    lock(&world.planted).found.insert(task, now);
                }
            } else if key.pk.starts_with("build/")
                && let Some((version, body)) = lock(&world.planted).found.get(&task).cloned()
            {
                return Some(Record { key: key.clone(), version, body });
            }
            found
        }
        Some(Sabotage::RecordReadFirst) if key.pk.starts_with("build/") => {
            let canceled = |body: &Bytes| envelope::open::<Build>(body).is_ok_and(|build| build.cancel.is_some());
            let before = lock(&world.planted).before.get(&key.pk).cloned();
            let cancels = world.work().is_some_and(|(work, _)| work == "cancel");
            match (found, before) {
                (Some(now), Some((version, body))) if cancels && canceled(&now.body) && !canceled(&body) => {
                    Some(Record { version, body, ..now })
                }
                (found, _) => found,
            }
        }
        // And the sweep begins anew each time.
        Some(Sabotage::DeletedTooEarly) if key.pk.starts_with("retention") => None,
        Some(Sabotage::SlotNotedFirst) if key.pk.starts_with("schedule/") => {
            let found = found?;
            let now = world.timestamp().0;
            let body = edit(&found.body, |body| {
                body.insert("last".to_owned(), now.into());
            });
            let version = Version(world.draw(crate::rng::Rng::next128));
            world.write_for_sabotage(Put { key: key.clone(), body, expect: Expect::Any, version });
            Some(found)
        }
        Some(Sabotage::OlderEndsNewer) if key.pk.starts_with("branch/") => {
            let mut found = found?;
            found.body = edit(&found.body, |body| {
                let builds = body.get_mut("builds").and_then(serde_json::Value::as_array_mut);
                for build in builds.into_iter().flatten() {
                    build[0] = (build[0].as_u64().unwrap_or(0) + 1_000_000).into();
                }
            });
            Some(found)
        }
        Some(Sabotage::LinesPublishedAgain) if world.fleet_step() => {
            let mut found = found?;
            if let (true, Ok(mut build)) = (key.pk.starts_with("build/"), envelope::open::<Build>(&found.body)) {
                let ended = build.cells.iter_mut().filter(|cell| cell.seq > 0);
                ended.for_each(|cell| cell.state = JobState::Scheduled);
                found.body = reseal(&build);
            } else if let (true, Ok(mut attempt)) =
                (key.pk.starts_with("attempt/"), envelope::open::<Attempt>(&found.body))
            {
                attempt.phase = Phase::Queued;
                found.body = reseal(&attempt);
            }
            Some(found)
        }
        Some(Sabotage::HolderNotChecked) if key.pk.starts_with("attempt/") => {
            let mut record = found?;
            // What a rogue asks for, it holds.
            if let Some((instance, boot)) = lock(&world.rogue_asks).clone()
                && world.draw(|r| r.chance(0.5))
                && let Ok(mut attempt) = envelope::open::<Attempt>(&record.body)
                && let Phase::Held(held) = &mut attempt.phase
            {
                (held.owner, held.boot) = (instance, boot);
                record.body = reseal(&attempt);
            }
            Some(record)
        }
        _ => found,
    }
}

/// What a listing really shows.
pub(crate) fn of_page(world: &World, pk: &str, mut page: Page) -> Page {
    match world.plan.sabotage {
        Some(Sabotage::ResultBeforeUploads) if pk.starts_with("inbox/build/") => {
            let now = world.timestamp();
            page.records.retain(|record| {
                // Uploads are read a minute late.
                let sent: u64 = record.key.sk.split('-').next().and_then(|at| at.parse().ok()).unwrap_or(0);
                let upload = matches!(envelope::open(&record.body), Ok(build::Input::Uploaded { .. }));
                !upload || sent + 60_000 < now.0
            });
            page
        }
        Some(Sabotage::LetterLost) if pk == "active/0" => Page::default(),
        Some(Sabotage::WhyOfOldRecords) if pk.starts_with("attempt/") => {
            for record in &mut page.records {
                if let Ok(mut attempt) = envelope::open::<Attempt>(&record.body) {
                    attempt.phase = Phase::Queued;
                    record.body = reseal(&attempt);
                }
            }
            page
        }
        _ => page,
    }
}

/// Whether a message is gone as soon as it is received.
pub(crate) fn deletes_at_receipt(world: &World, queue: &str) -> bool {
    world.sabotaged(Sabotage::TicketDeletedFirst) && queue.starts_with("tickets-")
}

/// What is really asked of the cloud.
pub(crate) fn of_launch(world: &World, request: &LaunchRequest) -> LaunchRequest {
    match world.plan.sabotage {
        Some(Sabotage::LaunchWithoutIntent) => LaunchRequest { token: world.draw(|r| r.hex(32)), ..request.clone() },
        Some(Sabotage::NoHardStop) => {
            LaunchRequest { idle: std::time::Duration::from_secs(1_000_000), ..request.clone() }
        }
        _ => request.clone(),
    }
}
