//! Properties of [`Queue`]: at least once, in any order, and little else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::{join, try_join_all};

use super::{Report, Trial, Violation};
use crate::ports::{Outgoing, PortError, Queue, Received};

/// A queue to try: its names are fixed, because on AWS queues are not made in passing.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The adapter.
    pub queue: &'a dyn Queue,
    /// A queue that nobody else uses. Its dead letters are in `<name>-dead`.
    pub name: &'a str,
    /// Another one.
    pub other: &'a str,
}

/// Runs all properties of this module.
///
/// Counts, all of them legal: `duplicates` (a message came again although it was not due), `received after delete`,
/// `out of order`, `out of order in a group`, `late` (a message was not there at the first look after it was sent),
/// `retries`.
pub async fn suite(trial: &Trial<'_>, subject: Subject<'_>) -> Result<Report, Violation> {
    run!(
        trial,
        subject,
        [
            what_was_sent_arrives,
            what_is_not_deleted_comes_again,
            what_was_deleted_ends,
            stale_receipts_are_no_error,
            hiding_lasts_as_long_as_asked,
            delays_are_kept,
            groups_arrive,
            queues_do_not_mix,
            a_wait_ends,
            a_wait_is_woken,
            consumers_share_the_work,
            what_nobody_can_handle_moves_to_the_dead_letters,
            bounds_are_kept,
        ]
    )
}

const SHORT: Duration = Duration::from_secs(1);
/// Clocks count in milliseconds, and two of them are compared.
const CLOCK: Duration = Duration::from_millis(2);

fn message(body: impl Into<String>) -> Outgoing {
    Outgoing { body: body.into(), ..Outgoing::default() }
}

impl Subject<'_> {
    async fn send(&self, trial: &Trial<'_>, name: &str, message: Outgoing) -> Result<(), Violation> {
        trial.done("a send", || self.queue.send(name, message.clone())).await
    }

    async fn receive(
        &self,
        trial: &Trial<'_>,
        name: &str,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Received>, Violation> {
        let received = trial.done("a receipt", || self.queue.receive(name, max, wait)).await?;
        ensure!(trial, received.len() <= max, "a receipt of up to {max} gave {}", received.len());
        for message in &received {
            ensure!(trial, message.receive_count > 0, "`{}` was handed out 0 times", message.body);
        }
        Ok(received)
    }

    async fn delete(&self, trial: &Trial<'_>, name: &str, message: &Received) -> Result<(), Violation> {
        trial.done("a removal", || self.queue.delete(name, &message.receipt)).await
    }

    async fn extend(
        &self,
        trial: &Trial<'_>,
        name: &str,
        message: &Received,
        visibility: Duration,
    ) -> Result<(), Violation> {
        trial.done("an extension", || self.queue.extend(name, &message.receipt, visibility)).await
    }

    /// The next receipt of a message whose body begins with the property's own `mark`. Others are left-overs of an
    /// earlier property and are removed.
    async fn next(&self, trial: &Trial<'_>, name: &str, mark: &str) -> Result<Received, Violation> {
        let deadline = trial.deadline();
        while trial.now() < deadline {
            for message in self.receive(trial, name, 1, SHORT).await? {
                if message.body.starts_with(mark) {
                    return Ok(message);
                }
                trial.count("received after delete");
                self.delete(trial, name, &message).await?;
            }
        }
        Err(trial.broken(format!("no `{mark}…` came out of `{name}` in time")))
    }

    /// Receives and removes until all of these have come. Returns them in the order of their first arrival.
    async fn collect(
        &self,
        trial: &Trial<'_>,
        name: &str,
        expected: &BTreeSet<String>,
    ) -> Result<Vec<String>, Violation> {
        let deadline = trial.deadline();
        let mut arrived: Vec<String> = Vec::new();
        let mut first = true;
        while arrived.len() < expected.len() {
            ensure!(
                trial,
                trial.now() < deadline,
                "{} of {} messages did not arrive in time",
                expected.len() - arrived.len(),
                expected.len()
            );
            let received = self.receive(trial, name, 10, SHORT).await?;
            if first && received.is_empty() {
                trial.count("late");
            }
            first = false;
            for message in received {
                self.delete(trial, name, &message).await?;
                if arrived.contains(&message.body) {
                    trial.count("duplicates");
                } else if expected.contains(&message.body) {
                    arrived.push(message.body);
                } else {
                    trial.count("received after delete");
                }
            }
        }
        Ok(arrived)
    }
}

