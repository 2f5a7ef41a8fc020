//! How far work is trusted, and what follows: each test is a row of the table in `docs/trust.md`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hosted;

use std::time::Duration;

use hosted::{Hosted, ONE, STRANGER, WEB, ZERO, fork, pipeline, pool_of_strangers, pull, sha, then, trusted_pool, web};
use tidegate_core::attempt::{Cause, Refused};
use tidegate_core::build::BuildState;
use tidegate_core::event::{Ask, Changed, Comment, EventKind, Person, PullAction, PullRequest, RepositoryChange};
use tidegate_core::fleet::Isolation;
use tidegate_core::ids::{AttemptId, BuildId, InstanceId, JobIndex, PoolName};
use tidegate_core::trust::{Forks, Trust};
use tidegate_core::wire::gate::{LogExtent, Next, Outcome, ReportResult};
use tidegate_engine::api::{BuildName, Rebuild};
use tidegate_engine::gate::{Caller, GateError};

/// The end of a job that did well.
fn passed() -> Outcome {
    Outcome {
        cause: Cause::Exit,
        exit_status: Some(0),
        signal: None,
        detail: None,
        permanent: false,
        first_output_ms: None,
        log: LogExtent::default(),
        tail: String::new(),
        uploads: 0,
    }
}

/// An approval, as somebody writes it below a pull request.
async fn approves(hosted: &Hosted, by: &str, number: u64, commit: &str) -> Option<String> {
    comments(hosted, by, number, Ask::Approve(sha(commit))).await
}

async fn comments(hosted: &Hosted, by: &str, number: u64, ask: Ask) -> Option<String> {
    let author = Person { id: 1, login: by.to_owned() };
    let comment = Comment { id: 11, repository: web(), number, author, ask, installation: None };
    hosted.tell(EventKind::Comment(Box::new(comment))).await.why
}

/// Claims the first attempt of a build for a machine of a pool.
async fn claim(
    hosted: &Hosted,
    machine: &str,
    pool: &str,
    build: &BuildId,
) -> (Caller, AttemptId, Result<(), GateError>) {
    let caller = Caller { instance: InstanceId::new(machine).unwrap(), pool: PoolName::new(pool).unwrap() };
    let attempt = AttemptId { build: build.clone(), job: JobIndex(0), number: 1 };
    let next = Next { boot: "boot".to_owned(), wait_ms: 0 };
    // Where there is a ticket for it, it is taken; otherwise the machine tries all the same.
    let answer = hosted.engine.next(&caller, &next).await.unwrap();
    let claimed = match answer.assignment {
        Some(given) if given.attempt == attempt => Ok(()),
        Some(_) | None => hosted.engine.claim(&caller, "boot", &attempt).await,
    };
    (caller, attempt, claimed)
}

/// A repository with a fork's pull request, and the build that waits for approval.
async fn held() -> (Hosted, PullRequest, BuildId) {
    let hosted = Hosted::new(ONE).await;
    let commit = hosted.commit_of_fork(5, &[]);
    let pull = fork(5, &commit);
    let builds = hosted.pulled(&pull).await.builds;
    let [build] = builds.as_slice() else { panic!("{builds:?}") };
    (hosted, pull, build.clone())
}

async fn approved() -> (Hosted, PullRequest, BuildId) {
    let (hosted, pull, build) = held().await;
    assert_eq!(approves(&hosted, "teller", 5, pull.head.commit.as_str()).await, None);
    (hosted, pull, build)
}

#[tokio::test]
async fn a_push_is_trusted() {
    let hosted = Hosted::new(ONE).await;
    let head = hosted.git(&["rev-parse", "HEAD"]);
    let record = hosted.pushed("main", ZERO, &head).await;
    assert_eq!(hosted.build(&record.builds[0]).await.trust, Some(Trust::Trusted));
}

#[tokio::test]
async fn a_pull_request_of_the_repository_itself_is_trusted() {
    let hosted = Hosted::new(ONE).await;
    let head = hosted.git(&["rev-parse", "HEAD"]);
    let record = hosted.pulled(&pull(3, "topic", &head)).await;
    let build = hosted.build(&record.builds[0]).await;
    assert_eq!((build.trust, build.build.state), (Some(Trust::Trusted), BuildState::Scheduled));
}

