//! Checks, refs and deliveries against a GitHub in memory.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod hub;

use hub::{WEB, World, sha, web};
use tidegate_core::ids::{CommitSha, RepositoryName};
use tidegate_core::report::{Check, CheckState, Conclusion, Mark};
use tidegate_core::time::Timestamp;
use tidegate_engine::ports::{Forge as _, ListedRef, PortError, RepositorySource, Shows};
use tidegate_github::client::GitHub;
use tidegate_github_memory::{Fault, Shown};

fn check(state: CheckState, marks: u32) -> Check {
    Check {
        name: "tidegate/web".to_owned(),
        external_id: "0199".to_owned(),
        state,
        title: "tests failed".to_owned(),
        summary: "**tests** failed".to_owned(),
        details_url: Some("https://ci.example.com/builds/0199".to_owned()),
        annotations: (1..=marks)
            .map(|line| Mark {
                path: "pipeline.yml".to_owned(),
                line,
                columns: (line % 2 == 0).then_some((1, 4)),
                failure: line % 3 == 0,
                title: "unknown-key".to_owned(),
                message: format!("finding {line}"),
            })
            .collect(),
        started_at: Some(Timestamp(1_795_399_200_000)),
        completed_at: Some(Timestamp(1_795_399_290_000)),
    }
}

#[tokio::test]
async fn a_check_is_made_brought_up_to_date_and_found_again() {
    let world = World::new().await;
    let github = world.github();
    assert_eq!(github.shows(), Shows::Checks);
    assert_eq!(github.lane(&web()).await.unwrap(), format!("installation-{}", world.installation));

    let queued = check(CheckState::Queued, 0);
    assert_eq!(github.find_check(&web(), &sha('a'), &queued).await.unwrap(), None);
    let known = github.create_check(&web(), &sha('a'), &queued).await.unwrap();
    assert_eq!(github.find_check(&web(), &sha('a'), &queued).await.unwrap(), Some(known));
    let other = Check { external_id: "0200".to_owned(), ..queued };
    assert_eq!(github.find_check(&web(), &sha('a'), &other).await.unwrap(), None);

    let failed = check(CheckState::Completed(Conclusion::Failure), 0);
    assert_eq!(github.update_check(&web(), known, &failed).await.unwrap(), Some(known));
    world.server.with(|hub, _| {
        let shown = Shown { name: "tidegate/web".into(), state: "failure".into(), words: "tests failed".into() };
        assert_eq!(hub.shown(WEB, sha('a').as_str()), [shown]);
        let run = hub.check(known.id).unwrap();
        assert_eq!(run.completed_at.as_deref(), Some("2026-11-23T02:01:30.000Z"));
        assert_eq!(run.details_url.as_deref(), Some("https://ci.example.com/builds/0199"));
    });
    // Run again: a check that was over is under way once more.
    github.update_check(&web(), known, &check(CheckState::InProgress, 0)).await.unwrap();
    world.server.with(|hub, _| assert_eq!(hub.shown(WEB, sha('a').as_str())[0].state, "in_progress"));
    let gone = tidegate_engine::ports::KnownCheck { id: 1, ..known };
    assert_eq!(github.update_check(&web(), gone, &failed).await.unwrap(), None);
    let unknown = github.create_check(&web(), &sha('b'), &failed).await.unwrap_err();
    assert!(matches!(&unknown, PortError::Reject { why } if why.contains("No commit found")), "{unknown:?}");
}

#[tokio::test]
async fn annotations_come_in_portions_and_each_once() {
    let world = World::new().await;
    let github = world.github();
    let full = check(CheckState::Completed(Conclusion::Failure), 120);
    let mut known = github.create_check(&web(), &sha('a'), &full).await.unwrap();
    let mut told = vec![known.annotations];
    while known.annotations < 120 {
        known = github.update_check(&web(), known, &full).await.unwrap().unwrap();
        told.push(known.annotations);
    }
    assert_eq!(told, [50, 100, 120]);
    github.update_check(&web(), known, &full).await.unwrap();
    world.server.with(|hub, _| {
        let lines: Vec<u64> = hub.check(known.id).unwrap().annotations.iter().map(|a| a.start_line).collect();
        assert_eq!(lines, (1..=120).collect::<Vec<_>>());
    });
    // After a lost answer the forge knows how many there are.
    world.server.with(|hub, _| hub.faults.push_back(Fault::AnswerLost));
    let lost = github.create_check(&web(), &sha('a'), &Check { external_id: "x".to_owned(), ..full.clone() }).await;
    assert!(matches!(lost, Err(PortError::Retry { .. })));
    let found = github.find_check(&web(), &sha('a'), &Check { external_id: "x".to_owned(), ..full }).await.unwrap();
    assert_eq!(found.unwrap().annotations, 50);
}

