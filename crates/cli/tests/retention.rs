//! `[retention]`: builds that are old enough go with everything that belongs to them.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use std::path::Path;

use serde_json::Value;
use world::{World, text};

/// Files below a directory whose path names this text.
fn files(dir: &Path, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, name));
        } else if path.display().to_string().contains(name) {
            found.push(path.display().to_string());
        }
    }
    found
}

fn retention(world: &World, args: &[&str]) -> Value {
    let output = world.run(["retention", "--json"].iter().chain(args));
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_old_build_is_deleted_with_its_logs_and_artifacts_and_one_that_is_not_over_stays() {
    let mut world = World::new(
        r#"
steps:
  - key: keep
    command: "echo words; echo kept > a.txt; buildkite-agent meta-data set k v; echo note | buildkite-agent annotate"
    artifact_paths: a.txt
  - { block: "Go on?", key: ask, if: 'build.message == "held"' }
"#,
    )
    .config("[retention]\nbuilds = \"1s\"\n");
    world.start();
    world.push();
    let build = world.finished(1);
    assert_eq!(build["state"], "passed", "{build:#}");
    let id = build["id"].as_str().unwrap().to_owned();
    world.commit("held");
    let file = world.payload("refs/heads/main", &world.git(["rev-parse", "HEAD^"]));
    assert!(world.run(["deliver".as_ref(), file.as_os_str(), "--event".as_ref(), "push".as_ref()]).status.success());
    world.build_until(2, "the second build waits for a person", |build| build["state"] == "blocked");
    assert!(!files(&world.state(), &id).is_empty());

    let plan = world.until("the first build is old enough", || {
        let plan = retention(&world, &["--dry-run"]);
        (!plan["builds"].as_array()?.is_empty()).then_some(plan)
    });
    assert_eq!(plan["deleted"], false);
    assert_eq!(plan["builds"].as_array().unwrap().len(), 1, "{plan:#}");
    assert_eq!(plan["builds"][0]["number"], 1);
    assert!(plan["builds"][0]["bytes"].as_u64().unwrap() > 0, "{plan:#}");
    assert!(world.build(1).is_some(), "a dry run deletes nothing");
    assert!(text(&world.run(["retention", "--dry-run"]).stdout).contains("would be deleted"));

    let done = retention(&world, &[]);
    assert_eq!(done["deleted"], true);
    assert!(world.build(1).is_none());
    assert_eq!(files(&world.state(), &id), Vec::<String>::new());
    let left: Vec<u64> = world.builds().iter().filter_map(|build| build["number"].as_u64()).collect();
    assert_eq!(left, [2]);
    assert_eq!(world.build(2).unwrap()["state"], "blocked");
    assert!(text(&world.run(["retention", "--dry-run"]).stdout).contains("nothing to delete"));
    // The number is not given again.
    world.commit("third");
    let file = world.payload("refs/heads/main", &world.git(["rev-parse", "HEAD^"]));
    assert!(world.run(["deliver".as_ref(), file.as_os_str(), "--event".as_ref(), "push".as_ref()]).status.success());
    world.build_until(3, "the third build is over", |build| build["state"] == "passed");
}
