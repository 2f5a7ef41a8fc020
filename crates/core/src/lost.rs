//! Webhooks that did not arrive (`spec/github.md` 6.1): GitHub does not try again by itself, so it is asked to.
//!
//! Pure: what a forge lists goes in, with what is remembered of the last look; out comes what to ask for and what to remember. What
//! is asked for is remembered before it is asked, so that a crash costs a try and never makes two.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::CommitSha;
use crate::time::Timestamp;

/// How long a forge keeps deliveries: what is older cannot be asked for.
pub const KEPT: Duration = Duration::from_secs(3 * 24 * 3_600);
/// Between two looks, unless the owner says otherwise.
pub const EVERY: Duration = Duration::from_secs(5 * 60);
/// How often a delivery is asked for: the last time after about five hours.
pub const TRIES: u32 = 7;
/// How many are asked for at one look: a server that was down for a day does not bury itself when it comes back.
const AT_ONCE: usize = 50;
/// How far before the last look a look goes back: deliveries are listed when they are over, dated by when they began.
const OVERLAP: Duration = Duration::from_secs(15 * 60);
/// Most that are remembered.
const MOST_MISSING: usize = 2_000;
/// How many moves of one repository are taken up at one look.
const MOVES_AT_ONCE: usize = 50;

/// A try of a delivery, as a forge lists it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// The forge's id of the try.
    pub id: u64,
    /// Of the delivery.
    pub guid: String,
    /// When.
    pub at: Timestamp,
    /// Whether it arrived.
    pub arrived: bool,
}

/// What is remembered from one look to the next.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Lookout {
    /// No look before this.
    pub next: Timestamp,
    /// Everything before this has been seen.
    seen: Timestamp,
    /// Deliveries that have not arrived, by guid.
    missing: BTreeMap<String, Missing>,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct Missing {
    /// The last try that is known.
    id: u64,
    at: Timestamp,
    /// How often it was asked for.
    asked: u32,
    not_before: Timestamp,
}

impl Lookout {
    /// From when on deliveries are to be listed for a look at `now`.
    pub fn since(&self, now: Timestamp) -> Timestamp {
        (self.seen - OVERLAP).max(now - KEPT)
    }

    /// Takes in what was listed, in any order. `whole`: back to [`Lookout::since`].
    pub fn take_in(&mut self, listed: &[Listed], whole: bool, now: Timestamp) {
        let mut listed: Vec<&Listed> = listed.iter().collect();
        listed.sort_by_key(|delivery| (delivery.at, delivery.id));
        for delivery in &listed {
            let arrived = listed.iter().any(|other| other.arrived && other.guid == delivery.guid);
            if arrived {
                self.missing.remove(&delivery.guid);
                continue;
            }
            let new = Missing { id: delivery.id, at: delivery.at, asked: 0, not_before: now };
            let known = self.missing.entry(delivery.guid.clone()).or_insert(new);
            (known.id, known.at) = (known.id.max(delivery.id), known.at.max(delivery.at));
        }
        self.missing.retain(|_, missing| missing.at > now - KEPT);
        while self.missing.len() > MOST_MISSING {
            self.missing.pop_first();
        }
        if whole {
            self.seen = now;
        }
    }

    /// Deliveries that have not arrived, as far as the forge knows; whoever knows better says so with [`Lookout::is_here`].
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        self.missing.keys().map(String::as_str)
    }

    /// It did arrive: only our answer was lost.
    pub fn is_here(&mut self, guid: &str) {
        self.missing.remove(guid);
    }

    /// What to ask for now; remembered as asked for. `every` is between two looks.
    pub fn ask(&mut self, now: Timestamp, every: Duration) -> Vec<(String, u64)> {
        self.next = now + every;
        let due = |missing: &Missing| missing.asked < TRIES && missing.not_before <= now;
        let mut due: Vec<(Timestamp, String)> =
            self.missing.iter().filter(|(_, m)| due(m)).map(|(guid, m)| (m.at, guid.clone())).collect();
        due.sort();
        let mut asked = Vec::new();
        for (_, guid) in due.into_iter().take(AT_ONCE) {
            if let Some(missing) = self.missing.get_mut(&guid) {
                missing.not_before = now + every * 2u32.pow(missing.asked.min(10));
                missing.asked += 1;
                asked.push((guid, missing.id));
            }
        }
        asked
    }
}

/// What is remembered of the refs of a repository.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct SeenRefs {
    /// No look before this.
    pub next: Timestamp,
    /// Every branch and tag at the last look. `None` before the first: what was there before us is not built.
    refs: Option<BTreeMap<String, CommitSha>>,
    /// Moves that no event had told of at the last look: the event may still be on its way.
    waiting: BTreeMap<String, CommitSha>,
}

impl SeenRefs {
    /// Takes in what is there now; returns the refs that have moved since, or were new then already, for the caller to ask which of
    /// them events have told of.
    pub fn take_in(&mut self, now: &BTreeMap<String, CommitSha>) -> Vec<(String, CommitSha)> {
        let Some(before) = self.refs.replace(now.clone()) else { return Vec::new() };
        let moved = now.iter().filter(|(name, at)| before.get(*name) != Some(at) || self.waiting.contains_key(*name));
        moved.map(|(name, at)| (name.clone(), at.clone())).collect()
    }

