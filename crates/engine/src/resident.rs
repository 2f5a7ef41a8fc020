//! The engine as a resident process: the loops that receive messages and the timers that sweep. On AWS event source
//! mappings and schedules do the same with the same functions.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::event::Event;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::actors::{Bell, DOORBELL};
use crate::engine::Engine;
use crate::error::Error;
use crate::ingest::INGEST;
use crate::ports::Received;

/// How many steps run at once.
const STEPS: usize = 8;
/// How long one receive waits.
const WAIT: Duration = Duration::from_secs(20);
/// Between two looks whether it is time to look for lost webhooks.
const LOST_EVERY: Duration = Duration::from_secs(15);
/// Between two looks at the machines when nothing calls for one.
const FLEET_EVERY: Duration = Duration::from_secs(2);

/// What became of a message.
enum Handled {
    /// Done, or of no use: it is deleted.
    Done,
    /// It comes again after a pause.
    Later(Duration),
}

/// Runs the loops until `stop` turns true. Steps that have begun are finished. A change of `fleet` says that machines came
/// or went: they are looked at then at once.
pub async fn run(engine: Arc<Engine>, fleet: watch::Receiver<u64>, stop: watch::Receiver<bool>) {
    let mut tasks = JoinSet::new();
    tasks.spawn(consume(Arc::clone(&engine), DOORBELL, STEPS, stop.clone()));
    tasks.spawn(consume(Arc::clone(&engine), INGEST, 2, stop.clone()));
    tasks.spawn(watch_fleet(Arc::clone(&engine), fleet, stop.clone()));
    tasks.spawn(watch_schedules(Arc::clone(&engine), stop.clone()));
    tasks.spawn(watch_lost(Arc::clone(&engine), stop.clone()));
    tasks.spawn(watch_records(engine, stop));
    while tasks.join_next().await.is_some() {}
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn consume(engine: Arc<Engine>, queue: &'static str, at_once: usize, mut stop: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(at_once));
    let mut running = JoinSet::new();
    loop {
        let received = tokio::select! {
            () = stopped(&mut stop) => break,
            received = async {
                let free = room.available_permits().clamp(1, 10);
                engine.ports().queue.receive(queue, free, WAIT).await
            } => received,
        };
        let messages = match received {
            Ok(messages) => messages,
            Err(error) => {
                tracing::error!(queue, %error, "messages cannot be received");
                engine.ports().clock.sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        for message in messages {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let engine = Arc::clone(&engine);
            running.spawn(async move {
                engine.handle(queue, &message).await;
                drop(permit);
            });
        }
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
}

async fn watch_fleet(engine: Arc<Engine>, mut fleet: watch::Receiver<u64>, mut stop: watch::Receiver<bool>) {
    loop {
        if let Err(error) = engine.sweep_fleet().await {
            tracing::warn!(%error, "the machines cannot be looked at");
        }
        tokio::select! {
            () = stopped(&mut stop) => return,
            // An error means that nobody tells any more: the timer is left.
            Ok(()) = fleet.changed() => {}
            () = engine.ports().clock.sleep(FLEET_EVERY) => {}
        }
    }
}

async fn watch_schedules(engine: Arc<Engine>, mut stop: watch::Receiver<bool>) {
    loop {
        let pause = match engine.run_schedules().await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(%error, "the schedules cannot be looked at");
                Duration::from_secs(5)
            }
        };
        tokio::select! {
            () = stopped(&mut stop) => return,
            () = engine.ports().clock.sleep(pause) => {}
        }
    }
}

/// The records say when the next look is due, so that restarts neither hasten nor delay it.
async fn watch_lost(engine: Arc<Engine>, mut stop: watch::Receiver<bool>) {
    loop {
        if let Err(error) = engine.sweep_lost().await {
            tracing::warn!(%error, "lost webhooks cannot be looked for");
        }
        tokio::select! {
            () = stopped(&mut stop) => return,
            () = engine.ports().clock.sleep(LOST_EVERY.min(engine.settings().look_every)) => {}
        }
    }
}

async fn watch_records(engine: Arc<Engine>, mut stop: watch::Receiver<bool>) {
    loop {
        if let Err(error) = engine.sweep_records().await {
            tracing::warn!(%error, "the records cannot be swept");
        }
        if let Err(error) = engine.ports().blobs.drop_abandoned().await {
            tracing::warn!(%error, "abandoned uploads cannot be dropped");
        }
        tokio::select! {
            () = stopped(&mut stop) => return,
            () = engine.ports().clock.sleep(Engine::sweep_interval()) => {}
        }
    }
}

impl Engine {
    /// Handles one message of `ingest` or `doorbell`, deletes it if it is done, hands it back after a pause if not.
    ///
    /// Acknowledged: what was done, and what can never be read. Retried: every failure of a port, with a growing pause.
    /// After 20 receipts the queue moves a message to its dead letters, where it is seen and can be rung again.
    pub async fn handle(&self, queue: &str, message: &Received) {
        let handled = if queue == INGEST { self.handle_event(message).await } else { self.handle_bell(message).await };
        let queue_port = &self.ports().queue;
        let outcome = match handled {
            Handled::Done => queue_port.delete(queue, &message.receipt).await,
            Handled::Later(pause) => queue_port.extend(queue, &message.receipt, pause).await,
        };
        if let Err(error) = outcome {
            // It comes again: everything that it asks for may be done twice.
            tracing::warn!(queue, %error, "a message cannot be acknowledged");
        }
    }

    async fn handle_event(&self, message: &Received) -> Handled {
        let event: Event = match serde_json::from_str(&message.body) {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(%error, "an event cannot be read: dropped");
                return Handled::Done;
            }
        };
        match self.ingest(&event).await {
            Ok(_) => Handled::Done,
            Err(error) => {
                tracing::warn!(delivery.id = %event.delivery, %error, attempts = message.receive_count, "not ingested yet");
                Handled::Later(pause(&error, message.receive_count))
            }
        }
    }

    async fn handle_bell(&self, message: &Received) -> Handled {
        let bell: Bell = match message.body.parse() {
            Ok(bell) => bell,
            Err(error) => {
                tracing::error!(%error, "a doorbell cannot be read: dropped");
                return Handled::Done;
            }
        };
        match self.answer_bell(&bell).await {
            Ok(()) => Handled::Done,
            Err(error) => {
                tracing::warn!(actor = %bell.actor, %error, attempts = message.receive_count, "the step is to be repeated");
                Handled::Later(pause(&error, message.receive_count))
            }
        }
    }
}

/// Until a message comes again: 1, 2, 4 … 60 seconds, or what the other side asked for.
fn pause(error: &Error, count: u32) -> Duration {
    match error {
        Error::Port(crate::ports::PortError::Retry { after: Some(after), .. }) => {
            (*after).min(Duration::from_secs(900))
        }
        Error::Port(crate::ports::PortError::Conflict) => Duration::ZERO,
        Error::Port(_) | Error::Parked { .. } | Error::Unwritable(_) => {
            Duration::from_secs((1u64 << count.saturating_sub(1).min(6)).min(60))
        }
    }
}
