//! Stored formats, held by files: today's reader reads them, and today's writer writes the same bytes.
//!
//! A file of `tests/golden` is what a release has written. When a format changes on purpose, the old file stays under the
//! name of its release and must still be read, and `cargo test -p tidegate-core --test golden -- --ignored` writes the new
//! one (`spec/hazards.md` M9).

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tidegate_core::attempt::{Attempt, Cause, Claimant, Finish};
use tidegate_core::build::{self, Build, Ended, Graph, Limits};
use tidegate_core::event::{Event, EventKind, GitRef, HeadCommit, Push, Repository};
use tidegate_core::fleet::{self, Demand, Fleet, Policy, PoolPolicy, Requirement};
use tidegate_core::group::{self, Group, Member};
use tidegate_core::ids::{
    AttemptId, BuildId, CommitSha, DeliveryId, InstanceId, JobIndex, PoolName, RepositoryId, RepositoryName,
};
use tidegate_core::plan::Segment;
use tidegate_core::time::Timestamp;
use tidegate_core::trust::Trust;
use tidegate_core::wire::envelope;
use tidegate_core::wire::gate::{CancelReason, LogExtent, Outcome};

/// What becomes of each record: written, or compared.
trait Visit {
    fn record<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, value: T);
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.json"))
}

struct Compare {
    names: Vec<String>,
    wrong: Vec<String>,
}

impl Visit for Compare {
    fn record<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, value: T) {
        self.names.push(name.to_owned());
        let Ok(stored) = std::fs::read(path(name)) else {
            self.wrong.push(format!("{name}: there is no such file"));
            return;
        };
        match envelope::open::<T>(&stored) {
            Ok(read) if read == value => {}
            Ok(read) => self.wrong.push(format!("{name}: read as {read:?}")),
            Err(error) => self.wrong.push(format!("{name}: {error}")),
        }
        let written = envelope::to_json(&value).unwrap();
        if written != stored {
            self.wrong.push(format!("{name}: written as {}", String::from_utf8_lossy(&written)));
        }
    }
}

struct Write;

impl Visit for Write {
    fn record<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, value: T) {
        std::fs::write(path(name), envelope::to_json(&value).unwrap()).unwrap();
    }
}

#[test]
fn golden_files_are_read_and_written_as_they_are() {
    let mut compare = Compare { names: Vec::new(), wrong: Vec::new() };
    records(&mut compare);
    assert!(compare.wrong.is_empty(), "{}", compare.wrong.join("\n"));
    let mut files: Vec<String> = std::fs::read_dir(path("x").parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().trim_end_matches(".json").to_owned())
        .collect();
    files.sort();
    compare.names.sort();
    assert_eq!(files, compare.names, "a file that nobody reads, or one that is missing");
}

#[test]
#[ignore = "writes the files"]
fn write_golden_files() {
    records(&mut Write);
}

fn build_id() -> BuildId {
    BuildId::new("0197a7c0-0000-7000-8000-000000000001").unwrap()
}

fn attempt_id(job: u32, number: u32) -> AttemptId {
    AttemptId { build: build_id(), job: JobIndex(job), number }
}

fn machine(n: u32) -> InstanceId {
    InstanceId::new(format!("i-{n:017x}")).unwrap()
}

fn pool() -> PoolName {
    PoolName::new("default").unwrap()
}

fn commit(digit: &str) -> CommitSha {
    CommitSha::new(digit.repeat(40)).unwrap()
}

fn records(visit: &mut impl Visit) {
    attempts(visit);
    builds(visit);
    fleets(visit);
    groups(visit);
    events(visit);
}

