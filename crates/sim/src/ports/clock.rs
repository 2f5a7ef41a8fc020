use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::time::Timestamp;
use tidegate_engine::ports::{Clock, Ids};

use crate::exec::micros;
use crate::sabotage;
use crate::world::World;

#[async_trait]
impl Clock for World {
    fn now(&self) -> Timestamp {
        match sabotage::of_clock(self) {
            Some(at) => self.timestamp_at(at),
            None => self.timestamp(),
        }
    }

    async fn sleep(&self, span: Duration) {
        self.exec.sleep(micros(span)).await;
    }
}

impl Ids for World {
    fn random(&self) -> u128 {
        self.draw(crate::rng::Rng::next128)
    }
}