#[tokio::test]
async fn a_person_with_a_token_makes_statuses() {
    let world = World::new().await;
    let token = world.server.with(|hub, now| hub.personal_token(now, "octo"));
    let github = GitHub::new(world.server.url().parse().unwrap(), &token.into()).unwrap();
    assert_eq!(github.shows(), Shows::Statuses);
    let refused = github.create_check(&web(), &sha('a'), &check(CheckState::Queued, 0)).await.unwrap_err();
    assert!(matches!(refused, PortError::Reject { .. }), "{refused:?}");
    assert_eq!(github.deliveries(None).await.unwrap().deliveries, []);
    assert_eq!(github.refs(&web()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn all_refs_are_listed_also_of_a_repository_that_was_renamed() {
    let world = World::new().await;
    world.server.with(|hub, now| {
        for n in 0..230 {
            hub.move_quietly(WEB, &format!("refs/tags/v{n}"), sha('b').as_str(), "tagged");
        }
        hub.rename(now, "octo", WEB, "octo/site");
    });
    let github = world.github();
    let refs = github.refs(&web()).await;
    // Under its old name the App's installation is not found: GitHub answers with the new address, which is followed.
    let refs = refs.unwrap();
    assert_eq!(refs.len(), 231);
    assert!(refs.contains(&ListedRef { name: "refs/heads/main".to_owned(), target: sha('a') }));
    assert!(refs.contains(&ListedRef { name: "refs/tags/v229".to_owned(), target: sha('b') }));
    let site = RepositorySource { full_name: RepositoryName::new("octo/site").unwrap(), ..web() };
    assert_eq!(github.refs(&site).await.unwrap().len(), 231);
}

#[tokio::test]
async fn deliveries_are_listed_newest_first_and_asked_for_again() {
    let world = World::new().await;
    world.server.with(|hub, now| {
        for n in 0..120u32 {
            let commit = CommitSha::new(format!("{n:040x}")).unwrap();
            hub.push(now, "octo", WEB, "refs/heads/main", commit.as_str(), "more");
        }
        while let Some(outgoing) = hub.take_outgoing() {
            let arrives = outgoing.id % 2 == 0;
            hub.answered(outgoing.id, arrives.then_some(202));
        }
    });
    let github = world.github();
    let first = github.deliveries(None).await.unwrap();
    assert_eq!(first.deliveries.len(), 100);
    let second = github.deliveries(first.next.as_deref()).await.unwrap();
    assert_eq!(second.next, None);
    let all: Vec<_> = first.deliveries.into_iter().chain(second.deliveries).collect();
    // Before the pushes, the App was installed and `main` was made.
    assert_eq!(all.len(), 122);
    assert!(all.windows(2).all(|pair| pair[0].id > pair[1].id));
    assert!(all.iter().all(|d| d.arrived == (d.id % 2 == 0)));
    let failed = all.iter().find(|d| !d.arrived && d.event == "push").unwrap();
    assert_eq!(failed.repository.map(|id| id.0), Some(WEB));
    github.redeliver(failed.id).await.unwrap();
    world.server.with(|hub, _| {
        let outgoing = hub.take_outgoing().unwrap();
        assert_eq!(outgoing.guid, failed.guid);
        assert_ne!(outgoing.id, failed.id);
    });
    assert!(matches!(github.redeliver(1).await, Err(PortError::Reject { .. })));
}

#[tokio::test]
async fn limits_of_a_crowd_are_told_with_the_pause() {
    let world = World::new().await;
    let github = world.github();
    let mut refusal = None;
    for n in 0..100 {
        let check = Check { external_id: n.to_string(), ..check(CheckState::Queued, 0) };
        if let Err(error) = github.create_check(&web(), &sha('a'), &check).await {
            refusal = Some((n, error));
            break;
        }
    }
    let Some((80, PortError::Retry { after: Some(pause), .. })) = refusal else { panic!("{refusal:?}") };
    assert!((1..=60).contains(&pause.as_secs()), "{pause:?}");
}
