//! `tidegate pipeline plan --event`: every payload of an event that makes builds can be planned with, the others say why not.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

use std::path::Path;
use std::process::Command;

const PIPELINE: &str = "steps:\n  - command: test\n  - { command: review, if: build.pull_request.id != null }\n";

/// How many jobs there are for this event; or why none.
fn plan(directory: &Path, event: &Path) -> Result<usize, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["pipeline", "plan", "pipeline.yml", "--json", "--event"])
        .arg(event)
        .current_dir(directory)
        .env_remove("TIDEGATE_CONFIG")
        .output()
        .unwrap();
    if !output.status.success() {
        assert_eq!(output.status.code(), Some(2));
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    Ok(plan["jobs"].as_array().unwrap().len())
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("pipeline.yml"), PIPELINE).unwrap();
    directory
}

#[test]
fn the_events_that_make_builds_plan() {
    let directory = directory();
    let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events");
    for (name, wanted) in [
        ("push.json", Ok(1)),
        ("push.tag.json", Ok(1)),
        ("merge_group.checks_requested.json", Ok(1)),
        ("pull_request.opened.json", Ok(2)),
        ("pull_request.opened.fork.json", Ok(2)),
        ("pull_request.edited.base.json", Ok(2)),
        ("pull_request.closed.json", Err("closes a pull request")),
        ("push.branch-deleted.json", Err("deletes a ref")),
        ("issue_comment.retest.json", Err("no event that makes a build")),
    ] {
        match (plan(directory.path(), &events.join(name)), wanted) {
            (Ok(jobs), Ok(wanted)) => assert_eq!(jobs, wanted, "{name}"),
            (Err(why), Err(wanted)) => assert!(why.contains(wanted), "{name}: {why}"),
            (found, wanted) => panic!("{name}: {found:?}, not {wanted:?}"),
        }
    }
}

/// GitHub's published examples, where `TIDEGATE_WEBHOOK_EXAMPLES` names the npm package with them.
#[test]
fn the_published_examples_that_make_builds_plan() {
    let Some(examples) = std::env::var_os("TIDEGATE_WEBHOOK_EXAMPLES") else { return };
    let directory = directory();
    let index = std::fs::read(Path::new(&examples).join("api.github.com/index.json")).unwrap();
    let events: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let mut planned = 0;
    for event in events.as_array().unwrap() {
        let name = event["name"].as_str().unwrap();
        for example in event["examples"].as_array().unwrap() {
            let action = example["action"].as_str().unwrap_or_default();
            let wanted = match name {
                "push" if example["deleted"] == false => 1,
                "merge_group" => 1,
                "pull_request" if matches!(action, "opened" | "synchronize" | "reopened" | "ready_for_review") => 2,
                _ => continue,
            };
            let file = directory.path().join("event.json");
            std::fs::write(&file, example.to_string()).unwrap();
            assert_eq!(plan(directory.path(), &file), Ok(wanted), "{name} {action}");
            planned += 1;
        }
    }
    assert!(planned >= 10, "{planned}");
}