#[tokio::test]
async fn a_fork_is_refused_where_nothing_isolates_it() {
    for (pools, wanted) in [
        (vec![trusted_pool()], "no [[pool]] has `trust = \"untrusted\"`"),
        (
            vec![trusted_pool(), pool_of_strangers(Isolation::Missing("jobs run as the server's user".to_owned()))],
            "in pool `forks` isolation is not in force: jobs run as the server's user",
        ),
    ] {
        let hosted = Hosted::with(ONE, |settings| settings.policy.pools = pools).await;
        let commit = hosted.commit_of_fork(5, &[]);
        let record = hosted.pulled(&fork(5, &commit)).await;
        let build = hosted.build(&record.builds[0]).await;
        assert_eq!((build.build.state, build.jobs.len()), (BuildState::Failed, 0));
        assert!(build.failure.contains(wanted), "{}", build.failure);
    }
    // Where the owner has accepted that nothing isolates it, there is somewhere to go.
    let hosted = Hosted::with(ONE, |settings| {
        settings.policy.pools = vec![trusted_pool(), pool_of_strangers(Isolation::Waived)];
    })
    .await;
    let commit = hosted.commit_of_fork(5, &[]);
    let record = hosted.pulled(&fork(5, &commit)).await;
    assert_eq!(hosted.state(&record.builds[0]).await, BuildState::Blocked);
}

#[tokio::test]
async fn a_fork_waits_for_approval() {
    let (hosted, pull, build) = held().await;
    let shown = hosted.build(&build).await;
    assert_eq!((shown.build.state, shown.trust, shown.jobs.len()), (BuildState::Blocked, Some(Trust::Untrusted), 0));
    assert!(shown.waits.contains(&format!("/approve {}", pull.head.commit)), "{}", shown.waits);
    let why = hosted.engine.why(&BuildName::Id(build), None).await.unwrap();
    assert!(why.sentence.contains("waits for approval"), "{}", why.sentence);
}

#[tokio::test]
async fn an_approved_fork_is_built_and_not_trusted() {
    let (hosted, _, build) = approved().await;
    let shown = hosted.build(&build).await;
    assert_eq!((shown.build.state, shown.trust), (BuildState::Scheduled, Some(Trust::Untrusted)));
    assert_eq!(shown.jobs.len(), 1);
    assert_eq!((shown.acts[0].what.as_str(), shown.acts[0].by.as_str()), ("approved", "teller"));
}

#[tokio::test]
async fn an_outsider_approves_nothing() {
    let (hosted, pull, build) = held().await;
    let why = approves(&hosted, "stranger", 5, pull.head.commit.as_str()).await.unwrap();
    assert_eq!(why, "`stranger` has no write access to `story/web`");
    assert_eq!(hosted.state(&build).await, BuildState::Blocked);
}

#[tokio::test]
async fn an_approval_is_for_one_commit() {
    let (hosted, pull, build) = held().await;
    let other = hosted.git(&["rev-parse", "main"]);
    let why = approves(&hosted, "teller", 5, &other).await.unwrap();
    assert!(why.starts_with("no build of pull request #5 waits for approval"), "{why}");
    // Neither by another pull request, nor by a part of the id.
    assert!(approves(&hosted, "teller", 6, pull.head.commit.as_str()).await.is_some());
    let short = Ask::ApproveWhat(pull.head.commit.short().to_owned());
    assert!(comments(&hosted, "teller", 5, short).await.unwrap().contains("all of its 40 digits"));
    assert_eq!(hosted.state(&build).await, BuildState::Blocked);
}