fn attempts(visit: &mut impl Visit) {
    let queued: Attempt = serde_json::from_value(json!({
        "id": attempt_id(3, 2), "trust": "trusted", "requirement": "os=linux,queue=default", "retry_count": 1,
        "created_at": 1_000, "deadline": 86_401_000, "phase": { "state": "queued" },
    }))
    .unwrap();
    visit.record("attempt-queued", queued.clone());
    let (instance, boot) = (machine(1), "b0075bad");
    let by = Claimant { instance: &instance, boot, pool: &pool(), trust: Trust::Trusted };
    let held = queued.claim(by, Timestamp(2_000)).unwrap().unwrap();
    let (held, _) = held.start(&instance, boot, Timestamp(3_000)).unwrap();
    let held = held.unwrap().upload(&instance, boot, "0197a7c0-0000-4000-8000-00000000000a").unwrap().unwrap();
    let marked = held.cancel(CancelReason::Timeout, Timestamp(4_000)).unwrap();
    visit.record("attempt-held", marked.clone());
    let outcome = Outcome {
        cause: Cause::Timeout,
        exit_status: Some(143),
        signal: Some("TERM".into()),
        detail: Some("the limit of 10 minutes was reached".into()),
        permanent: false,
        first_output_ms: Some(12),
        log: LogExtent { chunks: 2, bytes: 70_000, dropped: 0 },
        tail: "one\ntwo".into(),
        uploads: 1,
    };
    let Finish::Accepted(ended) = marked.finish(&instance, boot, outcome.clone(), Timestamp(5_000)).unwrap() else {
        panic!("it was held")
    };
    let late = Outcome { exit_status: Some(0), cause: Cause::Exit, ..outcome };
    let Finish::Late(Some(ended)) = ended.finish(&instance, boot, late, Timestamp(6_000)).unwrap() else {
        panic!("it had ended")
    };
    visit.record("attempt-ended", *ended.clone());
    visit.record("build-input-ended", build::Input::Ended(Ended::of(&ended).unwrap()));
}

/// A plan with every kind of step and most attributes.
fn segment() -> Segment {
    let any = |rule: serde_json::Value| {
        let mut rule = rule;
        rule["signal"] = json!(["*"]);
        rule["signal_reason"] = json!(["*"]);
        rule
    };
    serde_json::from_value(json!({
        "steps": [
            {
                "key": "test", "label": "Test", "group": 0, "depends_on": "implicit", "type": "command",
                "command": "make test", "env": [["A", "1"]], "agents": [["os", "linux"], ["queue", "default"]],
                "artifact_paths": ["out/**/*"], "plugins": [{ "source": "github.com/o/p-buildkite-plugin#v1", "config": { "x": 1 } }],
                "secrets": [["TOKEN", "token"]], "soft_fail": { "on": [3, null] }, "image": "rust",
                "jobs": [
                    { "matrix": [["os", "linux"]], "label": "Test linux", "parallel": [0, 2] },
                    { "left_out": { "kind": "skipped", "why": "not on Tuesdays" } },
                ],
                "retry": { "automatic": [any(json!({ "exit_status": { "one_of": [-1, 255] }, "limit": 2 })),
                                         any(json!({ "exit_status": "any", "limit": 1 }))],
                           "manual": { "allowed": true, "permit_on_passed": false, "reason": "it deploys" } },
                "timeout_in_minutes": 10, "priority": 2, "cancel_on_build_failing": true,
                "concurrency": { "group": "deploy", "limit": 1, "eager": true },
                "notify": [{ "service": "slack", "config": "#ci", "if": "build.state == \"failed\"" }],
            },
            { "label": "wait", "depends_on": "implicit", "type": "wait", "continue_on_failure": true },
            {
                "key": "ok", "label": "Deploy?", "depends_on": "implicit", "type": "block", "prompt": "Sure?",
                "blocked_state": "running",
                "fields": [
                    { "key": "why", "required": true, "input": { "text": { "format": "[a-z]+" } } },
                    { "key": "where", "required": false, "default": ["eu"],
                      "input": { "select": { "options": [["Europe", "eu"]], "multiple": true } } },
                ],
            },
            {
                "label": "Ask", "depends_on": { "explicit": [{ "key": "test", "allow_failure": true }] },
                "allow_dependency_failure": true, "type": "input", "blocked_state": "passed",
                "left_out": { "kind": "broken", "why": "`build.tag` is null" },
            },
            {
                "label": "Child", "depends_on": { "explicit": [] }, "type": "trigger", "pipeline": "child",
                "branch": "main", "asynchronous": true, "soft_fail": "always", "parallelism": 1,
                "left_out": { "kind": "skipped", "why": "not today" },
            },
        ],
        "groups": [{ "key": "tests", "label": "Tests" }],
        "env": [["B", "${A}"]],
        "notify": [{ "service": "github_commit_status", "config": { "context": "x" } }],
        "diagnostics": [{ "file": "pipeline.yml", "line": 3, "column": 5, "severity": "warning", "code": "unknown-key",
                          "message": "`lable` is no attribute of a step", "help": "did you mean `label`?" }],
    }))
    .unwrap()
}

