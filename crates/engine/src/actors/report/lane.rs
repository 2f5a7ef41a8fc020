//! The lanes: how fast one installation, or one token, is written to (`tidegate_core::report::Lane`).

use tidegate_core::report::Lane;
use tidegate_core::time::Timestamp;

use crate::engine::Engine;
use crate::error::Error;
use crate::keys;
use crate::ports::{Expect, PortError};

impl Engine {
    /// Whether a slot may be used now, and if not, another one.
    pub(super) async fn take_slot(
        &self,
        lane: &str,
        slot: Option<Timestamp>,
        creates: bool,
    ) -> Result<Timestamp, Error> {
        if let Some(slot) = slot {
            let now = self.now();
            let known = self.load::<Lane>(&keys::lane(lane)).await?.map(|known| known.body).unwrap_or_default();
            if slot > now || known.may_use(slot, now) {
                return Ok(slot);
            }
        }
        self.change_lane(lane, |lane, now| lane.reserve(now, creates)).await
    }

    /// The forge wants to be left alone.
    pub(super) async fn close_lane(&self, lane: &str, until: Timestamp) -> Result<(), Error> {
        self.change_lane(lane, |lane, _| lane.close(until)).await
    }

    async fn change_lane<T>(&self, name: &str, change: impl Fn(&mut Lane, Timestamp) -> T) -> Result<T, Error> {
        let key = keys::lane(name);
        loop {
            let known = self.load::<Lane>(&key).await?;
            let (mut lane, expect) = match known {
                Some(known) => (known.body, Expect::Version(known.version)),
                None => (Lane::default(), Expect::Absent),
            };
            let outcome = change(&mut lane, self.now());
            match self.save(key.clone(), &lane, expect).await {
                Ok(_) => return Ok(outcome),
                Err(Error::Port(PortError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
