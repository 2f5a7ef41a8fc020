//! Builds that grow while they run: jobs upload the steps that come after them.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use world::{World, job, text};

#[test]
fn three_generations_of_steps() {
    let mut world = World::new(
        r#"
steps:
  - { command: "cd ci && tidegate-agent pipeline upload second.yml", key: first }
  - wait
  - { command: "true", key: last }
"#,
    );
    world.write(
        "ci/second.yml",
        r#"
steps:
  - key: second
    command: |
      mkdir -p out/deep && echo "made by $$BUILDKITE_STEP_KEY" > out/deep/note.txt
      buildkite-agent artifact upload 'out/**/*'
      buildkite-agent meta-data set answer 42
      export WHO=grandchild
      buildkite-agent pipeline upload ci/third.yml
      buildkite-agent annotate --style success --context tests 'all **well**'
      echo ' so far' | buildkite-agent annotate --context tests --append
"#,
    );
    world.write(
        "ci/third.yml",
        r#"
steps:
  - key: third
    command: |
      test "$$(tidegate-agent meta-data get answer)" = 42
      tidegate-agent meta-data exists answer
      tidegate-agent meta-data exists question || test $$? = 100
      test "$$(tidegate-agent step get outcome --step second)" = passed
      test "$$(tidegate-agent step get key)-$$(tidegate-agent step get state)" = third-running
      tidegate-agent artifact download 'out/**/*.txt' got --step second
      echo "the $WHO has $$(cat got/out/deep/note.txt)"
"#,
    );
    world.commit("generations");
    world.start();
    world.push();
    let build = world.finished(1);
    assert_eq!(build["state"], "passed", "{build:#}");
    for key in ["first", "second", "third", "last"] {
        assert_eq!(job(&build, key)["state"], "passed", "{key}: {build:#}");
    }
    assert!(world.logs("third").contains("the grandchild has made by second"), "{}", world.logs("third"));
    let began = |key: &str| job(&build, key)["attempts"][0]["started_at"].as_str().unwrap().to_owned();
    let ended = |key: &str| job(&build, key)["attempts"][0]["finished_at"].as_str().unwrap().to_owned();
    assert!(ended("first") <= began("second") && ended("second") <= began("third"), "{build:#}");
    assert!(ended("third") <= began("last"), "{build:#}");
    let annotation = &build["annotations"][0];
    assert_eq!(annotation["context"], "tests");
    assert_eq!(annotation["style"], "success");
    assert_eq!(annotation["body"], "all **well** so far\n");
    assert_eq!(annotation["job_id"], job(&build, "second")["id"]);
}

#[test]
fn an_upload_that_is_refused_fails_its_job_and_adds_nothing() {
    let mut world = World::new(
        r#"
steps:
  - { command: "tidegate-agent pipeline upload more.yml", key: uploader }
  - { command: "echo 'steps: [{ command: a, key: uploader }]' | tidegate-agent pipeline upload", key: twin }
  - wait
  - { command: "true", key: never }
"#,
    );
    world.write(
        "more.yml",
        "steps:\n  - { command: 'true', key: fine }\n  - { comand: 'true', depends_on: [] }\n  - { command: 'true', retry: sometimes }\n",
    );
    world.commit("findings");
    world.start();
    world.push();
    let build = world.finished(1);
    assert_eq!(build["state"], "failed", "{build:#}");
    assert_eq!(job(&build, "uploader")["attempts"][0]["exit_status"], 1);
    assert_eq!(job(&build, "twin")["attempts"][0]["exit_status"], 1);
    assert_eq!(job(&build, "never")["attempts"].as_array().unwrap().len(), 0);
    let jobs = build["jobs"].as_array().unwrap();
    assert!(jobs.iter().all(|j| j["key"] != "fine"), "{build:#}");
    let log = world.logs("uploader");
    for wanted in ["--> more.yml:3", "--> more.yml:4", "error: `more.yml` was not added to the build"] {
        assert!(log.contains(wanted), "`{wanted}` is not in\n{log}");
    }
    assert!(world.logs("twin").contains("uploader"), "{}", world.logs("twin"));
}

