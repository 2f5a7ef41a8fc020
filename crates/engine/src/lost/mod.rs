//! Webhooks that were lost: deliveries that failed are asked for again, refs that moved without one are found
//! (`tidegate_core::lost` decides); and what became of each delivery is told.

mod refs;

use tidegate_core::lost::{KEPT, Listed, Lookout};
use tidegate_core::time::Timestamp;

use crate::engine::Engine;
use crate::error::Error;
use crate::ingest::DeliveryRecord;
use crate::keys;
use crate::ports::{Expect, Forge, ListedDelivery, PortError};

/// Most pages of deliveries that one look reads: a hundred each.
const MOST_PAGES: usize = 100;

impl Engine {
    /// Everything that is looked at every five minutes: deliveries that failed, and refs that moved unnoticed. Whoever calls it more often does no harm.
    ///
    /// # Errors
    /// A port failed: the next call tries again.
    pub async fn sweep_lost(&self) -> Result<(), Error> {
        let Some(forge) = &self.ports.forge else { return Ok(()) };
        let deliveries = self.look_for_deliveries(&**forge).await;
        self.look_for_moves(&**forge).await?;
        deliveries
    }

    async fn look_for_deliveries(&self, forge: &dyn Forge) -> Result<(), Error> {
        let key = keys::lookout();
        let known = self.load::<Lookout>(&key).await?;
        let now = self.now();
        let (mut lookout, expect) = match known {
            Some(known) if known.body.next > now => return Ok(()),
            Some(known) => (known.body, Expect::Version(known.version)),
            None => (Lookout::default(), Expect::Absent),
        };
        let (listed, whole) = self.listed_since(forge, lookout.since(now)).await?;
        if !whole {
            tracing::warn!(read = listed.len(), "there are more deliveries than one look can read");
        }
        let listed: Vec<Listed> =
            listed.into_iter().map(|d| Listed { id: d.id, guid: d.guid, at: d.at, arrived: d.arrived }).collect();
        lookout.take_in(&listed, whole, now);
        let missing: Vec<String> = lookout.missing().map(str::to_owned).collect();
        for guid in missing {
            if self.outcome_of(&guid).await?.is_some() {
                lookout.is_here(&guid);
            }
        }
        let asked = lookout.ask(now, self.settings.look_every);
        // Before they are asked for: whoever else looks at the same time loses here, and a crash costs a try.
        match self.save(key, &lookout, expect).await {
            Ok(_) => {}
            Err(Error::Port(PortError::Conflict)) => return Ok(()),
            Err(error) => return Err(error),
        }
        for (guid, id) in asked {
            match forge.redeliver(id).await {
                Ok(()) => tracing::warn!(delivery.id = guid, "a delivery did not arrive: asked for it again"),
                Err(PortError::Reject { why }) => {
                    tracing::error!(delivery.id = guid, %why, "a delivery did not arrive, and cannot be had again");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Deliveries since then, and whether these are all.
    async fn listed_since(&self, forge: &dyn Forge, since: Timestamp) -> Result<(Vec<ListedDelivery>, bool), Error> {
        let (mut listed, mut after) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let page = forge.deliveries(after.as_deref()).await?;
            let old = page.deliveries.iter().any(|delivery| delivery.at < since);
            listed.extend(page.deliveries.into_iter().filter(|delivery| delivery.at >= since));
            after = page.next;
            if old || after.is_none() {
                return Ok((listed, true));
            }
        }
        Ok((listed, false))
    }

    /// What was decided about a delivery, if it was.
    pub(crate) async fn outcome_of(&self, guid: &str) -> Result<Option<DeliveryRecord>, Error> {
        let Ok(id) = tidegate_core::ids::DeliveryId::new(guid) else { return Ok(None) };
        Ok(self.load::<DeliveryRecord>(&keys::delivery(&id)).await?.map(|known| known.body))
    }

    /// Deliveries of the last days as the forge lists them, newest first; of one delivery only the last try.
    pub(crate) async fn latest_deliveries(&self, limit: usize) -> Result<Vec<ListedDelivery>, Error> {
        let Some(forge) = &self.ports.forge else { return Ok(Vec::new()) };
        let since = self.now() - KEPT;
        let (mut latest, mut after): (Vec<ListedDelivery>, _) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let page = forge.deliveries(after.as_deref()).await?;
            for delivery in page.deliveries.into_iter().filter(|delivery| delivery.at >= since) {
                if latest.len() < limit && latest.iter().all(|known| known.guid != delivery.guid) {
                    latest.push(delivery);
                }
            }
            after = page.next;
            if latest.len() >= limit || after.is_none() {
                break;
            }
        }
        Ok(latest)
    }
}