#[tokio::test]
async fn a_new_push_needs_a_new_approval() {
    let (hosted, first, build) = approved().await;
    let commit = hosted.commit_of_fork(5, &[("more", "1")]);
    let moved = PullRequest {
        head: tidegate_core::event::PullHead { commit: sha(&commit), ..first.head.clone() },
        ..then(&first, PullAction::Synchronize { before: Some(first.head.commit.clone()) }, 5)
    };
    let second = hosted.pulled(&moved).await.builds.remove(0);
    assert_ne!(second, build);
    assert_eq!(hosted.state(&second).await, BuildState::Blocked);
    // The approval of the first is used up.
    assert!(approves(&hosted, "teller", 5, first.head.commit.as_str()).await.is_some());
    assert_eq!(hosted.state(&second).await, BuildState::Blocked);
    // What waited is not built any more when there is something newer, and its approval comes too late.
    let commit = hosted.commit_of_fork(5, &[("more", "2")]);
    let again = PullRequest {
        head: tidegate_core::event::PullHead { commit: sha(&commit), ..moved.head.clone() },
        ..then(&moved, PullAction::Synchronize { before: Some(moved.head.commit.clone()) }, 6)
    };
    let third = hosted.pulled(&again).await.builds.remove(0);
    assert_eq!(hosted.state(&second).await, BuildState::Skipped);
    assert!(approves(&hosted, "teller", 5, moved.head.commit.as_str()).await.is_some());
    assert_eq!((hosted.state(&second).await, hosted.state(&third).await), (BuildState::Skipped, BuildState::Blocked));
}

async fn by_policy(policy: &str) -> (Hosted, tidegate_engine::DeliveryRecord) {
    let hosted = Hosted::new(ONE).await;
    hosted.commit(&[(".tidegate/policy.yml", policy)], "policy");
    let commit = hosted.commit_of_fork(5, &[]);
    let record = hosted.pulled(&fork(5, &commit)).await;
    (hosted, record)
}

#[tokio::test]
async fn a_policy_lets_forks_be_built_or_not() {
    let (hosted, record) = by_policy("forks: { build: always }\n").await;
    let build = hosted.build(&record.builds[0]).await;
    assert_eq!((build.build.state, build.trust), (BuildState::Scheduled, Some(Trust::Untrusted)));
    let (_, record) = by_policy("forks: { build: never }\n").await;
    assert_eq!(record.why.as_deref(), Some("pull requests from forks are not built here"));
    let trusted = format!("forks: {{ trust: [{{ login: stranger, id: {STRANGER} }}] }}\n");
    let (hosted, record) = by_policy(&trusted).await;
    let build = hosted.build(&record.builds[0]).await;
    assert_eq!((build.build.state, build.trust), (BuildState::Scheduled, Some(Trust::Trusted)));
}

#[tokio::test]
async fn the_owner_of_the_server_may_be_stricter_than_a_policy() {
    let hosted =
        Hosted::with(ONE, |settings| settings.pipelines = vec![pipeline(|p| p.forks = Some(Forks::Approved))]).await;
    hosted.commit(&[(".tidegate/policy.yml", "forks: { build: always }\n")], "policy");
    let commit = hosted.commit_of_fork(5, &[]);
    let record = hosted.pulled(&fork(5, &commit)).await;
    assert_eq!(hosted.state(&record.builds[0]).await, BuildState::Blocked);
}

#[tokio::test]
async fn what_a_fork_says_of_itself_does_not_count() {
    let hosted = Hosted::new(ONE).await;
    let trusts = format!("forks: {{ build: always, trust: [{{ id: {STRANGER} }}] }}\n");
    let commit = hosted.commit_of_fork(5, &[(".tidegate/policy.yml", &trusts)]);
    let record = hosted.pulled(&fork(5, &commit)).await;
    let build = hosted.build(&record.builds[0]).await;
    assert_eq!((build.build.state, build.trust), (BuildState::Blocked, Some(Trust::Untrusted)));
}

#[tokio::test]
async fn a_policy_that_is_wrong_builds_no_fork() {
    let (hosted, record) = by_policy("forks: { build: alwais }\n").await;
    let build = hosted.build(&record.builds[0]).await;
    assert_eq!(build.build.state, BuildState::Failed);
    assert_eq!(build.failure, "1 error in `.tidegate/policy.yml` of the default branch: no fork is built");
    assert_eq!(build.diagnostics[0].help.as_deref(), Some("did you mean `always`?"));
}

