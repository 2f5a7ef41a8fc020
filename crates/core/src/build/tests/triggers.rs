//! Trigger steps: `spec/pipeline.md` 1.5.

use super::*;

impl World {
    fn child(&mut self, name: &str, end: TriggerEnd) {
        let (job, number) = (self.job(name), self.cell(name).attempt);
        self.tell(&Input::Triggered { job, number, end });
    }
}

fn of(name: &str, end: TriggerEnd, change: impl FnOnce(&mut TriggerStep)) -> String {
    let mut w = World::new([trigger("t").trigger(change), wait("w"), cmd("after")]);
    w.is("scheduled t=scheduled w=waiting after=waiting");
    w.child("t", end);
    assert!(!w.shows().is_empty(), "{name}");
    w.shows()
}

#[test]
fn a_step_takes_over_the_result_of_its_build() {
    use BuildState::{Canceled, Failed, NotRun, Passed, Running, Skipped};
    let passed = "running t=passed w=passed after=scheduled";
    let failed = "failed t=failed w=waiting_failed after=waiting_failed";
    let waits = "running t=scheduled w=waiting after=waiting";
    let none: fn(&mut TriggerStep) = |_| {};
    let soft: fn(&mut TriggerStep) = |t| t.soft_fail = SoftFail::Always;
    let asynchronous: fn(&mut TriggerStep) = |t| t.asynchronous = true;
    let rows = [
        ("made", TriggerEnd::Made, none, waits),
        ("made, not waited for", TriggerEnd::Made, asynchronous, passed),
        (
            "failed before it is known that it was made, and not waited for",
            TriggerEnd::Ended(Failed),
            asynchronous,
            passed,
        ),
        ("canceled, and not waited for", TriggerEnd::Ended(Canceled), asynchronous, passed),
        ("passed", TriggerEnd::Ended(Passed), none, "scheduled t=passed w=passed after=scheduled"),
        ("nothing to run", TriggerEnd::Ended(NotRun), none, "scheduled t=passed w=passed after=scheduled"),
        ("failed", TriggerEnd::Ended(Failed), none, failed),
        ("failed softly", TriggerEnd::Ended(Failed), soft, "scheduled t=soft_failed w=passed after=scheduled"),
        ("canceled", TriggerEnd::Ended(Canceled), none, "failed t=canceled w=waiting_failed after=waiting_failed"),
        ("skipped for a newer one", TriggerEnd::Ended(Skipped), none, "scheduled t=skipped w=passed after=scheduled"),
        ("not made", TriggerEnd::Refused, none, failed),
        ("not made, softly", TriggerEnd::Refused, soft, "scheduled t=soft_failed w=passed after=scheduled"),
        ("not over", TriggerEnd::Ended(Running), none, "scheduled t=scheduled w=waiting after=waiting"),
    ];
    for (name, end, change, want) in rows {
        assert_eq!(of(name, end, change), want, "{name}");
    }
}

#[test]
fn a_cancel_passes_on_and_waits_for_the_answer() {
    let mut w = World::new([trigger("t")]);
    assert!(w.build.effects(&w.graph).iter().any(|e| matches!(e, Effect::Trigger { number: 1, .. })));
    w.build.clear(&w.build.effects(&w.graph));
    w.child("t", TriggerEnd::Made);
    w.cancel();
    w.is("canceling t=canceling");
    assert!(w.build.effects(&w.graph).iter().any(|e| matches!(e, Effect::Recall { number: 1, .. })));
    w.child("t", TriggerEnd::Ended(BuildState::Canceled));
    w.is("canceled t=canceled");
    // Of a build that passed in the last moment, too.
    let mut w = World::new([trigger("t")]);
    w.cancel();
    w.child("t", TriggerEnd::Ended(BuildState::Passed));
    w.is("canceled t=passed");
}

#[test]
fn a_build_that_is_mended_mends_the_step_and_a_retry_makes_another() {
    let mut w = World::new([trigger("t"), wait("w"), cmd("after")]);
    w.child("t", TriggerEnd::Ended(BuildState::Failed));
    w.is("failed t=failed w=waiting_failed after=waiting_failed");
    w.child("t", TriggerEnd::Ended(BuildState::Passed));
    w.is("scheduled t=passed w=passed after=scheduled");
    w.child("t", TriggerEnd::Ended(BuildState::Failed));
    w.is("scheduled t=passed w=passed after=scheduled");
    let mut w = World::new([trigger("t")]);
    w.child("t", TriggerEnd::Refused);
    w.retry("t");
    w.is("scheduled t=scheduled");
    assert_eq!(w.cell("t").attempt, 2);
    let (job, end) = (w.job("t"), TriggerEnd::Ended(BuildState::Passed));
    w.tell(&Input::Triggered { job, number: 1, end });
    w.is("scheduled t=scheduled");
}

#[test]
fn a_build_answers_each_time_that_it_ends() {
    let mut w = World::new([cmd("a")]);
    let parent = facts();
    let (build, number, pipeline) = (parent.id, parent.number, parent.pipeline);
    let by = TriggeredBy { build, number, pipeline, job: JobIndex(3), attempt: 1, depth: 1 };
    w.build.facts.triggered_by = Some(Box::new(by));
    let answers = |w: &World| {
        let effects = w.build.effects(&w.graph);
        effects.iter().filter(|e| matches!(e, Effect::Answer { .. })).count()
    };
    assert_eq!(answers(&w), 0);
    w.fail("a");
    assert_eq!(answers(&w), 1);
    w.build.clear(&w.build.effects(&w.graph));
    assert_eq!(answers(&w), 0);
    w.retry("a");
    assert_eq!(answers(&w), 0);
    w.pass(&["a"]);
    assert_eq!(answers(&w), 1);
}