fn builds(visit: &mut impl Visit) {
    let plan = segment();
    visit.record("segment", plan.clone());
    let facts: build::Facts = serde_json::from_value(json!({
        "id": build_id(), "number": 42, "pipeline": "hello", "repository": 7, "repository_name": "octo/hello",
        "git_ref": { "branch": "main" }, "commit": commit("a"), "message": "Say hello\n\nTo the world é",
        "author": ["Mona", "mona@example.com"], "creator": "mona", "source": "webhook", "trust": "trusted",
        "env": [["RELEASE", "1"]], "created_at": 1_000, "default_branch": "main",
        "rebuilt_from": "0197a7c0-0000-7000-8000-000000000000",
    }))
    .unwrap();
    let mut build = Build::new(facts.clone(), "plans/a/0".into(), &plan);
    let segments = vec![plan.clone().into()];
    let graph = Graph::new(&build.segments, segments);
    let (limits, now) = (Limits::default(), Timestamp(2_000));
    build.settle(&graph, now);
    visit.record("build-new", build.clone());
    build.fold(&build::Input::Granted { job: JobIndex(0), round: 1 }, &graph, None, &limits, now);
    build.settle(&graph, now);
    build.clear(&build.effects(&graph));
    build.fold(&build::Input::Started { at: Timestamp(3_000) }, &graph, None, &limits, now);
    let upload = build::Input::Uploaded { by: JobIndex(0), number: 1, blob: "plans/a/1".into(), replace: true };
    let more = Segment { steps: vec![plan.steps[1].clone()], ..Segment::default() };
    build.fold(&upload, &graph, Some(&more), &limits, now);
    let graph = Graph::new(&build.segments, vec![plan.into(), more.into()]);
    let lost = Ended {
        job: JobIndex(0),
        number: 1,
        cause: Cause::Lost,
        exit_status: None,
        signal: None,
        permanent: false,
        started: true,
        uploads: 1,
    };
    build.fold(&build::Input::Ended(lost), &graph, None, &limits, now);
    build.settle(&graph, Timestamp(4_000));
    build.folded = vec!["0001".into()];
    assert_eq!(build.state, build::BuildState::Running);
    visit.record("build-running", build.clone());
    build.fold(&build::Input::Cancel { by: "mona".into() }, &graph, None, &limits, Timestamp(5_000));
    build.settle(&graph, Timestamp(5_000));
    visit.record("build-canceling", build);
    visit.record("build-people", people(facts.clone()));
    let mut failed = Build::failed(facts, "`pipeline.yml` has errors".into(), segment().diagnostics);
    failed.settle(&Graph::default(), Timestamp(2_000));
    visit.record("build-failed", failed);
    visit.record("build-input-uploaded", upload);
    visit.record("build-input-started", build::Input::Started { at: Timestamp(3_000) });
    visit.record("build-input-cancel", build::Input::Cancel { by: "mona".into() });
    visit.record(
        "build-input-retry",
        build::Input::Retry { job: Some(JobIndex(1)), by: "mona".into(), wish: String::new() },
    );
    visit.record("build-input-unblock", build::Input::Unblock { job: JobIndex(3), by: "mona".into(), form: None });
    let change = build::StepChange::Label("Deploy".into());
    visit.record("build-input-change-step", build::Input::ChangeStep { job: JobIndex(1), uuid: "u".into(), change });
    visit.record("build-input-cancel-step", build::Input::CancelStep { job: JobIndex(1) });
    let form = Some("000001-0000000001-00000001".to_owned());
    visit.record("build-input-unblock-form", build::Input::Unblock { job: JobIndex(3), by: "mona".into(), form });
    let end = build::TriggerEnd::Ended(build::BuildState::Failed);
    visit.record("build-input-triggered", build::Input::Triggered { job: JobIndex(5), number: 1, end });
    let (skip, cancel) = (true, false);
    visit.record("build-input-superseded", build::Input::Superseded { by: "hello#43".into(), skip, cancel });
    visit.record("build-input-granted", build::Input::Granted { job: JobIndex(0), round: 2 });
}

