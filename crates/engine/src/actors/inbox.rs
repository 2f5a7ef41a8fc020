//! Inboxes: what an actor is told, one record each, in the order of their ids.
//!
//! A step folds what is there, writes the ids into the actor's own record, then deletes them. A crash before the deletion
//! leaves records whose ids are in the actor's record: the next step deletes them without folding them again.

use futures_util::future::try_join_all;
use serde::{Serialize, de::DeserializeOwned};

use super::Actor;
use crate::engine::{Engine, open};
use crate::error::Error;
use crate::keys;
use crate::ports::{Expect, Key, Put, Write};

/// How many inputs one step folds at most.
pub(super) const BATCH: usize = 200;

/// An input with its id.
#[derive(Debug)]
pub(super) struct Letter<T> {
    pub(super) id: String,
    pub(super) input: T,
}

impl Engine {
    /// The write that tells an actor something, to be made alone or as part of a transaction.
    pub(crate) fn letter<T: Serialize>(&self, actor: &Actor, input: &T) -> Result<Put, Error> {
        self.put(Key::new(keys::inbox(actor), self.ordered_id()), input, Expect::Absent)
    }

    /// Tells an actor something, durably, and rings it.
    pub(crate) async fn tell<T: Serialize>(&self, actor: &Actor, input: &T) -> Result<(), Error> {
        let put = self.letter(actor, input)?;
        self.ports.store.transact(vec![Write::Put(put)]).await?;
        self.ring(actor).await
    }

    /// What is waiting, in order, and whether there is more.
    pub(super) async fn inbox<T: DeserializeOwned>(&self, actor: &Actor) -> Result<(Vec<Letter<T>>, bool), Error> {
        let (records, more) = self.list(&keys::inbox(actor), BATCH).await?;
        let mut letters = Vec::with_capacity(records.len());
        for record in &records {
            letters.push(Letter { id: record.key.sk.clone(), input: open(&record.key, &record.body)? });
        }
        Ok((letters, more))
    }

    /// Deletes letters that are folded in.
    pub(super) async fn discard(&self, actor: &Actor, ids: &[String]) -> Result<(), Error> {
        let partition = keys::inbox(actor);
        let deletions = ids.iter().map(|id| {
            let key = Key::new(partition.clone(), id.clone());
            async move { self.ports.store.delete_if(&key, Expect::Any).await }
        });
        try_join_all(deletions).await?;
        Ok(())
    }
}
