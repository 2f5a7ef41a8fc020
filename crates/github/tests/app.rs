//! An App against a GitHub in memory: tokens, clocks, refusals.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod hub;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hub::{WEB, World, sha, web};
use secrecy::SecretString;
use serde_json::json;
use tidegate_core::trust::Trust;
use tidegate_engine::ports::{
    CommitStatus, Forge as _, GitCredentials as _, NoCredentials, Permission, PortError, StatusState,
};
use tidegate_github::app::{AppCredentials, AppKey, KeyError};
use tidegate_github::client::GitHub;

fn status() -> CommitStatus {
    CommitStatus { context: "c".to_owned(), state: StatusState::Success, description: "d".to_owned(), target_url: None }
}

async fn tell(github: &GitHub) -> Result<(), PortError> {
    github.set_status(&web(), &sha('a'), &status()).await
}

#[tokio::test]
async fn twenty_that_ask_at_once_share_one_token_that_can_do_one_thing() {
    let world = World::new().await;
    let github = world.github();
    let all: Vec<_> = (0..20)
        .map(|_| {
            let github = github.clone();
            tokio::spawn(async move { tell(&github).await })
        })
        .collect();
    for one in all {
        one.await.unwrap().unwrap();
    }
    assert_eq!(world.asked("POST", "/access_tokens"), 1);
    assert_eq!(world.asked("GET", "/installation"), 1);
    world.server.with(|hub, _| {
        assert_eq!(hub.statuses().len(), 20);
        let asked = hub.seen.iter().find(|s| s.path.ends_with("/access_tokens")).unwrap();
        assert_eq!(asked.body, json!({ "repository_ids": [WEB], "permissions": { "statuses": "write" } }));
    });
    // Another purpose is another token.
    assert_eq!(github.permission(&web(), "octo").await.unwrap(), Permission::Admin);
    assert_eq!(github.permission(&web(), "nobody-at-all").await.unwrap(), Permission::None);
    assert_eq!(world.asked("POST", "/access_tokens"), 2);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let world = World::new().await;
    let github = world.github();
    for (minutes, tokens) in [(0, 1), (49, 1), (51, 2), (52, 2), (130, 3)] {
        world.clock.0.store(minutes * 60, Ordering::Relaxed);
        world.server.with(|hub, _| hub.skew = minutes * 60);
        tell(&github).await.unwrap();
        assert_eq!(world.asked("POST", "/access_tokens"), tokens, "after {minutes} minutes");
    }
    world.server.with(|hub, _| assert!(hub.seen.iter().all(|s| s.status < 300)));
}

#[tokio::test]
async fn a_wrong_clock_costs_one_refusal() {
    for ahead in [-4_000, -700, -30, 30, 100, 700, 4_000_i64] {
        let world = World::new().await;
        world.clock.0.store(ahead, Ordering::Relaxed);
        let github = world.github();
        tell(&github).await.unwrap();
        tell(&github).await.unwrap();
        let refused = world.server.with(|hub, _| hub.seen.iter().filter(|s| s.status == 401).count());
        // A little is allowed for.
        let expected = usize::from(!(-500..=60).contains(&ahead));
        assert_eq!(refused, expected, "{ahead} s");
        assert_eq!(world.asked("POST", "/access_tokens"), 1, "{ahead} s");
    }
}

#[tokio::test]
async fn a_revoked_token_is_replaced() {
    let world = World::new().await;
    let github = world.github();
    tell(&github).await.unwrap();
    world.server.with(|hub, _| hub.revoke_tokens());
    tell(&github).await.unwrap();
    assert_eq!(world.asked("POST", "/access_tokens"), 2);
}

#[tokio::test]
async fn an_app_that_is_installed_anew_is_found() {
    let world = World::new().await;
    let github = world.github();
    tell(&github).await.unwrap();
    world.server.with(|hub, now| {
        hub.uninstall(now, world.installation);
        hub.install(now, world.app.id, "octo", None);
    });
    tell(&github).await.unwrap();
    world.server.with(|hub, _| assert_eq!(hub.statuses().len(), 2));
}

