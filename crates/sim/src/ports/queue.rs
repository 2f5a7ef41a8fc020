//! Messages: at least once, in any order, late, and again after they were deleted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::task::{Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use tidegate_engine::ports::{Outgoing, PortError, Queue, Received};

use crate::exec::{lock, micros};
use crate::faults::Fault;
use crate::sabotage::{self, Sabotage};
use crate::world::{MINUTE, SECOND, Side, World};

const VISIBILITY: u64 = 30 * SECOND;
const RECEIPTS: u32 = 20;

struct Message {
    body: String,
    group: Option<String>,
    receives: u32,
    /// Number of the last receipt: older ones are stale.
    receipt: u64,
    /// Deleted, and yet it comes once more.
    ghost: bool,
}

#[derive(Default)]
struct Line {
    messages: BTreeMap<u64, Message>,
    ready: Vec<u64>,
    hidden: BinaryHeap<Reverse<(u64, u64)>>,
    /// Groups of which a message is out, and until when.
    groups: BTreeMap<String, u64>,
    waiters: Vec<Waker>,
    /// Rises whenever those who wait should look again.
    changes: u64,
}

impl Line {
    fn wake(&mut self) -> Vec<Waker> {
        self.changes += 1;
        std::mem::take(&mut self.waiters)
    }
}

#[derive(Default)]
pub(crate) struct QueueState {
    lines: BTreeMap<String, Line>,
    next: u64,
}

impl QueueState {
    /// Bodies of all messages that are in a queue.
    pub(crate) fn bodies(&self, queue: &str) -> Vec<String> {
        let line = self.lines.get(queue);
        line.into_iter().flat_map(|l| l.messages.values()).filter(|m| !m.ghost).map(|m| m.body.clone()).collect()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.lines.keys().cloned().collect()
    }

    fn put(&mut self, queue: &str, message: Message, visible: u64, now: u64) -> Vec<Waker> {
        self.next += 1;
        let id = self.next;
        let line = self.lines.entry(queue.to_owned()).or_default();
        line.messages.insert(id, message);
        if visible <= now {
            line.ready.push(id);
        } else {
            line.hidden.push(Reverse((visible, id)));
        }
        line.wake()
    }
}

fn fresh(body: &str, group: Option<&String>) -> Message {
    Message { body: body.to_owned(), group: group.cloned(), receives: 0, receipt: 0, ghost: false }
}

fn acceptable(body: &str) -> bool {
    body.len() <= 256 * 1024
        && body
            .chars()
            .all(|c| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..))
}

fn parse(receipt: &str) -> Option<(u64, u64)> {
    let (id, number) = receipt.split_once('.')?;
    Some((id.parse().ok()?, number.parse().ok()?))
}

