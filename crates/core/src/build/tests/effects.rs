//! What a state implies for the rest of the world, and how marks are cleared.

use super::*;

fn names(w: &World) -> Vec<&'static str> {
    let effects = w.build.effects(&w.graph);
    effects
        .iter()
        .map(|e| match e {
            Effect::Activate => "activate",
            Effect::Create { .. } => "create",
            Effect::Publish { .. } => "publish",
            Effect::Revoke { .. } => "revoke",
            Effect::Join { .. } => "join",
            Effect::Leave { .. } => "leave",
            Effect::Show { .. } => "show",
            Effect::Deactivate => "deactivate",
            Effect::Fill { .. } => "fill",
            Effect::Trigger { .. } => "trigger",
            Effect::Recall { .. } => "recall",
            Effect::Answer { .. } => "answer",
        })
        .collect()
}

fn perform(w: &mut World) {
    let effects = w.build.effects(&w.graph);
    w.build.clear(&effects);
    assert_eq!(w.build.effects(&w.graph), []);
}

#[test]
fn a_life() {
    let mut w = World::new([cmd("a")]);
    assert_eq!(names(&w), ["create", "publish", "show"]);
    perform(&mut w);
    w.fail("a");
    assert_eq!(names(&w), ["show", "deactivate"]);
    perform(&mut w);
    assert!(!w.build.active);
    w.retry("a");
    assert_eq!(names(&w), ["activate", "create", "publish", "show"]);
    perform(&mut w);
    assert!(w.build.active);
    w.cancel();
    assert_eq!(names(&w), ["revoke", "show"]);
    perform(&mut w);
    w.end("a", Cause::Canceled, None);
    assert_eq!(names(&w), ["show", "deactivate"]);
}

#[test]
fn an_attempt_that_is_revoked_before_it_was_made_is_made_first() {
    let mut w = World::new([cmd("a")]);
    w.cancel();
    assert_eq!(names(&w), ["create", "revoke", "publish", "show"]);
}

#[test]
fn a_mark_that_was_set_again_meanwhile_stays() {
    let mut w = World::new([cmd("a").rule(&[], 1), cmd("b")]);
    let old = w.build.effects(&w.graph);
    w.fail("a");
    w.build.clear(&old);
    let effects = w.build.effects(&w.graph);
    let created = effects.iter().filter_map(|e| match e {
        Effect::Create { job, number, retry_count, .. } => Some((job.0, *number, *retry_count)),
        _ => None,
    });
    assert_eq!(created.collect::<Vec<_>>(), [(0, 2, 1)]);
    assert!(effects.iter().any(|e| matches!(e, Effect::Publish { line, .. } if line.issued == 3)));
    assert!(effects.iter().any(|e| matches!(e, Effect::Show { .. })));
}

#[test]
fn a_build_that_came_back_while_it_left_the_index_is_put_there_again() {
    let mut w = World::new([cmd("a")]);
    w.fail("a");
    let old = w.build.effects(&w.graph);
    w.retry("a");
    w.build.clear(&old);
    assert_eq!(names(&w)[0], "activate");
}

#[test]
fn lines_are_by_requirement_and_priority() {
    let w = World::new([cmd("a").jobs(3), cmd("b").priority(2), cmd("c").queue("big"), cmd("d").queue("big")]);
    let lines: Vec<_> = w.build.lines.iter().map(|l| (l.requirement.as_str(), l.priority, l.issued)).collect();
    assert_eq!(lines, [("queue=default", 0, 3), ("queue=default", 2, 1), ("queue=big", 0, 2)]);
    let seqs: Vec<_> = w.build.cells.iter().map(|c| (c.line, c.seq)).collect();
    assert_eq!(seqs, [(0, 1), (0, 2), (0, 3), (1, 1), (2, 1), (2, 2)]);
}

#[test]
fn a_state_that_does_not_change_is_not_shown_again() {
    let mut w = World::new([cmd("a"), cmd("b").after(&["ghost"])]);
    w.pass(&["a"]);
    w.is("failed a=passed b=waiting_failed");
    perform(&mut w);
    w.settle();
    w.later(Duration::from_secs(9));
    assert_eq!(names(&w), [""; 0]);
}

#[test]
fn a_form_is_written_before_anything_that_may_read_it_starts() {
    let mut w = World::new([block("ok"), cmd("a")]);
    perform(&mut w);
    w.tell(&Input::Unblock { job: w.job("ok"), by: "mona".into(), form: Some("f1".into()) });
    w.is("scheduled ok=unblocked a=scheduled");
    assert_eq!(names(&w), ["fill", "create", "publish", "show"]);
    // A second person is too late: the first form counts.
    w.tell(&Input::Unblock { job: w.job("ok"), by: "hubot".into(), form: Some("f2".into()) });
    assert_eq!(w.build.acts.len(), 1);
    assert_eq!(w.build.unblocked(w.job("ok")).map(|act| act.by.as_str()), Some("mona"));
    perform(&mut w);
}

#[test]
fn people_who_retry_all_day_do_not_fill_the_record() {
    let mut w = World::new([block("ok"), cmd("a").after(&[])]);
    w.tell(&Input::Unblock { job: w.job("ok"), by: "mona".into(), form: Some("f1".into()) });
    for _ in 0..150 {
        w.fail("a");
        w.retry("a");
    }
    assert_eq!(w.build.acts.len(), 100);
    let unwritten = |act: &Act| matches!(act.did, Did::Unblocked { unwritten: true, .. });
    assert_eq!(w.build.acts.iter().filter(|act| unwritten(act)).count(), 1, "what has an effect still is kept");
    assert_eq!(w.build.acts.last().map(|act| act.did.job()), Some(Some(w.job("a"))));
}
