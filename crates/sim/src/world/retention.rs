//! What is old is deleted: only what is over for long enough, and all of it. In some worlds there is a second act: so much time
//! has passed that the builds of the first are old, and they are deleted while things go wrong again, new builds are made, and
//! people want some of the old ones after all.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tidegate_core::build::{Build, BuildState};
use tidegate_core::ids::BuildId;
use tidegate_core::wire::envelope;
use tidegate_engine::RetentionAnswer;
use tidegate_engine::ports::Key;

use crate::exec::{lock, micros};
use crate::sabotage::Sabotage;
use crate::world::{MINUTE, World};

/// How long builds are kept after their end.
pub(crate) const RETENTION: Duration = Duration::from_secs(4 * 3600);
/// One world in so many has a second act.
const EVERY: u64 = 9;
/// How many of the old builds somebody wants after all.
const WANTED: usize = 12;

impl World {
    /// Whether there is a second act.
    pub(crate) fn lasts(&self) -> bool {
        let of_all = self.plan.seed.is_multiple_of(EVERY) || self.sabotaged(Sabotage::DeletedInPart);
        of_all && !self.plan.small && self.plan.even.is_none() && self.plan.single.is_none() && self.plan.builds > 0
    }

    /// A record or a blob is deleted, of which the key begins like this.
    pub(crate) fn observe_deletion(&self, key: &str, body: Option<&Bytes>) {
        let mut parts = key.split('/');
        let (kind, id) = (parts.next().unwrap_or_default(), parts.next().and_then(|id| BuildId::new(id).ok()));
        let Some(id) = id.filter(|_| matches!(kind, "build" | "attempt" | "plans" | "logs" | "artifacts")) else {
            return;
        };
        let Some(made) = lock(&self.ledger).builds.get(&id).cloned() else { return };
        if kind != "build" {
            if !made.deleted {
                self.violate("I18", format!("{key} was deleted, and its build is there"));
            }
            return;
        }
        let Some(build) = body.and_then(|body| envelope::open::<Build>(body).ok()) else { return };
        let quiet = self.now().saturating_sub(made.active_at);
        let open = made.attempts.values().flat_map(|tries| tries.values()).any(|t| t.is_queued() || t.is_held());
        if !build.state.is_final() || open || quiet < micros(RETENTION) {
            let minutes = quiet / MINUTE;
            self.violate("I18", format!("build {id} was deleted, which {} {minutes} min ago", build.state.name()));
        }
        // It is judged now: later there is nothing to judge by.
        let mut wrong = Vec::new();
        self.check_build(&id, &made, &build, &mut wrong);
        wrong.into_iter().for_each(|(invariant, what)| self.violate(invariant, what));
        self.count("old builds deleted");
        if let Some(made) = lock(&self.ledger).builds.get_mut(&id) {
            made.deleted = true;
        }
    }

    /// Time passes, and it begins again. `stop` ends it at the first violation.
    pub(crate) fn second_act(&self, mut stop: impl FnMut() -> bool + Clone) {
        self.exec.run_until(self.now() + micros(RETENTION) + 10 * MINUTE, stop.clone());
        self.event(|| "what was built is old".to_owned());
        self.calm.store(false, Ordering::Relaxed);
        self.draining.store(false, Ordering::Relaxed);
        let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (pusher, pushed) = (self.clone(), std::sync::Arc::clone(&done));
        self.spawn(async move {
            pusher.push_all(pusher.plan.builds / 8).await;
            pushed.store(true, Ordering::Relaxed);
        });
        let cleaner = self.clone();
        self.spawn(async move { cleaner.clean_up().await });
        self.want_after_all();
        self.exec.run_until(u64::MAX / 4, || stop() || done.load(Ordering::Relaxed));
        self.exec.run_until(self.now() + 15 * MINUTE, stop);
        self.calm.store(true, Ordering::Relaxed);
    }