/// Every message arrives, as it was sent, whatever text it is.
pub async fn what_was_sent_arrives(trial: &Trial<'_>, subject: Subject<'_>) -> Result<(), Violation> {
    let mark = trial.name("m");
    let texts = ["", "{\"actor\":\"build/1\"}", " \t\r\n ", "é漢😀", "<&>'\"", "%00", "\u{FFFD}"];
    let sent: Vec<String> = (0..40).map(|n| format!("{mark}/{n:02}{}", texts[n % texts.len()])).collect();
    for body in &sent {
        subject.send(trial, subject.name, message(body)).await?;
    }
    let arrived = subject.collect(trial, subject.name, &sent.iter().cloned().collect()).await?;
    for pair in arrived.windows(2) {
        if pair[0] > pair[1] {
            trial.count("out of order");
        }
    }
    Ok(())
}

/// A message that was handed out and not deleted comes again, at once when it is handed back.
pub async fn what_is_not_deleted_comes_again(trial: &Trial<'_>, subject: Subject<'_>) -> Result<(), Violation> {
    let mark = trial.name("m");
    subject.send(trial, subject.name, message(&mark)).await?;
    let mut most = 0;
    for _ in 0..4 {
        let received = subject.next(trial, subject.name, &mark).await?;
        most = received.receive_count.max(most);
        subject.extend(trial, subject.name, &received, Duration::ZERO).await?;
    }
    ensure!(trial, most >= 2, "a message that was handed out four times counts {most}");
    let last = subject.next(trial, subject.name, &mark).await?;
    subject.delete(trial, subject.name, &last).await
}

/// Messages that are deleted each time they come end sometime, and the queue is about empty then.
pub async fn what_was_deleted_ends(trial: &Trial<'_>, subject: Subject<'_>) -> Result<(), Violation> {
    let mark = trial.name("m");
    let sent: BTreeSet<String> = (0..20).map(|n| format!("{mark}/{n}")).collect();
    for body in &sent {
        subject.send(trial, subject.name, message(body)).await?;
    }
    subject.collect(trial, subject.name, &sent).await?;
    let deadline = trial.deadline();
    loop {
        let received = subject.receive(trial, subject.name, 10, SHORT).await?;
        let depth = trial.done("a depth", || subject.queue.depth(subject.name)).await?;
        if received.is_empty() && depth == 0 {
            return Ok(());
        }
        ensure!(trial, trial.now() < deadline, "{depth} messages are left of a queue that was emptied");
        for message in received {
            trial.count("received after delete");
            subject.delete(trial, subject.name, &message).await?;
        }
    }
}

/// Deleting twice, and extending after a deletion, is no error.
pub async fn stale_receipts_are_no_error(trial: &Trial<'_>, subject: Subject<'_>) -> Result<(), Violation> {
    let mark = trial.name("m");
    subject.send(trial, subject.name, message(&mark)).await?;
    let first = subject.next(trial, subject.name, &mark).await?;
    subject.extend(trial, subject.name, &first, Duration::ZERO).await?;
    let second = subject.next(trial, subject.name, &mark).await?;
    for stale in [&first, &second, &second, &first] {
        subject.delete(trial, subject.name, stale).await?;
    }
    Ok(())
}

/// A message is not handed out again before its time (up to duplicates, which are counted), and is after it.
pub async fn hiding_lasts_as_long_as_asked(trial: &Trial<'_>, subject: Subject<'_>) -> Result<(), Violation> {
    let mark = trial.name("m");
    subject.send(trial, subject.name, message(&mark)).await?;
    let received = subject.next(trial, subject.name, &mark).await?;
    let asked = trial.now();
    subject.extend(trial, subject.name, &received, SHORT).await?;
    let again = subject.next(trial, subject.name, &mark).await?;
    if trial.now().since(asked) + CLOCK < SHORT {
        trial.count("duplicates");
    }
    subject.delete(trial, subject.name, &again).await
}

