//! `spec/pipeline.md` 1.11: two steps of one concurrency group make the section between them exclusive across builds.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use world::{World, text};

#[test]
fn a_section_between_two_gates_is_run_by_one_build_at_a_time() {
    let mut world = World::empty();
    let effects = world.path().join("effects");
    world.write(
        ".tidegate/pipeline.yml",
        &format!(
            r#"
steps:
  - {{ command: "echo open-$$BUILDKITE_BUILD_NUMBER >> {0}", key: open, concurrency: 1, concurrency_group: section }}
  - wait
  - {{ command: "echo in-$$BUILDKITE_BUILD_NUMBER >> {0}; sleep 0.5", key: work, parallelism: 2 }}
  - wait
  - {{ command: "echo close-$$BUILDKITE_BUILD_NUMBER >> {0}", key: close, concurrency: 1, concurrency_group: section }}
"#,
            effects.display()
        ),
    );
    world.commit("gates");
    world.start();
    world.push();
    for message in ["two", "three"] {
        world.commit(message);
        let file = world.payload("refs/heads/main", &world.git(["rev-parse", "HEAD^"]));
        let output = world.run(["deliver".as_ref(), file.as_os_str(), "--event".as_ref(), "push".as_ref()]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    for number in 1..=3 {
        assert_eq!(world.finished(number)["state"], "passed");
    }
    let lines = std::fs::read_to_string(&effects).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 12, "{lines:?}");
    for section in lines.chunks(4) {
        let number = section[0].strip_prefix("open-").unwrap();
        let wanted =
            [format!("open-{number}"), format!("in-{number}"), format!("in-{number}"), format!("close-{number}")];
        assert_eq!(section, wanted, "{lines:?}");
    }
}
