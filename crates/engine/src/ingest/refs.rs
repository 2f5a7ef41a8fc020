//! Moves of refs: what makes several deliveries of one move one build (`spec/hazards.md` C4).
//!
//! A pull request says where its branch is, and so does the push that moved the branch: whichever comes first writes the
//! move down, and the other one meets it.

use serde::{Deserialize, Serialize};
use tidegate_core::event::GitRef;
use tidegate_core::ids::{CommitSha, DeliveryId, RepositoryId};

use crate::engine::Engine;
use crate::error::Error;
use crate::keys;
use crate::ports::{Expect, PortError};

/// How many moves of a ref are remembered.
const MOVES: usize = 20;

/// The last moves of a ref.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct RefRecord {
    pub(super) moves: Vec<Move>,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Move {
    /// Where it was; zeros when it was made; empty where only a pull request has told of the move.
    before: String,
    /// Where it is; zeros when it was deleted.
    pub(super) after: String,
    /// The delivery that told of it first: the trigger of its build.
    pub(super) trigger: String,
    /// The delivery that told later from where it was, of a move that was known without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    met: Option<String>,
}

impl Move {
    /// Whether it is the end of a ref that was at this commit.
    pub(super) fn is_deletion_of(&self, head: &CommitSha) -> bool {
        self.before == head.as_str() && is_zero(&self.after)
    }
}

fn is_zero(id: &str) -> bool {
    id.bytes().all(|b| b == b'0')
}

impl RefRecord {
    /// The trigger of this move. Two deliveries tell of one move when the ref has not come back to `before` in between;
    /// A to B, back to A, and to B again are three moves (`spec/hazards.md` C4).
    fn trigger_of(&mut self, before: &str, after: &str, delivery: &str) -> String {
        let by = |m: &Move| m.trigger == delivery || m.met.as_deref() == Some(delivery);
        let same = |m: &&Move| by(m) && m.before == before && m.after == after;
        if let Some(known) = self.moves.iter().find(same) {
            return known.trigger.clone();
        }
        let last = self.moves.iter().rposition(|m| m.before == before && m.after == after);
        if let Some(place) = last
            && !self.moves[place + 1..].iter().any(|m| m.after == before)
        {
            return self.moves[place].trigger.clone();
        }
        let foretold = self.moves.iter().rposition(|m| m.before.is_empty() && m.after == after);
        // A move that was found is told of once, however late; what a pull request said may be of another stay.
        if let Some(place) = foretold
            && (self.moves[place].trigger.starts_with(POLL)
                || !self.moves[place + 1..].iter().any(|m| m.before == after))
        {
            before.clone_into(&mut self.moves[place].before);
            self.moves[place].met = Some(delivery.to_owned());
            return self.moves[place].trigger.clone();
        }
        self.add(before, after, delivery)
    }

    /// The move that brought the ref here and that it has not left since, as far as is known.
    fn stay_at(&self, at: &str) -> Option<&Move> {
        let departures = self.moves.iter().filter(|m| m.before == at).count();
        self.moves.iter().filter(|m| m.after == at).nth(departures)
    }

    /// The trigger of a move that was found by looking: that of the delivery that has told of it meanwhile, or a new one. The
    /// delivery that tells of it later meets it.
    fn trigger_found(&mut self, after: &str) -> String {
        if let Some(known) = self.stay_at(after) {
            return known.trigger.clone();
        }
        let trigger = format!("{POLL}{}-{after}", self.moves.iter().filter(|m| m.after == after).count());
        self.add("", after, &trigger)
    }

    /// The trigger of the move that brought the ref here, as far as a pull request can tell.
    fn trigger_at(&mut self, after: &str, delivery: &str) -> String {
        match self.moves.iter().rev().find(|m| m.after == after) {
            Some(known) => known.trigger.clone(),
            None => self.add("", after, delivery),
        }
    }

    fn add(&mut self, before: &str, after: &str, delivery: &str) -> String {
        let new = Move { before: before.to_owned(), after: after.to_owned(), trigger: delivery.to_owned(), met: None };
        self.moves.push(new);
        if self.moves.len() > MOVES {
            self.moves.remove(0);
        }
        delivery.to_owned()
    }