/// A build that a trigger step made, in which people and newer builds have done everything that they can.
fn people(facts: build::Facts) -> Build {
    let plan: Segment = serde_json::from_value(json!({
        "steps": [
            { "key": "ok", "label": "Deploy?", "depends_on": "implicit", "type": "block" },
            { "key": "go", "label": "Go", "depends_on": { "explicit": [] }, "type": "trigger", "pipeline": "child",
              "parallelism": 1 },
        ],
    }))
    .unwrap();
    let by = build::TriggeredBy {
        build: build_id(),
        number: 41,
        pipeline: facts.pipeline.clone(),
        job: JobIndex(2),
        attempt: 1,
        depth: 2,
    };
    let facts = build::Facts { triggered_by: Some(Box::new(by)), rebuilt_number: Some(40), ..facts };
    let mut build = Build::new(facts, "plans/b/0".into(), &plan);
    let graph = Graph::new(&build.segments, vec![plan.into()]);
    let (limits, now) = (Limits::default(), Timestamp(2_000));
    build.settle(&graph, now);
    let unblock = build::Input::Unblock { job: JobIndex(0), by: "mona".into(), form: Some("f1".into()) };
    let end = build::TriggerEnd::Refused;
    let inputs = [
        unblock,
        build::Input::Triggered { job: JobIndex(1), number: 1, end },
        build::Input::Retry { job: None, by: "mona".into(), wish: String::new() },
        build::Input::Superseded { by: "hello#43".into(), skip: true, cancel: false },
    ];
    for input in inputs {
        build.fold(&input, &graph, None, &limits, now);
        build.settle(&graph, now);
    }
    build.answered = 3;
    build
}

