//! `spec/pipeline.md` 1.5: trigger steps, on the real binary.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use serde_json::Value;
use world::{World, job, text};

const PIPELINES: &str = r#"
[[pipeline]]
slug = "web"
repository = "story/web"
[[pipeline]]
slug = "child"
repository = "story/web"
file = "child.yml"
branches = "none-by-push"
"#;

fn child(world: &World, name: &str) -> Option<Value> {
    let output = world.run(["build", "show", name, "--json"]);
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_trigger_step_is_a_build_with_its_message_env_and_meta_data() {
    let mut world = World::new(
        r#"
steps:
  - trigger: child
    key: sync
    label: "The child"
    build:
      message: "Made for you"
      branch: side
      env: { COLOUR: blue }
      meta_data: { answer: "42" }
  - { trigger: child, key: async, async: true, depends_on: [], build: { env: { FAIL: "1" } } }
  - { trigger: nowhere, key: lost, depends_on: [] }
  - { command: "true", key: after, depends_on: sync }
"#,
    )
    .config(PIPELINES);
    world.write(
        "child.yml",
        r#"
steps:
  - key: work
    command: |
      test -z "$$FAIL"
      echo "$$COLOUR $$(buildkite-agent meta-data get answer) on $$BUILDKITE_BRANCH"
      echo "from $$BUILDKITE_TRIGGERED_FROM_BUILD_PIPELINE_SLUG#$$BUILDKITE_TRIGGERED_FROM_BUILD_NUMBER by $$BUILDKITE_SOURCE"
"#,
    );
    world.commit("a child");
    world.git(["branch", "side"]);
    world.start();
    world.push();
    let build = world.until("the first build is over", || child(&world, "web#1").filter(|b| b["state"] == "failed"));
    assert_eq!(job(&build, "sync")["state"], "passed", "{build:#}");
    assert_eq!(job(&build, "after")["state"], "passed");
    assert_eq!(job(&build, "async")["state"], "passed", "passed as soon as its build is there");
    assert_eq!(job(&build, "lost")["state"], "failed");
    assert_eq!(job(&build, "lost")["reason"], "there is no pipeline `nowhere`; configured: web, child");
    let shown = text(&world.run(["build", "show", "web#1"]).stdout);
    assert!(shown.contains("there is no pipeline `nowhere`"), "{shown}");
    let made = &job(&build, "sync")["triggered"];
    let name = format!("child#{}", made["number"]);
    let child = child(&world, &name).unwrap();
    assert_eq!(child["message"], "Made for you");
    assert_eq!(child["ref"], "refs/heads/side");
    assert_eq!(child["source"], "trigger_job");
    assert_eq!(child["triggered_by"]["number"], 1);
    let log = text(&world.run(["logs", &name, "work"]).stdout);
    assert!(log.contains("blue 42 on side") && log.contains("from web#1 by trigger_job"), "{log}");
}

#[test]
fn a_build_that_triggers_itself_ends_at_the_limit_and_a_cancel_reaches_the_last() {
    let mut world = World::new("steps:\n  - { trigger: child, key: go }\n").config(PIPELINES);
    world.write(
        "child.yml",
        "steps:\n  - { trigger: child, key: go }\n  - { command: 'sleep 300', key: hold, depends_on: [] }\n",
    );
    world.commit("a circle");
    world.start();
    world.push();
    // Ten builds below the first one; the eleventh is not made.
    let last = world.until("the last build is told that it is the last", || {
        child(&world, "child#10").filter(|build| job(build, "go")["state"] == "failed")
    });
    assert!(job(&last, "go")["reason"].as_str().unwrap().contains("10 builds have triggered each other"), "{last:#}");
    assert!(child(&world, "child#11").is_none());
    assert!(world.run(["cancel", "web#1"]).status.success());
    let build = world.until("all are over", || child(&world, "web#1").filter(|build| build["state"] == "canceled"));
    assert_eq!(job(&build, "go")["state"], "canceled");
    for number in 1..=10 {
        let build = child(&world, &format!("child#{number}")).unwrap();
        assert_eq!(build["state"], "canceled", "child#{number}: {build:#}");
        assert_eq!(job(&build, "hold")["state"], "canceled");
    }
}
