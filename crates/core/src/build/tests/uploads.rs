//! `spec/pipeline.md` 1.17, and 1.7 rules 4 and 5: steps that jobs add to their build.

use super::*;
use crate::plan::SegmentRefusal;

#[test]
fn uploaded_steps_stand_after_their_uploader_and_wait_for_it() {
    let mut w = World::new([cmd("up"), wait("w"), cmd("z")]);
    w.upload("up", [cmd("a"), cmd("b")]);
    w.is("scheduled up=scheduled a=waiting b=waiting w=waiting z=waiting");
    w.pass(&["up"]);
    w.is("scheduled up=passed a=scheduled b=scheduled w=waiting z=waiting");
    w.pass(&["a", "b"]);
    w.is("scheduled up=passed a=passed b=passed w=passed z=scheduled");
}

#[test]
fn of_several_uploads_of_one_job_the_latest_stands_first() {
    let mut w = World::new([cmd("up"), cmd("z")]);
    w.upload("up", [cmd("a1"), cmd("a2")]);
    w.upload("up", [cmd("b1"), wait("w")]);
    assert_eq!(w.order(), "up b1 w a1 a2 z");
    w.pass(&["up"]);
    w.is("scheduled up=passed b1=scheduled w=waiting a1=waiting a2=waiting z=scheduled");
}

#[test]
fn uploads_of_uploads() {
    let mut w = World::new([cmd("up"), wait("w"), cmd("z")]);
    w.upload("up", [cmd("a"), cmd("b")]);
    w.pass(&["up"]);
    w.upload("a", [cmd("c")]);
    w.pass(&["a", "b"]);
    w.is("scheduled up=passed a=passed c=scheduled b=passed w=waiting z=waiting");
    w.pass(&["c"]);
    w.is("scheduled up=passed a=passed c=passed b=passed w=passed z=scheduled");
}

#[test]
fn rule_1_7_4_holds_against_any_depends_on() {
    let mut w = World::new([cmd("up"), cmd("other")]);
    w.upload("up", [cmd("a").after(&[]), cmd("b").after(&["other"]), input("ask")]);
    w.pass(&["other"]);
    w.is("scheduled up=scheduled a=waiting b=waiting ask=waiting other=passed");
    w.fail("up");
    w.is("failed up=failed a=waiting_failed b=waiting_failed ask=waiting_failed other=passed");
}

#[test]
fn rule_1_7_4_is_for_the_job_that_uploaded() {
    let mut w = World::new([cmd("up").jobs(2)]);
    w.upload("up.1", [cmd("a")]);
    w.pass(&["up.1"]);
    w.is("scheduled up.0=scheduled up.1=passed a=scheduled");
}

#[test]
fn rule_1_7_5_depending_on_an_uploader_waits_for_what_it_uploaded() {
    let mut w = World::new([cmd("up"), cmd("z").after(&["up"])]);
    w.upload("up", [cmd("a")]);
    w.pass(&["up"]);
    w.is("scheduled up=passed a=scheduled z=waiting");
    w.upload("a", [cmd("b")]);
    w.pass(&["a"]);
    w.is("scheduled up=passed a=passed b=scheduled z=waiting");
    w.pass(&["b"]);
    w.is("scheduled up=passed a=passed b=passed z=scheduled");
}

#[test]
fn rule_1_7_5_a_failure_of_what_was_uploaded_counts() {
    let mut w = World::new([cmd("up"), cmd("z").after(&["up"]), cmd("y").after_even_failed(&["up"])]);
    w.upload("up", [cmd("a")]);
    w.pass(&["up"]);
    w.fail("a");
    w.is("failing up=passed a=failed z=waiting_failed y=scheduled");
}

