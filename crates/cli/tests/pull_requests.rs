//! Pull requests, forks, merge queues and what happens to repositories, through the server's public edge: signed deliveries of a
//! GitHub in memory, or as GitHub writes them. `spec/github.md` 6.2 and 6.4, docs/trust.md.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod hub;
mod world;

use hub::{GitHub, ZEROS};
use serde_json::{Value, json};
use tidegate_github_memory::{Head, Issue};
use world::{REPOSITORY, World, text};

const FORK: u64 = 777;
const PIPELINE: &str = "steps:\n  - key: test\n    command: echo pull=$$BUILDKITE_PULL_REQUEST base=$$BUILDKITE_PULL_REQUEST_BASE_BRANCH branch=$$BUILDKITE_BRANCH\n";
const POOL: &str = "[[pool]]\nname = \"forks\"\nwidth = 1\nidle = \"2s\"\ntrust = \"untrusted\"\n";

/// A world that is told of everything, with more configuration.
fn world(config: &str) -> (World, GitHub) {
    let (world, github) = (World::new(PIPELINE).config(config), GitHub::new());
    let top = github.config(&world);
    let mut world = world.top(&top);
    world.start();
    github.deliver_to(&world);
    github.with(|hub, _| hub.set_role(REPOSITORY, "teller", "write"));
    (world, github)
}

/// A commit of a fork, which only its pull request leads to; opened or moved by a stranger.
fn fork(world: &World, github: &GitHub, number: Option<u64>) -> (u64, String) {
    world.git(["checkout", "--quiet", "--detach"]);
    let sha = world.commit("from a fork");
    world.git(["checkout", "--quiet", "main"]);
    let push = |hub: &mut tidegate_github_memory::Hub, now| {
        hub.push(now, "stranger", FORK, "refs/heads/main", &sha, "from a fork");
    };
    let keep = |number: u64| world.git(["update-ref", &format!("refs/pull/{number}/head"), &sha]);
    if let Some(number) = number {
        keep(number);
        github.with(push);
        return (number, sha);
    }
    let number = github.with(|hub, now| {
        hub.fork(REPOSITORY, FORK, "stranger/web");
        push(hub, now);
        let head = Head { repository: FORK, branch: "main" };
        hub.open_pull(now, "stranger", REPOSITORY, "main", head, "Greet in Danish")
    });
    keep(number);
    (number, sha)
}

fn comment(github: &GitHub, by: &str, number: u64, words: &str) {
    github.with(|hub, now| hub.comment(now, by, Issue { repository: REPOSITORY, number }, words));
}

#[test]
fn a_fork_is_refused_where_its_code_would_run_as_the_server() {
    for (config, wanted) in [("", "no [[pool]] has `trust = \"untrusted\"`"), (POOL, "child processes of this server")]
    {
        let (world, github) = world(config);
        let (_, sha) = fork(&world, &github, None);
        let build = world.finished(1);
        let failure = build["failure"].as_str().unwrap();
        assert!(build["state"] == "failed" && failure.contains(wanted), "{failure}");
        let check = github.check_until(&world, &sha, "tidegate/web", "failure");
        assert!(check.summary.clone().unwrap_or_default().contains(wanted), "{check:?}");
    }
}

#[test]
fn a_fork_is_built_when_somebody_with_write_access_approves_the_commit() {
    let (world, github) = world(&format!("{POOL}isolation = \"none, at my own risk\"\n"));
    let (number, first) = fork(&world, &github, None);
    let build = world.build_until(1, "it waits", |build| build["state"] == "blocked");
    assert_eq!(build["jobs"], json!([]));
    assert!(build["waits"].as_str().unwrap().contains(&format!("/approve {first}")), "{build}");
    // Whoever looks at GitHub sees what to do, and nothing that looks like success.
    let check = github.check_until(&world, &first, "tidegate/web", "queued");
    assert_eq!(check.title, Some(format!("A fork's commit waits for a comment: /approve {first}")));
    let shown = text(&world.run(["build", "show", "1"]).stdout);
    assert!(shown.contains("waits: its commit comes from a fork"), "{shown}");

    comment(&github, "stranger", number, &format!("/approve {first}"));
    world.until("the stranger is refused", || world.log().contains("`stranger` has no write access").then_some(()));
    assert_eq!(world.build(1).unwrap()["state"], "blocked");
    comment(&github, "teller", number, &format!("Looks fine.\r\n/approve {first}"));
    let build = world.finished(1);
    assert_eq!((&build["state"], &build["trust"]), (&json!("passed"), &json!("untrusted")), "{build:#}");
    assert_eq!(build["jobs"][0]["attempts"].as_array().unwrap().len(), 1);
    let log = world.logs("test");
    assert!(log.contains(&format!("pull={number} base=main branch=stranger:main")), "{log}");

    // The next commit waits again, and `tidegate approve` lets it through.
    fork(&world, &github, Some(number));
    world.build_until(2, "the next commit waits", |build| build["state"] == "blocked");
    comment(&github, "teller", number, &format!("/approve {first}"));
    world.until("there is nothing to approve", || {
        world.log().contains(&format!("no build of pull request #{number} waits for approval at {first}")).then_some(())
    });
    assert_eq!(world.build(2).unwrap()["state"], "blocked");
    assert!(world.run(["approve", "2"]).status.success());
    assert_eq!(world.finished(2)["state"], "passed");
}

