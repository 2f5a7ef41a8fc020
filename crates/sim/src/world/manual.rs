//! Steps that wait for a person: who asked to open them with which value, who was told that it was granted, and what the jobs
//! behind them found.

use std::collections::BTreeMap;

use tidegate_core::build::{Build, Did, JobState};
use tidegate_core::ids::BuildId;
use tidegate_engine::api::{ApiError, BuildName, Unblock};

use crate::exec::lock;
use crate::world::ledger::Made;
use crate::world::pipelines::Manual;
use crate::world::{MINUTE, SECOND, World};

/// Somebody asked to open a step.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) value: String,
    /// The step was opened, and the person was told so.
    pub(crate) granted: bool,
}

impl World {
    /// The step of the build that waits for a person.
    pub(crate) fn manual_of(&self, made: &Made) -> Option<&Manual> {
        let text = lock(&self.texts_of_commits).get(&made.commit).copied().flatten()?;
        self.book.texts[text].manual.as_ref()
    }

    /// People come to open what waits for them: one, or two at once.
    pub(crate) fn ask_people(&self, id: &BuildId, made: &Made) {
        let Some(manual) = self.manual_of(made).cloned() else { return };
        let wait = self.draw(|r| (r.lognormal(40.0, 1.3).clamp(1.0, 1500.0) * SECOND as f64) as u64);
        let people = if self.draw(|r| r.chance(0.4)) { 2 } else { 1 };
        for _ in 0..people {
            let (world, id, manual) = (self.clone(), id.clone(), manual.clone());
            let hesitates = self.draw(|r| r.range(0, 2 * SECOND));
            self.spawn(async move {
                world.sleep(wait + hesitates).await;
                world.open(&id, &manual).await;
            });
        }
    }

    /// A person who opens a step, or is told why not.
    pub(crate) async fn open(&self, id: &BuildId, manual: &Manual) {
        let by = format!("p-{}", self.draw(|r| r.hex(8)));
        let value = format!("w{}", self.draw(|r| r.hex(10)));
        if manual.field.is_some() && self.draw(|r| r.chance(0.2)) {
            self.fill_in_badly(id, manual).await;
        }
        if let Some(made) = lock(&self.ledger).builds.get_mut(id) {
            made.openings.insert(by.clone(), Opening { value: value.clone(), granted: false });
        }
        let fields = manual.field.iter().map(|field| (field.clone(), value.clone())).collect();
        let wish = Unblock { step: manual.key.clone(), fields, by: by.clone() };
        for round in 0u32..60 {
            let answer = self.unblock(id, wish.clone()).await;
            self.event(|| format!("unblock {id} by {by}: {answer:?}"));
            match answer {
                Some(Ok(())) => {
                    self.count("people: a step is opened");
                    return self.observe_opened(id, &by, manual);
                }
                Some(Err(why)) if why.contains("is not reached yet") => {}
                Some(Err(_)) => return,
                None => {}
            }
            let pause = self.draw(|r| r.range(SECOND, (20 * SECOND) << round.min(4)));
            self.sleep(pause).await;
        }
    }

    async fn unblock(&self, id: &BuildId, wish: Unblock) -> Option<Result<(), String>> {
        let name = BuildName::Id(id.clone());
        let answer = self.call(|engine| async move {
            match engine.unblock(&name, &wish).await {
                Ok(_) => Some(Ok(())),
                Err(ApiError::Engine(_)) => None,
                Err(error) => Some(Err(error.to_string())),
            }
        });
        answer.await.flatten()
    }

    /// A value that the step does not take.
    async fn fill_in_badly(&self, id: &BuildId, manual: &Manual) {
        let fields = manual.field.iter().map(|field| (field.clone(), "NO".to_owned())).collect();
        let wish = Unblock { step: manual.key.clone(), fields, by: "somebody careless".to_owned() };
        if let Some(Ok(())) = self.unblock(id, wish).await {
            self.violate("I13", format!("step {} of build {id} was opened with a value of a wrong format", manual.key));
        }
    }

