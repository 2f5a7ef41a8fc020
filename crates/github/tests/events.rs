//! Every payload in `events/`, and GitHub's published examples, through the parser.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tidegate_core::event::{Event, EventKind};
use tidegate_core::ids::DeliveryId;
use tidegate_core::time::Timestamp;
use tidegate_github::webhook::parse;

fn read(event: &str, body: &[u8]) -> Event {
    let delivery = DeliveryId::new("72d3162e-cc78-11e3-81ab-4c9367dc0958").unwrap();
    parse(event, delivery, body, Timestamp(1_795_398_000_123)).unwrap()
}

#[test]
fn every_payload_is_understood() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "json"))
        .collect();
    files.sort();
    let readme = std::fs::read_to_string(directory.join("README.md")).unwrap();
    let mut events = BTreeMap::<String, String>::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(readme.contains(&format!("`{name}`")), "README.md lacks {name}");
        let event = read(name.split('.').next().unwrap(), &std::fs::read(&file).unwrap());
        let kind = serde_json::to_string(&event.kind).unwrap();
        assert!(kind.is_ascii() || !kind.contains('\u{0}'), "{name}");
        events.insert(name, kind);
    }
    let lines: Vec<String> = events.iter().map(|(name, kind)| format!("{name}: {kind}")).collect();
    insta::assert_snapshot!("payloads", lines.join("\n"));
}

/// GitHub's published examples: every `index.json` below the directory that `TIDEGATE_WEBHOOK_EXAMPLES` names (an installed npm
/// package `@octokit/webhooks-examples`).
#[test]
fn published_examples_are_all_understood() {
    let Some(directory) = std::env::var_os("TIDEGATE_WEBHOOK_EXAMPLES") else {
        #[expect(clippy::print_stderr, reason = "a skipped check says so")]
        {
            eprintln!("skipped: TIDEGATE_WEBHOOK_EXAMPLES is not set");
        }
        return;
    };
    let index = Path::new(&directory).join("api.github.com/index.json");
    let events: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    let mut counts = BTreeMap::<&str, usize>::new();
    for event in &events {
        let name = event["name"].as_str().unwrap();
        for example in event["examples"].as_array().unwrap() {
            let kind = match read(name, example.to_string().as_bytes()).kind {
                EventKind::Push(push) => {
                    assert_eq!(name, "push");
                    assert_eq!(push.repository.id.0, example["repository"]["id"]);
                    assert_eq!(push.git_ref.full(), example["ref"]);
                    assert_eq!(push.after.as_str(), example["after"]);
                    assert_eq!(push.deleted, example["deleted"]);
                    assert_eq!(push.created, example["created"]);
                    assert_eq!(push.head.is_none(), example["head_commit"].is_null());
                    assert_eq!(push.pusher, example["pusher"]["name"]);
                    assert_eq!(push.sender, example["sender"]["id"].as_u64());
                    "push"
                }
                EventKind::Ping { hook } => {
                    assert_eq!(hook, example["hook_id"]);
                    "ping"
                }
                EventKind::HookDeleted { hook } => {
                    assert_eq!((name, hook), ("meta", example["hook_id"].as_u64().unwrap()));
                    "meta"
                }
                EventKind::PullRequest(pull) => {
                    let said = &example["pull_request"];
                    assert_eq!((name, Some(pull.number)), ("pull_request", example["number"].as_u64()));
                    assert_eq!(pull.repository.id.0, example["repository"]["id"]);
                    assert_eq!(pull.head.commit.as_str(), said["head"]["sha"]);
                    assert_eq!(pull.head.branch, said["head"]["ref"].as_str().unwrap());
                    assert_eq!(pull.head.repository.map(|id| id.0), said["head"]["repo"]["id"].as_u64());
                    assert_eq!(pull.is_fork(), said["head"]["repo"]["id"] != said["base"]["repo"]["id"]);
                    assert_eq!(pull.base_branch, said["base"]["ref"].as_str().unwrap());
                    assert_eq!(pull.labels.len(), said["labels"].as_array().unwrap().len());
                    assert_eq!(pull.open, said["state"] == "open");
                    assert_eq!(pull.action.name(), example["action"].as_str().unwrap());
                    assert_eq!(pull.sender.id, example["sender"]["id"]);
                    "pull_request"
                }
                EventKind::MergeGroup(group) => {
                    assert_eq!(group.head.as_str(), example["merge_group"]["head_sha"]);
                    assert!(group.branch.starts_with("gh-readonly-queue/"), "{}", group.branch);
                    "merge_group"
                }
                EventKind::Rerun(rerun) => {
                    assert_eq!(rerun.app, example[name]["app"]["id"]);
                    assert_eq!(rerun.commit.as_str(), example[name]["head_sha"]);
                    "rerun"
                }
                EventKind::RefDeleted(deleted) => {
                    assert_eq!((name, deleted.git_ref.name()), ("delete", example["ref"].as_str().unwrap()));
                    "delete"
                }
                EventKind::Installation(installation) => {
                    assert!(matches!(name, "installation" | "installation_repositories"), "{name}");
                    assert_eq!(installation.id, example["installation"]["id"]);
                    let lists =
                        ["repositories", "repositories_added"].map(|list| example[list].as_array().map_or(0, Vec::len));
                    assert_eq!(installation.repositories.len(), lists.iter().sum::<usize>());
                    "installation"
                }
                EventKind::Repository(change) => {
                    assert_eq!(
                        (name, change.repository.id.0),
                        ("repository", example["repository"]["id"].as_u64().unwrap())
                    );
                    "repository"
                }
                EventKind::Comment(comment) => panic!("no example has a command: {comment:?}"),
                EventKind::Ignored { event, why } => {
                    assert!(!matches!(name, "push" | "ping" | "merge_group" | "delete"), "{name}: {why}");
                    assert_eq!(event, name);
                    let expected = why.starts_with("no use for")
                        || (name == "create" && why.starts_with("the push"))
                        || (name == "issue_comment" && why == "a comment without a command");
                    assert!(expected, "{name}: {why}");
                    "ignored"
                }
            };
            *counts.entry(kind).or_default() += 1;
        }
    }
    #[expect(clippy::print_stderr, reason = "the number of examples is what one wants to know")]
    {
        eprintln!("published examples: {counts:?}");
    }
    assert!(counts.values().sum::<usize>() >= 300, "{counts:?}");
}
