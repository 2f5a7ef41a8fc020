//! Records: every read sees what was written, every write may conflict, be refused, or happen unseen.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use tidegate_engine::ports::{Expect, Key, Page, PortError, Put, Record, Store, Version, Write};

use crate::exec::lock;
use crate::faults::Fault;
use crate::sabotage;
use crate::world::{Side, World};

type Partition = BTreeMap<String, (Version, Bytes)>;

#[derive(Default)]
pub(crate) struct StoreState {
    pub(crate) partitions: BTreeMap<String, Partition>,
    /// What was written, by the first word of the partition.
    pub(crate) written: BTreeMap<String, Written>,
}

/// What was written of one kind of record.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Written {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) largest: usize,
}

impl StoreState {
    pub(crate) fn find(&self, key: &Key) -> Option<&(Version, Bytes)> {
        self.partitions.get(&key.pk)?.get(&key.sk)
    }

    /// The bodies of the records whose partition begins like this.
    pub(crate) fn records<'a>(&'a self, pk: &'a str) -> impl Iterator<Item = &'a Bytes> {
        self.partitions
            .range(pk.to_owned()..)
            .take_while(move |(key, _)| key.starts_with(pk))
            .flat_map(|(_, p)| p.values().map(|(_, body)| body))
    }

    fn holds(&self, key: &Key, expect: Expect) -> bool {
        match (expect, self.find(key)) {
            (Expect::Any, _) | (Expect::Absent, None) => true,
            (Expect::Absent, Some(_)) | (Expect::Version(_), None) => false,
            (Expect::Version(wanted), Some((version, _))) => wanted == *version,
        }
    }

    fn stands(&self, put: &Put) -> bool {
        self.find(&put.key).is_some_and(|(version, _)| *version == put.version)
    }

    fn write(&mut self, put: Put) {
        let kind = put.key.pk.split('/').next().unwrap_or_default();
        if !self.written.contains_key(kind) {
            self.written.insert(kind.to_owned(), Written::default());
        }
        if let Some(written) = self.written.get_mut(kind) {
            written.records += 1;
            written.bytes += put.body.len() as u64;
            written.largest = written.largest.max(put.body.len());
        }
        self.partitions.entry(put.key.pk).or_default().insert(put.key.sk, (put.version, put.body));
    }

    fn page(&self, pk: &str, sk_prefix: &str, after: Option<&str>, limit: usize, empty: bool) -> Page {
        let Some(partition) = self.partitions.get(pk) else { return Page::default() };
        let from = match after {
            Some(after) if after >= sk_prefix => Bound::Excluded(after),
            _ => Bound::Included(sk_prefix),
        };
        let mut rest = partition
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(sk, _)| sk.starts_with(sk_prefix))
            .peekable();
        if empty && let Some((first, _)) = rest.peek() {
            // Nothing of what is there, and a place to go on from that is before all of it.
            let mut place = (*first).clone();
            place.pop();
            if place.as_str() > after.unwrap_or_default() {
                return Page { records: Vec::new(), more: true, last: Some(place) };
            }
        }
        let record = |(sk, (version, body)): (&String, &(Version, Bytes))| Record {
            key: Key::new(pk, sk.clone()),
            version: *version,
            body: body.clone(),
        };
        let records: Vec<Record> = rest.by_ref().take(limit).map(record).collect();
        let more = rest.peek().is_some();
        let last = records.last().filter(|_| more).map(|r| r.key.sk.clone());
        Page { records, more, last }
    }

    fn remove(&mut self, key: &Key) {
        if let Entry::Occupied(mut partition) = self.partitions.entry(key.pk.clone()) {
            partition.get_mut().remove(&key.sk);
            if partition.get().is_empty() {
                partition.remove();
            }
        }
    }
}

fn check_key(key: &Key) -> Result<(), PortError> {
    let fits = |part: &str| (1..=1024).contains(&part.len());
    if fits(&key.pk) && fits(&key.sk) { Ok(()) } else { Err(PortError::reject("a key out of bounds")) }
}

fn check_put(put: &Put) -> Result<(), PortError> {
    check_key(&put.key)?;
    if put.body.len() + put.key.pk.len() + put.key.sk.len() > 400 * 1024 {
        return Err(PortError::reject("a record over 400 KB"));
    }
    Ok(())
}

impl World {
    /// Writes, and tells the ledger.
    fn keep(&self, put: Put) {
        self.event(|| format!("put {}", put.key));
        let before = lock(&self.store).find(&put.key).map(|(_, body)| body.clone());
        self.observe_write(&put.key, before.as_ref(), &put.body);
        lock(&self.store).write(put);
    }

    pub(crate) fn write_for_sabotage(&self, put: Put) {
        self.keep(put);
    }

