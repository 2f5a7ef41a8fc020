//! Jobs that change their build while it runs, and wait for each other.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use world::{World, job};

#[test]
fn a_job_renames_steps_cancels_one_and_has_more_time() {
    let mut world = World::new(
        r#"
steps:
  - key: boss
    label: Boss
    timeout_in_minutes: 1
    command: |
      tidegate-agent step update label "Deploy of $$BUILDKITE_BRANCH"
      echo " (done)" | tidegate-agent step update label --append
      tidegate-agent step get label
      tidegate-agent step update priority 7 --step later
      tidegate-agent step cancel --step endless
      tidegate-agent step cancel --step waits
      tidegate-agent job update timeout 90
      tidegate-agent step update parallelism 3 && exit 9
      tidegate-agent step update notify '[]' && exit 9
      tidegate-agent step update priority soon && exit 9
      tidegate-agent step cancel --step nobody && exit 9
      tidegate-agent job update timeout 0 && exit 9
      tidegate-agent job update timeout 5 --job another && exit 9
      tidegate-agent build cancel --build another && exit 9
      true
  - { key: endless, command: "sleep 600", soft_fail: true }
  - { key: waits, depends_on: [boss, endless], command: "echo must not run" }
  - { key: later, depends_on: boss, command: "echo later" }
"#,
    );
    world.start();
    world.push();
    let build = world.finished(1);
    assert_eq!(job(&build, "boss")["state"], "passed", "{build:#}\n{}", world.logs("boss"));
    assert_eq!(job(&build, "boss")["label"], "Deploy of main (done)");
    assert_eq!(job(&build, "endless")["state"], "canceled", "{build:#}");
    assert_eq!(job(&build, "waits")["state"], "canceled", "{build:#}");
    assert_eq!(job(&build, "later")["state"], "passed", "{build:#}");
    let log = world.logs("boss");
    for wanted in [
        "\nDeploy of main (done)\n",
        "Canceled the step `sleep 600`.",
        "The job now has 90 minutes from its start on.",
        "error: `parallelism` of a step cannot be changed; label and priority can",
        "error: nobody is notified by steps",
        "error: the priority `soon` is no whole number",
        "error: the build has no step `nobody`",
        "error: the time-out `0` is no number of minutes",
        "error: a job reaches its own job only, not `another`",
        "error: a job reaches its own build only, not `another`",
    ] {
        assert!(log.contains(wanted), "`{wanted}` is not in\n{log}");
    }
}

#[test]
fn a_job_cancels_its_build() {
    let mut world = World::new(
        r#"
steps:
  - { key: stops, command: "tidegate-agent build cancel && sleep 600" }
  - { key: other, command: "sleep 600" }
  - wait
  - { key: never, command: "echo must not run" }
"#,
    );
    world.start();
    world.push();
    let build = world.finished(1);
    assert_eq!(build["state"], "canceled", "{build:#}");
    for key in ["stops", "other", "never"] {
        assert_eq!(job(&build, key)["state"], "canceled", "{key}: {build:#}");
    }
}

#[test]
fn jobs_of_one_machine_take_turns() {
    let mut world = World::new(
        r#"
steps:
  - key: turns
    parallelism: 4
    command: |
      token=$$(tidegate-agent lock acquire shared)
      mkdir "$$TURNS/inside"
      test "$$(tidegate-agent lock get shared)" = "$$token"
      tidegate-agent lock acquire shared --lock-wait-timeout 100ms && exit 9
      rmdir "$$TURNS/inside"
      tidegate-agent lock release shared wrong && exit 9
      tidegate-agent lock release shared "$$token"
      if [ "$$(tidegate-agent lock do once)" = do ]; then
        echo worked >> "$$TURNS/work"
        tidegate-agent lock done once
      fi
      test "$$(cat "$$TURNS/work")" = worked
      # The end of the job lets go of this one.
      tidegate-agent lock acquire mine > /dev/null
"#,
    );
    let turns = world.path().join("turns");
    std::fs::create_dir(&turns).unwrap();
    let file = std::fs::read_to_string(world.repo().join(".tidegate/pipeline.yml")).unwrap();
    world.write(".tidegate/pipeline.yml", &format!("env: {{ TURNS: {} }}\n{file}", turns.display()));
    world.commit("where");
    world.start();
    world.push();
    let build = world.finished(1);
    let log = || (0..4).map(|n| world.logs(&format!("turns:{n}"))).collect::<String>();
    assert_eq!(build["state"], "passed", "{build:#}\n{}", log());
    assert!(log().contains("error: the lock `shared` was not free in time"), "{}", log());
    assert!(log().contains("error: this is not the token that `lock acquire shared` printed"), "{}", log());
}
