//! One thread, virtual time, seeded order: the same seed gives the same run.
//!
//! A task may be killed between any two of its polls, or by itself in the middle of one: its future is dropped, which is what
//! a crash of a process is to the rest of the world.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::rng::Rng;

/// A mutex of a single-threaded world: nothing else can hold it, and a panic ends the run anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) struct TaskId {
    place: usize,
    generation: u64,
}

struct TaskWaker {
    id: TaskId,
    ready: Arc<Mutex<Vec<TaskId>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        lock(&self.ready).push(self.id);
    }
    fn wake_by_ref(self: &Arc<Self>) {
        lock(&self.ready).push(self.id);
    }
}

struct Timer {
    at: u64,
    order: u64,
    waker: Waker,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Timer {}
impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timer {
    /// The heap hands out the largest: the earliest is the largest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

struct Slot {
    generation: u64,
    /// `None` while it is polled.
    task: Option<Task>,
    /// The process it dies with.
    process: Option<usize>,
    waker: Option<Waker>,
    alive: bool,
}

#[derive(Default)]
struct Core {
    now: u64,
    order: u64,
    timers: BinaryHeap<Timer>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    current: Option<TaskId>,
    kills: Vec<TaskId>,
}

/// The executor. Time is in microseconds.
pub(crate) struct Exec {
    core: Mutex<Core>,
    ready: Arc<Mutex<Vec<TaskId>>>,
    rng: Mutex<Rng>,
}

impl Exec {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { core: Mutex::default(), ready: Arc::default(), rng: Mutex::new(rng) }
    }

    /// Microseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        lock(&self.core).now
    }

    /// The task that runs now, and its process.
    pub(crate) fn current(&self) -> Option<(TaskId, Option<usize>)> {
        let core = lock(&self.core);
        let id = core.current?;
        Some((id, core.slots[id.place].process))
    }

    pub(crate) fn spawn(&self, process: Option<usize>, task: impl Future<Output = ()> + Send + 'static) -> TaskId {
        let task: Task = Box::pin(task);
        let mut core = lock(&self.core);
        let place = core.free.pop().unwrap_or_else(|| {
            core.slots.push(Slot { generation: 0, task: None, process: None, waker: None, alive: false });
            core.slots.len() - 1
        });
        let slot = &mut core.slots[place];
        slot.generation += 1;
        let id = TaskId { place, generation: slot.generation };
        let waker = Waker::from(Arc::new(TaskWaker { id, ready: Arc::clone(&self.ready) }));
        *slot = Slot { generation: slot.generation, task: Some(task), process, waker: Some(waker), alive: true };
        drop(core);
        lock(&self.ready).push(id);
        id
    }

    /// The task never runs again; its future is dropped before anything else happens.
    pub(crate) fn kill(&self, id: TaskId) {
        lock(&self.core).kills.push(id);
    }

    /// Kills everything that runs in a process.
    pub(crate) fn kill_process(&self, process: usize) {
        let mut core = lock(&self.core);
        let doomed: Vec<TaskId> = core
            .slots
            .iter()
            .enumerate()
            .filter(|(_, s)| s.alive && s.process == Some(process))
            .map(|(place, s)| TaskId { place, generation: s.generation })
            .collect();
        core.kills.extend(doomed);
    }

    fn bury(&self) {
        loop {
            let mut core = lock(&self.core);
            let Some(id) = core.kills.pop() else { return };
            let slot = &mut core.slots[id.place];
            if slot.generation != id.generation || !slot.alive {
                continue;
            }
            slot.alive = false;
            slot.waker = None;
            let task = slot.task.take();
            core.free.push(id.place);
            drop(core);
            drop(task);
        }
    }

    /// Runs until `until` (microseconds) or until nothing can ever happen any more.
    pub(crate) fn run_until(&self, until: u64, mut stop: impl FnMut() -> bool) {
        loop {
            self.bury();
            if stop() {
                return;
            }
            let next = {
                let mut ready = lock(&self.ready);
                if ready.is_empty() {
                    None
                } else {
                    let place = lock(&self.rng).index(ready.len());
                    Some(ready.swap_remove(place))
                }
            };
            match next {
                Some(id) => self.poll(id),
                None => {
                    let mut core = lock(&self.core);
                    match core.timers.peek() {
                        Some(timer) if timer.at <= until => {}
                        _ => {
                            core.now = core.now.max(until);
                            return;
                        }
                    }
                    let Some(timer) = core.timers.pop() else { return };
                    core.now = core.now.max(timer.at);
                    drop(core);
                    timer.waker.wake();
                }
            }
        }
    }

