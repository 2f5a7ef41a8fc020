//! What a job's command does, and what comes of it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::*;
use tidegate_core::attempt::Cause;
use tidegate_core::wire::gate::{AgentState, CancelReason};

#[test]
fn a_command_that_succeeds() {
    let world = World::new();
    let result = world.run(job("echo to-out; echo to-err >&2; printf last"));
    let outcome = result.outcome;
    assert_eq!(outcome.cause, Cause::Exit);
    assert_eq!(outcome.exit_status, Some(0));
    assert_eq!(outcome.signal, None);
    assert!(outcome.first_output_ms.is_some());
    assert_eq!(outcome.log.dropped, 0);
    let log = world.gate.log(&attempt(1));
    assert_eq!(
        log,
        "~~~ Running commands\n\x1b[90m$\x1b[0m echo to-out; echo to-err >&2; printf last\nto-out\nto-err\nlast"
    );
    let raw = world.gate.raw_log(&attempt(1));
    assert_eq!(outcome.log.bytes, raw.len() as u64);
    assert!(raw.starts_with(b"\x1b_bk;t="));
    assert!(outcome.tail.ends_with("to-out\nto-err\nlast"));
    assert_eq!(world.gate.with(|m| m.started.clone()), [attempt(1)]);
    // Nothing of the job is left on the disk.
    assert_eq!(std::fs::read_dir(world.path("work")).unwrap().count(), 0);
}

#[test]
fn exit_statuses_and_signals() {
    let world = World::new();
    let mut agent = world.agent();
    for (index, (command, cause, status, signal)) in [
        ("exit 3", Cause::Exit, 3, None),
        ("false; echo not reached", Cause::Exit, 1, None),
        ("no-such-command-anywhere", Cause::Exit, 127, None),
        ("kill -SEGV $$", Cause::Signal, 139, Some("SEGV")),
        ("kill -KILL $$", Cause::Signal, 137, Some("KILL")),
        ("bash -c 'kill -TERM $$'; exit $?", Cause::Exit, 143, None),
        ("", Cause::Exit, 0, None),
    ]
    .into_iter()
    .enumerate()
    {
        world.gate.give(job(command));
        let outcome = world.gate.result(index).outcome;
        assert_eq!(outcome.cause, cause, "{command}");
        assert_eq!(outcome.exit_status, Some(status), "{command}");
        assert_eq!(outcome.signal.as_deref(), signal, "{command}");
        world.gate.with(|m| m.objects.clear());
    }
    world.gate.with(|m| m.leave = true);
    assert!(agent.ends());
}

#[test]
fn the_environment_of_a_job() {
    let world = World::new();
    let mut assignment = job("env | sort; pwd");
    assignment.env.push(("GREETING".to_owned(), "hello\nworld".to_owned()));
    assignment.env.push(("BUILDKITE_SHELL".to_owned(), "/evil".to_owned()));
    world.run(assignment);
    let log = world.gate.log(&attempt(1));
    for wanted in [
        "CI=true",
        "GREETING=hello",
        "BUILDKITE_IGNORED_ENV=BUILDKITE_SHELL",
        "BUILDKITE_SHELL=/bin/bash -e -c",
        "BUILDKITE_AGENT_META_DATA_QUEUE=default",
        &format!("TIDEGATE_INSTANCE={}", world.instance),
        &format!("TIDEGATE_ATTEMPT={}", attempt(1)),
    ] {
        assert!(log.lines().any(|l| l == wanted), "`{wanted}` is not in\n{log}");
    }
    assert!(!log.contains("SHOULD_NOT_BE_SEEN"));
    assert!(!log.contains(TOKEN));
    let checkout = world.path("work");
    assert!(log.contains(&format!("TMPDIR={}", checkout.display())));
}

#[test]
fn a_script_of_the_checkout_needs_no_executable_bit() {
    let world = World::new();
    let repo = repo::Repo::new(world.path("repo"));
    let commit = repo.commit("ci/test.sh", "#!/bin/bash\necho from the script\n");
    let mut assignment = job("ci/test.sh");
    assignment.checkout = checkout(&repo.path, &commit);
    let result = world.run(assignment);
    assert_eq!(result.outcome.exit_status, Some(0));
    assert!(result.outcome.tail.ends_with("from the script"));
}

#[test]
fn a_script_longer_than_an_argument() {
    let world = World::new();
    let command = format!("echo begin\n{}exit 5", "# filler filler filler\n".repeat(10_000));
    let mut assignment = job(&command);
    assignment.env.push(("BUILDKITE_COMMAND".to_owned(), command.clone()));
    let result = world.run(assignment);
    assert_eq!(result.outcome.exit_status, Some(5));
    assert!(result.outcome.tail.contains("exited with status 5"));
}

#[test]
fn a_time_out_asks_first_and_then_kills() {
    let world = World::new();
    let mut assignment = job("trap 'echo got TERM' TERM; echo ready; while :; do sleep 0.05 || true; done");
    assignment.timeout_ms = Some(300);
    assignment.grace_ms = 200;
    let outcome = world.run(assignment).outcome;
    assert_eq!(outcome.cause, Cause::Timeout);
    assert_eq!(outcome.signal.as_deref(), Some("KILL"));
    assert_eq!(outcome.exit_status, Some(137));
    let log = world.gate.log(&attempt(1));
    assert!(log.contains("run out of time") && log.contains("got TERM"), "{log}");
}