#[tokio::test]
async fn what_becomes_public_trusts_no_fork() {
    let trusted = format!("forks: {{ trust: [{{ login: stranger, id: {STRANGER} }}] }}\n");
    let (hosted, record) = by_policy(&trusted).await;
    let published = RepositoryChange { repository: web(), changed: Changed::Publicized, installation: None };
    let why = hosted.tell(EventKind::Repository(Box::new(published))).await.why.unwrap();
    assert!(why.contains("builds canceled: 1"), "{why}");
    assert_eq!(hosted.state(&record.builds[0]).await, BuildState::Canceled);
    // A late event that says otherwise changes nothing.
    let commit = hosted.commit_of_fork(6, &[("more", "1")]);
    let record = hosted.pulled(&fork(6, &commit)).await;
    assert_eq!(hosted.build(&record.builds[0]).await.trust, Some(Trust::Untrusted));
}

#[tokio::test]
async fn forks_are_told_by_their_ids() {
    let hosted = Hosted::new(ONE).await;
    let commit = hosted.commit_of_fork(5, &[]);
    // The name of the repository itself, taken by somebody after it was renamed.
    let mut pull = fork(5, &commit);
    pull.head.full_name = Some(web().full_name);
    pull.head.owner = "story".to_owned();
    let record = hosted.pulled(&pull).await;
    assert_eq!(hosted.build(&record.builds[0]).await.trust, Some(Trust::Untrusted));
    // And the repository itself under an old name.
    let head = hosted.git(&["rev-parse", "main"]);
    let mut pull = hosted::pull(6, "topic", &head);
    pull.head.full_name = tidegate_core::ids::RepositoryName::new("story/old").ok();
    assert_eq!(pull.repository.id.0, WEB);
    let record = hosted.pulled(&pull).await;
    assert_eq!(hosted.build(&record.builds[0]).await.trust, Some(Trust::Trusted));
}

#[tokio::test]
async fn the_branch_of_a_fork_has_its_owner_in_its_name() {
    let text = "steps:\n  - { command: deploy, key: deploy, if: build.branch == \"main\" }\n  - { command: test, key: test, if: build.pull_request.repository.fork }\n";
    let hosted = Hosted::new(text).await;
    let commit = hosted.commit_of_fork(5, &[]);
    let record = hosted.pulled(&fork(5, &commit)).await;
    assert_eq!(approves(&hosted, "teller", 5, &commit).await, None);
    let build = hosted.build(&record.builds[0]).await;
    let states: Vec<(&str, &str)> =
        build.jobs.iter().map(|job| (job.key.as_deref().unwrap_or_default(), job.state.as_str())).collect();
    assert_eq!(states, [("deploy", "broken"), ("test", "scheduled")]);
    assert_eq!(build.build.git_ref.as_deref(), Some("refs/pull/5/head"));
}

#[tokio::test]
async fn a_fork_that_is_gone_is_not_built() {
    let hosted = Hosted::new(ONE).await;
    let commit = hosted.commit_of_fork(5, &[]);
    let mut pull = fork(5, &commit);
    pull.head.repository = None;
    let record = hosted.pulled(&pull).await;
    assert_eq!(record.why.as_deref(), Some("the fork that the pull request came from is gone"));
}

#[tokio::test]
async fn running_again_does_not_raise_trust() {
    let (hosted, pull, build) = approved().await;
    let again = hosted.engine.rebuild(&BuildName::Id(build.clone()), &Rebuild::default()).await.unwrap();
    assert_eq!(hosted.build(&again).await.trust, Some(Trust::Untrusted));
    // Nor does what somebody with write access asks for below the pull request.
    hosted.engine.cancel_build(&BuildName::Id(again), "teller").await.unwrap();
    hosted.is_now(&pull);
    assert_eq!(comments(&hosted, "teller", 5, Ask::Retest).await, None);
    assert!(hosted.builds().await.iter().all(|build| build.trust == Some(Trust::Untrusted)));
}

