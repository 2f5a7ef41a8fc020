//! What comes of events: `spec/github.md` 6.2, and docs/decisions/0200.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hosted;

use hosted::{APP, Hosted, ONE, WEB, ZERO, fork, pipeline, pull, sha, then, web};
use tidegate_core::build::BuildState;
use tidegate_core::event::{
    Changed, EventKind, GitRef, Installation, InstallationChange, MergeGroup, MergeGroupAction, Person, PullAction,
    PullRequest, Push, RefDeleted, Repository, RepositoryChange, Rerun, RerunOf,
};
use tidegate_core::ids::{RepositoryId, RepositoryName};
use tidegate_engine::api::{BuildAnswer, BuildName};

/// A branch of the repository, and its commit.
fn topic(hosted: &Hosted) -> String {
    hosted.git(&["checkout", "--quiet", "-B", "topic", "main"]);
    let head = hosted.commit(&[], "on a topic");
    hosted.git(&["checkout", "--quiet", "main"]);
    head
}

fn number_of(build: &BuildAnswer) -> Option<u64> {
    build.pull_request.as_ref().map(|pull| pull.number)
}

#[tokio::test]
async fn a_push_and_its_pull_request_are_one_build_whoever_comes_first() {
    for push_first in [true, false] {
        let hosted = Hosted::new(ONE).await;
        let head = topic(&hosted);
        let pull = pull(3, "topic", &head);
        let mut builds = Vec::new();
        for push in [push_first, !push_first] {
            let record = if push { hosted.pushed("topic", ZERO, &head).await } else { hosted.pulled(&pull).await };
            builds.extend(record.builds);
        }
        assert_eq!(builds[0], builds[1], "push first: {push_first}");
        let all = hosted.builds().await;
        assert_eq!((all.len(), number_of(&all[0])), (1, Some(3)), "push first: {push_first}");
    }
}

#[tokio::test]
async fn a_push_to_an_open_pull_request_is_planned_with_it() {
    let text = "steps:\n  - { command: review, key: review, if: build.pull_request.id == \"3\" && build.pull_request.labels includes \"big\" }\n  - { command: test }\n";
    let hosted = Hosted::new(text).await;
    let first = topic(&hosted);
    let own = PullRequest { labels: vec!["big".to_owned()], ..pull(3, "topic", &first) };
    hosted.pulled(&own).await;
    hosted.git(&["checkout", "--quiet", "topic"]);
    let second = hosted.commit(&[], "more");
    let record = hosted.pushed("topic", &first, &second).await;
    let build = hosted.build(&record.builds[0]).await;
    assert_eq!((number_of(&build), build.jobs[0].state.as_str()), (Some(3), "scheduled"));
    let moved = PullRequest {
        head: tidegate_core::event::PullHead { commit: sha(&second), ..own.head.clone() },
        ..then(&own, PullAction::Synchronize { before: Some(sha(&first)) }, 5)
    };
    assert_eq!(hosted.pulled(&moved).await.builds, record.builds);
    assert_eq!(hosted.builds().await.len(), 2);
    // A change of what the plan depends on is a build of its own, once; any other is none.
    let other = PullRequest { labels: vec!["small".to_owned()], ..then(&moved, relabeled(), 6) };
    let unlabeled = hosted.pulled(&other).await.builds;
    assert_ne!(unlabeled, record.builds);
    assert_eq!(hosted.pulled(&other).await.builds, unlabeled);
    let more = PullRequest { labels: vec!["small".to_owned(), "red".to_owned()], ..then(&moved, relabeled(), 7) };
    assert_eq!(hosted.pulled(&more).await.builds, unlabeled);
    assert_eq!(hosted.builds().await.len(), 3);
}

fn relabeled() -> PullAction {
    PullAction::Relabeled { action: "labeled".to_owned() }
}

