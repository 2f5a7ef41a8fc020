//! `spec/pipeline.md` 1.20: builds that a newer one supersedes, builds that are made again, builds at times.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use std::time::{Duration, Instant};

use world::{World, job, text};

/// Commits, and delivers the push to a branch.
fn push(world: &World, branch: &str, message: &str) {
    world.commit(message);
    let file = world.payload(&format!("refs/heads/{branch}"), &world.git(["rev-parse", "HEAD^"]));
    let output = world.run(["deliver".as_ref(), file.as_os_str(), "--event".as_ref(), "push".as_ref()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_newer_build_of_a_branch_cancels_what_runs_and_skips_what_has_not_begun() {
    let mut world = World::new("steps: [{ command: 'sleep 300', key: hold }]").width(1).config(
        "[[pipeline]]\nslug = \"web\"\nrepository = \"story/web\"\nskip_intermediate_builds = true\n\
             cancel_intermediate_builds = \"!main\"\n",
    );
    world.start();
    push(&world, "main", "one");
    world.build_until(1, "the first build runs", |build| job(build, "hold")["state"] == "running");
    push(&world, "main", "two");
    world.build_until(2, "the second build waits for the only machine", |build| build["state"] == "scheduled");
    push(&world, "main", "three");
    let second = world.build_until(2, "the second build is skipped", |build| build["state"] == "skipped");
    assert_eq!(second["acts"][0]["by"], "web#3", "{second:#}");
    assert_eq!(second["acts"][0]["what"], "skipped");
    assert_eq!(world.build(1).unwrap()["state"], "running", "on main nothing that runs is canceled");

    push(&world, "topic", "four");
    assert!(world.run(["cancel", "1"]).status.success());
    assert!(world.run(["cancel", "3"]).status.success());
    world.build_until(4, "the fourth build runs", |build| job(build, "hold")["state"] == "running");
    push(&world, "topic", "five");
    let fourth = world.build_until(4, "the fourth build is canceled", |build| build["state"] == "canceled");
    assert_eq!(fourth["canceled_by"], "web#5", "{fourth:#}");
    world.build_until(5, "the fifth build runs", |build| job(build, "hold")["state"] == "running");
}

#[test]
fn a_rebuild_has_the_commit_and_the_environment_of_the_first() {
    let mut world = World::new(
        "steps: [{ command: 'echo $$COLOUR on $$BUILDKITE_BRANCH of $$BUILDKITE_REBUILT_FROM_BUILD_NUMBER', key: say }]",
    );
    world.start();
    let args =
        ["build", "create", "--pipeline", "web", "--branch", "main", "--message", "By hand", "--env", "COLOUR=blue"];
    assert!(world.run(args).status.success());
    let first = world.finished(1);
    world.commit("the branch moves on");
    for _ in 0..2 {
        assert!(world.run(["rebuild", "1", "--idempotency-key", "once"]).status.success());
    }
    let second = world.finished(2);
    assert_eq!(second["commit"], first["commit"], "{second:#}");
    assert_eq!((&second["message"], &second["ref"]), (&first["message"], &first["ref"]));
    assert_eq!(second["rebuilt_from"], first["id"]);
    assert!(text(&world.run(["logs", "2", "say"]).stdout).contains("blue on main of 1"));
    let shown = text(&world.run(["build", "show", "2"]).stdout);
    assert!(shown.contains("rebuilt from #1 by "), "{shown}");
    assert_eq!(world.builds().len(), 2);
}

#[test]
fn a_slot_of_a_schedule_is_one_build_over_restarts() {
    let mut world = World::new("steps: [{ command: 'echo $$BUILDKITE_SOURCE $$NIGHTLY', key: say }]").config(
        "[[pipeline]]\nslug = \"web\"\nrepository = \"story/web\"\n[[pipeline.schedule]]\ncron = \"* * * * *\"\n\
         branch = \"main\"\nenv = { NIGHTLY = \"yes\" }\n",
    );
    world.start();
    // A slot is a minute: waited for with room for the build.
    let deadline = Instant::now() + Duration::from_secs(100);
    while world.builds().is_empty() {
        assert!(Instant::now() < deadline, "no build was made\n{}", world.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    world.kill_server();
    world.start();
    let build = world.finished(1);
    assert_eq!((&build["state"], &build["source"]), (&"passed".into(), &"schedule".into()), "{build:#}");
    assert_eq!(build["creator"], "schedule `* * * * *`");
    assert!(text(&world.run(["logs", "1", "say"]).stdout).contains("schedule yes"));
    let listed: serde_json::Value = serde_json::from_slice(&world.run(["schedules", "--json"]).stdout).unwrap();
    let schedule = &listed["schedules"][0];
    assert_eq!((&schedule["cron"], &schedule["branch"]), (&"* * * * *".into(), &"main".into()), "{listed:#}");
    assert!(schedule["build"].as_u64() >= Some(1) && schedule["last"].is_string(), "{listed:#}");
    assert!(schedule["next"].as_str() > schedule["last"].as_str(), "{listed:#}");
    let minute = |build: &serde_json::Value| build["created_at"].as_str().unwrap()[..16].to_owned();
    let mut minutes: Vec<String> = world.builds().iter().map(minute).collect();
    let all = minutes.len();
    minutes.sort();
    minutes.dedup();
    assert_eq!(minutes.len(), all, "two builds in one minute");
}