#[tokio::test]
async fn an_outsider_runs_nothing_again() {
    let hosted = Hosted::new(ONE).await;
    let head = hosted.git(&["rev-parse", "HEAD"]);
    let own = pull(3, "topic", &head);
    let build = hosted.pulled(&own).await.builds.remove(0);
    hosted.engine.cancel_build(&BuildName::Id(build), "teller").await.unwrap();
    hosted.is_now(&own);
    let why = comments(&hosted, "stranger", 3, Ask::Retest).await;
    assert_eq!(why.as_deref(), Some("`stranger` has no write access to `story/web`"));
    assert_eq!(hosted.builds().await.len(), 1);
    assert_eq!(comments(&hosted, "teller", 3, Ask::Retest).await, None);
    assert_eq!(hosted.builds().await.len(), 2);
}

#[tokio::test]
async fn a_retest_is_no_approval() {
    let (hosted, pull, build) = held().await;
    hosted.is_now(&pull);
    let why = comments(&hosted, "teller", 5, Ask::Retest).await.unwrap();
    assert!(why.contains("waits for approval"), "{why}");
    assert_eq!(hosted.state(&build).await, BuildState::Blocked);
}

#[tokio::test]
async fn what_an_untrusted_build_triggers_is_not_trusted() {
    let hosted = Hosted::new("steps:\n  - { trigger: web, build: { branch: main }, key: again, if: build.pull_request.id != null }\n  - { command: test, if: build.pull_request.id == null }\n").await;
    let commit = hosted.commit_of_fork(5, &[]);
    hosted.pulled(&fork(5, &commit)).await;
    assert_eq!(approves(&hosted, "teller", 5, &commit).await, None);
    hosted.settle().await;
    let builds = hosted.builds().await;
    assert_eq!(builds.len(), 2);
    assert_eq!((builds[1].source.as_str(), builds[1].trust), ("trigger_job", Some(Trust::Untrusted)));
}

#[tokio::test]
async fn untrusted_work_is_given_no_secret() {
    let (hosted, _, build) = approved().await;
    let ask = |attempt: AttemptId| tidegate_core::wire::secret::Secrets {
        boot: "boot".to_owned(),
        attempt,
        names: vec!["DEPLOY_KEY".to_owned()],
    };
    let (caller, attempt, claimed) = claim(&hosted, "i-1", "forks", &build).await;
    claimed.unwrap();
    let refused = hosted.engine.secrets(&caller, &ask(attempt)).await.unwrap_err().to_string();
    assert!(refused.contains("is given no secret: not `DEPLOY_KEY`"), "{refused}");
    // Which trusted work has.
    let head = hosted.git(&["rev-parse", "HEAD"]);
    let trusted = hosted.pushed("main", ZERO, &head).await.builds.remove(0);
    let (caller, attempt, claimed) = claim(&hosted, "i-2", "default", &trusted).await;
    claimed.unwrap();
    let given = hosted.engine.secrets(&caller, &ask(attempt)).await.unwrap();
    assert_eq!(given.values[0].expose(), "hush-hush");
}

#[tokio::test]
async fn work_and_pools_of_different_trust_never_meet() {
    let (hosted, _, build) = approved().await;
    let (_, _, claimed) = claim(&hosted, "i-1", "default", &build).await;
    assert!(matches!(claimed, Err(GateError::Refused(Refused::Trust))), "{claimed:?}");
    let head = hosted.git(&["rev-parse", "HEAD"]);
    let trusted = hosted.pushed("main", ZERO, &head).await.builds.remove(0);
    claim(&hosted, "i-3", "forks", &build).await.2.unwrap();
    let (_, _, claimed) = claim(&hosted, "i-2", "forks", &trusted).await;
    assert!(matches!(claimed, Err(GateError::Refused(Refused::Trust))), "{claimed:?}");
}

#[tokio::test]
async fn a_machine_of_strangers_has_one_job() {
    let (hosted, pull, build) = approved().await;
    let (caller, attempt, claimed) = claim(&hosted, "i-1", "forks", &build).await;
    claimed.unwrap();
    let result = ReportResult { boot: "boot".to_owned(), attempt, outcome: passed() };
    assert!(hosted.engine.result(&caller, &result).await.unwrap().accepted);
    let next = Next { boot: "boot".to_owned(), wait_ms: 0 };
    assert!(hosted.engine.next(&caller, &next).await.unwrap().leave);
    // Not even by a ticket that it has got hold of.
    let again = hosted.engine.rebuild(&BuildName::Id(build), &Rebuild::default()).await.unwrap();
    hosted.settle().await;
    let attempt = AttemptId { build: again, job: JobIndex(0), number: 1 };
    let claimed = hosted.engine.claim(&caller, "boot", &attempt).await;
    assert!(matches!(claimed, Err(GateError::Refused(Refused::NotYours))), "{claimed:?} {}", pull.number);
}

