//! People: they cancel, retry and ask for builds at any moment, and ask again when nobody answers.

use tidegate_core::ids::BuildId;
use tidegate_engine::api::{BuildName, CreateBuild, Rebuild};

use crate::exec::lock;
use crate::faults::Fault;
use crate::world::ledger::Made;
use crate::world::origins::Wish;
use crate::world::{MINUTE, SECOND, World};

impl World {
    /// A build was made: somebody may have a wish about it.
    pub(crate) fn made_a_build(&self, id: &BuildId, made: &Made) {
        self.ask_people(id, made);
        if self.fault(Fault::People, 0.1) {
            let (world, id) = (self.clone(), id.clone());
            let wait = self.draw(|r| (r.lognormal(20.0, 1.5).clamp(0.0, 1200.0) * SECOND as f64) as u64);
            self.spawn(async move {
                world.sleep(wait).await;
                world.cancel(&id).await;
            });
        } else if self.fault(Fault::People, 0.15) {
            let (world, id) = (self.clone(), id.clone());
            let wait = self.draw(|r| r.range(MINUTE, 20 * MINUTE));
            self.spawn(async move {
                world.sleep(wait).await;
                world.retry(&id).await;
            });
        } else if made.parent.is_none() && self.fault(Fault::People, 0.04) {
            let (world, id) = (self.clone(), id.clone());
            let wait = self.draw(|r| r.range(MINUTE, 20 * MINUTE));
            self.spawn(async move {
                world.sleep(wait).await;
                world.rebuild(&id).await;
            });
        }
    }

    async fn cancel(&self, id: &BuildId) {
        if let Some(made) = lock(&self.ledger).builds.get_mut(id) {
            if made.retried > 0 {
                return;
            }
            made.cancel_asked = true;
        }
        for _ in 0..8 {
            let (wish, here) = (id.clone(), self.clone());
            let answer = self
                .call(|engine| async move {
                    here.works_on("cancel");
                    engine.cancel_build(&BuildName::Id(wish), "ann").await.map_err(|e| e.to_string())
                })
                .await;
            self.event(|| format!("cancel {id}: {answer:?}"));
            match answer {
                Some(Ok(_)) => {
                    self.count("people: a cancel is acknowledged");
                    let now = self.now();
                    if let Some(made) = lock(&self.ledger).builds.get_mut(id) {
                        made.cancel_acknowledged.get_or_insert(now);
                    }
                    return;
                }
                Some(Err(why)) if why.contains("is over") => return,
                Some(Err(_)) | None => {}
            }
            let pause = self.draw(|r| r.range(SECOND, 30 * SECOND));
            self.sleep(pause).await;
        }
    }

    pub(crate) async fn retry(&self, id: &BuildId) {
        match lock(&self.ledger).builds.get_mut(id) {
            Some(made) if !made.cancel_asked => made.retried += 1,
            _ => return,
        }
        let made = lock(&self.ledger).builds.get(id).cloned();
        if let Some(made) = made {
            // What was out of reach behind a failure may be reached now.
            self.ask_people(id, &made);
        }
        let wish = id.clone();
        let answer =
            self.call(|engine| async move {
                engine.retry(&BuildName::Id(wish), None, "ann").await.map_err(|e| e.to_string())
            })
            .await;
        self.event(|| format!("retry {id}: {answer:?}"));
        if matches!(answer, Some(Ok(_))) {
            self.count("people: a build is retried");
        }
    }

    /// Builds that people ask for, with a key that makes asking twice harmless.
    pub(crate) async fn wish_for_builds(&self) {
        loop {
            let pause = self.draw(|r| r.range(MINUTE, 8 * MINUTE));
            self.sleep(pause).await;
            if self.is_calm() {
                return;
            }
            if !self.fault(Fault::People, 0.5) {
                continue;
            }
            // Now and then the build that triggers itself, until it is too deep.
            let chain = self.book.chain.is_some() && self.draw(|r| r.chance(0.04));
            self.wish_for(if chain { "chain" } else { "main" }).await;
        }
    }

    async fn wish_for(&self, branch: &str) {
        let key = self.draw(|r| r.hex(12));
        lock(&self.ledger).wishes.insert(key.clone(), Wish::default());
        for _ in 0..3 {
            let wish = CreateBuild {
                pipeline: "pipeline-0".to_owned(),
                branch: Some(branch.to_owned()),
                message: Some(key.clone()),
                idempotency_key: Some(key.clone()),
                by: "ann".to_owned(),
                ..CreateBuild::default()
            };
            let answer =
                self.call(|engine| async move { engine.create_build(&wish).await.map_err(|e| e.to_string()) }).await;
            if self.is_granted(&key, answer).await {
                return;
            }
        }
    }

    /// The build is made again, by a person who may ask more than once.
    async fn rebuild(&self, id: &BuildId) {
        let key = self.draw(|r| r.hex(12));
        lock(&self.ledger).wishes.insert(key.clone(), Wish { again: Some(id.clone()), made: None });
        for _ in 0..3 {
            let wish = Rebuild { idempotency_key: Some(key.clone()), by: key.clone() };
            let name = BuildName::Id(id.clone());
            let answer =
                self.call(|engine| async move { engine.rebuild(&name, &wish).await.map_err(|e| e.to_string()) }).await;
            if self.is_granted(&key, answer).await {
                self.count("people: a build is made again");
                return;
            }
        }
    }

    /// Whether a person has an answer and lets it rest; who asks again gets the same answer.
    async fn is_granted(&self, key: &str, answer: Option<Result<BuildId, String>>) -> bool {
        self.event(|| format!("wish {key}: {answer:?}"));
        if let Some(Ok(id)) = &answer {
            let made = lock(&self.ledger).wishes.get(key).and_then(|wish| wish.made.clone());
            if made.as_ref() != Some(id) {
                self.violate("I1", format!("the wish {key} was answered with build {id}, and made {made:?}"));
            }
            if self.draw(|r| r.chance(0.8)) {
                return true;
            }
        }
        let pause = self.draw(|r| r.range(SECOND, 60 * SECOND));
        self.sleep(pause).await;
        false
    }
}