#[tokio::test]
async fn another_base_or_opening_again_is_a_build_of_its_own_and_doubles_are_not() {
    let hosted = Hosted::new(ONE).await;
    let head = topic(&hosted);
    let first = pull(3, "topic", &head);
    hosted.pulled(&first).await;
    let retargeted = PullRequest {
        base_branch: "release".to_owned(),
        ..then(&first, PullAction::Retargeted { from: "main".to_owned() }, 5)
    };
    let built = hosted.pulled(&retargeted).await.builds;
    // The App and a webhook of the repository tell of the same thing.
    assert_eq!(hosted.pulled(&retargeted).await.builds, built);
    let build = hosted.build(&built[0]).await;
    assert_eq!(build.pull_request.unwrap().base_branch, "release");
    hosted.pulled(&then(&retargeted, PullAction::Reopened, 6)).await;
    assert_eq!(hosted.builds().await.len(), 3);
}

#[tokio::test]
async fn settings_and_skip_tokens_decide_about_pull_requests() {
    let hosted = Hosted::with(ONE, |settings| {
        settings.pipelines = vec![pipeline(|p| p.pull_requests = Some(vec!["main".to_owned()]))];
    })
    .await;
    let head = topic(&hosted);
    let other = PullRequest { base_branch: "release".to_owned(), ..pull(3, "topic", &head) };
    let why = hosted.pulled(&other).await.why.unwrap();
    assert_eq!(why, "no pipeline of `story/web` builds pull requests into `release`");
    let skipped = hosted.commit_of_fork(5, &[]);
    hosted.git(&["checkout", "--quiet", &skipped]);
    let skipped = hosted.commit(&[], "no [skip ci]");
    hosted.git(&["update-ref", "refs/pull/5/head", &skipped]);
    let why = hosted.pulled(&fork(5, &skipped)).await.why.unwrap();
    assert_eq!(why, "the commit message of the head says `[skip ci]`");
}

#[tokio::test]
async fn a_closed_pull_request_of_a_fork_is_not_worth_a_machine() {
    let hosted = Hosted::new(ONE).await;
    let commit = hosted.commit_of_fork(5, &[]);
    let of_fork = fork(5, &commit);
    let build = hosted.pulled(&of_fork).await.builds.remove(0);
    let closed = PullRequest { open: false, ..then(&of_fork, PullAction::Closed { merged: false }, 5) };
    hosted.pulled(&closed).await;
    assert_eq!(hosted.state(&build).await, BuildState::Canceled);
    // A branch of the repository itself is there still.
    let own = pull(3, "topic", &topic(&hosted));
    let build = hosted.pulled(&own).await.builds.remove(0);
    hosted.pulled(&PullRequest { open: false, ..then(&own, PullAction::Closed { merged: true }, 5) }).await;
    assert_eq!(hosted.state(&build).await, BuildState::Scheduled);
}

#[tokio::test]
async fn a_merge_queue_is_built_while_it_wants_to_know() {
    let hosted = Hosted::new(ONE).await;
    let head = topic(&hosted);
    let branch = "gh-readonly-queue/main/pr-3";
    let group = |action| MergeGroup {
        action,
        repository: web(),
        branch: branch.to_owned(),
        head: sha(&head),
        commit: None,
        base_branch: "main".to_owned(),
        base: sha(&"b".repeat(40)),
        sender: Person { id: 7, login: "teller".to_owned() },
        installation: None,
    };
    // GitHub makes the branch, which is a push.
    assert!(hosted.pushed(branch, ZERO, &head).await.builds.is_empty());
    let asked = EventKind::MergeGroup(Box::new(group(MergeGroupAction::ChecksRequested)));
    let build = hosted.tell(asked.clone()).await.builds.remove(0);
    assert_eq!(hosted.state(&build).await, BuildState::Scheduled);
    let over = MergeGroupAction::Destroyed { reason: "dequeued".to_owned() };
    hosted.tell(EventKind::MergeGroup(Box::new(group(over)))).await;
    assert_eq!(hosted.state(&build).await, BuildState::Canceled);
    assert_eq!(hosted.tell(asked).await.why.as_deref(), Some("the merge group is over already"));
    assert_eq!(hosted.builds().await.len(), 1);
}

