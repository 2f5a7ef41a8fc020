//! `spec/pipeline.md` 1.12: retries by rules, by people and on our own account, and jobs that no machine takes.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use std::fs;

use world::{World, attempts, job, kill, text};

#[test]
fn a_limit_counts_per_rule_and_people_retry_what_the_step_allows() {
    let mut world = World::new(
        r#"
steps:
  - key: rules
    command: case $$BUILDKITE_RETRY_COUNT in 0|1) exit 3;; 2) exit 4;; *) exit 0;; esac
    retry: { automatic: [{ exit_status: 3, limit: 2 }, { exit_status: 4, limit: 1 }] }
  - key: spent
    command: exit 3
    retry: { automatic: [{ exit_status: 3, limit: 1 }, { exit_status: "*", limit: 5 }] }
  - { command: "exit 1", key: deploys, retry: { manual: { allowed: false, reason: "it deploys" } } }
  - { command: "true", key: passed, retry: { manual: { permit_on_passed: false } } }
  - { command: "test $$BUILDKITE_RETRY_COUNT -gt 0", key: again }
  - { command: "true", key: after, depends_on: again }
"#,
    );
    world.start();
    world.push();
    let build = world.finished(1);
    assert_eq!(job(&build, "rules")["state"], "passed", "{build:#}");
    assert_eq!(attempts(job(&build, "rules")).len(), 4);
    assert_eq!(attempts(job(&build, "spent")).len(), 2, "the first rule that matches decides");
    assert_eq!(job(&build, "after")["state"], "waiting_failed");

    let refused = |job: &str| {
        let output = world.run(["retry", "1", job]);
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    assert!(refused("deploys").contains("does not allow retries by hand: it deploys"), "{}", refused("deploys"));
    assert!(refused("passed").contains("does not allow retries of a job that passed"), "{}", refused("passed"));
    assert!(refused("after").contains("did not run"), "{}", refused("after"));

    assert!(world.run(["retry", "1"]).status.success());
    let build = world.finished(1);
    assert_eq!(job(&build, "again")["state"], "passed", "{build:#}");
    assert_eq!(job(&build, "after")["state"], "passed");
    assert_eq!(attempts(job(&build, "deploys")).len(), 1, "the step forbids it");
    assert_eq!(build["acts"][0]["what"], "retried");
    let shown = text(&world.run(["build", "show", "1"]).stdout);
    assert!(shown.contains("retried all that failed"), "{shown}");
}

#[test]
fn a_machine_that_dies_three_times_under_a_job_quarantines_it_and_once_where_the_step_forbids_retries() {
    let world = World::empty();
    let begun = world.path().join("begun");
    let poison = format!("echo $$BUILDKITE_STEP_KEY >> {}; sleep 300", begun.display());
    world.write(
        ".tidegate/pipeline.yml",
        &format!(
            "steps:\n  - {{ command: '{poison}', key: poison, retry: {{ automatic: true }} }}\n  \
             - {{ command: '{poison}', key: once, retry: {{ automatic: false }} }}\n"
        ),
    );
    world.commit("poison");
    let mut world = world;
    world.start();
    world.push();
    let begins = |key: &str| fs::read_to_string(&begun).unwrap_or_default().lines().filter(|l| *l == key).count();
    for (key, deaths) in [("once", 1), ("poison", 3)] {
        for death in 1..=deaths {
            world.until(&format!("{key} has begun {death} times"), || (begins(key) == death).then_some(()));
            let build = world.build_until(1, "it runs", |build| job(build, key)["state"] == "running");
            let last = attempts(job(&build, key)).last().unwrap().clone();
            let machine = world.instances().into_iter().find(|i| i["id"] == last["instance"]).unwrap();
            kill(u32::try_from(machine["pid"].as_u64().unwrap()).unwrap(), "KILL");
        }
    }
    let build = world.finished(1);
    assert_eq!(build["state"], "failed", "{build:#}");
    let (once, poison) = (job(&build, "once"), job(&build, "poison"));
    assert_eq!((attempts(once).len(), attempts(poison).len()), (1, 3), "{build:#}");
    assert!(attempts(poison).iter().all(|a| a["cause"] == "lost" && a["retry_count"] == 0));
    assert!(poison["reason"].as_str().unwrap().starts_with("quarantined: 3 machines died silently"), "{build:#}");
    assert!(once["reason"].is_null());
    let shown = text(&world.run(["build", "show", "1"]).stdout);
    assert!(shown.contains("quarantined"), "{shown}");
    // A person may try it again.
    assert!(world.run(["retry", "1", "poison"]).status.success());
    world.until("it has begun again", || (begins("poison") == 4).then_some(()));
    assert!(world.run(["cancel", "1"]).status.success());
}

#[test]
fn a_job_that_no_machine_takes_expires_at_its_deadline() {
    let mut world = World::new("steps: [{ command: 'true', key: gpu, agents: { queue: gpu } }]")
        .config("[limits]\nwait = \"3s\"\n");
    world.start();
    world.push();
    let build = world.finished(1);
    assert_eq!(build["state"], "failed", "{build:#}");
    let gpu = job(&build, "gpu");
    assert_eq!(gpu["state"], "expired");
    let attempt = &attempts(gpu)[0];
    assert_eq!(attempt["cause"], "expired");
    assert_eq!(attempt["detail"], "no pool offers `queue=gpu`");
    let at = |name: &str| attempt[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    let waited = at("finished_at") - at("created_at");
    // The sweep would find it within a minute; its deadline is after three seconds.
    assert!((3..30).contains(&waited), "it waited for {waited} s");
    let why = text(&world.run(["why", "1", "gpu"]).stdout);
    assert!(why.contains("expired: no pool offers `queue=gpu`"), "{why}");
}
