//! Retries: by rule, on our account, by hand.

use super::*;

#[test]
fn rule_1_12_limits_are_counted_per_rule() {
    let mut w = World::new([cmd("a").rule(&[3], 1).rule(&[], 2)]);
    for status in [3, 4, 5] {
        w.exit("a", status);
        w.is("scheduled a=scheduled");
    }
    assert_eq!(w.cell("a").rule_uses, [1, 2]);
    assert_eq!((w.cell("a").attempt, w.cell("a").retries), (4, 3));
    w.exit("a", 3);
    w.is("failed a=failed");
}

#[test]
fn rule_1_12_the_first_matching_rule_decides() {
    let mut w = World::new([cmd("a").rule(&[3], 0).rule(&[], 2)]);
    w.exit("a", 3);
    w.is("failed a=failed");
}

#[test]
fn our_own_retries_use_up_no_rule_and_no_retry_count() {
    let mut w = World::new([cmd("a").rule(&[], 1)]);
    w.end("a", Cause::Interrupted, None);
    w.is("scheduled a=scheduled");
    w.end("a", Cause::AgentStopped, None);
    w.is("scheduled a=backoff");
    w.later(Duration::from_secs(2));
    w.is("scheduled a=scheduled");
    assert_eq!((w.cell("a").attempt, w.cell("a").retries, w.cell("a").losses), (3, 0, 2));
    assert!(w.cell("a").rule_uses.is_empty());
    w.fail("a");
    assert_eq!((w.cell("a").retries, w.cell("a").losses), (1, 0));
    w.pass(&["a"]);
    w.is("passed a=passed");
}

#[test]
fn a_build_says_when_its_next_pause_ends() {
    let mut w = World::new([cmd("a"), cmd("b")]);
    assert_eq!(w.build.due(), None);
    for name in ["a", "a", "b", "b"] {
        w.lose(name);
    }
    let due = w.build.due().unwrap();
    assert_eq!(due, w.cell("a").not_before);
    assert!(due > w.now && due < w.cell("b").not_before);
    w.later(due.since(w.now));
    w.is("scheduled a=scheduled b=backoff");
}

#[test]
fn a_machine_that_dies_silently_under_a_job_three_times_makes_it_red() {
    for cause in [Cause::Lost, Cause::OutOfDisk] {
        let mut w = World::new([cmd("a")]);
        for _ in 0..2 {
            w.end("a", cause, None);
            w.later(Duration::from_secs(100));
        }
        w.is("scheduled a=scheduled");
        w.end("a", cause, None);
        w.is("failed a=failed");
        assert!(quarantine(w.cell("a"), &w.limits).is_some_and(|why| why.contains("3 machines died")));
        w.retry("a");
        assert_eq!(quarantine(w.cell("a"), &w.limits), None);
        w.fail("a");
        assert_eq!(quarantine(w.cell("a"), &w.limits), None, "it failed by itself");
    }
}

#[test]
fn what_the_cloud_admits_to_is_tried_until_the_deadline() {
    let mut w = World::new([cmd("a")]);
    let begin = w.now;
    while w.build.state == BuildState::Scheduled {
        w.end("a", Cause::Interrupted, None);
        w.later(Duration::from_secs(3600));
    }
    w.is("failed a=failed");
    let span = w.now.since(begin);
    assert!(span > w.limits.wait && span < w.limits.wait * 2, "{span:?}");
    assert!(w.cell("a").attempt > 20);
}

#[test]
fn a_failure_that_no_try_can_help_is_final() {
    let mut w = World::new([cmd("a").rule(&[], 2)]);
    let ended = Ended { permanent: true, ..w.ended("a", Cause::CheckoutFailed, None) };
    w.tell(&Input::Ended(ended));
    w.is("failed a=failed");
}

