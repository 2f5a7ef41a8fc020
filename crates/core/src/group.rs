//! Concurrency groups: a limit on how many jobs of one name run at once, over all builds and pipelines
//! (`spec/pipeline.md` 1.11).
//!
//! A slot names a build and a job and is held over retries. A holder is told by an inbox record of its build; the slot
//! keeps `told: false` until that record is written, so a grant cannot be lost. A holder that has ended without saying
//! so is found by the sweep, which feeds [`Input::Leave`] for it while anybody waits (`spec/hazards.md` H6).

use serde::{Deserialize, Serialize};

use crate::ids::{BuildId, JobIndex};
use crate::time::Timestamp;

/// The record of one group.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The name that users gave it.
    pub name: String,
    /// Jobs that have a slot.
    pub holders: Vec<Member>,
    /// Jobs that wait for one, in order of creation.
    pub waiters: Vec<Member>,
    /// Inbox records that are folded in and may be deleted.
    #[serde(default)]
    pub folded: Vec<String>,
}

/// A job in a group.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its build.
    pub build: BuildId,
    /// The job.
    pub job: JobIndex,
    /// Which time the job joins: an older departure or grant means nothing for it.
    #[serde(default)]
    pub round: u32,
    /// The limit as it was when the job was created.
    pub limit: u32,
    /// Takes any free slot.
    pub eager: bool,
    /// Place in the queue: creation of the build or the upload, then the job's place.
    pub order: (Timestamp, BuildId, JobIndex),
    /// A holder that knows it.
    #[serde(default)]
    pub told: bool,
    /// It keeps its place in line and is given no slot yet: steps before it are not done (`spec/pipeline.md` 1.11).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub early: bool,
    /// When it was first said that it joins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// What a group is told.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Input {
    /// A job wants a slot.
    Join(Member),
    /// A job needs none any more.
    Leave {
        /// Its build.
        build: BuildId,
        /// The job.
        job: JobIndex,
        /// The last time it joined for that is over.
        round: u32,
    },
    /// The build of this holder has been told.
    Told {
        /// Its build.
        build: BuildId,
        /// The job.
        job: JobIndex,
        /// The time it joined for.
        round: u32,
    },
}

impl Member {
    fn is(&self, build: &BuildId, job: JobIndex) -> bool {
        self.build == *build && self.job == job
    }
}

impl Group {
    /// Folds one input in. Doing so twice changes nothing more.
    pub fn fold(&mut self, input: Input) {
        match input {
            Input::Join(member) => {
                let same = |m: &Member| m.is(&member.build, member.job) && m.round == member.round;
                if let Some(known) = self.waiters.iter_mut().find(|m| same(m)) {
                    // It is ready now. What says otherwise is older.
                    known.early &= member.early;
                    return;
                }
                if self.members().any(|m| m.is(&member.build, member.job) && m.round >= member.round) {
                    return;
                }
                self.holders.retain(|m| !m.is(&member.build, member.job));
                self.waiters.retain(|m| !m.is(&member.build, member.job));
                let place = self.waiters.partition_point(|m| m.order <= member.order);
                self.waiters.insert(place, Member { told: false, ..member });
            }
            Input::Leave { build, job, round } => {
                self.holders.retain(|m| !m.is(&build, job) || m.round > round);
                self.waiters.retain(|m| !m.is(&build, job) || m.round > round);
            }
            Input::Told { build, job, round } => {
                for holder in self.holders.iter_mut().filter(|m| m.is(&build, job) && m.round == round) {
                    holder.told = true;
                }
            }
        }
    }

    /// Gives out the slots that are free. `ordered` jobs: only if fewer unfinished jobs of the group than the job's own
    /// limit were created before it; `eager` jobs: if fewer than its limit hold a slot.
    ///
    /// Jobs of older builds count although steps before them are not done, which is what makes gates of two such jobs
    /// (`spec/pipeline.md` 1.11). Those of the job's own build do not: it may be one of these steps.
    pub fn grant(&mut self) {
        let mut still_waiting: Vec<Member> = Vec::new();
        for waiter in std::mem::take(&mut self.waiters) {
            let holding = self.holders.len();
            let limit = usize::try_from(waiter.limit).unwrap_or(usize::MAX);
            let ahead = || ahead_of(&waiter, &still_waiting);
            let free = !waiter.early && if waiter.eager { holding < limit } else { holding + ahead() < limit };
            if free {
                self.holders.push(waiter);
            } else {
                still_waiting.push(waiter);
            }
        }
        self.waiters = still_waiting;
    }

    /// How many of those that wait count before this one, the place in line of which is `place`.
    pub fn ahead(&self, place: usize) -> usize {
        match (self.waiters.get(place), self.waiters.get(..place)) {
            (Some(waiter), Some(before)) if !waiter.eager => ahead_of(waiter, before),
            _ => 0,
        }
    }

    /// Everybody in the group.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.holders.iter().chain(&self.waiters)
    }

    /// Holders whose builds do not know it yet.
    pub fn untold(&self) -> impl Iterator<Item = &Member> {
        self.holders.iter().filter(|m| !m.told)
    }
}

