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
    let mut events = BTreeMap::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(readme.contains(&format!("`{name}`")), "README.md lacks {name}");
        let event = read(name.split('.').next().unwrap(), &std::fs::read(&file).unwrap());
        events.insert(name, event.kind);
    }
    insta::assert_json_snapshot!(events, @r#"
{
  "check_suite.requested.json": {
    "type": "ignored",
    "event": "check_suite",
    "why": "no use for the action `requested` of this event"
  },
  "installation.created.json": {
    "type": "ignored",
    "event": "installation",
    "why": "no use for the action `created` of this event"
  },
  "issues.opened.json": {
    "type": "ignored",
    "event": "issues",
    "why": "no use for the action `opened` of this event"
  },
  "ping.json": {
    "type": "ping",
    "hook": 491837205
  },
  "pull_request.opened.json": {
    "type": "ignored",
    "event": "pull_request",
    "why": "no use for the action `opened` of this event"
  },
  "push.branch-created.json": {
    "type": "push",
    "repository": {
      "id": 871203344,
      "full_name": "tidegate-demo/hello",
      "default_branch": "main"
    },
    "git_ref": {
      "branch": "feature/louder"
    },
    "before": "0000000000000000000000000000000000000000",
    "after": "9a4de2f0c17b3685a0e94c2d7f6b1835e0d2c4a7",
    "created": true,
    "deleted": false,
    "forced": false,
    "head": {
      "id": "9a4de2f0c17b3685a0e94c2d7f6b1835e0d2c4a7",
      "message": "Test the greeting in three languages\n\nThe test runs in three jobs of one step.",
      "author_name": "Mira Lund",
      "author_email": "mira@tidegate-demo.example",
      "skip": null
    },
    "pusher": "mira-lund",
    "sender": 88120457,
    "installation": 55019482
  },
  "push.branch-deleted.json": {
    "type": "push",
    "repository": {
      "id": 871203344,
      "full_name": "tidegate-demo/hello",
      "default_branch": "main"
    },
    "git_ref": {
      "branch": "feature/louder"
    },
    "before": "9a4de2f0c17b3685a0e94c2d7f6b1835e0d2c4a7",
    "after": "0000000000000000000000000000000000000000",
    "created": false,
    "deleted": true,
    "forced": false,
    "head": null,
    "pusher": "mira-lund",
    "sender": 88120457,
    "installation": 55019482
  },
  "push.forced.json": {
    "type": "push",
    "repository": {
      "id": 871203344,
      "full_name": "tidegate-demo/hello",
      "default_branch": "main"
    },
    "git_ref": {
      "branch": "feature/louder"
    },
    "before": "9a4de2f0c17b3685a0e94c2d7f6b1835e0d2c4a7",
    "after": "c05e7741d9b26f83a41e0c9d5782fb36e1a90d42",
    "created": false,
    "deleted": false,
    "forced": true,
    "head": {
      "id": "c05e7741d9b26f83a41e0c9d5782fb36e1a90d42",
      "message": "Test the greeting in four languages",
      "author_name": "Mira Lund",
      "author_email": "mira@tidegate-demo.example",
      "skip": null
    },
    "pusher": "mira-lund",
    "sender": 88120457,
    "installation": 55019482
  },
  "push.json": {
    "type": "push",
    "repository": {
      "id": 871203344,
      "full_name": "tidegate-demo/hello",
      "default_branch": "main"
    },
    "git_ref": {
      "branch": "main"
    },
    "before": "71d3e0b8c5f94a26e8d07b13fa5c69e2480d1b7c",
    "after": "9a4de2f0c17b3685a0e94c2d7f6b1835e0d2c4a7",
    "created": false,
    "deleted": false,
    "forced": false,
    "head": {
      "id": "9a4de2f0c17b3685a0e94c2d7f6b1835e0d2c4a7",
      "message": "Test the greeting in three languages\n\nThe test runs in three jobs of one step.",
      "author_name": "Mira Lund",
      "author_email": "mira@tidegate-demo.example",
      "skip": null
    },
    "pusher": "mira-lund",
    "sender": 88120457,
    "installation": 55019482
  },
  "push.null-head.json": {
    "type": "push",
    "repository": {
      "id": 871203344,
      "full_name": "tidegate-demo/hello",
      "default_branch": "main"
    },
    "git_ref": {
      "branch": "main"
    },
    "before": "9a4de2f0c17b3685a0e94c2d7f6b1835e0d2c4a7",
    "after": "c05e7741d9b26f83a41e0c9d5782fb36e1a90d42",
    "created": false,
    "deleted": false,
    "forced": false,
    "head": null,
    "pusher": "mira-lund",
    "sender": 88120457,
    "installation": null
  },
  "push.skip.json": {
    "type": "push",
    "repository": {
      "id": 871203344,
      "full_name": "tidegate-demo/hello",
      "default_branch": "main"
    },
    "git_ref": {
      "branch": "main"
    },
    "before": "9a4de2f0c17b3685a0e94c2d7f6b1835e0d2c4a7",
    "after": "28b7d4c90e1fa6358d2c07e94b51f3a86c0de7f2",
    "created": false,
    "deleted": false,
    "forced": false,
    "head": {
      "id": "28b7d4c90e1fa6358d2c07e94b51f3a86c0de7f2",
      "message": "Correct a word in the README [skip ci]",
      "author_name": "Mira Lund",
      "author_email": "mira@tidegate-demo.example",
      "skip": "[skip ci]"
    },
    "pusher": "mira-lund",
    "sender": 88120457,
    "installation": 55019482
  },
  "push.tag.json": {
    "type": "push",
    "repository": {
      "id": 871203344,
      "full_name": "tidegate-demo/hello",
      "default_branch": "main"
    },
    "git_ref": {
      "tag": "v1.2.0"
    },
    "before": "0000000000000000000000000000000000000000",
    "after": "b6e1f4029d7c8a35e0f21b64c9d873fa510e2c9b",
    "created": true,
    "deleted": false,
    "forced": false,
    "head": {
      "id": "9a4de2f0c17b3685a0e94c2d7f6b1835e0d2c4a7",
      "message": "Test the greeting in three languages\n\nThe test runs in three jobs of one step.",
      "author_name": "Mira Lund",
      "author_email": "mira@tidegate-demo.example",
      "skip": null
    },
    "pusher": "mira-lund",
    "sender": 88120457,
    "installation": 55019482
  },
  "star.created.json": {
    "type": "ignored",
    "event": "star",
    "why": "no use for the action `created` of this event"
  },
  "workflow_job.queued.json": {
    "type": "ignored",
    "event": "workflow_job",
    "why": "no use for the action `queued` of this event"
  }
}
"#);
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
                EventKind::Ignored { event, why } => {
                    assert!(!matches!(name, "push" | "ping"), "{name}: {why}");
                    assert_eq!(event, name);
                    assert!(why.starts_with("no use for"), "{name}: {why}");
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