#[test]
fn rule_1_7_5_an_uploaded_step_may_name_its_uploader() {
    let mut w = World::new([cmd("up")]);
    let steps = [cmd("a").after(&["up"]), cmd("b").after(&["up", "a"])];
    assert_eq!(w.check("up", false, &steps), Ok(()));
    w.upload("up", steps);
    w.pass(&["up"]);
    w.is("scheduled up=passed a=scheduled b=waiting");
    w.upload("a", [cmd("c").after(&["up", "a"])]);
    w.pass(&["a"]);
    w.is("scheduled up=passed a=passed c=scheduled b=waiting");
}

#[test]
fn an_uploaded_wait_is_a_gate_for_what_follows() {
    let mut w = World::new([cmd("up"), cmd("z"), wait("w"), cmd("y")]);
    w.pass(&["z"]);
    w.upload("up", [cmd("a"), wait("uw"), cmd("b")]);
    w.pass(&["up"]);
    w.is("scheduled up=passed a=scheduled uw=waiting b=waiting z=passed w=waiting y=waiting");
    w.pass(&["a"]);
    w.is("scheduled up=passed a=passed uw=passed b=scheduled z=passed w=waiting y=waiting");
}

#[test]
fn a_block_that_was_uploaded_blocks() {
    let mut w = World::new([cmd("up"), wait("w"), cmd("z")]);
    w.upload("up", [block("ok"), cmd("a")]);
    w.pass(&["up"]);
    w.is("blocked up=passed ok=blocked a=waiting w=waiting z=waiting");
}

#[test]
fn i12_a_result_waits_for_its_uploads() {
    let mut w = World::new([cmd("up")]);
    let ended = Input::Ended(Ended { uploads: 1, ..w.ended("up", Cause::Exit, Some(0)) });
    assert_eq!(w.tell(&ended), Folded::Later);
    w.is("scheduled up=scheduled");
    w.upload("up", [cmd("a")]);
    assert_eq!(w.tell(&ended), Folded::Done);
    w.is("scheduled up=passed a=scheduled");
}

#[test]
fn i12_an_upload_without_its_segment_stays_in_the_inbox() {
    let mut w = World::new([cmd("up")]);
    let upload = Input::Uploaded { by: JobIndex(0), number: 1, blob: "plans/1".into(), replace: false };
    assert_eq!(w.tell(&upload), Folded::Later);
    w.upload("up", [cmd("a")]);
    let before = w.build.clone();
    assert_eq!(w.tell(&upload), Folded::Done, "it is known");
    assert_eq!(w.build, before);
}

#[test]
fn i12_an_upload_that_comes_after_the_end_opens_the_build_again() {
    let mut w = World::new([cmd("up")]);
    w.pass(&["up"]);
    w.upload("up", [cmd("a")]);
    w.is("scheduled up=passed a=scheduled");
    assert_eq!(w.build.finished_at, None);
}

#[test]
fn an_upload_by_a_job_that_is_not_there_means_nothing() {
    let mut w = World::new([cmd("up")]);
    let before = w.build.clone();
    let upload = Input::Uploaded { by: JobIndex(9), number: 1, blob: "plans/1".into(), replace: false };
    let segment = segment([cmd("a")]);
    let folded = w.build.fold(&upload, &w.graph, Some(&segment), &w.limits, w.now);
    assert_eq!((folded, &w.build), (Folded::Done, &before));
    w.settle();
}

#[test]
fn replace_drops_what_has_not_started_after_the_uploader() {
    let mut w = World::new([cmd("before"), cmd("up"), cmd("runs"), wait("w"), cmd("z"), block("ok")]);
    w.replace("up", [cmd("a")]);
    w.is("scheduled before=scheduled up=scheduled a=waiting runs=scheduled w=broken z=broken ok=broken");
    w.pass(&["before", "up", "runs", "a"]);
    w.is("passed before=passed up=passed a=passed runs=passed w=broken z=broken ok=broken");
}

