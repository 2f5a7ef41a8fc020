//! A signed push becomes a finished build.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use world::{World, attempts, job, text};

#[test]
fn a_push_becomes_a_build_that_passes() {
    let mut world = World::new(
        r#"
env: { GREETING: "hello" }
steps:
  - { command: 'echo "$$GREETING from $$BUILDKITE_BRANCH"', key: one }
  - { command: "mkdir -p out && echo kept > out/a.txt", key: two, artifact_paths: "out/*.txt" }
  - wait
  - { command: 'echo "job $$BUILDKITE_PARALLEL_JOB of $$BUILDKITE_PARALLEL_JOB_COUNT"', key: many, parallelism: 3 }
"#,
    );
    world.start();
    world.push();
    let build = world.finished(1);
    assert_eq!(build["state"], "passed", "{build:#}");
    assert_eq!(build["pipeline"], "web");
    assert_eq!(build["jobs"].as_array().unwrap().len(), 6);
    assert_eq!(job(&build, "one")["attempts"][0]["exit_status"], 0);
    assert!(world.logs("one").contains("hello from main"), "{}", world.logs("one"));
    assert!(world.logs("many:2").contains("job 2 of 3"));

    let list = world.run(["artifact", "list", "1", "--json"]);
    assert!(text(&list.stdout).contains("out/a.txt"), "{}", text(&list.stdout));

    // The same delivery again, and the same move told by another delivery: no second build.
    let id = format!("story-{}", world.git(["rev-parse", "HEAD"]));
    world.push_as(&id);
    world.push_as("another");
    // A further push is a second build, and proves that the ones before were decided.
    world.commit("second");
    let file = world.payload("refs/heads/main", &world.git(["rev-parse", "HEAD^"]));
    let output = world.run(["deliver".as_ref(), file.as_os_str(), "--event".as_ref(), "push".as_ref()]);
    assert!(output.status.success());
    world.finished(2);
    assert_eq!(world.builds().len(), 2);

    // Idle instances leave by themselves.
    world.until("all instances are gone", || {
        (world.instances().is_empty() && world.processes().is_empty()).then_some(())
    });
    assert!(world.stop_server().success());
}

#[test]
fn a_failure_fails_what_depends_on_it_and_nothing_else() {
    let mut world = World::new(
        r#"
steps:
  - { command: "exit 3", key: bad }
  - { command: "exit 4", key: soft, soft_fail: [{ exit_status: 4 }] }
  - { command: "kill -TERM $$$$", key: shot }
  - { command: "definitely-not-a-command", key: missing }
  - { command: "true", key: after, depends_on: bad }
  - { command: "true", key: brave, depends_on: [{ step: bad, allow_failure: true }] }
  - { command: "true", key: skipped, skip: "not today" }
"#,
    );
    world.start();
    world.push();
    let build = world.finished(1);
    assert_eq!(build["state"], "failed", "{build:#}");
    let state = |name: &str| job(&build, name)["state"].as_str().unwrap().to_owned();
    assert_eq!(state("bad"), "failed");
    assert_eq!(job(&build, "bad")["attempts"][0]["exit_status"], 3);
    assert_eq!(state("soft"), "soft_failed");
    assert_eq!(state("shot"), "failed");
    assert_eq!(job(&build, "shot")["attempts"][0]["cause"], "signal");
    assert_eq!(job(&build, "shot")["attempts"][0]["signal"], "TERM");
    assert_eq!(job(&build, "missing")["attempts"][0]["exit_status"], 127);
    assert_eq!(state("after"), "waiting_failed");
    assert_eq!(state("brave"), "passed");
    assert_eq!(state("skipped"), "skipped");
}

#[test]
fn rules_retry_and_people_retry() {
    let mut world = World::new(
        r#"
steps:
  - command: 'test "$$BUILDKITE_RETRY_COUNT" = 2'
    key: flaky
    retry: { automatic: [{ exit_status: 1, limit: 2 }] }
  - command: 'test -e "$$TIDEGATE_STORY_FLAG"'
    key: fixable
"#,
    );
    let flag = world.path().join("flag");
    world.write(
        ".tidegate/pipeline.yml",
        &fs_read(&world, ".tidegate/pipeline.yml").replace("$$TIDEGATE_STORY_FLAG", &flag.display().to_string()),
    );
    world.commit("flag");
    world.start();
    world.push();
    let build = world.finished(1);
    let flaky = job(&build, "flaky");
    assert_eq!(flaky["state"], "passed");
    let counts: Vec<u64> = attempts(flaky).iter().map(|a| a["retry_count"].as_u64().unwrap()).collect();
    assert_eq!(counts, [0, 1, 2]);
    assert_eq!(job(&build, "fixable")["state"], "failed");

    std::fs::write(&flag, "").unwrap();
    let retried = world.run(["retry", "1", "fixable"]);
    assert!(retried.status.success(), "{}", text(&retried.stderr));
    let build = world.build_until(1, "the build has passed", |b| b["state"] == "passed");
    assert_eq!(attempts(job(&build, "fixable")).len(), 2);
    let again = world.run(["retry", "1"]);
    assert_eq!(again.status.code(), Some(1), "nothing failed: {}", text(&again.stderr));
}

fn fs_read(world: &World, path: &str) -> String {
    std::fs::read_to_string(world.repo().join(path)).unwrap()
}

#[test]
fn cancel_ends_what_runs_and_starts_nothing_new() {
    let mut world = World::new(
        r#"
steps:
  - { command: "trap '' TERM; sleep 600 & sleep 600", key: running }
  - wait
  - { command: "true", key: never }
"#,
    )
    .width(1)
    .config("[limits]\ngrace = \"1s\"\n");
    world.start();
    world.push();
    world.build_until(1, "the job runs", |b| job(b, "running")["state"] == "running");
    let cancel = world.run(["cancel", "1"]);
    assert!(cancel.status.success(), "{}", text(&cancel.stderr));
    let build = world.finished(1);
    assert_eq!(build["state"], "canceled");
    assert_eq!(job(&build, "running")["attempts"][0]["cause"], "canceled");
    assert!(attempts(job(&build, "never")).is_empty());
    world.until("all instances are gone", || world.processes().is_empty().then_some(()));
    assert_eq!(world.run(["cancel", "1"]).status.code(), Some(1));
}

#[test]
fn a_job_that_no_pool_takes_says_why_it_waits() {
    // That it then expires is decided by the sweep, up to a minute later: the attempt's own tests hold that transition.
    let mut world = World::new("steps: [{ command: 'true', key: gpu, agents: { queue: gpu } }]")
        .config("[limits]\nwait = \"1s\"\n");
    world.start();
    world.push();
    let waiting = world.until("the job says why it waits or is over", || {
        let build = world.build(1)?;
        let job = job(&build, "gpu");
        job["waiting"].as_str().map(str::to_owned).or_else(|| (job["state"] == "expired").then(|| "expired".into()))
    });
    assert!(waiting.contains("no pool offers `queue=gpu`") || waiting == "expired", "{waiting}");
}
