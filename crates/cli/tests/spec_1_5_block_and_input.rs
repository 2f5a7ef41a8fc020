//! `spec/pipeline.md` 1.5: block and input steps, on the real binary.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use world::{World, job, text};

#[test]
fn a_block_waits_for_a_person_whose_answers_become_meta_data() {
    let mut world = World::new(
        r#"
steps:
  - { command: "true", key: before }
  - block: "Release?"
    key: release
    prompt: "Where to?"
    blocked_state: running
    fields:
      - { text: "Version", key: version, format: "v[0-9]+" }
      - { select: "Regions", key: regions, multiple: true, options: [{ label: Europe, value: eu }, { label: America, value: us }] }
      - { text: "Note", key: note, required: false }
  - command: |
      echo "version $$(buildkite-agent meta-data get version) by $$BUILDKITE_UNBLOCKER"
      test "$$(buildkite-agent meta-data get regions)" = "$$(printf 'us\neu')"
      buildkite-agent meta-data exists note
    key: after
"#,
    );
    world.start();
    world.push();
    let build = world.build_until(1, "the build is blocked", |build| build["state"] == "blocked");
    assert_eq!(build["blocked_state"], "running", "{build:#}");
    assert_eq!(job(&build, "before")["state"], "passed");
    assert_eq!(job(&build, "release")["state"], "blocked");
    assert_eq!(job(&build, "release")["form"]["fields"][1]["options"], serde_json::json!(["eu", "us"]));
    assert_eq!(job(&build, "after")["state"], "waiting");
    assert_eq!(world.builds()[0]["blocked_state"], "running");
    let shown = text(&world.run(["build", "show", "1"]).stdout);
    assert!(shown.contains("tidegate unblock 1 release --field version=… --field regions=…"), "{shown}");

    let wrong = world.run(["unblock", "1", "release", "--field", "version=1", "--field", "regoins=eu"]);
    assert_eq!(wrong.status.code(), Some(1));
    let said = text(&wrong.stderr);
    for wanted in ["no field `regoins`", "`1` does not match the format of `version`", "`regions` is required"] {
        assert!(said.contains(wanted), "`{wanted}` is not in\n{said}");
    }
    assert_eq!(job(&world.build(1).unwrap(), "release")["state"], "blocked", "nothing has changed");

    let fields = ["--field", "version=v7", "--field", "regions=us", "--field", "regions=eu"];
    let opened = world.run(["unblock", "1", "release"].into_iter().chain(fields));
    assert!(opened.status.success(), "{}", text(&opened.stderr));
    let build = world.finished(1);
    assert_eq!(build["state"], "passed", "{build:#}");
    let me = job(&build, "release")["unblocked_by"].as_str().unwrap().to_owned();
    assert!(world.logs("after").contains(&format!("version v7 by {me}")), "{}", world.logs("after"));
    assert_eq!(build["acts"][0]["what"], "unblocked");
    assert_eq!(build["acts"][0]["by"], me.as_str());
    let shown = text(&world.run(["build", "show", "1"]).stdout);
    assert!(shown.contains(&format!("{me} unblocked Release?")), "{shown}");

    let again = world.run(["unblock", "1", "release"].into_iter().chain(fields));
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains(&format!("was unblocked by {me}")), "{}", text(&again.stderr));
}

#[test]
fn an_input_holds_only_what_depends_on_it_and_a_crash_loses_no_answer() {
    let mut world = World::new(
        r#"
steps:
  - { input: "Name?", key: ask, fields: [{ text: "Name", key: name, default: "nobody" }] }
  - { command: "true", key: free }
  - { command: "echo hello $$(buildkite-agent meta-data get name)", key: greet, depends_on: ask }
"#,
    );
    world.start();
    world.push();
    let build = world.build_until(1, "only the input is left", |build| build["state"] == "blocked");
    assert_eq!(job(&build, "free")["state"], "passed", "{build:#}");
    let early = world.run(["unblock", "1", "greet"]);
    assert!(text(&early.stderr).contains("no block or input step"), "{}", text(&early.stderr));
    assert!(world.run(["unblock", "1", "ask"]).status.success());
    world.kill_server();
    world.start();
    let build = world.finished(1);
    assert_eq!(build["state"], "passed", "{build:#}");
    assert!(world.logs("greet").contains("hello nobody"), "{}", world.logs("greet"));
}