#[tokio::test]
async fn what_is_built_of_a_branch_ends_with_it_and_comes_again_with_it() {
    let hosted = Hosted::new(ONE).await;
    let head = topic(&hosted);
    let first = hosted.pushed("topic", ZERO, &head).await.builds.remove(0);
    let tag = Push { git_ref: GitRef::Tag("v1".to_owned()), ..hosted.push("v1", ZERO, &head) };
    let release = hosted.tell(EventKind::Push(Box::new(tag.clone()))).await.builds.remove(0);
    hosted.pushed("topic", &head, ZERO).await;
    assert_eq!(hosted.state(&first).await, BuildState::Canceled);
    let again = hosted.pushed("topic", ZERO, &head).await.builds.remove(0);
    assert_ne!(again, first);
    // The other event that says the same comes late.
    let gone = |git_ref| EventKind::RefDeleted(Box::new(RefDeleted { repository: web(), git_ref, installation: None }));
    hosted.tell(gone(GitRef::Branch("topic".to_owned()))).await;
    assert_eq!(hosted.state(&again).await, BuildState::Scheduled);
    hosted.tell(gone(tag.git_ref)).await;
    assert_eq!(hosted.state(&release).await, BuildState::Scheduled);

    let hosted =
        Hosted::with(ONE, |settings| settings.pipelines = vec![pipeline(|p| p.cancel_deleted_branches = false)]).await;
    let head = topic(&hosted);
    let build = hosted.pushed("topic", ZERO, &head).await.builds.remove(0);
    hosted.pushed("topic", &head, ZERO).await;
    assert_eq!(hosted.state(&build).await, BuildState::Scheduled);
}

#[tokio::test]
async fn names_follow_ids_and_numbers_go_on() {
    let hosted = Hosted::new(ONE).await;
    let head = hosted.git(&["rev-parse", "HEAD"]);
    hosted.pushed("main", ZERO, &head).await;
    let renamed = Repository { full_name: RepositoryName::new("story/site").unwrap(), ..web() };
    let change = RepositoryChange { repository: renamed.clone(), changed: Changed::Name, installation: None };
    let why = hosted.tell(EventKind::Repository(Box::new(change))).await.why.unwrap();
    assert_eq!(why, "`story/web` is called `story/site` now");
    let next = hosted.commit(&[], "after");
    let push = Push { repository: renamed, ..hosted.push("main", &head, &next) };
    hosted.tell(EventKind::Push(Box::new(push))).await;
    let builds = hosted.builds().await;
    let shown: Vec<_> =
        builds.iter().map(|b| (b.build.pipeline.as_str(), b.build.number, b.build.repository.as_str())).collect();
    assert_eq!(shown, [("web", 1, "story/web"), ("web", 2, "story/site")]);
}