impl World {
    /// Takes what is there now.
    fn take(&self, queue: &str, max: usize) -> Vec<Received> {
        let now = self.now();
        let disorder = self.fault(Fault::Reorder, 0.3);
        let mut taken = Vec::new();
        let mut dead = Vec::new();
        let mut state = lock(&self.queue);
        let Some(line) = state.lines.get_mut(queue) else { return taken };
        while let Some(Reverse((at, id))) = line.hidden.peek().copied()
            && at <= now
        {
            line.hidden.pop();
            if line.messages.contains_key(&id) {
                line.ready.push(id);
            }
        }
        line.groups.retain(|_, until| *until > now);
        if !disorder {
            line.ready.sort_unstable_by(|a, b| b.cmp(a));
        }
        let mut put_aside = Vec::new();
        // Where nobody looks at them, it takes more than a bad day to see that they are missing.
        let receipts = if self.sabotaged(Sabotage::DeadLettersUnseen) { 2 } else { RECEIPTS };
        while taken.len() < max && !line.ready.is_empty() {
            let place = if disorder { self.draw(|r| r.index(line.ready.len())) } else { line.ready.len() - 1 };
            let id = line.ready.swap_remove(place);
            let Some(message) = line.messages.get_mut(&id) else { continue };
            if let Some(group) = &message.group
                && line.groups.contains_key(group)
                && !disorder
            {
                put_aside.push(id);
                continue;
            }
            if message.receives >= receipts && !queue.ends_with("-dead") {
                dead.extend(line.messages.remove(&id));
                continue;
            }
            message.receives += 1;
            message.receipt += 1;
            if let Some(group) = &message.group {
                line.groups.insert(group.clone(), now + VISIBILITY);
            }
            taken.push(Received {
                body: message.body.clone(),
                receipt: format!("{id}.{}", message.receipt),
                receive_count: message.receives,
            });
            if message.ghost {
                line.messages.remove(&id);
            } else {
                line.hidden.push(Reverse((now + VISIBILITY, id)));
            }
        }
        line.ready.extend(put_aside);
        for message in dead {
            let name = format!("{queue}-dead");
            let wakers = state.put(&name, Message { receives: 0, receipt: 0, group: None, ..message }, now, now);
            wakers.into_iter().for_each(Waker::wake);
            drop(state);
            self.count("queue: a message became a dead letter");
            self.event(|| format!("{name}: a dead letter"));
            state = lock(&self.queue);
        }
        drop(state);
        taken
    }

    fn next_visible(&self, queue: &str) -> Option<u64> {
        let state = lock(&self.queue);
        let line = state.lines.get(queue)?;
        let group = line.groups.values().min().copied().filter(|_| !line.ready.is_empty());
        [line.hidden.peek().map(|Reverse((at, _))| *at), group].into_iter().flatten().min()
    }

    /// Deletes what a receipt stands for; a ghost of it comes again later.
    fn remove(&self, queue: &str, receipt: &str, ghost: bool) -> Result<(), PortError> {
        let Some((id, number)) = parse(receipt) else { return Err(PortError::reject("no receipt")) };
        let body = {
            let mut state = lock(&self.queue);
            let now = self.now();
            match state.lines.get_mut(queue) {
                Some(line) if line.messages.get(&id).is_some_and(|m| m.receipt == number) => {
                    let message = line.messages.remove(&id);
                    if let Some(message) = message {
                        let body = message.body.clone();
                        if let Some(group) = &message.group {
                            line.groups.remove(group);
                        }
                        if ghost {
                            let delay = self.draw(|r| r.range(0, 3 * MINUTE));
                            line.hidden.push(Reverse((now + delay, id)));
                            line.messages.insert(id, Message { ghost: true, ..message });
                        }
                        line.wake().into_iter().for_each(Waker::wake);
                        Some(body)
                    } else {
                        None
                    }
                }
                _ => None,
            }
        };
        if let Some(body) = body {
            if ghost {
                self.count("queue: comes again after its deletion");
            }
            self.event(|| format!("delete {queue} {receipt}"));
            self.observe_delete(queue, &body);
        }
        Ok(())
    }
}

#[async_trait]
impl Queue for World {
    async fn send(&self, queue: &str, message: Outgoing) -> Result<(), PortError> {
        if !acceptable(&message.body) {
            return Err(PortError::reject("characters that a message may not have, or too many"));
        }
        if message.delay > Duration::from_secs(900) || (message.group.is_some() && !message.delay.is_zero()) {
            return Err(PortError::reject("a delay out of bounds"));
        }
        let fate = self.before(Side::Queue).await?;
        let now = self.now();
        let mut visible = now + micros(message.delay);
        if self.fault(Fault::Late, 0.05) {
            self.count("queue: late");
            visible += self.draw(|r| if r.chance(0.05) { r.range(0, 2 * MINUTE) } else { r.range(0, 5 * SECOND) });
        }
        self.event(|| format!("send {queue} {}", &message.body[..message.body.len().min(60)]));
        self.observe_send(queue, &message.body);
        if self.plan.even.is_some() {
            self.count("queue: messages");
        }
        let wakers = lock(&self.queue).put(queue, fresh(&message.body, message.group.as_ref()), visible, now);
        wakers.into_iter().for_each(Waker::wake);
        if self.fault(Fault::Duplicate, 0.02) {
            self.count("queue: sent twice");
            let again =
                visible + self.draw(|r| if r.chance(0.2) { r.range(0, 20 * MINUTE) } else { r.range(0, SECOND) });
            let wakers = lock(&self.queue).put(queue, fresh(&message.body, message.group.as_ref()), again, now);
            wakers.into_iter().for_each(Waker::wake);
        }
        self.after(fate).await
    }