#[test]
fn a_retry_by_hand_opens_a_finished_build_again() {
    let mut w = World::new([cmd("a"), wait("w"), cmd("b")]);
    w.fail("a");
    w.is("failed a=failed w=waiting_failed b=waiting_failed");
    assert_eq!(w.build.finished_at, Some(w.now));
    w.retry("a");
    w.is("scheduled a=scheduled w=waiting b=waiting");
    assert_eq!(w.build.finished_at, None);
    assert_eq!((w.cell("a").attempt, w.cell("a").retries), (2, 1));
    w.pass(&["a", "b"]);
    w.is("passed a=passed w=passed b=passed");
}

#[test]
fn a_retry_of_a_job_that_passed_leaves_the_others_alone() {
    let mut w = World::new([cmd("a"), wait("w"), cmd("b")]);
    w.pass(&["a", "b"]);
    w.retry("a");
    w.is("scheduled a=scheduled w=passed b=passed");
    w.fail("a");
    w.is("failed a=failed w=passed b=passed");
}

#[test]
fn retrying_all_takes_failures_and_not_their_dependents() {
    let mut w = World::new([cmd("a"), cmd("b"), cmd("c"), cmd("d").after(&["a"])]);
    w.fail("a");
    w.end("b", Cause::Expired, None);
    w.pass(&["c"]);
    w.is("failed a=failed b=expired c=passed d=waiting_failed");
    w.retry_all();
    w.is("scheduled a=scheduled b=scheduled c=passed d=waiting");
    assert_eq!(w.cell("d").retries, 0);
}

#[test]
fn retries_by_hand_are_refused_with_a_reason() {
    let mut strict = cmd("strict");
    strict = strict.command(|c| {
        c.retry.manual.permit_on_passed = false;
        c.retry.manual.reason = Some("it deploys".into());
    });
    let never = cmd("never").command(|c| c.retry.manual.allowed = false);
    let mut w = World::new([cmd("a"), cmd("out").broken(), strict, never, wait("w"), block("ok"), cmd("z")]);
    w.pass(&["strict"]);
    w.fail("never");
    for (name, reason) in [
        ("a", "the job is scheduled, only a job that has ended can be retried"),
        ("out", "the job did not run: it is broken"),
        ("strict", "the step does not allow retries of a job that passed: it deploys"),
        ("never", "the step does not allow retries by hand"),
        ("w", "a wait step cannot be retried"),
        ("ok", "a step that waits for a person cannot be retried"),
    ] {
        assert_eq!(w.build.retry_refused(&w.graph, w.job(name)).as_deref(), Some(reason), "{name}");
        let before = w.build.clone();
        w.retry(name);
        assert_eq!(w.build, before, "{name}");
    }
    assert_eq!(w.build.retry_refused(&w.graph, JobIndex(99)).as_deref(), Some("there is no such job"));
}

#[test]
fn an_end_that_is_told_twice_or_of_an_older_attempt_changes_nothing() {
    let mut w = World::new([cmd("a").rule(&[], 2)]);
    let first = Input::Ended(w.ended("a", Cause::Exit, Some(1)));
    w.tell(&first);
    assert_eq!(w.cell("a").attempt, 2);
    let before = w.build.clone();
    assert_eq!(w.tell(&first), Folded::Done);
    assert_eq!(w.build, before);
    w.pass(&["a"]);
    let before = w.build.clone();
    w.tell(&first);
    assert_eq!(w.build, before);
}

/// A step that slept folds a letter that another has folded, deleted and forgotten while it slept.
#[test]
fn a_wish_to_retry_that_is_heard_twice_is_granted_once() {
    let mut w = World::new([cmd("a")]);
    w.fail("a");
    let wish = Input::Retry { job: None, by: "mona".into(), wish: "a1".into() };
    w.tell(&wish);
    w.fail("a");
    let before = w.build.clone();
    w.tell(&wish);
    assert_eq!(w.build, before);
    w.tell(&Input::Retry { job: None, by: "mona".into(), wish: "a2".into() });
    assert_eq!((w.cell("a").attempt, w.cell("a").retries), (3, 2));
}