#[test]
fn a_pull_request_of_the_repository_itself_is_one_build() {
    let (world, github) = world("");
    world.git(["checkout", "--quiet", "-b", "topic"]);
    world.commit("one");
    github.push(&world, "refs/heads/topic");
    let head = Head { repository: REPOSITORY, branch: "topic" };
    let number = github.with(|hub, now| hub.open_pull(now, "teller", REPOSITORY, "main", head, "A change"));
    world.build_until(1, "the pull request is known", |build| build["pull_request"]["number"] == number);
    world.commit("two");
    github.push(&world, "refs/heads/topic");
    assert_eq!(world.finished(2)["state"], "passed");
    world.until("both deliveries of both pushes led to a build", || {
        (world.log().matches("build made").count() >= 4).then_some(())
    });
    assert_eq!(world.builds().len(), 2);
    let log = text(&world.run(["logs", "2", "test"]).stdout);
    assert!(log.contains(&format!("pull={number} base=main branch=topic")), "{log}");
}

/// Delivers a payload as GitHub would; returns what became of it.
fn deliver(world: &World, event: &str, id: &str, payload: &Value) {
    let file = world.path().join(format!("{id}.json"));
    std::fs::write(&file, payload.to_string()).unwrap();
    let args = ["deliver", file.to_str().unwrap(), "--event", event, "--delivery", id].map(str::to_owned);
    let output = world.run(args);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn merge_queues_deleted_branches_and_renamed_repositories() {
    let mut world = World::new("steps:\n  - { key: test, command: \"test -e $$GO || sleep 60\" }\n").width(3);
    let go = world.path().join("go");
    let text = std::fs::read_to_string(world.repo().join(".tidegate/pipeline.yml")).unwrap();
    world.write(".tidegate/pipeline.yml", &format!("env: {{ GO: \"{}\" }}\n{text}", go.display()));
    let head = world.commit("with a door");
    world.start();
    let repository =
        |name: &str| json!({ "id": REPOSITORY, "full_name": name, "default_branch": "main", "private": false });
    let group = |action: &str| {
        json!({
            "action": action, "reason": "dequeued", "repository": repository("story/web"),
            "merge_group": {
                "head_sha": head, "head_ref": "refs/heads/gh-readonly-queue/main/pr-1", "base_sha": head,
                "base_ref": "refs/heads/main", "head_commit": { "id": head, "message": "merge", "author": { "name": "A" } },
            },
        })
    };
    deliver(&world, "merge_group", "asked", &group("checks_requested"));
    world.build_until(1, "the merge group runs", |build| build["state"] == "running");
    deliver(&world, "merge_group", "over", &group("destroyed"));
    assert_eq!(world.finished(1)["canceled_by"], "the merge queue (dequeued)");

    let push = |before: &str, after: &str, name: &str| {
        json!({
            "ref": "refs/heads/topic", "before": before, "after": after, "repository": repository(name),
            "pusher": { "name": "teller" }, "head_commit": null,
        })
    };
    deliver(&world, "push", "made", &push(ZEROS, &head, "story/web"));
    world.build_until(2, "the branch is built", |build| build["state"] == "running");
    deliver(&world, "push", "deleted", &push(&head, ZEROS, "story/web"));
    assert_eq!(world.finished(2)["canceled_by"], "the deletion of branch topic");

    let renamed = json!({
        "action": "renamed", "changes": { "repository": { "name": { "from": "web" } } },
        "repository": repository("story/site"),
    });
    deliver(&world, "repository", "renamed", &renamed);
    std::fs::write(&go, "").unwrap();
    deliver(&world, "push", "again", &push(ZEROS, &head, "story/site"));
    let build = world.finished(3);
    assert_eq!((&build["pipeline"], &build["repository"]), (&json!("web"), &json!("story/site")), "{build:#}");
    assert_eq!(build["state"], "passed");
}
