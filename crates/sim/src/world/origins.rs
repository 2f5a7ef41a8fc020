//! Where builds come from: each is asked for by a person, a trigger step or a schedule, once, and is what was asked for.
//! Deliveries are compared at the end (`checks.rs`).

use std::collections::BTreeMap;

use tidegate_core::build::{Facts, MAX_TRIGGER_DEPTH};
use tidegate_core::ids::{BuildId, JobIndex};

use crate::exec::{TaskId, lock};
use crate::world::ledger::{MORE, Made};
use crate::world::{MINUTE, World};

/// What a person asked for, with a key that makes asking twice harmless.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// The build that is to be made again.
    pub(crate) again: Option<BuildId>,
    pub(crate) made: Option<BuildId>,
}

/// A schedule, as the world reckons it: the world begins at midnight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timetable {
    /// Number of its pipeline.
    pub(crate) pipeline: usize,
    pub(crate) cron: &'static str,
    pub(crate) branch: &'static str,
    /// Slots are at the multiples of this, in microseconds.
    every: u64,
}

pub(crate) const TIMETABLES: &[Timetable] = &[
    Timetable { pipeline: 0, cron: "*/15 * * * *", branch: "leaf-0", every: 15 * MINUTE },
    Timetable { pipeline: 2, cron: "*/10 * * * *", branch: "leaf-1", every: 10 * MINUTE },
];

impl Timetable {
    fn slot(&self, at: u64) -> u64 {
        at / self.every
    }
}

/// What is known of the schedules.
#[derive(Default)]
pub(crate) struct Slots {
    /// Looks that are being made, and when they began.
    pub(crate) looks: BTreeMap<TaskId, u64>,
    /// When the first look was over: what is due later is due.
    pub(crate) known_since: Option<u64>,
    /// By timetable: builds of slots. Of a build that was made while one slot gave way to the next, it is not known whose it is.
    made: BTreeMap<usize, BTreeMap<u64, BuildId>>,
    unclear: BTreeMap<usize, Vec<(u64, u64)>>,
}

impl World {
    /// A build was made: somebody asked for it, and for no more than it.
    pub(crate) fn observe_origin(&self, facts: &Facts) {
        let wrong = match (facts.source.as_str(), &facts.triggered_by) {
            ("webhook", None) => Ok(()),
            ("api", None) => self.is_wished(facts).map_err(|what| ("I1", what)),
            ("schedule", None) => self.is_of_slot(facts).map_err(|what| ("I15", what)),
            ("trigger_job", Some(_)) => self.is_triggered(facts).map_err(|what| ("I14", what)),
            (other, by) => Err(("I1", format!("build {} has the source `{other}` and {by:?}", facts.id))),
        };
        if let Err((invariant, what)) = wrong {
            self.violate(invariant, what);
        }
    }

    fn is_wished(&self, facts: &Facts) -> Result<(), String> {
        let mut ledger = lock(&self.ledger);
        let original = facts.rebuilt_from.as_ref().map(|id| (id.clone(), ledger.builds.get(id).cloned()));
        let key = if original.is_some() { &facts.creator } else { &facts.message };
        let Some(wish) = ledger.wishes.get_mut(key) else {
            return Err(format!("build {} is of a wish `{key}` that nobody had", facts.id));
        };
        if let Some(other) = wish.made.replace(facts.id.clone()) {
            return Err(format!("{MORE}the wish `{key}` made build {} beside {other}", facts.id));
        }
        if wish.again != original.as_ref().map(|(id, _)| id.clone()) {
            return Err(format!("build {} is made again of {original:?}, and {:?} was wanted", facts.id, wish.again));
        }
        match original {
            Some((id, Some(old))) if old.commit != facts.commit.as_str() || old.trust != facts.trust => {
                Err(format!("build {} is to be {id} again, and is another commit or trust", facts.id))
            }
            Some((id, None)) => Err(format!("build {} is made again of {id}, which never was", facts.id)),
            Some(_) | None => Ok(()),
        }
    }

    fn is_triggered(&self, facts: &Facts) -> Result<(), String> {
        let Some(by) = &facts.triggered_by else { return Ok(()) };
        let id = &facts.id;
        let mut ledger = lock(&self.ledger);
        if let Some(other) = ledger.children.insert((by.build.clone(), by.job, by.attempt), id.clone()) {
            return Err(format!("{MORE}job {} of build {} made {id} beside {other}", by.job, by.build));
        }
        let Some(parent) = ledger.builds.get(&by.build) else {
            return Err(format!("build {id} is made by build {}, which never was", by.build));
        };
        if parent.depth >= MAX_TRIGGER_DEPTH {
            return Err(format!("build {id} is made by build {}, which is {} deep", by.build, parent.depth));
        }
        if parent.trust != facts.trust {
            return Err(format!("build {id} is {:?}, and the one that made it {:?}", facts.trust, parent.trust));
        }
        let text = lock(&self.texts_of_commits).get(&parent.commit).copied().flatten();
        let steps = text.map_or(&[][..], |text| &self.book.texts[text].triggers);
        let Some(step) = steps.iter().find(|step| step.key == facts.message) else {
            return Err(format!("build {id} is made by a step `{}` of build {}", facts.message, by.build));
        };
        let branch = format!("refs/heads/{}", step.branch);
        let git_ref = facts.git_ref.as_ref().map(tidegate_core::event::GitRef::full);
        if facts.pipeline.as_str() != step.pipeline || git_ref.as_deref() != Some(branch.as_str()) {
            return Err(format!("build {id} is of {git_ref:?} in {}, and the step wants {step:?}", facts.pipeline));
        }
        // Where the branch points, or pointed before: it may move while the step is on its way.
        let moved = lock(&self.pointed).get(&(facts.repository.0, branch)).cloned().unwrap_or_default();
        if !moved.iter().any(|commit| commit == facts.commit.as_str()) {
            return Err(format!("build {id} is of {}, where its branch never pointed", facts.commit));
        }
        Ok(())
    }