    /// The moves to take up, given those that no event has told of: they have been there for a whole round.
    pub fn take_up(&mut self, untold: &[(String, CommitSha)]) -> Vec<(String, CommitSha)> {
        let waited = |entry: &&(String, CommitSha)| self.waiting.get(&entry.0) == Some(&entry.1);
        let found: Vec<(String, CommitSha)> = untold.iter().filter(waited).take(MOVES_AT_ONCE).cloned().collect();
        self.waiting = untold.iter().filter(|entry| !found.contains(entry)).cloned().collect();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3_600 * 1_000;
    const START: u64 = 20_000 * DAY;

    fn listed(id: u64, guid: &str, at: u64, arrived: bool) -> Listed {
        Listed { id, guid: guid.to_owned(), at: Timestamp(at), arrived }
    }

    fn ids(asked: Vec<(String, u64)>) -> Vec<u64> {
        asked.into_iter().map(|(_, id)| id).collect()
    }

    #[test]
    fn what_did_not_arrive_is_asked_for_with_growing_pauses_and_then_left() {
        let mut lookout = Lookout::default();
        let now = |minutes: u64| Timestamp(START + minutes * 60_000);
        let here = [listed(1, "a", START - 1_000, true), listed(2, "b", START - 1_000, false)];
        lookout.take_in(&here, true, now(0));
        assert_eq!(ids(lookout.ask(now(0), EVERY)), [2]);
        // Every try fails; it comes as another try with another id.
        let (mut asked_at, mut id) = (vec![0], 2);
        for round in 1..200 {
            let minutes = round * 5;
            id += 1;
            lookout.take_in(&[listed(id, "b", now(minutes).0 - 1_000, false)], true, now(minutes));
            if lookout.ask(now(minutes), EVERY) == [("b".to_owned(), id)] {
                asked_at.push(minutes);
            }
        }
        assert_eq!(asked_at, [0, 5, 15, 35, 75, 155, 315]);
        assert_eq!(asked_at.len(), TRIES as usize);
    }

    #[test]
    fn what_arrived_after_all_is_not_asked_for() {
        let mut lookout = Lookout::default();
        let now = Timestamp(START);
        lookout.take_in(&[listed(1, "a", START - 9, false), listed(2, "b", START - 9, false)], true, now);
        lookout.is_here("b");
        assert_eq!(ids(lookout.ask(now, EVERY)), [1]);
        let later = now + EVERY;
        // Listed out of order, and the older failure once more.
        lookout.take_in(&[listed(3, "a", START + 9, true), listed(1, "a", START - 9, false)], true, later);
        assert_eq!(ids(lookout.ask(later, EVERY)), [0; 0]);
        assert_eq!(lookout.missing().count(), 0);
    }

    #[test]
    fn a_look_goes_back_to_the_last_one_and_three_days_at_most() {
        let mut lookout = Lookout::default();
        let now = Timestamp(START);
        assert_eq!(lookout.since(now), now - KEPT);
        lookout.take_in(&[], true, now);
        assert_eq!(lookout.since(now + EVERY), now - OVERLAP);
        // A look that could not read everything does not count.
        lookout.take_in(&[], false, now + EVERY);
        assert_eq!(lookout.since(now + EVERY), now - OVERLAP);
        let much_later = Timestamp(START + 10 * DAY);
        lookout.take_in(&[listed(1, "old", START + 6 * DAY, false)], true, much_later);
        assert_eq!(ids(lookout.ask(much_later, EVERY)), [0; 0]);
    }

    #[test]
    fn many_that_are_missing_are_asked_for_oldest_first_some_at_a_time() {
        let mut lookout = Lookout::default();
        let now = Timestamp(START);
        let all: Vec<Listed> =
            (0..120).map(|n| listed(n, &format!("{:03}", 119 - n), START - 1_000_000 + n, false)).collect();
        lookout.take_in(&all, true, now);
        assert_eq!(ids(lookout.ask(now, EVERY)), (0..50).collect::<Vec<_>>());
        assert_eq!(ids(lookout.ask(now, EVERY)), (50..100).collect::<Vec<_>>());
    }

    fn refs(all: &[(&str, char)]) -> BTreeMap<String, CommitSha> {
        let sha = |digit: char| CommitSha::new(digit.to_string().repeat(40));
        all.iter().filter_map(|(name, digit)| Some(((*name).to_owned(), sha(*digit).ok()?))).collect()
    }

    fn names(moves: &[(String, CommitSha)]) -> Vec<&str> {
        moves.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn a_move_that_nobody_told_of_is_taken_up_at_the_second_look() {
        let mut seen = SeenRefs::default();
        assert_eq!(seen.take_in(&refs(&[("main", 'a'), ("old", 'a')])), []);
        assert_eq!(seen.take_up(&[]), []);
        let moved = seen.take_in(&refs(&[("main", 'b'), ("old", 'a'), ("new", 'c')]));
        assert_eq!(names(&moved), ["main", "new"]);
        // An event has told of `main`.
        let untold: Vec<_> = moved.into_iter().filter(|(name, _)| name == "new").collect();
        assert_eq!(seen.take_up(&untold), []);
        // `new` is where it was, and moved on in the meantime.
        let mut again = seen.clone();
        let moved = again.take_in(&refs(&[("main", 'b'), ("old", 'a'), ("new", 'd')]));
        assert_eq!(again.take_up(&moved), []);
        let moved = seen.take_in(&refs(&[("main", 'b'), ("old", 'a'), ("new", 'c')]));
        assert_eq!(names(&moved), ["new"]);
        assert_eq!(names(&seen.take_up(&moved)), ["new"]);
        // Once.
        let moved = seen.take_in(&refs(&[("main", 'b'), ("old", 'a'), ("new", 'c')]));
        assert_eq!(names(&moved), [""; 0]);
    }
}
