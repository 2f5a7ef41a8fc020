//! What keeps the engine going: consumers of its queues, timers that sweep, and the bad days of what it depends on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_engine::{Engine, INGEST};

use crate::exec::lock;
use crate::faults::Fault;
use crate::world::ledger::guid_of;
use crate::world::{MINUTE, SECOND, Side, World};

impl World {
    pub(crate) fn start_services(&self) {
        for _ in 0..5 {
            self.consume("doorbell");
        }
        for _ in 0..2 {
            self.consume(INGEST);
        }
        self.sweep("fleet", 12 * SECOND);
        self.sweep("records", 60 * SECOND);
        if !self.plan.small && self.plan.even.is_none() {
            for _ in 0..2 {
                self.look_at_schedules();
            }
        }
        self.bad_days();
    }

    fn consume(&self, queue: &'static str) {
        let world = self.clone();
        self.spawn(async move {
            use tidegate_engine::ports::Queue as _;
            loop {
                let max = world.draw(|r| r.index(3)) + 1;
                let Ok(messages) = world.receive(queue, max, Duration::from_secs(20)).await else {
                    world.sleep(SECOND).await;
                    continue;
                };
                for message in messages {
                    let guid = if queue == INGEST { guid_of(&message.body) } else { None };
                    if let Some(guid) = &guid
                        && let Some(delivery) = lock(&world.ledger).deliveries.get_mut(guid)
                        && delivery.taken_at.is_none()
                    {
                        delivery.taken_at = Some(world.now());
                    }
                    let here = world.clone();
                    let work = |engine: Arc<Engine>| async move {
                        here.works_on(&message.body);
                        engine.handle(queue, &message).await;
                    };
                    let handled = world.call(work).await;
                    if let (Some(guid), Some(())) = (guid, handled)
                        && lock(&world.store)
                            .find(&tidegate_engine::ports::Key::new(format!("delivery/{guid}"), "delivery"))
                            .is_some()
                        && let Some(delivery) = lock(&world.ledger).deliveries.get_mut(&guid)
                        && delivery.done_at.is_none()
                    {
                        delivery.done_at = Some(world.now());
                    }
                }
            }
        });
    }

    fn sweep(&self, what: &'static str, every: u64) {
        let world = self.clone();
        self.spawn(async move {
            loop {
                if world.draining.load(Ordering::Relaxed) {
                    world.sleep(MINUTE).await;
                    continue;
                }
                let here = world.clone();
                let _ = world
                    .call(|engine| async move {
                        here.works_on(if what == "fleet" { "audit" } else { what });
                        if what == "fleet" { engine.sweep_fleet().await } else { engine.sweep_records().await }
                    })
                    .await;
                let pause = world.draw(|r| r.range(every * 3 / 4, every * 5 / 4));
                world.sleep(pause).await;
                if world.fault(Fault::SweepDown, 0.003) {
                    world.count("a sweep is down for long");
                    let span = world.draw(|r| r.range(MINUTE, 60 * MINUTE));
                    // Down until it is mended, or until the faults stop.
                    let until = world.now() + span;
                    while world.now() < until && !world.is_calm() {
                        world.sleep(20 * SECOND).await;
                    }
                }
            }
        });
    }

    /// As a resident process does it, and a second one.
    fn look_at_schedules(&self) {
        let world = self.clone();
        self.spawn(async move {
            // Nothing would ever come to rest otherwise.
            while !world.is_calm() {
                let began = world.now();
                let here = world.clone();
                let pause = world
                    .call(|engine| async move {
                        here.observe_look();
                        engine.run_schedules().await
                    })
                    .await;
                let pause = match pause {
                    Some(Ok(pause)) => {
                        world.observe_looked(began);
                        crate::exec::micros(pause)
                    }
                    Some(Err(_)) | None => 5 * SECOND,
                };
                let down = world.fault(Fault::SweepDown, 0.01);
                let down = if down { world.draw(|r| r.range(MINUTE, 40 * MINUTE)) } else { 0 };
                world.sleep(pause + down).await;
            }
        });
    }

    /// Now and then one of the services is down for a while.
    fn bad_days(&self) {
        let world = self.clone();
        self.spawn(async move {
            loop {
                let pause = world.draw(|r| r.range(2 * MINUTE, 40 * MINUTE));
                world.sleep(pause).await;
                if world.fault(Fault::Outage, 0.7) {
                    let sides =
                        [Side::Store, Side::Queue, Side::Blobs, Side::Cloud, Side::Git, Side::Forge, Side::Outbound];
                    let side = sides[world.draw(|r| r.index(sides.len()))];
                    let span = world.draw(|r| (r.lognormal(120.0, 1.2).clamp(10.0, 3600.0) * SECOND as f64) as u64);
                    world.count("outages");
                    world.event(|| format!("{side:?} is down for {} s", span / SECOND));
                    let now = world.now();
                    lock(&world.outages).push((side, now, now + span));
                }
                if world.fault(Fault::NoCapacity, 0.3) {
                    let pools: Vec<_> = world.policy.pools.iter().map(|p| p.name.clone()).collect();
                    let pool = pools[world.draw(|r| r.index(pools.len()))].clone();
                    let until = world.now() + world.draw(|r| r.range(MINUTE, 30 * MINUTE));
                    world.count("a pool is dry for a while");
                    lock(&world.cloud).dry.insert(pool, until);
                }
            }
        });
    }
}
