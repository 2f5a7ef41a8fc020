//! The group actor's step.

use tidegate_core::build;
use tidegate_core::group::{Group, Input};

use super::Actor;
use crate::engine::{Engine, Loaded};
use crate::error::Error;
use crate::keys;
use crate::ports::{Expect, PortError};

const ROUNDS: usize = 16;

impl Engine {
    pub(super) async fn step_group(&self, id: &str) -> Result<(), Error> {
        let actor = Actor::Group(id.to_owned());
        let key = keys::group(id);
        let mut known: Option<Loaded<Group>> = None;
        let mut news: Vec<Input> = Vec::new();
        for _ in 0..ROUNDS {
            let (letters, _) = self.inbox::<Input>(&actor).await?;
            // After the inbox, unless it is what we wrote ourselves: what is not there any more is in the record.
            let mut current = match known.take() {
                Some(current) => current,
                None => match self.load::<Group>(&key).await? {
                    Some(current) => current,
                    None => return Ok(()),
                },
            };
            let mut next = current.body.clone();
            let (old, new): (Vec<_>, Vec<_>) = letters.into_iter().partition(|l| next.folded.contains(&l.id));
            let old: Vec<String> = old.into_iter().map(|l| l.id).collect();
            self.discard(&actor, &old).await?;
            let mut folded = Vec::new();
            for input in news.drain(..) {
                next.fold(input);
            }
            for letter in new {
                next.fold(letter.input);
                folded.push(letter.id);
            }
            next.grant();
            if !folded.is_empty() || next != current.body {
                next.folded = folded.clone();
                match self.save(key.clone(), &next, Expect::Version(current.version)).await {
                    Ok(version) => current = Loaded { body: next, version },
                    Err(Error::Port(PortError::Conflict)) => continue,
                    Err(error) => return Err(error),
                }
                self.discard(&actor, &folded).await?;
            }
            // The sweep looks at the group while anybody waits.
            if current.body.waiters.is_empty() {
                self.ports.store.delete_if(&keys::active(&actor), Expect::Any).await?;
            } else if self.load::<()>(&keys::active(&actor)).await?.is_none() {
                self.save(keys::active(&actor), &(), Expect::Any).await?;
            }
            let untold: Vec<_> = current.body.untold().cloned().collect();
            if untold.is_empty() {
                break;
            }
            for member in untold {
                let grant = build::Input::Granted { job: member.job, round: member.round };
                self.tell(&Actor::Build(member.build.clone()), &grant).await?;
                news.push(Input::Told { build: member.build, job: member.job, round: member.round });
            }
            known = Some(current);
        }
        Ok(())
    }

    /// Frees slots whose holders have ended without saying so, and tells holders again that do not seem to know
    /// (`spec/hazards.md` H6).
    pub(crate) async fn audit_group(&self, id: &str) -> Result<(), Error> {
        let Some(group) = self.load::<Group>(&keys::group(id)).await? else { return Ok(()) };
        let actor = Actor::Group(id.to_owned());
        for member in group.body.members() {
            let build = self.load::<build::Build>(&keys::build(&member.build)).await?;
            let cell = build.as_ref().and_then(|b| b.body.cells.get(member.job.0 as usize));
            match cell {
                Some(cell) if cell.in_group && cell.round == member.round => {
                    if !cell.granted && group.body.holders.contains(member) {
                        let grant = build::Input::Granted { job: member.job, round: member.round };
                        self.tell(&Actor::Build(member.build.clone()), &grant).await?;
                    }
                }
                Some(_) | None => {
                    let leave = Input::Leave { build: member.build.clone(), job: member.job, round: member.round };
                    self.tell(&actor, &leave).await?;
                }
            }
        }
        self.ring(&actor).await
    }
}
