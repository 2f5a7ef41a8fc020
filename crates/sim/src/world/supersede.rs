//! Builds that newer ones of their branch end, where the pipeline says so: never the newest, never by an older one.

use tidegate_core::build::{Build, BuildState};
use tidegate_core::ids::BuildId;

use crate::exec::lock;
use crate::world::ledger::{Delivery, Made};
use crate::world::{MINUTE, World};

/// On which branches of its pipelines newer builds skip older ones, and on which they cancel them; the small world has but one.
pub(crate) fn filters(pipeline: usize, small: bool) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let list = |patterns: &[&str]| Some(patterns.iter().map(|p| (*p).to_owned()).collect());
    match (pipeline, small) {
        (0, true) => (list(&["b0", "b1"]), list(&["b1", "b2"])),
        (0, false) => (list(&["b0", "b1"]), None),
        (1, _) => (None, list(&["b*"])),
        _ => (None, None),
    }
}

/// Whether newer builds of this branch skip older ones, and whether they cancel them.
fn says(made: &Made, small: bool) -> (bool, bool) {
    let number = made.pipeline.strip_prefix("pipeline-").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    let named = |filter: Option<Vec<String>>| {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => made.branch.starts_with(prefix),
            None => made.branch == *pattern,
        };
        filter.is_some_and(|patterns| patterns.iter().any(fits))
    };
    let (skip, cancel) = filters(number, small);
    (named(skip), named(cancel))
}

/// How long after a newer build was made an older one may still begin jobs: messages are late, and machines too.
const PATIENCE: u64 = 20 * MINUTE;

impl World {
    /// When a newer build of its branch was made, if that ends it.
    fn superseded_at(&self, made: &Made, how: impl Fn((bool, bool)) -> bool) -> Option<u64> {
        if !how(says(made, self.plan.small)) {
            return None;
        }
        let ledger = lock(&self.ledger);
        let newer = |other: &&Made| {
            (&other.pipeline, &other.branch) == (&made.pipeline, &made.branch) && other.number > made.number
        };
        ledger.builds.values().filter(newer).map(|other| other.made_at).min()
    }

    /// Whether a push has deleted the branch of a build.
    fn branch_was_deleted(&self, made: &Made) -> bool {
        let number = made.pipeline.strip_prefix("pipeline-").and_then(|n| n.parse::<u64>().ok());
        let ledger = lock(&self.ledger);
        let deletes = |d: &Delivery| d.after.bytes().all(|b| b == b'0') && d.git_ref == made.git_ref && d.sent;
        made.git_ref.starts_with("refs/heads/")
            && ledger.deliveries.values().any(|d| deletes(d) && number == d.repository.checked_sub(100))
    }

    /// Whether anything may have ended the build but its own jobs: a person, a newer build, the end of its branch or of what
    /// made it.
    pub(crate) fn may_be_ended(&self, made: &Made) -> bool {
        if made.cancel_asked
            || self.superseded_at(made, |(skip, cancel)| skip || cancel).is_some()
            || self.branch_was_deleted(made)
        {
            return true;
        }
        let parent = made.parent.as_ref().and_then(|id| lock(&self.ledger).builds.get(id).cloned());
        parent.is_some_and(|parent| self.may_be_ended(&parent))
    }

    /// What is wrong with the end of a build that no job of its own has brought about.
    pub(crate) fn check_superseded(&self, id: &BuildId, made: &Made, build: &Build) -> Option<String> {
        match build.state {
            BuildState::Skipped => self.count("builds skipped for newer ones"),
            BuildState::Canceled if !made.cancel_asked => self.count("builds canceled for newer ones"),
            _ => {}
        }
        let runs = || made.attempts.values().flat_map(|tries| tries.values()).filter_map(|tried| tried.run.as_ref());
        match build.state {
            BuildState::Skipped if self.superseded_at(made, |(skip, _)| skip).is_none() => {
                Some(format!("build {id} of {} was skipped, and is the newest of its branch", made.branch))
            }
            BuildState::Skipped if runs().next().is_some() => {
                Some(format!("build {id} was skipped, and has run {:?}", runs().next()))
            }
            BuildState::Canceled if !self.may_be_ended(made) => {
                Some(format!("build {id} of {} was canceled, and nobody asked for it", made.branch))
            }
            // Who tries a build again wants it whatever has come since.
            BuildState::Passed | BuildState::Failed if made.retried == 0 => {
                let newer = self.superseded_at(made, |(_, cancel)| cancel)?;
                // What was out of order in the meantime is patience too.
                let away: u64 =
                    lock(&self.outages).iter().map(|(_, from, to)| to.saturating_sub((*from).max(newer))).sum();
                let late = runs().map(|run| run.began).max().filter(|began| *began > newer + PATIENCE + away)?;
                let after = (late - newer) / MINUTE;
                Some(format!("build {id} of {} began jobs {after} minutes after a newer one was made", made.branch))
            }
            _ => None,
        }
    }
}
