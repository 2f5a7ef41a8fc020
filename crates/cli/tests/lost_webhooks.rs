//! Webhooks that GitHub could not deliver come after all, once.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod hub;
mod world;

use serde_json::Value;
use world::{REPOSITORY, World, text};

const PIPELINE: &str = "steps:\n  - command: \"true\"\n";

#[test]
fn what_was_pushed_while_the_server_was_down_is_built_once() {
    let (mut world, github) = hub::world_with(PIPELINE, "look_for_lost = \"1s\"\n");
    github.push(&world, "refs/heads/main");
    world.finished(1);
    world.stop_server();
    let lost = github.push_next(&world);
    let guid = github.with(|hub, _| hub.deliveries().last().unwrap().guid.clone());
    world.until("GitHub has given it up", || {
        github.with(|hub, _| hub.deliveries().last().unwrap().answer == Some(0)).then_some(())
    });
    world.start();
    github.deliver_to(&world);
    let build = world.finished(2);
    assert_eq!(build["commit"], lost.as_str());
    let shown = world.run(["deliveries", "show", &guid, "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&shown["arrived"], &shown["outcome"]["builds"][0]), (&Value::Bool(true), &Value::from("web#2")));
    // Everybody asks for it once more, and nothing comes of that.
    let again = world.run(["deliveries", "replay", &guid]);
    assert!(text(&again.stderr).contains("tidegate rebuild web#2"), "{}", text(&again.stderr));
    github.with(|hub, now| {
        let id = hub.deliveries().iter().rev().find(|d| d.guid == guid).unwrap().id;
        assert!(hub.redeliver(now, id));
    });
    world.until("it has come once more", || {
        github.with(|hub, _| hub.deliveries().last().unwrap().succeeded()).then_some(())
    });
    github.push_next(&world);
    world.finished(3);
    assert_eq!(world.builds().len(), 3);
}

#[test]
fn a_person_asks_for_a_delivery_that_did_not_arrive() {
    let (world, github): (World, _) = hub::world(PIPELINE);
    github.with(|hub, _| hub.set_hook(github.app.id, "http://127.0.0.1:1/webhook", "x"));
    github.push(&world, "refs/heads/main");
    let list = || -> Vec<Value> {
        let output = world.run(["deliveries", "list", "--failed", "--json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let all = answer["deliveries"].as_array().unwrap().clone();
        all.into_iter().filter(|d| d["event"] == "push").collect()
    };
    let failed = world.until("the failure is listed", || list().pop());
    let guid = failed["guid"].as_str().unwrap();
    let said = text(&world.run(["deliveries", "show", guid]).stdout);
    assert!(said.contains("answer   none") && said.contains("outcome  not here"), "{said}");
    github.deliver_to(&world);
    assert!(world.run(["deliveries", "replay", guid]).status.success());
    world.finished(1);
    world.until("the list is empty", || list().is_empty().then_some(()));
}

/// More than three tags in one push make no event at all, and a hook may have been switched off.
#[test]
fn refs_that_moved_without_an_event_are_found_and_built_once() {
    let (world, github) = hub::world_with(PIPELINE, "look_for_lost = \"1s\"\n");
    let first = github.push(&world, "refs/heads/main");
    world.finished(1);
    world.until("the refs have been looked at", || github.asked("/git/matching-refs/tags/").then_some(()));
    world.commit("quietly");
    let second = world.git(["rev-parse", "HEAD"]);
    world.commit("never [skip ci]");
    let skipped = world.git(["rev-parse", "HEAD"]);
    for n in 1..=4 {
        world.git(["tag", &format!("v{n}"), &second]);
    }
    world.git(["branch", "other", &skipped]);
    github.with(|hub, _| {
        hub.move_quietly(REPOSITORY, "refs/heads/main", &second, "quietly");
        for n in 1..=4 {
            hub.move_quietly(REPOSITORY, &format!("refs/tags/v{n}"), &second, "quietly");
        }
        hub.move_quietly(REPOSITORY, "refs/heads/other", &skipped, "never [skip ci]");
    });
    world.until("five builds more are made", || (world.builds().len() == 6).then_some(()));
    for number in 2..=6 {
        let build = world.finished(number);
        assert_eq!(build["commit"], second.as_str());
    }
    // The event comes after all.
    let file = world.payload_of("refs/heads/main", &first, &second);
    let told = world.run(["deliver", &file.display().to_string(), "--event", "push", "--delivery", "late"]);
    assert!(told.status.success());
    github.push_next(&world);
    world.finished(7);
    assert_eq!(world.builds().len(), 7);
}