#[test]
fn replace_drops_what_would_not_have_run_too() {
    let mut w = World::new([cmd("x"), cmd("up"), cmd("z").after(&["x"])]);
    w.fail("x");
    w.replace("up", [cmd("a")]);
    w.retry("x");
    w.is("scheduled x=scheduled up=scheduled a=waiting z=broken");
}

#[test]
fn replace_drops_earlier_uploads_of_the_same_job_even_in_one_step() {
    let mut w = World::new([cmd("up"), cmd("z").after(&["up"])]);
    let stale = w.graph.clone();
    w.fold_upload("up", false, [cmd("a")]);
    let segment = segment([cmd("b")]);
    let input = Input::Uploaded { by: JobIndex(0), number: 1, blob: "plans/2".into(), replace: true };
    w.build.fold(&input, &stale, Some(&segment), &w.limits, w.now);
    w.segments.push(Arc::new(segment));
    w.graph = Graph::new(&w.build.segments, w.segments.clone());
    w.settle();
    w.is("scheduled up=scheduled b=waiting a=broken z=broken");
}

#[test]
fn a_gate_that_was_dropped_is_as_if_it_were_not_there() {
    let mut w = World::new([cmd("x"), wait("w1"), cmd("up").after(&[]), wait("w2"), cmd("v").after(&[])]);
    w.replace("up", [cmd("a")]);
    w.upload("v", [cmd("late")]);
    w.pass(&["up", "v"]);
    w.is("scheduled x=scheduled w1=waiting up=passed a=waiting w2=broken v=passed late=waiting");
    w.pass(&["x"]);
    w.is("scheduled x=passed w1=passed up=passed a=scheduled w2=broken v=passed late=scheduled");
}

#[test]
fn the_keys_of_dropped_steps_are_free() {
    let mut w = World::new([cmd("up"), wait("w"), cmd("z"), cmd("y").broken()]);
    assert_eq!(w.check("up", false, &[cmd("z")]), Err(SegmentRefusal::KeyTaken("z".into())));
    assert_eq!(w.check("up", true, &[cmd("z")]), Ok(()));
    w.replace("up", [cmd("a").after(&["z"])]);
    assert_eq!(w.check("up", false, &[cmd("z")]), Ok(()));
    assert_eq!(w.check("up", false, &[cmd("up")]), Err(SegmentRefusal::KeyTaken("up".into())));
    assert_eq!(w.check("up", true, &[cmd("y")]), Err(SegmentRefusal::KeyTaken("y".into())), "an `if` keeps its key");
    assert_eq!(w.check("up", false, &[cmd("q").within("up")]), Err(SegmentRefusal::KeyTaken("up".into())));
    w.upload("up", [cmd("z")]);
    w.pass(&["up"]);
    w.is("scheduled up=passed z=scheduled a=waiting w=broken z=broken y=broken");
    w.pass(&["z"]);
    w.is("scheduled up=passed z=passed a=scheduled w=broken z=broken y=broken");
}

#[test]
fn i11_a_job_that_was_lost_to_us_uploads_again() {
    let mut w = World::new([cmd("up"), cmd("z").after(&["a"])]);
    w.upload("up", [cmd("a"), cmd("b")]);
    w.lose("up");
    assert_eq!(w.cell("up").attempt, 2);
    assert_eq!(w.check("up", false, &[cmd("a"), cmd("b")]), Ok(()));
    w.upload("up", [cmd("a"), cmd("b")]);
    assert_eq!(w.check("up", false, &[cmd("a")]), Err(SegmentRefusal::KeyTaken("a".into())));
    w.upload("up", [cmd("c")]);
    w.pass(&["up"]);
    w.is("scheduled up=passed c=scheduled a=scheduled b=scheduled a=broken b=broken z=waiting");
    w.pass(&["c", "a", "b", "z"]);
    assert_eq!(w.build.state, BuildState::Passed);
}

#[test]
fn i12_a_job_that_was_lost_to_us_and_does_not_upload_again_keeps_what_it_uploaded() {
    let mut w = World::new([cmd("up")]);
    w.upload("up", [cmd("a")]);
    w.lose("up");
    w.pass(&["up"]);
    w.is("scheduled up=passed a=scheduled");
}