    /// What the jobs of a build find of the environment that its trigger step gave it.
    pub(crate) fn observe_environment(&self, id: &BuildId, by: Option<&str>) {
        let wanted = match lock(&self.ledger).builds.get(id) {
            Some(made) => made.parent.is_some().then(|| made.message.clone()),
            None => return,
        };
        if wanted.as_deref() != by {
            self.violate("I14", format!("a job of build {id} has {by:?} from its trigger step, which gave {wanted:?}"));
        }
    }

    /// Somebody begins to look at the schedules.
    pub(crate) fn observe_look(&self) {
        if let Some((task, _)) = self.exec.current() {
            lock(&self.ledger).slots.looks.insert(task, self.now());
        }
    }

    /// Whether the task that runs now looks at the schedules.
    pub(crate) fn looks_at_schedules(&self) -> bool {
        self.exec.current().is_some_and(|(task, _)| lock(&self.ledger).slots.looks.contains_key(&task))
    }

    fn is_of_slot(&self, facts: &Facts) -> Result<(), String> {
        let now = self.now();
        let id = &facts.id;
        let wanted = |t: &&(usize, &Timetable)| {
            facts.pipeline.as_str() == format!("pipeline-{}", t.1.pipeline) && facts.creator.contains(t.1.cron)
        };
        let tables: Vec<_> = TIMETABLES.iter().enumerate().collect();
        let Some((place, table)) = tables.iter().find(wanted) else {
            return Err(format!("build {id} of {} is of a schedule by {}", facts.pipeline, facts.creator));
        };
        let mut ledger = lock(&self.ledger);
        let look = self.exec.current().and_then(|(task, _)| ledger.slots.looks.get(&task).copied());
        let Some(began) = look else { return Err(format!("build {id} is made when nobody looked at the schedules")) };
        let (first, last) = (table.slot(began), table.slot(now));
        if last == 0 {
            return Err(format!("build {id} is of a schedule that was not due yet"));
        }
        if first < last {
            ledger.slots.unclear.entry(*place).or_default().push((first, last));
            return Ok(());
        }
        match ledger.slots.made.entry(*place).or_default().insert(first, id.clone()) {
            Some(other) => Err(format!("{MORE}slot {first} of `{}` made build {id} beside {other}", table.cron)),
            None => Ok(()),
        }
    }

    /// A look at the schedules is over, without an error: what was due when it began has its build.
    pub(crate) fn observe_looked(&self, began: u64) {
        let mut wrong = None;
        {
            let mut ledger = lock(&self.ledger);
            let slots = &mut ledger.slots;
            let since = *slots.known_since.get_or_insert_with(|| self.now());
            for (place, table) in TIMETABLES.iter().enumerate() {
                let due = table.slot(began);
                let made = slots.made.get(&place).is_some_and(|made| made.contains_key(&due));
                let unclear = slots.unclear.get(&place);
                let perhaps = unclear.is_some_and(|all| all.iter().any(|(a, b)| (*a..=*b).contains(&due)));
                if due * table.every > since && !made && !perhaps {
                    wrong = Some(format!("slot {due} of `{}` was due, was looked at, and has no build", table.cron));
                }
            }
        }
        if let Some(what) = wrong {
            self.violate("I15", what);
        }
    }

    /// Why the build is or is not as good as its trigger steps want their builds to be.
    pub(crate) fn lacks_of_triggers(&self, id: &BuildId, made: &Made, text: usize) -> Option<String> {
        let children = |key: &str| -> Vec<BuildId> {
            let ledger = lock(&self.ledger);
            let own =
                ledger.children.range((id.clone(), JobIndex(0), 0)..).take_while(|((parent, ..), _)| parent == id);
            let of_step = |child: &&BuildId| ledger.builds.get(*child).is_some_and(|m| m.message == key);
            own.map(|(_, child)| child).filter(of_step).cloned().collect()
        };
        self.book.texts[text].triggers.iter().find_map(|step| {
            let made_by_it = children(&step.key);
            if step.soft && (!made_by_it.is_empty() || made.depth >= MAX_TRIGGER_DEPTH) {
                return None;
            }
            if made_by_it.is_empty() {
                return Some(format!("its step {} made no build", step.key));
            }
            let ended_well = |child: &BuildId| self.why_not_green(child).is_none();
            (!step.asynchronous && !made_by_it.iter().any(ended_well))
                .then(|| format!("the build {made_by_it:?} of its step {} never ended well", step.key))
        })
    }

    /// Whether a step of the build has a reason to be red in the build that it made, or could not make.
    pub(crate) fn trigger_excuses(&self, id: &BuildId, made: &Made, text: usize) -> bool {
        let steps = &self.book.texts[text].triggers;
        if steps.iter().any(|step| !step.soft) && made.depth >= MAX_TRIGGER_DEPTH {
            return true;
        }
        let children: Vec<(BuildId, Made)> = {
            let ledger = lock(&self.ledger);
            let own =
                ledger.children.range((id.clone(), JobIndex(0), 0)..).take_while(|((parent, ..), _)| parent == id);
            own.filter_map(|(_, child)| Some((child.clone(), ledger.builds.get(child)?.clone()))).collect()
        };
        children.iter().any(|(child, made)| {
            let step = steps.iter().find(|step| step.key == made.message && !step.asynchronous);
            // What was cancelled is no soft failure.
            step.is_some_and(|step| (!step.soft && self.excuse(child, made)) || self.may_be_ended(made))
        })
    }
}