    fn put_now(&self, put: Put) -> Result<(), PortError> {
        let Some(put) = sabotage::of_put(self, put) else { return Ok(()) };
        {
            let state = lock(&self.store);
            if state.stands(&put) {
                return Ok(());
            }
            if !state.holds(&put.key, put.expect) {
                drop(state);
                self.count("store: conflict");
                return Err(PortError::Conflict);
            }
        }
        self.keep(put);
        Ok(())
    }

    fn transact_now(&self, writes: Vec<Write>) -> Result<(), PortError> {
        let mut kept = Vec::with_capacity(writes.len());
        for write in writes {
            match write {
                Write::Put(put) => kept.extend(sabotage::of_put(self, put).map(Write::Put)),
                other => kept.push(other),
            }
        }
        {
            let state = lock(&self.store);
            let mut puts =
                kept.iter().filter_map(|w| if let Write::Put(put) = w { Some(put) } else { None }).peekable();
            if puts.peek().is_some() && puts.all(|put| state.stands(put)) {
                return Ok(());
            }
            let holds = kept.iter().all(|write| match write {
                Write::Put(put) => state.holds(&put.key, put.expect),
                Write::Check { key, expect } => state.holds(key, *expect),
                Write::Delete { key, expect } => state.find(key).is_none() || state.holds(key, *expect),
            });
            if !holds {
                drop(state);
                self.count("store: conflict");
                return Err(PortError::Conflict);
            }
        }
        for write in kept {
            match write {
                Write::Put(put) => self.keep(put),
                Write::Check { .. } => {}
                Write::Delete { key, .. } => lock(&self.store).remove(&key),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Store for World {
    async fn get(&self, key: &Key) -> Result<Option<Record>, PortError> {
        check_key(key)?;
        let fate = self.before(Side::Store).await?;
        let found = lock(&self.store).find(key).cloned();
        let found = found.map(|(version, body)| Record { key: key.clone(), version, body });
        let found = sabotage::of_get(self, key, found);
        self.after(fate).await?;
        Ok(found)
    }

    async fn put_if(&self, put: Put) -> Result<(), PortError> {
        check_put(&put)?;
        let fate = self.before(Side::Store).await?;
        let done = self.put_now(put);
        self.after(fate).await?;
        done
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), PortError> {
        if !(1..=100).contains(&writes.len()) {
            return Err(PortError::reject(format!("a transaction of {} writes", writes.len())));
        }
        let mut keys: Vec<&Key> = Vec::new();
        for write in &writes {
            let key = match write {
                Write::Put(put) => {
                    check_put(put)?;
                    &put.key
                }
                Write::Delete { expect: Expect::Absent, .. } => {
                    return Err(PortError::reject("a removal that expects nothing"));
                }
                Write::Delete { key, .. } | Write::Check { key, .. } => key,
            };
            check_key(key)?;
            if keys.contains(&key) {
                return Err(PortError::reject("a transaction that names a record twice"));
            }
            keys.push(key);
        }
        let fate = self.before(Side::Store).await?;
        let done = self.transact_now(writes);
        self.after(fate).await?;
        done
    }

    async fn query(&self, pk: &str, sk_prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, PortError> {
        if !(1..=1000).contains(&limit) {
            return Err(PortError::reject(format!("{limit} is no limit")));
        }
        let fate = self.before(Side::Store).await?;
        let (mut limit, mut empty) = (limit, false);
        if self.fault(Fault::Pages, 0.05) {
            self.count("store: short page");
            limit = self.draw(|r| usize::try_from(r.range(1, 4)).unwrap_or(1)).min(limit);
            empty = self.draw(|r| r.chance(0.3));
        }
        let page = lock(&self.store).page(pk, sk_prefix, after, limit, empty);
        let page = sabotage::of_page(self, pk, page);
        self.after(fate).await?;
        Ok(page)
    }

    async fn delete_if(&self, key: &Key, expect: Expect) -> Result<(), PortError> {
        check_key(key)?;
        if expect == Expect::Absent {
            return Err(PortError::reject("a removal that expects nothing"));
        }
        let fate = self.before(Side::Store).await?;
        let done = if sabotage::of_delete(self, key) {
            Ok(())
        } else {
            let mut state = lock(&self.store);
            if state.find(key).is_some() && !state.holds(key, expect) {
                Err(PortError::Conflict)
            } else {
                let body = state.find(key).map(|(_, body)| body.clone());
                state.remove(key);
                drop(state);
                self.observe_deletion(&key.pk, body.as_ref());
                Ok(())
            }
        };
        self.event(|| format!("delete {key}"));
        self.after(fate).await?;
        done
    }
}