#[test]
fn a_job_that_uses_its_grace_ends_by_itself() {
    let world = World::new();
    let mut agent = world.agent();
    let mut assignment = job("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
    assignment.grace_ms = 30_000;
    world.gate.give(assignment);
    world.gate.wait("the job's line", |m| m.objects.values().any(|c| String::from_utf8_lossy(c).contains("ready\n")));
    world.gate.with(|m| m.cancel = Some(CancelReason::Canceled));
    let outcome = world.gate.result(0).outcome;
    assert_eq!(outcome.cause, Cause::Canceled);
    assert_eq!(outcome.exit_status, Some(0));
    assert!(outcome.tail.contains("bye"));
    // The cancel was for that job: the next one runs.
    world.gate.with(|m| m.objects.clear());
    let mut next = job("echo next");
    next.attempt = attempt(2);
    world.gate.give(next);
    assert_eq!(world.gate.result(1).outcome.cause, Cause::Exit);
    world.gate.with(|m| m.leave = true);
    assert!(agent.ends());
}

#[test]
fn a_job_canceled_before_its_start_never_runs() {
    let world = World::new();
    let proof = world.path("ran");
    world.gate.with(|m| m.start_cancel = Some(CancelReason::Canceled));
    let outcome = world.run(job(&format!("touch {}", proof.display()))).outcome;
    assert_eq!(outcome.cause, Cause::Canceled);
    assert_eq!(outcome.exit_status, None);
    assert!(!proof.exists());
}

#[test]
fn what_leaves_its_group_and_session_is_killed_and_named() {
    let world = World::new();
    let pids = world.path("pids");
    // A daemon in a session of its own whose parent has ended, and one that refuses to be asked.
    let command = format!(
        "(setsid bash -c 'echo $$ >> {p}; exec sleep 1000' &) ; \
         setsid bash -c '(trap \"\" TERM; echo $BASHPID >> {p}; while :; do sleep 0.1; done) &' ; \
         while [ $(wc -l < {p}) -lt 2 ]; do sleep 0.01; done; echo done",
        p = pids.display()
    );
    let outcome = world.run(job(&command)).outcome;
    assert_eq!(outcome.cause, Cause::Exit);
    assert_eq!(outcome.exit_status, Some(0));
    let pids = world.file(&pids);
    assert_eq!(pids.lines().count(), 2);
    for pid in pids.lines() {
        assert!(!is_alive(pid.parse().unwrap()), "{pid} lives");
    }
    let log = world.gate.log(&attempt(1));
    assert!(log.contains("Ending what the job left running: "), "{log}");
    assert!(log.contains("sleep ("), "{log}");
}

#[test]
fn a_canceled_job_leaves_no_escapee() {
    let world = World::new();
    let mut agent = world.agent();
    let pids = world.path("pids");
    world.gate.give(job(&format!(
        "(setsid bash -c 'trap \"\" TERM; echo $$ >> {p}; while :; do sleep 0.1; done' &) ; sleep 1000",
        p = pids.display()
    )));
    let escapee: i32 = world.file(&pids).trim().parse().unwrap();
    world.gate.with(|m| m.cancel = Some(CancelReason::Canceled));
    let outcome = world.gate.result(0).outcome;
    assert_eq!(outcome.cause, Cause::Canceled);
    assert_eq!(outcome.signal.as_deref(), Some("TERM"));
    assert!(!is_alive(escapee));
    world.gate.with(|m| m.leave = true);
    assert!(agent.ends());
}

/// The kernel tells once of many that end together, and how some of them ended has no name.
#[test]
fn processes_that_end_together_by_nameless_signals_are_all_noticed() {
    let world = World::new();
    let command = "for i in $(seq 40); do (setsid bash -c 'kill -40 $BASHPID' &); (setsid true &); done; kill -41 $$";
    let mut agent = world.agent();
    for number in 1..=3 {
        let mut assignment = job(command);
        assignment.attempt = attempt(number);
        world.gate.give(assignment);
        let outcome = world.gate.result(usize::try_from(number).unwrap() - 1).outcome;
        assert_eq!((outcome.cause, outcome.exit_status), (Cause::Signal, Some(255)));
    }
    world.gate.with(|m| m.leave = true);
    assert!(agent.ends());
}

#[test]
fn the_last_words_of_a_pipeline_are_not_cut_off() {
    let world = World::new();
    let outcome = world.run(job("exec > >(sed -u 's/^/> /'; sleep 0.05; echo tail end)\necho body")).outcome;
    assert_eq!(outcome.exit_status, Some(0));
    assert!(outcome.tail.contains("> body"), "{}", outcome.tail);
    assert!(outcome.tail.contains("tail end"), "{}", outcome.tail);
    assert!(!outcome.tail.contains("left running"), "{}", outcome.tail);
}

#[test]
fn no_secret_in_any_command_line_or_environment() {
    let world = World::new();
    let mut agent = world.agent();
    let ready = world.path("ready");
    world.gate.give(job(&format!("echo up > {}; sleep 1000", ready.display())));
    world.file(&ready);
    eventually("worker and shell", || agent.family().len() >= 2);
    for process in processes() {
        if process.pid == i32::try_from(std::process::id()).unwrap() {
            continue;
        }
        assert!(!process.command.contains(TOKEN), "{process:?}");
        assert!(!process.environ.contains(TOKEN), "{process:?}");
    }
    world.gate.with(|m| m.stop = true);
    let outcome = world.gate.result(0).outcome;
    assert_eq!(outcome.cause, Cause::AgentStopped);
    assert!(agent.ends());
    assert!(!agent.log().contains(TOKEN));
    assert!(world.gate.with(|m| m.beats.iter().any(|b| b.state == AgentState::Busy)));
}