/// A delayed message does not come before its time. What is sent after it does not wait for it.
pub async fn delays_are_kept(trial: &Trial<'_>, subject: Subject<'_>) -> Result<(), Violation> {
    let mark = trial.name("m");
    let (delayed, prompt) = (format!("{mark}/delayed"), format!("{mark}/prompt"));
    let sent = trial.now();
    subject
        .send(trial, subject.name, Outgoing { body: delayed.clone(), delay: 2 * SHORT, ..Outgoing::default() })
        .await?;
    subject.send(trial, subject.name, message(&prompt)).await?;
    let (mut missing, deadline) = (BTreeSet::from([delayed.clone(), prompt]), trial.deadline());
    while !missing.is_empty() {
        ensure!(trial, trial.now() < deadline, "{missing:?} did not arrive in time");
        for received in subject.receive(trial, subject.name, 1, 3 * SHORT).await? {
            let waited = trial.now().since(sent);
            ensure!(
                trial,
                received.body != delayed || waited + CLOCK >= 2 * SHORT,
                "a message that was delayed for 2 s came after {waited:?}"
            );
            missing.remove(&received.body);
            subject.delete(trial, subject.name, &received).await?;
        }
    }
    Ok(())
}

/// All messages of all groups arrive, although they are handed out one at a time. Their order is counted: nothing may rely
/// on it.
pub async fn groups_arrive(trial: &Trial<'_>, subject: Subject<'_>) -> Result<(), Violation> {
    let mark = trial.name("m");
    let body = |group: usize, n: usize| format!("{mark}/{group}/{n:02}");
    for n in 0..8 {
        for group in 0..3 {
            let grouped =
                Outgoing { body: body(group, n), group: Some(format!("{mark}-{group}")), ..Outgoing::default() };
            subject.send(trial, subject.name, grouped).await?;
        }
    }
    let sent = (0..3).flat_map(|group| (0..8).map(move |n| (group, n))).map(|(group, n)| body(group, n)).collect();
    let arrived = subject.collect(trial, subject.name, &sent).await?;
    for group in 0..3 {
        let prefix = format!("{mark}/{group}/");
        let of_group: Vec<&String> = arrived.iter().filter(|body| body.starts_with(&prefix)).collect();
        if !of_group.is_sorted() {
            trial.count("out of order in a group");
        }
    }
    Ok(())
}

/// What was sent to one queue comes out of it, and of no other.
pub async fn queues_do_not_mix(trial: &Trial<'_>, subject: Subject<'_>) -> Result<(), Violation> {
    for (name, stranger) in [(subject.name, subject.other), (subject.other, subject.name)] {
        let mark = trial.name(name);
        subject.send(trial, name, message(&mark)).await?;
        for message in subject.receive(trial, stranger, 10, SHORT).await? {
            ensure!(trial, message.body != mark, "a message for `{name}` came out of `{stranger}`");
            trial.count("received after delete");
            subject.delete(trial, stranger, &message).await?;
        }
        let received = subject.next(trial, name, &mark).await?;
        subject.delete(trial, name, &received).await?;
    }
    Ok(())
}

/// Waiting at an empty queue ends, with nothing.
pub async fn a_wait_ends(trial: &Trial<'_>, subject: Subject<'_>) -> Result<(), Violation> {
    let deadline = trial.deadline();
    for wait in [Duration::ZERO, SHORT] {
        loop {
            ensure!(trial, trial.now() < deadline, "an emptied queue still has messages");
            let received = subject.receive(trial, subject.other, 10, wait).await?;
            if received.is_empty() {
                break;
            }
            for message in received {
                trial.count("received after delete");
                subject.delete(trial, subject.other, &message).await?;
            }
        }
    }
    Ok(())
}

/// Who waits when a message is sent gets it, again and again: no wake-up is lost between looking and waiting.
pub async fn a_wait_is_woken(trial: &Trial<'_>, subject: Subject<'_>) -> Result<(), Violation> {
    for round in 0..25 {
        let mark = trial.name(&format!("m{round}"));
        let receiver = async {
            let received = subject.next(trial, subject.name, &mark).await?;
            subject.delete(trial, subject.name, &received).await
        };
        let sender = subject.send(trial, subject.name, message(&mark));
        let (received, sent) = join(receiver, sender).await;
        sent?;
        received?;
    }
    Ok(())
}

