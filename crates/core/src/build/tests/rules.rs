//! `spec/pipeline.md` 1.5 and 1.7, rule by rule.

use super::*;

#[test]
fn rule_1_7_1_steps_without_a_gate_between_them_run_at_once() {
    World::new([cmd("a"), cmd("b"), cmd("c")]).is("scheduled a=scheduled b=scheduled c=scheduled");
}

#[test]
fn rule_1_7_2_a_wait_holds_what_is_after_it() {
    let mut w = World::new([cmd("a"), cmd("b"), wait("w"), cmd("c")]);
    w.is("scheduled a=scheduled b=scheduled w=waiting c=waiting");
    w.pass(&["a"]);
    w.is("scheduled a=passed b=scheduled w=waiting c=waiting");
    w.pass(&["b"]);
    w.is("scheduled a=passed b=passed w=passed c=scheduled");
    w.pass(&["c"]);
    w.is("passed a=passed b=passed w=passed c=passed");
}

#[test]
fn rule_1_7_2_a_wait_in_a_group_is_local() {
    let steps = [cmd("a").within("g"), wait("w").within("g"), cmd("b").within("g"), cmd("c"), wait("top"), cmd("d")];
    let mut w = World::new(steps);
    w.is("scheduled a=scheduled w=waiting b=waiting c=scheduled top=waiting d=waiting");
    w.pass(&["a"]);
    w.is("scheduled a=passed w=passed b=scheduled c=scheduled top=waiting d=waiting");
    w.pass(&["c"]);
    w.is("scheduled a=passed w=passed b=scheduled c=passed top=waiting d=waiting");
    w.pass(&["b"]);
    w.is("scheduled a=passed w=passed b=passed c=passed top=passed d=scheduled");
}

#[test]
fn rule_1_7_2_a_group_after_a_wait_waits_and_so_does_its_own_wait() {
    let mut w = World::new([cmd("a"), wait("w"), wait("gw").within("g"), cmd("b").within("g")]);
    w.is("scheduled a=scheduled w=waiting gw=waiting b=waiting");
    w.pass(&["a"]);
    w.is("scheduled a=passed w=passed gw=passed b=scheduled");
}

#[test]
fn rule_1_7_3_explicit_replaces_implicit() {
    let mut w = World::new([cmd("a"), cmd("slow"), wait("w"), cmd("b").after(&["a"]), cmd("c")]);
    w.is("scheduled a=scheduled slow=scheduled w=waiting b=waiting c=waiting");
    w.pass(&["a"]);
    w.is("scheduled a=passed slow=scheduled w=waiting b=scheduled c=waiting");
}

#[test]
fn rule_1_7_3_an_empty_list_runs_at_once() {
    World::new([cmd("a"), wait("w"), cmd("b").after(&[])]).is("scheduled a=scheduled w=waiting b=scheduled");
}

#[test]
fn rule_1_7_3_a_wait_with_depends_on_waits_for_that_alone() {
    let mut w = World::new([cmd("a"), cmd("b"), wait("w").after(&["a"]), cmd("c")]);
    w.pass(&["a"]);
    w.is("scheduled a=passed b=scheduled w=passed c=scheduled");
}

#[test]
fn rule_1_7_3_explicit_dependencies_point_forward_too() {
    let mut w = World::new([cmd("a").after(&["b"]), cmd("b").after(&["c"]), cmd("c")]);
    w.is("scheduled a=waiting b=waiting c=scheduled");
    w.pass(&["c"]);
    w.is("scheduled a=waiting b=scheduled c=passed");
    w.pass(&["b"]);
    w.is("scheduled a=scheduled b=passed c=passed");
}

#[test]
fn rule_1_7_3_depending_on_a_group_is_depending_on_all_its_steps() {
    let mut w = World::new([cmd("a").within("g"), cmd("b").within("g"), cmd("c").after(&["g"])]);
    w.pass(&["a"]);
    w.is("scheduled a=passed b=scheduled c=waiting");
    w.pass(&["b"]);
    w.is("scheduled a=passed b=passed c=scheduled");
}

