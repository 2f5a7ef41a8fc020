//! Machines that somebody has taken over: they ask the gate for what is not theirs.

use tidegate_core::ids::{AttemptId, InstanceId};
use tidegate_core::wire::gate::{Next, Outcome, Presign, ReportResult, Start, Upload};
use tidegate_core::wire::secret::Secrets;
use tidegate_engine::gate::Caller;

use crate::exec::lock;
use crate::faults::Fault;
use crate::world::{SECOND, World, pool_name};

impl World {
    pub(crate) async fn rogue(&self, pool: &'static str) {
        let instance = InstanceId::new(format!("i-rogue-{pool}")).unwrap_or_else(|e| panic!("{e}"));
        let caller = Caller { instance, pool: pool_name(pool) };
        loop {
            let pause = self.draw(|r| r.range(5 * SECOND, 60 * SECOND));
            self.sleep(pause).await;
            if self.is_calm() {
                return;
            }
            if !self.fault(Fault::Rogue, 0.8) {
                continue;
            }
            let Some((id, boot)) = self.victim() else { continue };
            self.count("rogue: asks for what is not its own");
            // With the boot id of the real holder: it may have been read somewhere.
            let boot = if self.draw(|r| r.chance(0.5)) { boot } else { format!("rogue-{pool}") };
            *lock(&self.rogue_asks) = Some((caller.instance.clone(), boot.clone()));
            self.attack(&caller, &id, &boot).await;
            *lock(&self.rogue_asks) = None;
        }
    }

    fn victim(&self) -> Option<(AttemptId, String)> {
        let running: Vec<AttemptId> = lock(&self.ledger).running.values().cloned().collect();
        let id = if running.is_empty() { None } else { Some(running[self.draw(|r| r.index(running.len()))].clone()) }?;
        Some((id, "0123456789abcdef".to_owned()))
    }

    async fn attack(&self, caller: &Caller, id: &AttemptId, boot: &str) {
        let taken = |what: &str| self.violate("I4", format!("a rogue machine of `{}`: {what} {id}", caller.pool));
        let (c, i, b) = (caller.clone(), id.clone(), boot.to_owned());
        match self.draw(|r| r.range(0, 5)) {
            0 if caller.pool.as_str() == "fork" => {
                // Registers, then claims what it was never given.
                let next = Next { boot: b.clone(), wait_ms: 0 };
                let claimed = self.call(|engine| async move {
                    let _ = engine.next(&c, &next).await;
                    engine.claim(&c, &b, &i).await.is_ok()
                });
                if claimed.await == Some(true) {
                    taken("claimed");
                }
            }
            1 => {
                let outcome = Outcome { exit_status: Some(0), ..super::agent::empty() };
                let result = ReportResult { boot: b, attempt: i, outcome };
                let done = self.call(|engine| async move { engine.result(&c, &result).await.is_ok() });
                if done.await == Some(true) {
                    taken("reported a result of");
                }
            }
            2 => {
                let start = Start { boot: b, attempt: i };
                let done = self.call(|engine| async move { engine.start(&c, &start).await.is_ok() });
                if done.await == Some(true) {
                    taken("started");
                }
            }
            3 => {
                let upload = Upload {
                    boot: b,
                    attempt: i,
                    uuid: "00000000-0000-4000-8000-000000000000".to_owned(),
                    pipeline: "steps: [{command: evil}]".to_owned(),
                    replace: false,
                    env: Vec::new(),
                    no_interpolation: false,
                };
                let done = self.call(|engine| async move { engine.upload(&c, &upload).await.is_ok() });
                if done.await == Some(true) {
                    taken("uploaded steps for");
                }
            }
            _ => {
                let presign = Presign { boot: b.clone(), attempt: i.clone(), first: 0, count: 1 };
                let secrets = Secrets { boot: b, attempt: i, names: Vec::new() };
                let done = self.call(|engine| async move {
                    engine.presign(&c, &presign).await.is_ok() || engine.secrets(&c, &secrets).await.is_ok()
                });
                if done.await == Some(true) {
                    taken("was given URLs or secrets of");
                }
            }
        }
    }
}
