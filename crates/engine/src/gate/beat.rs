//! Signs of life.

use tidegate_core::attempt::{Attempt, Phase};
use tidegate_core::fleet;
use tidegate_core::wire::gate::{AgentState, Beat, BeatAnswer, CancelReason};

use super::{BeatRecord, Caller, GateError, InstanceRecord};
use crate::actors::Actor;
use crate::engine::Engine;
use crate::keys;
use crate::ports::{Expect, PortError, Write};

impl Engine {
    /// Writes down that the caller is alive, and says what is wanted of it.
    ///
    /// # Errors
    /// Only failures of ours.
    pub async fn beat(&self, caller: &Caller, beat: &Beat) -> Result<BeatAnswer, GateError> {
        let record = BeatRecord { counter: beat.counter, state: beat.state };
        self.save(keys::beat(&caller.instance), &record, Expect::Any).await?;
        let (instance, version) = self.load_instance(&caller.instance).await?;
        let leaving = beat.state == AgentState::Closing;
        if version.is_some() && instance.boot == beat.boot && instance.closing != leaving && instance.holding.is_none()
        {
            let next = InstanceRecord { closing: leaving, seq: instance.seq + 1, ..instance.clone() };
            let (id, pool, seq) = (caller.instance.clone(), caller.pool.clone(), next.seq);
            let event = if leaving {
                fleet::Input::Closing { instance: id, pool, seq }
            } else {
                fleet::Input::Freed { instance: id, pool, seq }
            };
            let writes = vec![
                Write::Put(self.put(
                    keys::instance(&caller.instance),
                    &next,
                    version.map_or(Expect::Absent, Expect::Version),
                )?),
                Write::Put(self.letter(&Actor::Fleet, &event)?),
            ];
            match self.ports.store.transact(writes).await {
                Ok(()) => self.ring(&Actor::Fleet).await?,
                // A claim or a result came between: the next beat says it again.
                Err(PortError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut answer = BeatAnswer::default();
        if let Some(attempt) = &beat.attempt {
            let known = self.load::<Attempt>(&keys::attempt(attempt)).await?;
            answer.cancel = match known.map(|k| k.body.phase) {
                Some(Phase::Held(held)) if held.owner == caller.instance && held.boot == beat.boot => held.cancel,
                // Given up meanwhile: whatever still runs there must not go on.
                Some(Phase::Ended(_) | Phase::Held(_) | Phase::Queued) | None => Some(CancelReason::Canceled),
            };
        }
        // A machine that the fleet has buried has no record any more, or one without its process.
        answer.doomed = self.trust_of(&caller.pool).is_none();
        Ok(answer)
    }
}