#[tokio::test]
async fn what_an_app_may_not_do_is_said_with_the_way_out() {
    let refusal = |what: fn(&World)| async move {
        let world = World::new().await;
        what(&world);
        match tell(&world.github()).await.unwrap_err() {
            PortError::Reject { why } => why,
            other => panic!("{other:?}"),
        }
    };
    let said = [
        refusal(|w| w.server.with(|hub, now| hub.uninstall(now, w.installation))).await,
        refusal(|w| w.server.with(|hub, now| hub.suspend(now, w.installation, true))).await,
        refusal(|w| w.server.with(|hub, _| hub.permit(w.app.id, "statuses", Some("read")))).await,
    ];
    insta::assert_snapshot!(said.join("\n"), @r#"
the App is not installed on `octo/web`, or that is not its name any more: `tidegate github doctor` says where to install it
token for octo/web: GitHub answered 403 Forbidden: This installation has been suspended: the App needs not to be suspended
token for octo/web: GitHub answered 422 Unprocessable Entity: The permissions requested are not granted to this installation: the App needs write access to commit statuses, which its owner grants in its settings and accepts in the installation
"#);
}

#[tokio::test]
async fn another_key_is_no_key() {
    let (world, other) = (World::new().await, World::new().await);
    let key = AppKey::from_pem(&SecretString::from(other.app.private_key.clone())).unwrap();
    let base = world.server.url().parse().unwrap();
    let clock = Arc::clone(&world.clock) as _;
    let app =
        tidegate_github::app::App::new(base, world.app.id.to_string(), key, clock, Arc::new(hub::Counted::default()));
    let refused = tell(&GitHub::with_app(Arc::new(app.unwrap()))).await.unwrap_err();
    assert!(matches!(&refused, PortError::Fatal { why } if why.contains("private key is wrong")), "{refused:?}");
}

#[tokio::test]
async fn git_is_given_a_token_that_reads_one_repository_at_the_apps_own_host() {
    let world = World::new().await;
    let credentials = AppCredentials::new(world.app(), "github.com", Arc::new(NoCredentials));
    for trust in [Trust::Trusted, Trust::Untrusted] {
        let given = credentials.for_reading(&web(), trust).await.unwrap().unwrap();
        assert_eq!(given.username, "x-access-token");
        assert!(world.server.with(|hub, _| hub.tokens().any(|token| token == given.password)));
    }
    world.server.with(|hub, _| {
        let asked = hub.seen.iter().find(|s| s.path.ends_with("/access_tokens")).unwrap();
        assert_eq!(asked.body, json!({ "repository_ids": [WEB], "permissions": { "contents": "read" } }));
    });
    for url in
        ["https://github.com.example.com/octo/web.git", "http://github.com/octo/web.git", "git@github.com:octo/web"]
    {
        let elsewhere = tidegate_engine::ports::RepositorySource { clone_url: url.to_owned(), ..web() };
        assert!(!credentials.has(&elsewhere), "{url}");
        assert_eq!(credentials.for_reading(&elsewhere, Trust::Trusted).await.unwrap(), None, "{url}");
    }
}

#[tokio::test]
async fn keys_are_read_as_github_gives_them_out_and_never_shown() {
    let world = World::new().await;
    let read = |text: &str| AppKey::from_pem(&SecretString::from(text)).map(|_| ());
    assert_eq!(read(""), Err(KeyError::Pem));
    assert_eq!(read("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"), Err(KeyError::Rsa));
    // The same key as PKCS#1: what is inside of PKCS#8.
    use base64::Engine as _;
    let lines: String = world.app.private_key.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(lines).unwrap();
    let inner = base64::engine::general_purpose::STANDARD.encode(&der[26..]);
    assert_eq!(read(&format!("-----BEGIN RSA PRIVATE KEY-----\n{inner}\n-----END RSA PRIVATE KEY-----\n")), Ok(()));

    let app = world.app();
    let github = GitHub::with_app(Arc::clone(&app));
    tell(&github).await.unwrap();
    let credentials = AppCredentials::new(app, "github.com", Arc::new(NoCredentials));
    let shown = format!("{github:?} {credentials:?}");
    let token = world.server.with(|hub, _| hub.tokens().next().unwrap().to_owned());
    assert!(!shown.contains(&token) && !shown.contains("KEY"), "{shown}");
}
