#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::fleet::Requirement;
use crate::ids::{BuildId, JobIndex, derived_uuid};

fn queued() -> Attempt {
    Attempt {
        id: AttemptId { build: BuildId::new(derived_uuid("t", "b").to_string()).unwrap(), job: JobIndex(0), number: 1 },
        trust: Trust::Trusted,
        requirement: Requirement::default(),
        retry_count: 0,
        created_at: Timestamp(0),
        deadline: Timestamp(1000),
        phase: Phase::Queued,
    }
}

fn outcome(exit: i32) -> Outcome {
    Outcome {
        cause: Cause::Exit,
        exit_status: Some(exit),
        signal: None,
        detail: None,
        permanent: false,
        first_output_ms: Some(3),
        log: LogExtent::default(),
        tail: String::new(),
        uploads: 0,
    }
}

fn machine(n: u8) -> InstanceId {
    InstanceId::new(format!("i-{n}")).unwrap()
}

#[derive(Clone, Debug)]
enum Move {
    Claim(u8, u8),
    Start(u8, u8),
    Cancel,
    Expire,
    Lose(u8),
    Finish(u8, u8, i32),
    Upload(u8, u8, u8),
}

fn moves() -> impl Strategy<Value = Vec<(Move, u64)>> {
    let who = || (0u8..3, 0u8..2);
    let one = prop_oneof![
        who().prop_map(|(m, b)| Move::Claim(m, b)),
        who().prop_map(|(m, b)| Move::Start(m, b)),
        Just(Move::Cancel),
        Just(Move::Expire),
        (0u8..3).prop_map(Move::Lose),
        (who(), 0i32..2).prop_map(|((m, b), e)| Move::Finish(m, b, e)),
        (who(), 0u8..3).prop_map(|((m, b), u)| Move::Upload(m, b, u)),
    ];
    proptest::collection::vec((one, 0u64..600), 0..30)
}

proptest! {
    /// Whatever happens in whatever order: one machine at most ever holds it, the end never changes, and nothing but
    /// the end's own `late` note is written after it.
    #[test]
    fn one_owner_one_end(moves in moves()) {
        let pool = PoolName::new("p").unwrap();
        let mut now = 0;
        let mut attempt = queued();
        let mut owner: Option<(InstanceId, String)> = None;
        let mut end: Option<End> = None;
        for (step, span) in moves {
            now += span;
            let at = Timestamp(now);
            let next = match step {
                Move::Claim(m, b) => attempt
                    .claim(Claimant { instance: &machine(m), boot: &b.to_string(), pool: &pool, trust: Trust::Trusted }, at)
                    .ok().flatten(),
                Move::Start(m, b) => attempt.start(&machine(m), &b.to_string(), at).ok().and_then(|(a, _)| a),
                Move::Cancel => attempt.cancel(CancelReason::Canceled, at),
                Move::Expire => attempt.expire(at, "late"),
                Move::Lose(m) => attempt.lose(&machine(m), Cause::Lost, "gone", at),
                Move::Finish(m, b, e) => match attempt.finish(&machine(m), &b.to_string(), outcome(e), at) {
                    Ok(Finish::Accepted(a)) => { prop_assert!(end.is_none()); Some(*a) }
                    Ok(Finish::Late(a)) => { prop_assert!(end.is_some()); a.map(|a| *a) }
                    Ok(Finish::Repeated) => { prop_assert!(end.is_some()); None }
                    Err(_) => None,
                },
                Move::Upload(m, b, u) => attempt.upload(&machine(m), &b.to_string(), &u.to_string()).ok().flatten(),
            };
            if let Some(next) = next {
                attempt = next;
            }
            match &attempt.phase {
                Phase::Queued => prop_assert!(owner.is_none()),
                Phase::Held(held) => {
                    let now_held = (held.owner.clone(), held.boot.clone());
                    prop_assert!(owner.is_none() || owner.as_ref() == Some(&now_held));
                    prop_assert!(end.is_none());
                    owner = Some(now_held);
                }
                Phase::Ended(this) => {
                    let plain = End { late: None, ..(**this).clone() };
                    prop_assert!(end.is_none() || end.as_ref() == Some(&plain));
                    end = Some(plain);
                }
            }
            let bytes = crate::wire::envelope::seal(&attempt).unwrap();
            prop_assert_eq!(&crate::wire::envelope::open::<Attempt>(&bytes).unwrap(), &attempt);
        }
    }
}

#[test]
fn a_pool_of_other_trust_cannot_claim() {
    let pool = PoolName::new("p").unwrap();
    let by = Claimant { instance: &machine(1), boot: "b", pool: &pool, trust: Trust::Untrusted };
    assert_eq!(queued().claim(by, Timestamp(1)), Err(Refused::Trust));
}

#[test]
fn a_canceled_queued_attempt_cannot_be_claimed() {
    let pool = PoolName::new("p").unwrap();
    let canceled = queued().cancel(CancelReason::Canceled, Timestamp(1)).unwrap();
    let by = Claimant { instance: &machine(1), boot: "b", pool: &pool, trust: Trust::Trusted };
    assert_eq!(canceled.claim(by, Timestamp(2)), Err(Refused::Ended));
}

#[test]
fn a_canceled_held_attempt_does_not_start() {
    let pool = PoolName::new("p").unwrap();
    let by = Claimant { instance: &machine(1), boot: "b", pool: &pool, trust: Trust::Trusted };
    let held = queued().claim(by, Timestamp(1)).unwrap().unwrap();
    let marked = held.cancel(CancelReason::Canceled, Timestamp(2)).unwrap();
    assert_eq!(marked.start(&machine(1), "b", Timestamp(3)), Ok((None, Some(CancelReason::Canceled))));
}

#[test]
fn an_agent_that_does_not_end_a_job_in_time_is_told_to() {
    use std::time::Duration;
    let (timeout, room) = (Duration::from_secs(60), Duration::from_secs(10));
    let pool = PoolName::new("p").unwrap();
    let by = Claimant { instance: &machine(1), boot: "b", pool: &pool, trust: Trust::Trusted };
    assert_eq!(queued().overdue(timeout, room, Timestamp(1_000_000)), None, "it waits for a machine");
    let held = queued().claim(by, Timestamp(1_000)).unwrap().unwrap();
    assert_eq!(held.overdue(timeout, room, Timestamp(71_000)), None);
    let marked = held.overdue(timeout, room, Timestamp(71_001)).unwrap();
    assert_eq!(marked.held_by(&machine(1), "b").unwrap().cancel, Some(CancelReason::Timeout));
    assert_eq!(marked.overdue(timeout, room, Timestamp(99_000)), None, "once");
}