    fn poll(&self, id: TaskId) {
        let mut core = lock(&self.core);
        let slot = &mut core.slots[id.place];
        if slot.generation != id.generation || !slot.alive {
            return;
        }
        let (Some(mut task), Some(waker)) = (slot.task.take(), slot.waker.clone()) else { return };
        core.current = Some(id);
        drop(core);
        let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
        let mut core = lock(&self.core);
        core.current = None;
        let slot = &mut core.slots[id.place];
        if polled.is_ready() {
            slot.alive = false;
            slot.waker = None;
            core.free.push(id.place);
            drop(core);
            drop(task);
        } else {
            slot.task = Some(task);
        }
    }

    pub(crate) fn sleep_until(self: &Arc<Self>, at: u64) -> Sleep {
        Sleep { exec: Arc::clone(self), at, waker: None }
    }

    pub(crate) fn sleep(self: &Arc<Self>, micros: u64) -> Sleep {
        self.sleep_until(self.now().saturating_add(micros))
    }

    /// Drops every task: they hold the world, which holds them.
    pub(crate) fn clear(&self) {
        let slots = std::mem::take(&mut lock(&self.core).slots);
        lock(&self.core).timers.clear();
        drop(slots);
    }
}

/// Waits for a point in time.
pub(crate) struct Sleep {
    exec: Arc<Exec>,
    at: u64,
    waker: Option<Waker>,
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut core = lock(&this.exec.core);
        if core.now >= this.at {
            return Poll::Ready(());
        }
        if !this.waker.as_ref().is_some_and(|w| w.will_wake(context.waker())) {
            let order = core.order;
            core.order += 1;
            core.timers.push(Timer { at: this.at, order, waker: context.waker().clone() });
            this.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

/// The outcome of a future within a time, `None` when the time was over first.
pub(crate) async fn timeout<T>(exec: &Arc<Exec>, span: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut sleep = exec.sleep(micros(span));
    std::future::poll_fn(move |context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        Pin::new(&mut sleep).poll(context).map(|()| None)
    })
    .await
}

pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Wakes whoever waits; a notice without a waiter is kept for the next one.
#[derive(Default)]
pub(crate) struct Notify(Mutex<(bool, Vec<Waker>)>);

impl Notify {
    pub(crate) fn notify(&self) {
        let wakers = {
            let mut state = lock(&self.0);
            state.0 = true;
            std::mem::take(&mut state.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) async fn notified(&self) {
        std::future::poll_fn(|context| {
            let mut state = lock(&self.0);
            if std::mem::take(&mut state.0) {
                return Poll::Ready(());
            }
            if !state.1.iter().any(|w| w.will_wake(context.waker())) {
                state.1.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// The answer of a task that may be killed: `None` then.
pub(crate) struct Answer<T>(Arc<Mutex<Shared<T>>>);

struct Shared<T> {
    value: Option<T>,
    closed: bool,
    waker: Option<Waker>,
}

struct Sender<T>(Arc<Mutex<Shared<T>>>);

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut shared = lock(&self.0);
            shared.closed = true;
            shared.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Answer<T> {
    type Output = Option<T>;
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut shared = lock(&self.0);
        if let Some(value) = shared.value.take() {
            return Poll::Ready(Some(value));
        }
        if shared.closed {
            return Poll::Ready(None);
        }
        shared.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Exec {
    /// Runs a future as a task of its own, in a process.
    pub(crate) fn call<T: Send + 'static>(
        self: &Arc<Self>,
        process: usize,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Answer<T> {
        let shared = Arc::new(Mutex::new(Shared { value: None, closed: false, waker: None }));
        let sender = Sender(Arc::clone(&shared));
        self.spawn(Some(process), async move {
            let value = future.await;
            lock(&sender.0).value = Some(value);
        });
        Answer(shared)
    }
}
