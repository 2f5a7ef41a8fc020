//! What people see at GitHub (`spec/github.md` 6.3): checks of the App, against a GitHub in memory.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod hub;
mod world;

use tidegate_github_memory::Fault;
use world::World;

const PIPELINE: &str = r#"
steps:
  - label: "unit `tests`"
    key: unit
    command: "echo before; echo '```'; echo the last line; exit 3"
  - label: lint
    command: "true"
"#;

/// A text without what differs from one time to the next.
fn plain(text: &str, build: &str) -> String {
    let words = text.replace(build, "BUILD");
    words.split(' ').map(|word| if word.parse::<u32>().is_ok() { "N" } else { word }).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_failed_build_says_what_failed_first_and_what_to_do() {
    let (world, github) = hub::world(PIPELINE);
    let head = github.push(&world, "refs/heads/main");
    let run = github.check_until(&world, &head, "tidegate/web", "failure");
    let build = world.finished(1);
    assert_eq!(run.external_id, build["id"].as_str().unwrap());
    assert_eq!(run.details_url.as_deref(), Some(format!("https://ci.example.com/builds/{}", run.external_id).as_str()));
    assert!(run.started_at.is_some() && run.completed_at.is_some());
    let text = format!("{}\n---\n{}", run.title.unwrap(), run.summary.unwrap());
    insta::assert_snapshot!(plain(&text, &run.external_id), @r#"
Failed in N s: unit `tests` (exit status 3)
---
`unit 'tests'` failed first: **exit status 3**, after N s.

````text
$ echo before; echo '```'; echo the last line; exit 3
before
```
the last line
The command exited with status 3.
````

It is not tried again by itself: its step has no `retry` rule for this. “Re-run” runs what failed once more; so does `tidegate retry web#1`.

[Build #1](https://ci.example.com/builds/BUILD)
"#);

    let of_job = github.check_until(&world, &head, "tidegate/web: unit `tests`", "failure");
    assert_eq!(of_job.external_id, format!("{}/0", run.external_id));
    assert_eq!(of_job.title.as_deref(), Some("failed: exit status 3"));
    assert_eq!(github.shown(&head).len(), 2, "{:?}", github.shown(&head));
}

#[test]
fn findings_in_the_pipeline_file_stand_beside_its_lines() {
    let (world, github) = hub::world("steps:\n  - command: \"true\"\n    parallelism: none\n");
    let head = github.push(&world, "refs/heads/main");
    let run = github.check_until(&world, &head, "tidegate/web", "failure");
    assert_eq!(run.title.as_deref(), Some("1 error in `.tidegate/pipeline.yml`"));
    let [mark] = run.annotations.as_slice() else { panic!("{run:?}") };
    assert_eq!((mark.path.as_str(), mark.start_line, mark.level.as_str()), (".tidegate/pipeline.yml", 3, "failure"));
    insta::assert_snapshot!(mark.message, @r"
    `parallelism`: `none` is not a whole number
    write a number such as `10`
    ");
}

#[test]
fn a_job_that_is_run_again_and_passes_turns_green() {
    let (world, github) = hub::world("steps:\n  - label: flaky\n    command: 'test $$BUILDKITE_RETRY_COUNT != 0'\n");
    let head = github.push(&world, "refs/heads/main");
    let first = github.check_until(&world, &head, "tidegate/web", "failure");
    github.check_until(&world, &head, "tidegate/web: flaky", "failure");
    assert!(world.run(["retry", "1"]).status.success());
    let second = github.check_until(&world, &head, "tidegate/web", "success");
    assert_eq!(first.id, second.id);
    github.check_until(&world, &head, "tidegate/web: flaky", "success");
}

#[test]
fn an_outage_and_lost_answers_leave_one_check_that_tells_the_truth() {
    let (world, github) = hub::world("steps:\n  - command: \"true\"\n");
    github.with(|hub, _| {
        // The installation, the token, the check: each fails once.
        hub.faults.extend([Fault::Refused(502), Fault::Pass, Fault::AnswerLost, Fault::Pass, Fault::AnswerLost]);
    });
    let head = github.push(&world, "refs/heads/main");
    github.check_until(&world, &head, "tidegate/web", "success");
    let made = github.with(|hub, _| hub.checks().count());
    assert_eq!(made, 1);
}

#[test]
fn who_is_asked_to_wait_waits_and_goes_on() {
    let (world, github) = hub::world("steps:\n  - command: \"true\"\n");
    github.with(|hub, _| hub.fault_at = Some(("/check-runs", Fault::Limited(2))));
    let head = github.push(&world, "refs/heads/main");
    github.check_until(&world, &head, "tidegate/web", "success");
    github.with(|hub, _| {
        let writes: Vec<_> = hub.seen.iter().filter(|s| s.path.contains("/check-runs")).collect();
        let [refused, next, ..] = writes.as_slice() else { panic!("{writes:?}") };
        assert_eq!(refused.status, 403);
        assert!(next.at - refused.at >= 2_000, "{} ms", next.at - refused.at);
    });
}

/// Without an App there are statuses.
#[test]
fn a_token_shows_statuses() {
    let github = hub::GitHub::new();
    let token = github.with(|hub, now| hub.personal_token(now, "story"));
    let config = format!("[github]\ntoken = \"{token}\"\napi_url = \"{}\"\n", github.server.url());
    let mut world = World::new("steps:\n  - command: \"exit 1\"\n").top(&config);
    world.start();
    github.deliver_to(&world);
    let head = github.push(&world, "refs/heads/main");
    let shown = world.until("the status is red", || github.shown(&head).into_iter().find(|s| s.state == "failure"));
    assert_eq!(shown.name, "tidegate/web");
    assert_eq!(github.with(|hub, _| hub.checks().count()), 0);
}