#[tokio::test]
async fn what_the_app_was_given_is_built_if_it_has_a_pipeline_until_it_is_taken_away() {
    let hosted = Hosted::new(ONE).await;
    let head = hosted.git(&["rev-parse", "HEAD"]);
    hosted.serve_as("octo/found");
    let found = Repository { id: RepositoryId(31), full_name: RepositoryName::new("octo/found").unwrap(), ..web() };
    let push = |installation| Push { repository: found.clone(), installation, ..hosted.push("main", ZERO, &head) };
    let pushed = |installation| EventKind::Push(Box::new(push(installation)));
    let why = hosted.tell(pushed(None)).await.why.unwrap();
    assert_eq!(why, "the repository `octo/found` (id 31) is not configured");
    let build = hosted.tell(pushed(Some(5))).await.builds.remove(0);
    let shown = hosted.build(&build).await;
    assert_eq!((shown.build.pipeline.as_str(), shown.build.state), ("found", BuildState::Scheduled));
    let installation = |app, removed| {
        EventKind::Installation(Box::new(Installation {
            id: 5,
            app: Some(app),
            client_id: String::new(),
            change: InstallationChange::Changed,
            repositories: Vec::new(),
            removed,
        }))
    };
    let gone = vec![(found.id, found.full_name.clone())];
    let why = hosted.tell(installation(APP + 1, gone.clone())).await.why.unwrap();
    assert_eq!(why, "an installation of another App (10)");
    hosted.tell(installation(APP, gone)).await;
    assert_eq!(hosted.state(&build).await, BuildState::Canceled);
    let why = hosted.tell(pushed(Some(5))).await.why.unwrap();
    assert_eq!(why, "`octo/found` is out of reach: access to it was taken away");
    // One without a pipeline file: no build, and so no check.
    hosted.git(&["rm", "--quiet", "-r", ".tidegate"]);
    let bare = hosted.commit(&[], "no pipeline");
    hosted.serve_as("octo/bare");
    let repository = Repository { id: RepositoryId(32), full_name: RepositoryName::new("octo/bare").unwrap(), ..web() };
    let push = Push { repository, installation: Some(5), ..hosted.push("main", ZERO, &bare) };
    let why = hosted.tell(EventKind::Push(Box::new(push))).await.why.unwrap();
    assert!(why.starts_with("`octo/bare` has no pipeline file at commit "), "{why}");
    // Of one that is configured that is a failed build.
    let build = hosted.pushed("main", &head, &bare).await.builds.remove(0);
    assert_eq!((hosted.state(&build).await, web().id), (BuildState::Failed, RepositoryId(WEB)));
}

#[tokio::test]
async fn buttons_of_our_own_checks_run_again_what_they_show() {
    let hosted = Hosted::new(ONE).await;
    let head = hosted.git(&["rev-parse", "HEAD"]);
    let first = hosted.pushed("main", ZERO, &head).await.builds.remove(0);
    let rerun = |app, external_id: &str, button: Option<&str>| {
        let of = RerunOf::Check {
            id: 1,
            external_id: external_id.to_owned(),
            name: "tidegate/web".to_owned(),
            button: button.map(str::to_owned),
        };
        press(app, &head, of)
    };
    let why = hosted.tell(rerun(APP + 1, first.as_str(), None)).await.why.unwrap();
    assert_eq!(why, "a check of another App (10, not 9)");
    assert!(hosted.tell(rerun(APP, first.as_str(), None)).await.why.unwrap().contains("is not over"));
    hosted.tell(rerun(APP, first.as_str(), Some("cancel"))).await;
    assert_eq!(hosted.state(&first).await, BuildState::Canceled);
    let second = hosted.tell(rerun(APP, first.as_str(), None)).await.builds.remove(0);
    assert_eq!(hosted.build(&second).await.rebuilt_from, Some(first));
    // By the check's name, where the id is not known; and the whole suite.
    hosted.engine.cancel_build(&BuildName::Id(second), "teller").await.unwrap();
    let third = hosted.tell(rerun(APP, "", None)).await.builds.remove(0);
    hosted.engine.cancel_build(&BuildName::Id(third), "teller").await.unwrap();
    assert_eq!(hosted.tell(press(APP, &head, RerunOf::Suite)).await.builds.len(), 1);
    assert_eq!(hosted.builds().await.len(), 4);
    assert!(hosted.tell(rerun(APP, "", Some("explode"))).await.why.unwrap().contains("no button `explode`"));
}

fn press(app: u64, head: &str, of: RerunOf) -> EventKind {
    EventKind::Rerun(Box::new(Rerun {
        app,
        client_id: String::new(),
        repository: web(),
        commit: sha(head),
        of,
        sender: Person { id: 7, login: "teller".to_owned() },
        installation: None,
    }))
}
