//! `tidegate why` and `tidegate groups`: `spec/pipeline.md` 1.11 and 1.13, `spec/user-pains.md` 20 and 21.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use serde_json::Value;
use world::{World, job, text};

fn why(world: &World, args: &[&str]) -> String {
    let output = world.run(["why"].iter().chain(args));
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn everything_that_waits_says_why_and_what_would_end_it() {
    let mut world = World::new(
        r#"
steps:
  - { command: "while ! test -e $$GO; do sleep 0.05; done", key: deploy, concurrency: 1, concurrency_group: prod }
  - { command: "true", key: gpu, agents: { queue: gpu } }
  - { command: "true", key: after, depends_on: [deploy, ghost] }
  - { block: "Ship?", key: ship, depends_on: deploy }
"#,
    );
    let go = world.path().join("go");
    world.write(".tidegate/env", "");
    let pipeline = std::fs::read_to_string(world.repo().join(".tidegate/pipeline.yml")).unwrap();
    world.write(".tidegate/pipeline.yml", &format!("env: {{ GO: \"{}\" }}{pipeline}", go.display()));
    world.commit("with a door");
    world.start();
    world.push();
    world.build_until(1, "the first deploy runs", |build| job(build, "deploy")["state"] == "running");
    world.commit("second");
    let file = world.payload("refs/heads/main", &world.git(["rev-parse", "HEAD^"]));
    assert!(world.run(["deliver".as_ref(), file.as_os_str(), "--event".as_ref(), "push".as_ref()]).status.success());
    world.build_until(2, "the second deploy waits", |build| job(build, "deploy")["state"] == "limited");

    let said = world.until("the group knows", || {
        let said = why(&world, &["2", "deploy"]);
        said.contains("of web#1").then_some(said)
    });
    let wanted = "waits for a slot of the concurrency group `prod` (limit 1): 1 slot is taken, by `while";
    assert!(said.contains(wanted), "{said}");
    assert!(said.contains("until fewer than 1 slots are taken"), "{said}");
    assert!(why(&world, &["1", "deploy"]).contains("runs on i-"));
    let said = why(&world, &["1", "gpu"]);
    assert!(
        said.contains("waits for a machine with `queue=gpu`, which no pool offers: `default` lacks queue=gpu"),
        "{said}"
    );
    assert!(said.contains("or it expires in 2"), "{said}");
    let said = why(&world, &["1", "after"]);
    assert!(said.contains("waits for `deploy` (running), and for `ghost`, which no step has as its key yet"), "{said}");
    let said = why(&world, &["1"]);
    let wanted = "web#1 is running: 1 job runs, 1 waits for a machine and 2 wait for steps before them";
    assert!(said.starts_with(wanted), "{said}");

    let answer: Value = serde_json::from_slice(&world.run(["why", "1", "ship", "--json"]).stdout).unwrap();
    assert_eq!(answer["jobs"][0]["kind"], "dependency");
    assert_eq!(answer["jobs"][0]["waits"], true);
    let groups: Value = serde_json::from_slice(&world.run(["groups", "--json"]).stdout).unwrap();
    let group = &groups["groups"][0];
    assert_eq!((&group["name"], &group["limits"]), (&"prod".into(), &serde_json::json!([1])), "{groups:#}");
    assert_eq!(group["holders"][0]["number"], 1);
    assert_eq!(group["waiters"][0]["number"], 2);
    assert!(text(&world.run(["groups"]).stdout).contains("web#2"));

    std::fs::write(&go, "").unwrap();
    world.build_until(2, "the second deploy is done", |build| job(build, "deploy")["state"] == "passed");
    world.build_until(1, "a person is waited for", |build| job(build, "ship")["state"] == "blocked");
    let said = why(&world, &["1", "ship"]);
    assert!(
        said.contains("waits for a person, since ") && said.contains("`tidegate unblock 1 ship` opens it"),
        "{said}"
    );
    world.until("nobody is in the group", || {
        let groups: Value = serde_json::from_slice(&world.run(["groups", "--json"]).stdout).ok()?;
        groups["groups"].as_array()?.is_empty().then_some(())
    });
    assert!(world.run(["cancel", "1"]).status.success());
    world.finished(1);
    assert!(why(&world, &["1"]).starts_with("web#1 is over since "), "{}", why(&world, &["1"]));
}