fn fleets(visit: &mut impl Visit) {
    let seconds = std::time::Duration::from_secs;
    let policy = Policy {
        pools: vec![PoolPolicy {
            name: pool(),
            width: 4,
            idle: seconds(60),
            hard_stop: seconds(3600),
            tags: vec![("queue".into(), "default".into())],
            trust: Trust::Trusted,
            isolation: tidegate_core::fleet::Isolation::InForce,
        }],
        boot: seconds(300),
        silence: seconds(30),
        no_capacity: seconds(20),
        ticket_patience: seconds(60),
    };
    let seen = fleet::Input::Seen {
        asked_at: Timestamp(70_000),
        alive: BTreeMap::from([(machine(2), (pool(), "a".to_owned()))]),
        gone: BTreeMap::from([(machine(1), "spot interruption".to_owned())]),
        taken: std::collections::BTreeSet::new(),
        beats: BTreeMap::from([(machine(2), 17)]),
    };
    let claimed = fleet::Input::Claimed { instance: machine(1), pool: pool(), attempt: attempt_id(0, 1), seq: 2 };
    let launched = fleet::Input::Launched { pool: pool(), token: "a".into(), instances: vec![machine(1), machine(2)] };
    let none = fleet::Input::NoCapacity { pool: pool(), token: "b".into(), why: "no spot capacity".into() };
    let inputs = [
        ("launched", launched),
        ("no-capacity", none),
        ("unanswered", fleet::Input::Unanswered { pool: pool(), token: "c".into(), ask_after: Timestamp(80_000) }),
        ("up", fleet::Input::Up { instance: machine(1), pool: pool(), seq: 1 }),
        ("sent", fleet::Input::Sent { pool: pool(), attempts: vec![attempt_id(0, 1)] }),
        ("unsent", fleet::Input::Unsent { pool: pool(), attempts: vec![attempt_id(0, 1)] }),
        ("claimed", claimed),
        ("freed", fleet::Input::Freed { instance: machine(3), pool: pool(), seq: 3 }),
        ("closing", fleet::Input::Closing { instance: machine(3), pool: pool(), seq: 4 }),
        ("void", fleet::Input::Void { pool: pool(), attempt: attempt_id(9, 1) }),
        ("seen", seen),
        ("buried", fleet::Input::Buried { instance: machine(4) }),
    ];
    let mut fleet = Fleet::default();
    fleet.intend(&pool(), "a".into(), 2, Timestamp(1_000));
    fleet.intend(&pool(), "b".into(), 1, Timestamp(1_000));
    fleet.intend(&pool(), "c".into(), 1, Timestamp(1_000));
    fleet.give_out(&pool(), attempt_id(0, 1), Timestamp(1_000));
    fleet.give_out(&pool(), attempt_id(1, 1), Timestamp(1_000));
    for (name, input) in inputs {
        fleet.fold(input.clone(), &policy, Timestamp(2_000));
        visit.record(&format!("fleet-input-{name}"), input);
    }
    fleet.folded = vec!["0001".into()];
    visit.record("fleet", fleet);
    let demand = Demand {
        build: build_id(),
        line: 1,
        requirement: Requirement::new(&[("os".into(), "linux".into())]),
        trust: Trust::Untrusted,
        priority: -1,
        created_at: Timestamp(1_000),
        ready: 5,
        released: 2,
    };
    assert_eq!(
        demand.order_key(),
        "09223372036854775808/000000000001000/0197a7c0-0000-7000-8000-000000000001/1",
        "part of a key"
    );
    visit.record("demand", demand);
}

fn groups(visit: &mut impl Visit) {
    let member = |job: u32| Member {
        build: build_id(),
        job: JobIndex(job),
        round: 1,
        limit: 1,
        eager: false,
        order: (Timestamp(1_000), build_id(), JobIndex(job)),
        told: false,
        early: false,
        since: None,
    };
    let join = group::Input::Join(member(0));
    let told = group::Input::Told { build: build_id(), job: JobIndex(0), round: 1 };
    let leave = group::Input::Leave { build: build_id(), job: JobIndex(9), round: 1 };
    let mut group = Group { name: "deploy".into(), folded: vec!["0001".into()], ..Group::default() };
    group.fold(join.clone());
    group.fold(group::Input::Join(member(1)));
    group.grant();
    group.fold(told.clone());
    visit.record("group", group);
    visit.record("group-input-join", join);
    visit.record("group-input-told", told);
    visit.record("group-input-leave", leave);
}

fn events(visit: &mut impl Visit) {
    let event = |kind| Event {
        delivery: DeliveryId::new("72d3162e-cc78-11e3-81ab-4c9367dc0958").unwrap(),
        received_at: Timestamp(1_000),
        kind,
    };
    let push = Push {
        repository: Repository {
            id: RepositoryId(7),
            full_name: RepositoryName::new("octo/hello").unwrap(),
            default_branch: "main".into(),
            private: None,
        },
        git_ref: GitRef::Tag("v1".into()),
        before: commit("0"),
        after: commit("b"),
        created: true,
        deleted: false,
        forced: false,
        head: Some(HeadCommit {
            id: commit("a"),
            message: "Release é".into(),
            author_name: "Mona".into(),
            author_email: "mona@example.com".into(),
            skip: Some("[skip ci]".into()),
        }),
        pusher: "mona".into(),
        sender: Some(1),
        installation: None,
    };
    visit.record("event-push", event(EventKind::Push(Box::new(push))));
    visit.record("event-ping", event(EventKind::Ping { hook: 3 }));
    let why = "nothing to build".to_owned();
    visit.record("event-ignored", event(EventKind::Ignored { event: "star".into(), why }));
}