#[test]
fn rule_1_7_3_depending_on_a_step_is_depending_on_all_its_jobs() {
    let mut w = World::new([cmd("a").jobs(2), cmd("b").after(&["a"])]);
    w.pass(&["a.0"]);
    w.is("scheduled a.0=passed a.1=scheduled b=waiting");
    w.pass(&["a.1"]);
    w.is("scheduled a.0=passed a.1=passed b=scheduled");
}

#[test]
fn rule_1_7_6_a_step_that_waits_for_an_unknown_key_fails_the_build_at_the_end() {
    let mut w = World::new([cmd("a"), cmd("b").after(&["ghost"]), cmd("c").after(&["b"])]);
    w.is("scheduled a=scheduled b=waiting c=waiting");
    w.pass(&["a"]);
    w.is("failed a=passed b=waiting_failed c=waiting_failed");
}

#[test]
fn rule_1_7_6_no_permission_to_fail_stands_in_for_an_unknown_key() {
    let mut w = World::new([
        cmd("a"),
        cmd("b").after_even_failed(&["ghost"]).allow_dependency_failure(),
        wait_anyway("w").after(&["ghost"]),
        cmd("c").after_even_failed(&["b"]),
    ]);
    w.pass(&["a"]);
    // `c` may run without `b`, and while it runs `b` may still become possible.
    w.is("scheduled a=passed b=waiting w=waiting c=scheduled");
    w.pass(&["c"]);
    w.is("failed a=passed b=waiting_failed w=waiting_failed c=passed");
}

#[test]
fn rule_1_7_6_the_key_may_come_with_an_upload() {
    let mut w = World::new([cmd("up"), cmd("b").after(&["late"])]);
    w.upload("up", [cmd("late")]);
    w.pass(&["up"]);
    w.is("scheduled up=passed late=scheduled b=waiting");
    w.pass(&["late"]);
    w.is("scheduled up=passed late=passed b=scheduled");
}

#[test]
fn rule_1_7_7_what_is_left_out_is_satisfied() {
    let w = World::new([cmd("a").broken(), cmd("b").skipped(), wait("w"), cmd("c"), cmd("d").after(&["a", "b"])]);
    w.is("scheduled a=broken b=skipped w=passed c=scheduled d=scheduled");
}

#[test]
fn rule_1_7_7_a_wait_that_is_left_out_is_no_gate() {
    let mut w = World::new([cmd("a"), wait("w1"), cmd("b"), wait("w2").broken(), cmd("c")]);
    w.is("scheduled a=scheduled w1=waiting b=waiting w2=broken c=waiting");
    w.pass(&["a"]);
    w.is("scheduled a=passed w1=passed b=scheduled w2=broken c=scheduled");
}

#[test]
fn rule_1_7_8_what_depends_on_a_failure_does_not_run() {
    for (cause, exit, state) in [
        (Cause::Exit, Some(1), "failed"),
        (Cause::Timeout, Some(143), "timed_out"),
        (Cause::Expired, None, "expired"),
        (Cause::Canceled, None, "canceled"),
    ] {
        let mut w = World::new([cmd("a"), cmd("b").after(&["a"]), wait("w"), cmd("c")]);
        w.end("a", cause, exit);
        w.is(&format!("failed a={state} b=waiting_failed w=waiting_failed c=waiting_failed"));
    }
}

#[test]
fn rule_1_7_8_allow_dependency_failure_runs_it_all_the_same() {
    let mut w = World::new([cmd("a"), cmd("b").after(&["a"]).allow_dependency_failure()]);
    w.is("scheduled a=scheduled b=waiting");
    w.fail("a");
    w.is("failing a=failed b=scheduled");
}

#[test]
fn rule_1_7_8_allow_failure_is_for_one_edge() {
    let mut w = World::new([
        cmd("a"),
        cmd("b"),
        cmd("c").after_even_failed(&["a"]).after(&["b"]),
        cmd("d").after_even_failed(&["b"]).after(&["a"]),
    ]);
    w.fail("a");
    w.is("failing a=failed b=scheduled c=waiting d=waiting");
    w.pass(&["b"]);
    w.is("failing a=failed b=passed c=scheduled d=waiting_failed");
}

