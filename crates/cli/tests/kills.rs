//! kill -9 of the server and of instances, at bad moments: nothing lost, nothing twice.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use std::fs;

use world::{World, attempts, job, kill};

/// A job that writes one line to a file outside when it begins and one when it ends.
fn counted(world: &World, key: &str, body: &str) -> String {
    let file = world.path().join("effects");
    format!(
        "  - {{ command: \"echo begin-{key} >> {0}; {body}; echo end-{key} >> {0}\", key: {key} }}\n",
        file.display()
    )
}

fn effects(world: &World, line: &str) -> usize {
    fs::read_to_string(world.path().join("effects")).unwrap_or_default().lines().filter(|l| *l == line).count()
}

#[test]
fn a_server_that_is_killed_goes_on_where_it_was() {
    let world = World::empty();
    let jobs: String = (0..6).map(|n| counted(&world, &format!("job{n}"), "sleep 1")).collect();
    world.write(".tidegate/pipeline.yml", &format!("steps:\n{jobs}  - wait\n  - {{ command: 'true', key: last }}\n"));
    world.commit("jobs");
    let mut world = world.width(2);
    world.start();
    world.push();
    // At moments that the seed of the process decides: before, while and after jobs run.
    for round in 0..4u64 {
        let moment = (std::process::id() as u64 * 7919 + round * 104_729) % 900;
        let until = std::time::Instant::now() + std::time::Duration::from_millis(moment);
        world.until("the moment has come", || (std::time::Instant::now() >= until).then_some(()));
        world.kill_server();
        world.start();
    }
    let build = world.finished(1);
    assert_eq!(build["state"], "passed", "{build:#}");
    for n in 0..6 {
        let key = format!("job{n}");
        assert_eq!(attempts(job(&build, &key)).len(), 1, "{key}: {build:#}");
        assert_eq!(effects(&world, &format!("begin-{key}")), 1);
        assert_eq!(effects(&world, &format!("end-{key}")), 1);
    }
    assert_eq!(world.builds().len(), 1);
}

#[test]
fn an_instance_that_is_killed_costs_the_user_nothing() {
    let mut world = World::empty();
    let job_text = counted(
        &world,
        "victim",
        "if [ \\\"$$(grep -c begin-victim FILE)\\\" = 1 ]; then (setsid sleep 300 &); sleep 300; fi",
    )
    .replace("FILE", &world.path().join("effects").display().to_string());
    world.write(".tidegate/pipeline.yml", &format!("steps:\n{job_text}"));
    world.commit("jobs");
    world.start();
    world.push();
    world.until("the job has begun", || (effects(&world, "begin-victim") == 1).then_some(()));
    let victim = world.until("the instance is listed", || {
        world.instances().into_iter().find(|i| i["state"] == "busy").and_then(|i| i["pid"].as_u64())
    });
    kill(u32::try_from(victim).unwrap(), "KILL");
    let build = world.finished(1);
    assert_eq!(build["state"], "passed", "{build:#}");
    let attempts = attempts(job(&build, "victim"));
    assert_eq!(attempts.len(), 2, "{build:#}");
    assert_eq!(attempts[0]["cause"], "lost");
    assert_eq!(attempts[1]["retry_count"], 0);
    assert_eq!(effects(&world, "end-victim"), 1);
    world.until("nothing is left", || world.processes().is_empty().then_some(()));
}

#[test]
fn a_stop_ends_every_process_and_the_next_start_goes_on() {
    let mut world = World::empty();
    let first = counted(&world, "long", "if [ \\\"$$(grep -c begin-long FILE)\\\" = 1 ]; then sleep 300; fi")
        .replace("FILE", &world.path().join("effects").display().to_string());
    world.write(".tidegate/pipeline.yml", &format!("steps:\n{first}"));
    world.commit("jobs");
    world.start();
    world.push();
    world.until("the job has begun", || (effects(&world, "begin-long") == 1).then_some(()));
    assert!(world.stop_server().success());
    assert_eq!(world.processes(), []);
    world.start();
    let build = world.finished(1);
    assert_eq!(build["state"], "passed", "{build:#}");
    let attempts = attempts(job(&build, "long"));
    assert_eq!(attempts[0]["cause"], "agent_stopped", "{build:#}");
    assert_eq!(attempts[1]["retry_count"], 0);
}

#[test]
fn two_servers_on_one_state_directory_are_refused() {
    let mut world = World::new("steps: [{ command: 'true' }]");
    world.start();
    let second = world.run(["up"]);
    assert_eq!(second.status.code(), Some(2), "{}", world::text(&second.stderr));
    let said = world::text(&second.stderr);
    assert!(said.contains(&world.server_pid().to_string()), "{said}");
    world.push();
    assert_eq!(world.finished(1)["state"], "passed");
}