fn ahead_of(waiter: &Member, before: &[Member]) -> usize {
    before.iter().filter(|other| !other.early || other.build != waiter.build).count()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::ids::derived_uuid;

    fn member(n: u32, limit: u32, eager: bool) -> Member {
        let build = BuildId::new(derived_uuid("t", &n.to_string()).to_string()).unwrap();
        let order = (Timestamp(u64::from(n)), build.clone(), JobIndex(0));
        Member { build, job: JobIndex(0), round: 0, limit, eager, order, told: false, early: false, since: None }
    }

    #[test]
    fn ordered_is_first_in_first_out() {
        let mut group = Group::default();
        for n in [3, 1, 2] {
            group.fold(Input::Join(member(n, 1, false)));
        }
        group.grant();
        assert_eq!(group.holders, vec![member(1, 1, false)]);
        group.fold(Input::Leave { build: member(1, 1, false).build, job: JobIndex(0), round: 0 });
        group.grant();
        assert_eq!(group.holders, vec![member(2, 1, false)]);
    }

    #[test]
    fn an_ordered_job_waits_for_those_ahead_and_an_eager_one_does_not() {
        let mut group = Group::default();
        group.fold(Input::Join(member(1, 2, false)));
        group.grant();
        group.fold(Input::Join(member(2, 1, false)));
        group.fold(Input::Join(member(3, 2, false)));
        group.fold(Input::Join(member(4, 2, true)));
        group.grant();
        let holding: Vec<u64> = group.holders.iter().map(|m| m.order.0.0).collect();
        assert_eq!(holding, [1, 4]);
    }

    #[test]
    fn what_is_said_of_an_earlier_time_means_nothing() {
        let mut group = Group::default();
        let at = |round| Member { round, ..member(1, 1, false) };
        let leave = |round| Input::Leave { build: at(0).build, job: JobIndex(0), round };
        let told = |round| Input::Told { build: at(0).build, job: JobIndex(0), round };
        group.fold(Input::Join(at(2)));
        group.fold(Input::Join(at(1)));
        group.grant();
        assert_eq!(group.holders, vec![at(2)], "a join of before is late");
        group.fold(leave(1));
        group.fold(told(1));
        assert_eq!(group.untold().count(), 1, "the second time is not over, and its build is not told");
        group.fold(told(2));
        assert_eq!(group.untold().count(), 0);
        group.fold(Input::Join(at(3)));
        assert!(group.holders.is_empty(), "whoever joins again has left");
        group.grant();
        assert_eq!(group.untold().collect::<Vec<_>>(), [&at(3)]);
        group.fold(leave(3));
        assert_eq!(group.members().count(), 0);
    }

    #[test]
    fn a_late_comer_of_an_older_build_stands_before_younger_ones() {
        let mut group = Group::default();
        for n in [1, 5, 3] {
            group.fold(Input::Join(member(n, 1, false)));
            group.grant();
        }
        let waiting: Vec<u64> = group.waiters.iter().map(|m| m.order.0.0).collect();
        assert_eq!(waiting, [3, 5]);
    }

    #[test]
    fn who_is_early_keeps_its_place_and_takes_no_slot() {
        let mut group = Group::default();
        let early = Member { early: true, ..member(1, 1, false) };
        group.fold(Input::Join(early.clone()));
        group.fold(Input::Join(member(2, 1, false)));
        group.grant();
        assert_eq!((group.holders.len(), group.ahead(1)), (0, 1), "the older build is not done with its section");
        // Another job of the same build is not held up by it.
        group.fold(Input::Join(Member { job: JobIndex(1), ..member(1, 1, false) }));
        group.grant();
        assert_eq!(group.holders.iter().map(|m| m.job).collect::<Vec<_>>(), [JobIndex(1)]);
        group.fold(Input::Leave { build: early.build.clone(), job: JobIndex(1), round: 0 });
        group.fold(Input::Join(member(1, 1, false)));
        group.fold(Input::Join(early));
        group.grant();
        assert_eq!(group.holders, vec![member(1, 1, false)], "it is ready, and what is said late changes nothing");
    }

    proptest! {
        /// With one limit for all, never more hold a slot than it says, nobody is in twice, and whoever stays last gets in.
        #[test]
        fn limits_hold_and_nobody_starves(
            ops in proptest::collection::vec((0u32..8, any::<bool>(), any::<bool>()), 0..60),
            limit in 1u32..4,
        ) {
            let mut group = Group::default();
            for (n, join, eager) in ops {
                let m = member(n, limit, eager);
                group.fold(if join { Input::Join(m) } else { Input::Leave { build: m.build, job: m.job, round: 0 } });
                group.grant();
                prop_assert!(group.holders.len() <= limit as usize);
                let mut ids: Vec<_> = group.members().map(|m| m.build.clone()).collect();
                let all = ids.len();
                ids.sort();
                ids.dedup();
                prop_assert_eq!(ids.len(), all);
                prop_assert!(group.waiters.is_empty() || group.holders.len() == limit as usize);
            }
        }
    }
}