/// Many consumers together receive everything. A message that two of them had at a time is counted.
pub async fn consumers_share_the_work(trial: &Trial<'_>, subject: Subject<'_>) -> Result<(), Violation> {
    const MESSAGES: usize = 120;
    let mark = trial.name("m");
    let arrived = std::sync::Mutex::new(BTreeMap::<String, u32>::new());
    let seen = || arrived.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let senders = (0..4).map(|sender| {
        let mark = &mark;
        async move {
            for n in (0..MESSAGES).filter(|n| n % 4 == sender) {
                subject.send(trial, subject.name, message(format!("{mark}/{n}"))).await?;
            }
            Ok(())
        }
    });
    let deadline = trial.deadline();
    let consumers = (0..6).map(|consumer| {
        let (mark, seen) = (&mark, &seen);
        async move {
            while seen().len() < MESSAGES {
                ensure!(trial, trial.now() < deadline, "only {} of {MESSAGES} messages arrived", seen().len());
                for message in subject.receive(trial, subject.name, 1 + consumer % 3, SHORT).await? {
                    if message.body.starts_with(mark.as_str()) {
                        let times = *seen().entry(message.body.clone()).and_modify(|n| *n += 1).or_insert(1);
                        if times > 1 {
                            trial.count("duplicates");
                        }
                    }
                    subject.delete(trial, subject.name, &message).await?;
                }
            }
            Ok(())
        }
    });
    let (sent, received) = join(try_join_all(senders), try_join_all(consumers)).await;
    sent?;
    received.map(drop)
}

/// A message that was handed out 20 times is found among the dead letters, as it was.
pub async fn what_nobody_can_handle_moves_to_the_dead_letters(
    trial: &Trial<'_>,
    subject: Subject<'_>,
) -> Result<(), Violation> {
    let mark = trial.name("m");
    let dead = format!("{}-dead", subject.name);
    subject.send(trial, subject.name, message(&mark)).await?;
    let deadline = trial.deadline();
    let mut handed_out = 0_u32;
    loop {
        ensure!(trial, trial.now() < deadline, "a message was handed out {handed_out} times and is no dead letter");
        for received in subject.receive(trial, subject.name, 10, Duration::ZERO).await? {
            if received.body == mark {
                handed_out += 1;
                subject.extend(trial, subject.name, &received, Duration::ZERO).await?;
            } else {
                subject.delete(trial, subject.name, &received).await?;
            }
        }
        for received in subject.receive(trial, &dead, 10, Duration::ZERO).await? {
            subject.delete(trial, &dead, &received).await?;
            if received.body == mark {
                ensure!(trial, handed_out >= 10, "a message was given up after {handed_out} receipts");
                return Ok(());
            }
        }
    }
}

/// What is over a bound is refused for good, and the largest message arrives.
pub async fn bounds_are_kept(trial: &Trial<'_>, subject: Subject<'_>) -> Result<(), Violation> {
    let mark = trial.name("m");
    let Subject { queue, name, .. } = subject;
    for (what, bad) in [
        ("a message over 256 KiB", message("x".repeat(256 * 1_024 + 1))),
        ("a message with a NUL", message("a\0b")),
        ("a message with U+FFFF", message("a\u{FFFF}b")),
        ("a message with an escape character", message("a\u{1b}b")),
        (
            "a delay over 15 minutes",
            Outgoing { body: mark.clone(), delay: Duration::from_secs(901), ..Outgoing::default() },
        ),
        ("a delay in a group", Outgoing { body: mark.clone(), delay: SHORT, group: Some("g".to_owned()) }),
    ] {
        trial.rejected(what, || queue.send(name, bad.clone())).await?;
    }
    for (max, wait) in [(0, SHORT), (11, SHORT), (1, Duration::from_secs(21))] {
        trial.rejected("a receipt out of bounds", || queue.receive(name, max, wait)).await?;
    }
    let largest = format!("{mark}{}", "x".repeat(256 * 1_024 - mark.len()));
    subject.send(trial, name, message(&largest)).await?;
    let received = subject.next(trial, name, &mark).await?;
    ensure!(trial, received.body == largest, "the largest message was changed");
    match trial.again(|| queue.delete(name, &received.receipt)).await {
        Ok(()) => Ok(()),
        Err(PortError::Conflict) => Err(trial.broken("a queue knows no conflicts")),
        Err(error) => Err(trial.broken(format!("a removal failed: {error}"))),
    }
}