#[test]
fn rule_1_7_9_a_soft_failure_counts_as_passed() {
    let mut w = World::new([cmd("a").soft(), wait("w"), cmd("b")]);
    w.fail("a");
    w.is("scheduled a=soft_failed w=passed b=scheduled");
    w.pass(&["b"]);
    w.is("passed a=soft_failed w=passed b=passed");
}

#[test]
fn rule_1_7_10_a_circle_ends_red_and_nothing_hangs() {
    let mut w = World::new([cmd("a").after(&["b"]), cmd("b").after(&["a"]), cmd("c"), cmd("d").after(&["a"])]);
    w.is("scheduled a=waiting b=waiting c=scheduled d=waiting");
    w.pass(&["c"]);
    w.is("failed a=waiting_failed b=waiting_failed c=passed d=waiting_failed");
    let names: Vec<&str> = w.graph.circle().unwrap().iter().map(|&s| w.graph.name(s)).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn rule_1_7_10_a_step_after_itself_is_a_circle() {
    World::new([cmd("a").after(&["a"])]).is("failed a=waiting_failed");
}

#[test]
fn rule_1_7_10_who_may_run_after_a_circle_runs_and_the_circle_waits_meanwhile() {
    let mut w = World::new([cmd("a").after(&["a"]), cmd("b").after_even_failed(&["a"])]);
    w.is("scheduled a=waiting b=scheduled");
    w.pass(&["b"]);
    w.is("failed a=waiting_failed b=passed");
}

#[test]
fn rule_1_7_10_position_can_close_a_circle() {
    World::new([cmd("a").after(&["c"]), wait("w"), cmd("c")])
        .is("failed a=waiting_failed w=waiting_failed c=waiting_failed");
}

#[test]
fn rule_1_7_11_a_failure_that_is_retried_is_none_yet() {
    let mut w = World::new([cmd("a").rule(&[], 1), cmd("b").after(&["a"])]);
    w.fail("a");
    w.is("scheduled a=scheduled b=waiting");
    w.fail("a");
    w.is("failed a=failed b=waiting_failed");
}

#[test]
fn rule_1_7_12_waiting_failed_is_transitive_and_an_edge_may_allow_it() {
    let mut w =
        World::new([cmd("a"), cmd("b").after(&["a"]), cmd("c").after(&["b"]), cmd("d").after_even_failed(&["c"])]);
    w.fail("a");
    w.is("failing a=failed b=waiting_failed c=waiting_failed d=scheduled");
}

#[test]
fn rule_1_7_13_the_rest_of_a_concurrency_group_is_waited_for() {
    let mut w = World::new([cmd("x").concurrency("g", 2), cmd("y").concurrency("g", 2), cmd("z").after(&["y"])]);
    w.grant("x");
    w.grant("y");
    w.pass(&["y"]);
    w.is("scheduled x=scheduled y=passed z=waiting");
    w.pass(&["x"]);
    w.is("scheduled x=passed y=passed z=scheduled");
}

#[test]
fn rule_1_7_13_a_section_between_two_gates_does_not_wait_for_the_second() {
    let mut w = World::new([
        cmd("enter").concurrency("g", 1),
        cmd("work").after(&["enter"]),
        cmd("leave").concurrency("g", 1).after(&["work"]),
    ]);
    assert_eq!(w.graph.circle(), None);
    w.grant("enter");
    w.pass(&["enter"]);
    w.is("scheduled enter=passed work=scheduled leave=waiting");
    w.pass(&["work"]);
    w.is("scheduled enter=passed work=passed leave=limited");
}

#[test]
fn rule_1_7_13_never_closes_a_circle() {
    // `x` depends on `t`, whose group also has `o`, which depends on `x`.
    let mut w =
        World::new([cmd("o").concurrency("g", 2).after(&["x"]), cmd("t").concurrency("g", 2), cmd("x").after(&["t"])]);
    assert_eq!(w.graph.circle(), None);
    w.grant("t");
    w.pass(&["t"]);
    w.is("scheduled o=waiting t=passed x=scheduled");
}

#[test]
fn rule_1_7_14_the_build_is_red_although_steps_ran() {
    let mut w = World::new([cmd("a"), wait_anyway("w"), cmd("b")]);
    w.fail("a");
    w.is("failing a=failed w=passed b=scheduled");
    w.pass(&["b"]);
    w.is("failed a=failed w=passed b=passed");
}

#[test]
fn rule_1_5_continue_on_failure_reaches_to_the_next_plain_wait() {
    let mut w = World::new([cmd("a"), wait_anyway("w1"), cmd("b"), wait("w2"), cmd("c")]);
    w.fail("a");
    w.is("failing a=failed w1=passed b=scheduled w2=waiting c=waiting");
    w.pass(&["b"]);
    w.is("failed a=failed w1=passed b=passed w2=waiting_failed c=waiting_failed");
}

#[test]
fn rule_1_5_continue_on_failure_waits_all_the_same() {
    let mut w = World::new([cmd("a"), cmd("b"), wait_anyway("w"), cmd("c")]);
    w.fail("a");
    w.is("failing a=failed b=scheduled w=waiting c=waiting");
}

#[test]
fn rule_1_5_a_block_is_a_gate_that_a_person_opens() {
    let mut w = World::new([cmd("a"), block("ok"), cmd("b")]);
    w.is("scheduled a=scheduled ok=waiting b=waiting");
    w.unblock("ok");
    w.is("scheduled a=scheduled ok=waiting b=waiting");
    w.pass(&["a"]);
    w.is("blocked a=passed ok=blocked b=waiting");
    w.unblock("ok");
    w.is("scheduled a=passed ok=unblocked b=scheduled");
}

#[test]
fn rule_1_5_a_wait_beside_a_block_is_ignored() {
    for steps in
        [[cmd("a"), wait_anyway("w"), block("ok"), cmd("b")], [cmd("a"), block("ok"), wait_anyway("w"), cmd("b")]]
    {
        let mut w = World::new(steps);
        w.fail("a");
        assert_eq!(w.build.state, BuildState::Failed);
        assert_eq!(w.cell("ok").state, JobState::WaitingFailed);
        assert_eq!(w.cell("b").state, JobState::WaitingFailed);
    }
}

#[test]
fn rule_1_5_which_wait_is_beside_a_block_is_decided_after_conditions() {
    let mut w = World::new([cmd("a"), wait_anyway("w"), block("ok").broken(), cmd("b")]);
    w.fail("a");
    w.is("failing a=failed w=passed ok=broken b=scheduled");
    let mut w = World::new([cmd("a"), wait_anyway("w"), cmd("x").broken(), block("ok"), cmd("b")]);
    w.fail("a");
    w.is("failed a=failed w=passed x=broken ok=waiting_failed b=waiting_failed");
}

#[test]
fn rule_1_5_a_group_between_them_keeps_a_wait_and_a_block_apart() {
    let mut w = World::new([cmd("a"), wait_anyway("w"), cmd("g1").within("g"), block("ok"), cmd("b")]);
    w.fail("a");
    w.is("failing a=failed w=passed g1=scheduled ok=waiting b=waiting");
}

#[test]
fn rule_1_5_an_input_holds_nothing_and_waits_for_nothing() {
    let mut w =
        World::new([cmd("a"), wait("w"), input("ask"), cmd("b"), wait("w2"), cmd("c"), cmd("d").after(&["ask"])]);
    w.is("scheduled a=scheduled w=waiting ask=blocked b=waiting w2=waiting c=waiting d=waiting");
    w.pass(&["a", "b"]);
    w.is("scheduled a=passed w=passed ask=blocked b=passed w2=passed c=scheduled d=waiting");
    w.pass(&["c"]);
    w.is("blocked a=passed w=passed ask=blocked b=passed w2=passed c=passed d=waiting");
    w.unblock("ask");
    w.is("scheduled a=passed w=passed ask=unblocked b=passed w2=passed c=passed d=scheduled");
}

#[test]
fn rule_1_5_a_block_after_a_failure_never_opens_unless_it_was_soft() {
    let mut w = World::new([cmd("a"), block("ok"), cmd("b")]);
    w.fail("a");
    w.is("failed a=failed ok=waiting_failed b=waiting_failed");
    let mut w = World::new([cmd("a").soft(), block("ok"), cmd("b")]);
    w.fail("a");
    w.is("blocked a=soft_failed ok=blocked b=waiting");
}