#[test]
fn a_retry_by_rule_keeps_what_was_uploaded_before() {
    let mut w = World::new([cmd("up").rule(&[], 1)]);
    w.upload("up", [cmd("a")]);
    w.fail("up");
    assert_eq!(w.check("up", false, &[cmd("a")]), Err(SegmentRefusal::KeyTaken("a".into())));
    w.upload("up", [cmd("b")]);
    w.pass(&["up"]);
    w.is("scheduled up=passed b=scheduled a=scheduled");
}

#[test]
fn rule_1_7_10_an_upload_that_closes_a_circle_is_refused() {
    let w = World::new([cmd("up"), wait("w"), cmd("z")]);
    assert_eq!(
        w.check("up", false, &[cmd("a").after(&["z"])]).unwrap_err().to_string(),
        "these steps would wait for each other: `a` -> `z` -> `w`; take one of them out of `depends_on`"
    );
    assert_eq!(w.check("up", false, &[cmd("a").after(&["b"]), cmd("b").after(&["up"])]), Ok(()));
    let w = World::new([cmd("up"), cmd("z").after(&["up"])]);
    assert!(matches!(w.check("up", false, &[cmd("a").after(&["z"])]), Err(SegmentRefusal::Circle(_))));
}

#[test]
fn rule_1_7_10_only_what_still_waits_can_close_a_circle() {
    let mut w = World::new([cmd("x"), cmd("y").after(&["x"])]);
    w.pass(&["x", "y"]);
    w.retry("x");
    // `y` depends on `x` and all it uploads, but `y` is over.
    assert_eq!(w.check("x", false, &[cmd("a").after(&["y"])]), Ok(()));
    w.upload("x", [cmd("a").after(&["y"])]);
    w.pass(&["x"]);
    w.is("scheduled x=passed a=scheduled y=passed");
}

#[test]
fn uploads_stay_within_limits() {
    let mut w = World::new([cmd("up"), cmd("many").jobs(3_600)]);
    let refused = w.check("up", false, &[cmd("a").jobs(501)]).unwrap_err();
    insta::assert_snapshot!(refused, @"501 jobs in one pipeline, the limit is 500: upload them in several parts, or raise `jobs` in the `[limits]` table of the configuration");
    assert!(matches!(
        w.check("up", false, &[cmd("a").jobs(400)]),
        Err(SegmentRefusal::TooManyJobs { jobs: 4_001, .. })
    ));
    assert_eq!(w.check("up", false, &[cmd("a").jobs(399)]), Ok(()));
    w = World::new([cmd("up")]);
    for n in 0..w.limits.uploads {
        w.fold_upload("up", false, [cmd(&format!("s{n}"))]);
    }
    assert!(matches!(w.check("up", false, &[cmd("a")]), Err(SegmentRefusal::TooManyUploads { limit: 500 })));
    w.limits.uploads += 1;
    assert_eq!(w.check("up", false, &[cmd("a")]), Ok(()));
    w.limits = Limits { upload_jobs: 10_000, jobs: 10_000, ..w.limits };
    assert_eq!(w.check("up", false, &[cmd("a").jobs(5_000)]), Ok(()));
}

#[test]
fn an_upload_inside_a_group_stands_on_the_top_level() {
    let mut w = World::new([cmd("up").within("g"), wait("gw").within("g"), cmd("x").within("g"), cmd("y")]);
    w.upload("up", [cmd("a"), wait("w"), cmd("b")]);
    w.pass(&["up"]);
    w.is("scheduled up=passed a=scheduled w=waiting b=waiting gw=waiting x=waiting y=scheduled");
    w.pass(&["a"]);
    w.is("scheduled up=passed a=passed w=passed b=scheduled gw=passed x=scheduled y=scheduled");
}