#[tokio::test]
async fn untrusted_work_has_shorter_limits() {
    let text = "steps:\n  - { command: test, parallelism: 3, timeout_in_minutes: 600 }\n";
    let limits = |jobs| {
        move |settings: &mut tidegate_engine::Settings| {
            settings.untrusted = tidegate_engine::UntrustedSettings { timeout: Duration::from_secs(600), jobs };
        }
    };
    let hosted = Hosted::with(text, limits(3)).await;
    let commit = hosted.commit_of_fork(5, &[]);
    let build = hosted.pulled(&fork(5, &commit)).await.builds.remove(0);
    assert_eq!(approves(&hosted, "teller", 5, &commit).await, None);
    let (caller, _, claimed) = claim(&hosted, "i-1", "forks", &build).await;
    claimed.unwrap();
    let next = Next { boot: "boot".to_owned(), wait_ms: 0 };
    let assignment = hosted.engine.next(&caller, &next).await.unwrap().assignment.unwrap();
    assert_eq!(assignment.timeout_ms, Some(600_000));
    assert_eq!(assignment.checkout.unwrap().git_ref.as_deref(), Some("refs/pull/5/head"));

    let hosted = Hosted::with(text, limits(2)).await;
    let commit = hosted.commit_of_fork(5, &[]);
    let build = hosted.pulled(&fork(5, &commit)).await.builds.remove(0);
    assert_eq!(approves(&hosted, "teller", 5, &commit).await, None);
    let build = hosted.build(&build).await;
    assert_eq!(build.build.state, BuildState::Failed);
    assert!(build.failure.contains("3 jobs") && build.failure.contains('2'), "{}", build.failure);
}

#[tokio::test]
async fn untrusted_work_tells_nobody() {
    let text = "notify:\n  - github_commit_status: { context: deploy }\n  - webhook: https://evil.example\nsteps:\n  - { command: test, key: test }\n";
    let hosted = Hosted::new(text).await;
    let commit = hosted.commit_of_fork(5, &[]);
    let build = hosted.pulled(&fork(5, &commit)).await.builds.remove(0);
    assert_eq!(approves(&hosted, "teller", 5, &commit).await, None);
    hosted.engine.cancel_build(&BuildName::Id(build.clone()), "teller").await.unwrap();
    hosted.settle().await;
    assert_eq!(hosted.build(&build).await.notices, []);
    // Of trusted work it is told.
    let head = hosted.git(&["rev-parse", "HEAD"]);
    let trusted = hosted.pushed("main", ZERO, &head).await.builds.remove(0);
    hosted.engine.cancel_build(&BuildName::Id(trusted.clone()), "teller").await.unwrap();
    hosted.settle().await;
    assert_ne!(hosted.build(&trusted).await.notices, []);
}

#[test]
fn every_row_of_the_document_is_a_test() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let document = std::fs::read_to_string(root.join("docs/trust.md")).unwrap();
    let mut sources = String::new();
    for file in ["crates/local/tests/trust.rs", "crates/local/tests/events.rs", "crates/core/src/trust.rs"] {
        sources += &std::fs::read_to_string(root.join(file)).unwrap();
    }
    let mut rows = 0;
    for line in document.lines().filter(|line| line.starts_with("| ") && line.contains(" `")) {
        let Some(test) = line.rsplit('`').nth(1) else { continue };
        assert!(sources.contains(&format!("fn {test}(")), "there is no test `{test}`: {line}");
        rows += 1;
    }
    assert!(rows >= 25, "{rows} rows");
    // And every test here is a row.
    for line in include_str!("trust.rs").lines() {
        let name = line.strip_prefix("async fn ").and_then(|rest| rest.strip_suffix("() {"));
        if let Some(name) = name {
            assert!(document.contains(&format!("`{name}`")), "docs/trust.md has no row for `{name}`");
        }
    }
}