    async fn receive(&self, queue: &str, max: usize, wait: Duration) -> Result<Vec<Received>, PortError> {
        if !(1..=10).contains(&max) || wait > Duration::from_secs(20) {
            return Err(PortError::reject("a receipt out of bounds"));
        }
        if self.sabotaged(Sabotage::DeadLettersUnseen) && queue.ends_with("-dead") {
            return Ok(Vec::new());
        }
        let fate = self.before(Side::Queue).await?;
        let until = self.now() + micros(wait);
        loop {
            let taken = self.take(queue, max);
            if !taken.is_empty() {
                for message in &taken {
                    self.event(|| format!("receive {queue} {} {}", message.receipt, message.receive_count));
                    if sabotage::deletes_at_receipt(self, queue) {
                        self.remove(queue, &message.receipt, false)?;
                    }
                }
                self.after(fate).await?;
                return Ok(taken);
            }
            let now = self.now();
            if now >= until {
                self.after(fate).await?;
                return Ok(Vec::new());
            }
            let due = self.next_visible(queue).map_or(until, |at| at.clamp(now + 1, until));
            let mut sleep = self.exec.sleep_until(due);
            let mut seen = None;
            std::future::poll_fn(|context| {
                let mut state = lock(&self.queue);
                let line = state.lines.entry(queue.to_owned()).or_default();
                match seen {
                    // Woken by something else: a timer of an earlier wait.
                    Some(changes) if changes == line.changes => {}
                    Some(_) => return Poll::Ready(()),
                    None => {
                        seen = Some(line.changes);
                        line.waiters.push(context.waker().clone());
                    }
                }
                drop(state);
                std::pin::Pin::new(&mut sleep).poll(context)
            })
            .await;
        }
    }

    async fn delete(&self, queue: &str, receipt: &str) -> Result<(), PortError> {
        let fate = self.before(Side::Queue).await?;
        let ghost = self.fault(Fault::Duplicate, 0.01);
        self.remove(queue, receipt, ghost)?;
        self.after(fate).await
    }

    async fn extend(&self, queue: &str, receipt: &str, visibility: Duration) -> Result<(), PortError> {
        let fate = self.before(Side::Queue).await?;
        let Some((id, number)) = parse(receipt) else { return Err(PortError::reject("no receipt")) };
        {
            let now = self.now();
            let mut state = lock(&self.queue);
            if let Some(line) = state.lines.get_mut(queue)
                && let Some(message) = line.messages.get(&id)
                && message.receipt == number
                && !message.ghost
            {
                let group = message.group.clone();
                line.hidden.retain(|Reverse((_, hidden))| *hidden != id);
                line.ready.retain(|ready| *ready != id);
                let at = now + micros(visibility);
                if at <= now {
                    line.ready.push(id);
                } else {
                    line.hidden.push(Reverse((at, id)));
                }
                if let Some(group) = group {
                    line.groups.insert(group, at);
                }
                line.wake().into_iter().for_each(Waker::wake);
            }
        }
        self.after(fate).await
    }

    async fn depth(&self, queue: &str) -> Result<u64, PortError> {
        let fate = self.before(Side::Queue).await?;
        let depth = lock(&self.queue).lines.get(queue).map_or(0, |l| l.messages.values().filter(|m| !m.ghost).count());
        self.after(fate).await?;
        Ok(depth as u64)
    }
}
