//! Cancelling a build, and `cancel_on_build_failing`.

use super::*;

fn busy() -> World {
    let mut w = World::new([cmd("a"), cmd("b").rule(&[], 2), block("ok").after(&[]), wait("w"), cmd("c")]);
    w.is("scheduled a=scheduled b=scheduled ok=blocked w=waiting c=waiting");
    w.cancel();
    w
}

#[test]
fn a_cancel_ends_what_has_not_started_and_revokes_what_has() {
    let mut w = busy();
    w.is("canceling a=canceling b=canceling ok=canceled w=canceled c=canceled");
    let revoked = w.build.effects(&w.graph).into_iter().filter_map(|e| match e {
        Effect::Revoke { job, number, .. } => Some((job.0, number)),
        _ => None,
    });
    assert_eq!(revoked.collect::<Vec<_>>(), [(0, 1), (1, 1)]);
    w.end("a", Cause::Canceled, None);
    w.end("b", Cause::Canceled, None);
    w.is("canceled a=canceled b=canceled ok=canceled w=canceled c=canceled");
}

#[test]
fn a_result_that_was_faster_than_the_cancel_is_kept() {
    let mut w = busy();
    w.pass(&["a"]);
    w.fail("b");
    w.is("canceled a=passed b=canceled ok=canceled w=canceled c=canceled");
    assert!(w.build.finished_at.is_some());
}

#[test]
fn nothing_is_tried_again_in_a_canceled_build() {
    for cause in [Cause::Exit, Cause::Lost, Cause::Interrupted, Cause::Timeout] {
        let mut w = busy();
        w.end("b", cause, None);
        assert_eq!(w.cell("b").state, JobState::Canceled, "{cause:?}");
    }
}

#[test]
fn a_pause_before_the_next_try_ends_with_the_cancel() {
    let mut w = World::new([cmd("a")]);
    w.lose("a");
    w.lose("a");
    w.is("scheduled a=backoff");
    w.cancel();
    w.is("canceled a=canceled");
    w.later(Duration::from_secs(3600));
    w.is("canceled a=canceled");
    assert_eq!(w.cell("a").attempt, 2);
}

#[test]
fn cancel_and_result_in_one_step() {
    let mut w = World::new([cmd("a"), cmd("b").after(&["a"])]);
    w.fold(&Input::Cancel { by: "mona".into() });
    let passed = w.ended("a", Cause::Exit, Some(0));
    w.fold(&Input::Ended(passed));
    w.settle();
    w.is("canceled a=passed b=canceled");
}

#[test]
fn a_final_build_cannot_be_canceled_and_a_canceled_one_not_retried() {
    let mut w = World::new([cmd("a")]);
    w.fail("a");
    w.cancel();
    w.is("failed a=failed");
    let mut w = World::new([cmd("a")]);
    w.cancel();
    w.end("a", Cause::Canceled, None);
    w.retry("a");
    w.retry_all();
    w.is("canceled a=canceled");
    assert_eq!(
        w.build.retry_refused(&w.graph, w.job("a")).as_deref(),
        Some("the build was canceled: make a new build instead")
    );
}

#[test]
fn an_upload_that_comes_after_the_cancel_does_not_run() {
    let mut w = World::new([cmd("up")]);
    w.cancel();
    w.upload("up", [cmd("new")]);
    w.pass(&["up"]);
    w.is("canceled up=passed new=canceled");
}

#[test]
fn allow_failure_does_not_outlive_a_cancel() {
    let mut w = World::new([cmd("a"), cmd("b").after_even_failed(&["a"]).allow_dependency_failure()]);
    w.cancel();
    w.end("a", Cause::Canceled, None);
    w.is("canceled a=canceled b=canceled");
}

#[test]
fn cancel_on_build_failing_ends_the_jobs_that_ask_for_it() {
    let mut w = World::new([
        cmd("a"),
        cmd("b").cancel_on_build_failing(),
        cmd("c"),
        cmd("d").after(&["c"]).cancel_on_build_failing(),
    ]);
    w.fail("a");
    w.is("failing a=failed b=canceling c=scheduled d=canceled");
    w.end("b", Cause::Canceled, None);
    w.pass(&["c"]);
    w.is("failed a=failed b=canceled c=passed d=canceled");
}

#[test]
fn cancel_on_build_failing_minds_neither_soft_failures_nor_pending_retries() {
    let mut w = World::new([cmd("a").soft(), cmd("b").rule(&[], 1), cmd("c").cancel_on_build_failing()]);
    w.fail("a");
    w.fail("b");
    w.is("scheduled a=soft_failed b=scheduled c=scheduled");
}

#[test]
fn a_job_that_was_canceled_by_a_failing_build_comes_back_with_the_retry_of_all() {
    let mut w = World::new([cmd("a"), cmd("b").cancel_on_build_failing()]);
    w.fail("a");
    w.end("b", Cause::Canceled, None);
    w.is("failed a=failed b=canceled");
    w.retry_all();
    w.is("scheduled a=scheduled b=scheduled");
}

#[test]
fn a_newer_build_of_the_branch_skips_what_has_not_begun_and_cancels_what_has() {
    let superseded = |skip, cancel| Input::Superseded { by: "hello#8".into(), skip, cancel };
    let end = |w: &mut World| {
        if w.cell("a").state == JobState::Canceling {
            w.end("a", Cause::Canceled, None);
        }
    };
    for (begun, skip, cancel, want) in [
        (false, true, false, "skipped a=canceled"),
        (false, true, true, "skipped a=canceled"),
        (false, false, true, "canceled a=canceled"),
        (true, true, false, "running a=scheduled"),
        (true, true, true, "canceled a=canceled"),
        (true, false, true, "canceled a=canceled"),
        (false, false, false, "scheduled a=scheduled"),
    ] {
        let mut w = World::new([cmd("a")]);
        if begun {
            w.tell(&Input::Started { at: w.now });
        }
        w.tell(&superseded(skip, cancel));
        end(&mut w);
        assert_eq!(w.shows(), want, "begun {begun}, skip {skip}, cancel {cancel}");
    }
    let mut w = World::new([cmd("a")]);
    w.pass(&["a"]);
    w.tell(&superseded(true, true));
    w.is("passed a=passed");
    // A machine took it in the last moment.
    let mut w = World::new([cmd("a")]);
    w.tell(&superseded(true, false));
    w.tell(&Input::Started { at: w.now });
    end(&mut w);
    w.is("canceled a=canceled");
}