#[test]
fn a_cap_names_its_setting_and_yields_to_it() {
    let mut world = World::new(
        r#"
steps:
  - command: |
      tidegate-agent pipeline upload few.yml
      { cat few.yml; head -c 2000000 /dev/zero | tr '\0' '#'; } | sed 's/few/many/' | tidegate-agent pipeline upload
    key: up
"#,
    );
    // A step that is skipped is a job that needs no machine.
    world.write("few.yml", "steps: [{ command: a, key: few, skip: true, parallelism: 3 }]\n");
    let phases = [
        ("jobs = 2", "`jobs`"),
        ("jobs = 3", "`bytes`"),
        ("jobs = 3\nbytes = 3000000\nbuild_jobs = 6", "`build_jobs`"),
        ("jobs = 3\nbytes = 3000000\nbuild_jobs = 7\nbuild_uploads = 1", "`build_uploads`"),
        ("jobs = 3\nbytes = 3000000\nbuild_jobs = 7\nbuild_uploads = 2", ""),
    ];
    for (number, (limits, setting)) in (1..).zip(phases) {
        world = world.config(&format!("[limits]\n{limits}\n"));
        world.commit(limits);
        world.start();
        world.push();
        let build = world.finished(number);
        let log = world.run(["logs".to_owned(), number.to_string(), "up".to_owned()]);
        let log = text(&log.stdout);
        if setting.is_empty() {
            assert_eq!(build["state"], "passed", "{build:#}\n{log}");
            assert_eq!(build["jobs"].as_array().unwrap().len(), 7, "{build:#}");
        } else {
            assert_eq!(build["state"], "failed", "{limits}: {build:#}\n{log}");
            let told = log.contains("`[limits]` table") && log.contains(setting);
            assert!(told, "{limits}: {setting} is not in\n{log}");
        }
        world.stop_server();
    }
}

#[test]
fn what_no_server_takes_is_refused_and_not_tried_for_ever() {
    let mut world = World::new(
        "steps: [{ command: \"head -c 14000000 /dev/zero | tr '\\\\0' '#' | tidegate-agent pipeline upload\", key: first }]",
    );
    world.start();
    world.push();
    assert_eq!(world.finished(1)["state"], "failed");
    let log = world.logs("first");
    assert!(log.contains("`bytes` in the `[limits]` table"), "{log}");
}

#[test]
fn what_did_not_change_is_skipped() {
    let mut world = World::new(
        r#"
steps:
  - { command: "true", key: docs, if_changed: "docs/**" }
  - { command: "true", key: code, if_changed: { include: "**", exclude: ["docs/**", ".tidegate/**"] } }
  - { command: "tidegate-agent pipeline upload more.yml", key: up }
"#,
    );
    world.write("more.yml", "steps: [{ command: 'true', key: more, if_changed: '*.c' }]\n");
    world.commit("what is uploaded");
    world.start();
    let states = |world: &World, number: u64| {
        let build = world.finished(number);
        assert_eq!(build["state"], "passed", "{build:#}");
        ["docs", "code", "more"].map(|key| job(&build, key)["state"].as_str().unwrap().to_owned())
    };
    // On the default branch the last commit counts.
    world.write("docs/b.md", "b");
    world.commit("only docs");
    world.push();
    assert_eq!(states(&world, 1), ["passed", "skipped", "skipped"]);
    // On another branch everything since it left that one.
    world.git(["checkout", "--quiet", "-b", "topic"]);
    world.write("src/main.c", "int main;");
    world.write("root.c", "");
    world.commit("code");
    world.write("docs/c.md", "c");
    world.commit("docs again");
    let file = world.payload("refs/heads/topic", &"0".repeat(40));
    let output = world.run(["deliver".as_ref(), file.as_os_str(), "--event".as_ref(), "push".as_ref()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(states(&world, 2), ["passed", "passed", "passed"]);
    world.git(["checkout", "--quiet", "-b", "code-alone", "main"]);
    world.write("src/main.c", "int main;");
    world.commit("code alone");
    let file = world.payload("refs/heads/code-alone", &"0".repeat(40));
    let output = world.run(["deliver".as_ref(), file.as_os_str(), "--event".as_ref(), "push".as_ref()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(states(&world, 3), ["skipped", "passed", "skipped"]);
}