    fn observe_opened(&self, id: &BuildId, by: &str, manual: &Manual) {
        let mut wrong = None;
        if let Some(made) = lock(&self.ledger).builds.get_mut(id) {
            if let Some(opening) = made.openings.get_mut(by) {
                opening.granted = true;
            }
            // Without a form all wishes are alike, and all are granted.
            if manual.field.is_some() && made.openings.values().filter(|o| o.granted).count() > 1 {
                wrong = Some(format!("step {} of build {id} was granted to two people", manual.key));
            }
        }
        if let Some(what) = wrong {
            self.violate("I13", what);
        }
    }

    /// A job behind a step begins, and says what it finds: who opened the step, and the value of its field.
    pub(crate) fn observe_behind(&self, id: &BuildId, key: &str, by: Option<&str>, value: Option<Option<String>>) {
        let wrong = {
            let mut ledger = lock(&self.ledger);
            let Some(made) = ledger.builds.get_mut(id) else { return };
            if let (Some(Some(value)), None) = (&value, &made.filled_in) {
                made.filled_in = Some(value.clone());
            }
            let first = made.openings.values().find(|o| o.granted).map(|o| &o.value);
            match (by.and_then(|by| made.openings.get(by)), &value) {
                (None, _) => Some(format!("is said to be opened by {by:?}, who never asked for it")),
                (Some(_), None) => None,
                (Some(_), Some(None)) => Some("has a field, and no value is there".to_owned()),
                (Some(opening), Some(Some(value))) => {
                    let same = *value == opening.value && made.filled_in.as_ref() == Some(value);
                    let granted = first.is_none_or(|first| first == value);
                    (!(same && granted)).then(|| format!("{value} is found, of {:?}", made.openings))
                }
            }
        };
        if let Some(what) = wrong {
            self.violate("I13", format!("before job {key} of build {id}, the step {what}"));
        }
    }

    /// What is wrong with what the record says of who opened the step.
    pub(crate) fn check_opened(&self, id: &BuildId, made: &Made, build: &Build) -> Option<String> {
        let mut times: BTreeMap<u32, usize> = BTreeMap::new();
        for act in &build.acts {
            if let Did::Unblocked { job, .. } = &act.did {
                *times.entry(job.0).or_default() += 1;
                let Some(opening) = made.openings.get(&act.by) else {
                    return Some(format!("build {id} says that {} opened a step, who never asked", act.by));
                };
                let taken = made.filled_in.as_ref().is_none_or(|value| *value == opening.value);
                if !taken {
                    return Some(format!("build {id} says that {} opened a step, and another's value counts", act.by));
                }
            }
        }
        let opened = build.cells.iter().filter(|cell| cell.state == JobState::Unblocked).count();
        (times.len() != opened || times.values().any(|n| *n != 1))
            .then(|| format!("{opened} steps of build {id} are open, and the acts are {:?}", build.acts))
    }

    /// When the faults have stopped, somebody looks after what still waits for a person.
    pub(crate) fn look_after_blocked(&self) {
        let waiting: Vec<(BuildId, Made)> = {
            let ledger = lock(&self.ledger);
            ledger.builds.iter().filter(|(_, m)| !m.deleted).map(|(id, m)| (id.clone(), m.clone())).collect()
        };
        for (id, made) in waiting {
            let Some(manual) = self.manual_of(&made).cloned() else { continue };
            let blocked = |build: Build| build.cells.iter().any(|cell| cell.state == JobState::Blocked);
            if self.record(&id).is_some_and(blocked) {
                let world = self.clone();
                let wait = self.draw(|r| r.range(0, MINUTE));
                self.spawn(async move {
                    world.sleep(wait).await;
                    world.open(&id, &manual).await;
                });
            }
        }
    }
}
