//! `tidegate logs --follow`: from before the build until after a restart of the server.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use std::fs;
use std::process::{Child, Stdio};

use world::{World, job, text};

/// `tidegate logs …` with its output in a file.
fn reader(world: &World, args: &[&str], to: &str) -> Child {
    let path = world.path().join(to);
    let out = fs::File::create(&path).unwrap();
    let notes = fs::File::create(path.with_extension("notes")).unwrap();
    world.tidegate([&["logs"], args].concat()).stdout(out).stderr(notes).stdin(Stdio::null()).spawn().unwrap()
}

fn seen(world: &World, name: &str) -> String {
    fs::read_to_string(world.path().join(name)).unwrap_or_default()
}

#[test]
fn a_log_is_followed_from_before_its_build_until_after_a_restart() {
    let mut world = World::new(
        r#"
steps:
  - key: long
    command: |
      echo "--- first part"
      printf '\033[32mgreen\033[0m\n'
      while [ ! -e "$$GO" ]; do sleep 0.05; done
      echo "+++ second part"
      echo "the end"
"#,
    );
    let go = world.path().join("go");
    let file = fs::read_to_string(world.repo().join(".tidegate/pipeline.yml")).unwrap();
    world.write(".tidegate/pipeline.yml", &format!("env: {{ GO: {} }}\n{file}", go.display()));
    world.commit("where");
    world.start();
    let mut reader_of_lines = reader(&world, &["1", "long", "--follow"], "lines");
    let mut reader_of_times = reader(&world, &["1", "long", "--follow", "--times"], "times");
    world.until("the reader waits", || seen(&world, "lines.notes").contains("waiting: ").then_some(()));
    world.push();
    world.until("the first part is seen", || {
        seen(&world, "lines").contains("--- first part\n\x1b[32mgreen").then_some(())
    });
    world.kill_server();
    world.until("the reader has noticed", || seen(&world, "lines.notes").contains("does not answer").then_some(()));
    world.start();
    fs::write(&go, "").unwrap();
    let build = world.finished(1);
    assert_eq!(job(&build, "long")["state"], "passed", "{build:#}");
    for reader in [&mut reader_of_lines, &mut reader_of_times] {
        assert!(reader.wait().unwrap().success(), "{}", seen(&world, "lines.notes"));
    }
    let lines = seen(&world, "lines");
    assert_eq!(lines, world.logs("long"));
    assert_eq!(lines.matches("the end\n").count(), 1, "{lines}");
    let raw = text(&world.run(["logs", "1", "long", "--raw"]).stdout);
    assert!(raw.contains("\x07+++ second part\n\x1b_bk;t="), "{raw:?}");
    let times = seen(&world, "times");
    for line in times.lines() {
        let clock = line.split_once(' ').unwrap().0;
        assert!(clock.len() == 12 && clock.chars().all(|c| c.is_ascii_digit() || ":.".contains(c)), "{line}");
    }
    assert!(times.contains(" --- first part\n") && times.contains(" the end\n"), "{times}");
    assert!(times.contains(" green\n"), "colours are for terminals: {times:?}");
}

#[test]
fn what_will_never_come_is_not_waited_for() {
    let mut world = World::new("steps: [{ key: a, command: 'true' }]");
    world.start();
    world.push();
    world.finished(1);
    let output = world.run(["logs", "1", "nobody", "--follow"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no job"), "{}", text(&output.stderr));
    let output = world.run(["logs", "2", "a"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
}
