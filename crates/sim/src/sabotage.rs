//! Planted defects: each is a lie of an adapter that makes the engine behave as if the defect were in it. The simulator has to
//! find every one by the invariant that it breaks, or it is worth nothing.

use std::str::FromStr;

use bytes::Bytes;
use tidegate_core::attempt::{Attempt, Cause, Phase};
use tidegate_core::build::{self, Build, Cells};
use tidegate_core::fleet;
use tidegate_core::group;
use tidegate_core::wire::envelope;
use tidegate_engine::ports::{Expect, Key, LaunchRequest, Page, Put, Record, Version};

use crate::exec::lock;
use crate::world::World;

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
    BuildKeyNotConditional "build-key-not-conditional" "I1" "who looks for the build of a delivery never finds it: a redelivery builds again",
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
    LossCountedAsFailure "loss-counted-as-failure" "I11" "a lost machine is told to the build as a failure of the job",
    BusyMachineEnded "busy-machine-ended" "I11" "a machine that works is taken for gone",
    ResultBeforeUploads "result-before-uploads" "I12" "a result is applied before the uploads that its job made",
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