    /// The moves that are of no interest any more because the ref was deleted where it was at `head`. It may be there again
    /// by now: deliveries come in any order.
    fn ended_at(&self, head: &str) -> &[Move] {
        let deletions = self.moves.iter().filter(|m| m.before == head && is_zero(&m.after)).count();
        let went_on = |place: usize| self.moves[place + 1..].iter().any(|m| m.before == head && !is_zero(&m.after));
        let ends: Vec<usize> = (0..self.moves.len()).filter(|&p| self.moves[p].after == head && !went_on(p)).collect();
        // The first deletion ends the first stay there, and so on.
        let end = ends.get(deletions.saturating_sub(1)).or_else(|| ends.last());
        end.map_or(&[], |&end| &self.moves[..=end])
    }

    /// The same where nobody says where the ref was: nothing unless it is clear.
    fn ended(&self) -> &[Move] {
        let (known, again) = self.moves.iter().enumerate().fold((false, false), |(known, again), (place, m)| {
            (known || is_zero(&m.after), again || (place > 0 && !m.before.is_empty() && is_zero(&m.before)))
        });
        if known || again { &[] } else { &self.moves }
    }
}

/// The beginning of the triggers of moves that no delivery told of.
const POLL: &str = "poll/";

/// What a delivery says of a move.
pub(super) enum Told<'a> {
    /// It is there, as was found by looking.
    Found(&'a CommitSha),
    /// From here to there.
    Moved(&'a CommitSha, &'a CommitSha),
    /// It is there.
    At(&'a CommitSha),
}

impl Engine {
    /// Writes down that a ref moved, and says which delivery told of the move first.
    pub(super) async fn note_move(
        &self,
        repository: RepositoryId,
        git_ref: &GitRef,
        told: Told<'_>,
        delivery: &DeliveryId,
    ) -> Result<String, Error> {
        let key = keys::git_ref(repository, git_ref);
        loop {
            let (known, expect) = match self.load::<RefRecord>(&key).await? {
                Some(known) => (known.body, Expect::Version(known.version)),
                None => (RefRecord::default(), Expect::Absent),
            };
            let mut next = known.clone();
            let trigger = match told {
                Told::Moved(before, after) => next.trigger_of(before.as_str(), after.as_str(), delivery.as_str()),
                Told::Found(after) => next.trigger_found(after.as_str()),
                Told::At(after) => next.trigger_at(after.as_str(), delivery.as_str()),
            };
            if next == known {
                return Ok(trigger);
            }
            match self.save(key.clone(), &next, expect).await {
                Ok(_) => return Ok(trigger),
                Err(Error::Port(PortError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a delivery has told that the ref is there. What was only found is not told: it is found again until it is built.
    pub(crate) async fn was_told(
        &self,
        repository: RepositoryId,
        git_ref: &GitRef,
        at: &CommitSha,
    ) -> Result<bool, Error> {
        let known = self.load::<RefRecord>(&keys::git_ref(repository, git_ref)).await?;
        let stay = known.as_ref().and_then(|known| known.body.stay_at(at.as_str()));
        Ok(stay.is_some_and(|stay| !stay.trigger.starts_with(POLL)))
    }

    /// The moves of a ref that its deletion ends; `head` is where it was, if that was said.
    pub(super) async fn ended_moves(
        &self,
        repository: RepositoryId,
        git_ref: &GitRef,
        head: Option<&CommitSha>,
    ) -> Result<Vec<Move>, Error> {
        let known = self.load::<RefRecord>(&keys::git_ref(repository, git_ref)).await?.map(|k| k.body);
        let known = known.unwrap_or_default();
        Ok(match head {
            Some(head) => known.ended_at(head.as_str()),
            None => known.ended(),
        }
        .to_vec())
    }

    /// Every move of a ref that is remembered, oldest first.
    pub(super) async fn moves(&self, repository: RepositoryId, git_ref: &GitRef) -> Result<Vec<Move>, Error> {
        let known = self.load::<RefRecord>(&keys::git_ref(repository, git_ref)).await?;
        Ok(known.map(|k| k.body.moves).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_are_told_apart() {
        let mut record = RefRecord::default();
        assert_eq!(record.trigger_of("a", "b", "1"), "1");
        assert_eq!(record.trigger_of("a", "b", "1"), "1", "the same delivery");
        assert_eq!(record.trigger_of("a", "b", "2"), "1", "another delivery of the same move");
        assert_eq!(record.trigger_of("b", "a", "3"), "3");
        assert_eq!(record.trigger_of("a", "b", "4"), "4", "the same commits, a new move");
        assert_eq!(record.trigger_of("a", "b", "1"), "1", "a late repetition of the first");
        assert_eq!(record.trigger_of("b", "c", "5"), "5");
        assert_eq!(record.trigger_of("a", "b", "6"), "4", "late news of an old move");
    }

    #[test]
    fn a_pull_request_and_a_push_meet_whoever_comes_first() {
        let mut record = RefRecord::default();
        assert_eq!(record.trigger_at("b", "pull"), "pull");
        assert_eq!(record.trigger_of("a", "b", "push"), "pull");
        assert_eq!(record.trigger_of("b", "c", "push 2"), "push 2");
        assert_eq!(record.trigger_at("c", "pull 2"), "push 2");
        assert_eq!(record.trigger_at("b", "late"), "pull");
        // A push that was lost: where the branch comes back to its commit, that is another move.
        let mut record = RefRecord::default();
        assert_eq!(record.trigger_at("b", "pull"), "pull");
        assert_eq!(record.trigger_of("b", "c", "2"), "2");
        assert_eq!(record.trigger_of("c", "b", "3"), "3");
    }

    #[test]
    fn a_deletion_ends_what_was_before_it_and_nothing_that_came_again() {
        let zero = "000";
        let ended = |moves: &[(&str, &str)], head: Option<&str>| {
            let mut record = RefRecord::default();
            for (number, (before, after)) in moves.iter().enumerate() {
                record.trigger_of(before, after, &number.to_string());
            }
            let ended = head.map_or_else(|| record.ended(), |head| record.ended_at(head));
            ended.iter().map(|m| m.trigger.clone()).collect::<Vec<_>>().join(" ")
        };
        let usual = [(zero, "x"), ("x", "y"), ("y", zero)];
        assert_eq!(ended(&usual, Some("y")), "0 1");
        let back = [(zero, "x"), ("x", "y"), ("y", "x"), ("x", zero)];
        assert_eq!(ended(&back, Some("x")), "0 1 2");
        let late = [(zero, "x"), (zero, "x"), ("x", zero)];
        assert_eq!(ended(&late, Some("x")), "0", "a second `create` is the same move");
        let again = [(zero, "x"), ("x", zero), (zero, "y")];
        assert_eq!(ended(&again, Some("x")), "0");
        let twice = [("w", "x"), ("x", zero), (zero, "x"), ("x", zero)];
        assert_eq!(ended(&twice, Some("x")), "0 1 2");
        let overtaken = [("w", "x"), (zero, "x"), ("x", zero)];
        assert_eq!(ended(&overtaken, Some("x")), "0", "made again before its deletion was told");
        assert_eq!(ended(&[], Some("x")), "");
        // Where nobody says where it was.
        assert_eq!(ended(&[(zero, "x"), ("x", "y")], None), "0 1");
        assert_eq!(ended(&again, None), "");
        assert_eq!(ended(&[("w", "x"), (zero, "y")], None), "");
    }

    #[test]
    fn what_was_found_and_what_is_told_of_it_meet() {
        let mut record = RefRecord::default();
        assert_eq!(record.trigger_of("0", "a", "1"), "1");
        assert_eq!(record.trigger_found("a"), "1", "told already");
        assert_eq!(record.trigger_found("c"), "poll/0-c");
        assert_eq!(record.trigger_found("c"), "poll/0-c", "found twice");
        assert_eq!(record.trigger_of("c", "d", "2"), "2", "the next move is told in time");
        assert_eq!(record.trigger_of("a", "b", "3"), "3", "a move on the way, late");
        assert_eq!(record.trigger_of("b", "c", "4"), "poll/0-c", "what was found, later still");
        assert_eq!(record.trigger_of("b", "c", "4"), "poll/0-c", "and once more");
        assert_eq!(record.trigger_found("c"), "poll/1-c", "back there, unnoticed");
        assert_eq!(record.trigger_of("d", "c", "5"), "poll/1-c");
    }
}