    /// Somebody who asks again and again what could be deleted, or deletes it.
    async fn clean_up(&self) {
        while !self.is_calm() {
            let pause = self.draw(|r| r.range(MINUTE, 5 * MINUTE));
            self.sleep(pause).await;
            let dry = self.draw(|r| r.chance(0.5));
            let answer = self.call(|engine| async move { engine.retention(dry).await });
            if let Some(Ok(answer)) = answer.await {
                self.event(|| format!("retention, dry {dry}: {} builds", answer.builds.len()));
                self.count(if dry { "people: ask what is old" } else { "people: delete what is old" });
            }
        }
    }

    /// People who run old builds again, in the very minutes in which they are deleted.
    fn want_after_all(&self) {
        let red: Vec<BuildId> = {
            let ledger = lock(&self.ledger);
            let failed = |id: &&BuildId| self.record(id).is_some_and(|build| build.state == BuildState::Failed);
            ledger.builds.keys().filter(failed).take(WANTED).cloned().collect()
        };
        for id in red {
            let (world, wait) = (self.clone(), self.draw(|r| r.range(0, 6 * MINUTE)));
            self.spawn(async move {
                world.sleep(wait).await;
                world.retry(&id).await;
            });
        }
    }

    /// Everything has come to rest: what is old goes, as a dry run has said, and nothing of it is left.
    pub(crate) fn check_retention(&self) {
        let all = self.retain(true);
        let deleted = self.retain(false);
        let ids = |answer: &Option<RetentionAnswer>| -> BTreeSet<BuildId> {
            answer.iter().flat_map(|a| a.builds.iter().map(|b| b.id.clone())).collect()
        };
        if all.is_none() || deleted.is_none() || ids(&all) != ids(&deleted) {
            self.violate("I18", format!("a dry run says {all:?}, and what is deleted is {deleted:?}"));
        }
        let gone: BTreeSet<BuildId> = {
            let ledger = lock(&self.ledger);
            ledger.builds.iter().filter(|(_, made)| made.deleted).map(|(id, _)| id.clone()).collect()
        };
        let old = self.timestamp().0.saturating_sub(micros(RETENTION) / 1_000 + 60_000);
        let kept: Vec<BuildId> = lock(&self.ledger).builds.keys().filter(|id| !gone.contains(*id)).cloned().collect();
        for id in kept {
            if self.record(&id).and_then(|build| build.finished_at).is_some_and(|at| at.0 < old) {
                self.violate("I18", format!("build {id} is old, and is not deleted"));
            }
        }
        let names_one = |key: &str| key.split('/').any(|part| BuildId::new(part).is_ok_and(|id| gone.contains(&id)));
        let left = {
            let (store, blobs) = (lock(&self.store), lock(&self.blobs));
            let records = store.partitions.iter().flat_map(|(pk, all)| all.keys().map(move |sk| Key::new(pk, sk)));
            let records = records.map(|key| format!("{}/{}", key.pk, key.sk));
            records.chain(blobs.blobs.keys().cloned()).filter(|key| names_one(key)).collect::<Vec<_>>()
        };
        if !left.is_empty() {
            let shown = left.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
            self.violate("I18", format!("{} things of deleted builds are left: {shown}", left.len()));
        }
    }

    fn retain(&self, dry: bool) -> Option<RetentionAnswer> {
        let answer = std::sync::Arc::new(std::sync::Mutex::new(None));
        let (world, slot) = (self.clone(), std::sync::Arc::clone(&answer));
        self.spawn(async move {
            let said = world.call(|engine| async move { engine.retention(dry).await });
            let said = said.await.and_then(Result::ok);
            *lock(&slot) = Some(said);
        });
        let probe = std::sync::Arc::clone(&answer);
        self.exec.run_until(self.now() + 60 * MINUTE, move || lock(&probe).is_some());
        lock(&answer).take().flatten()
    }
}
