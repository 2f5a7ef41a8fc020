//! Setting up an App, looking whether all is right, changing its secret: the real binary against a GitHub in memory.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod hub;
mod world;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::Value;
use world::{SECRET, World, text};

/// The value of an attribute in a page.
fn attribute(page: &str, before: &str) -> String {
    let from = page.find(before).unwrap() + before.len();
    let value = &page[from..from + page[from..].find('"').unwrap()];
    value.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[test]
fn an_app_is_made_by_two_clicks() {
    let (world, github) = (World::empty(), hub::GitHub::new());
    let directory = world.path().join("new");
    fs::create_dir(&directory).unwrap();
    let config = directory.join("tidegate.toml");
    let api = github.server.url();
    let mut command = world
        .tidegate([
            "github",
            "setup",
            "--json",
            "--no-browser",
            "--name",
            "My Tide",
            "--webhook-url",
            "https://ci.example.com",
        ])
        .args(["--api-url", api])
        .env("TIDEGATE_CONFIG", &config)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(command.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let page_address = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();

    let (status, page) = github.browse(&page_address);
    assert_eq!(status, 200);
    let (action, manifest) = (attribute(&page, "action=\""), attribute(&page, "value=\""));
    let state = action.strip_prefix(&format!("{api}/settings/apps/new?state=")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["hook_attributes"]["url"], "https://ci.example.com/webhook");
    // Somebody else's App is not taken.
    let stranger = github.with(|hub, _| hub.submit_manifest("mallory", &manifest, "guessed")).unwrap();
    assert_eq!(github.browse(&stranger).0, 400);
    let back = github.with(|hub, _| hub.submit_manifest("story", &manifest, state)).unwrap();
    assert_eq!(github.browse(&back).0, 200);

    let mut out = String::new();
    command.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert!(command.wait().unwrap().success());
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["written"], true);
    let (key, secret) = (directory.join("github-app.pem"), directory.join("webhook.secret"));
    for file in [&key, &secret] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
        assert!(!out.contains(fs::read_to_string(file).unwrap().trim()), "{out}");
    }
    assert!(fs::read_to_string(&key).unwrap().starts_with("-----BEGIN"));

    // It works at once, and says what is still to be done.
    let doctor = world.tidegate(["github", "doctor"]).env("TIDEGATE_CONFIG", &config).output().unwrap();
    let doctor_said = text(&doctor.stdout);
    assert_eq!(doctor.status.code(), Some(1), "{doctor_said}");
    assert!(doctor_said.contains("the App `My Tide`") && doctor_said.contains("/installations/new"), "{doctor_said}");
    // And is not made a second time over the first.
    let again = world.tidegate(["github", "setup", "--no-browser"]).env("TIDEGATE_CONFIG", &config).output().unwrap();
    assert_eq!(again.status.code(), Some(2), "{}", text(&again.stderr));
}

#[test]
fn the_doctor_finds_what_is_wrong() {
    let (world, github) = hub::world("steps:\n  - command: \"true\"\n");
    let head = github.push(&world, "refs/heads/main");
    github.check_until(&world, &head, "tidegate/web", "success");
    let look = || {
        let output = world.run(["github", "doctor", "--json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let bad: Vec<String> = answer["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|f| f["state"] == "failed")
            .map(|f| f["check"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(output.status.code(), Some(i32::from(!bad.is_empty())), "{answer}");
        bad
    };
    // Before the server's address was known, the installation was told to nobody.
    github.with(|hub, now| {
        let lost: Vec<u64> = hub.deliveries().iter().filter(|d| !d.succeeded()).map(|d| d.id).collect();
        for id in lost {
            hub.redeliver(now, id);
        }
    });
    world.until("everything has arrived", || look().is_empty().then_some(()));

    github.with(|hub, _| hub.permit(github.app.id, "checks", Some("read")));
    assert_eq!(look(), ["permissions"]);
    github.with(|hub, _| hub.permit(github.app.id, "checks", Some("write")));
    github.with(|hub, now| hub.suspend(now, github.installation, true));
    assert_eq!(look(), ["installation", "repository"]);
    github.with(|hub, now| hub.suspend(now, github.installation, false));
    github.with(|hub, _| hub.skew = 4_000);
    assert_eq!(look(), ["clock"]);
    github.with(|hub, _| hub.skew = 0);
    let key = world.path().join("app.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(look(), ["key"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    github.deliver_with(&world, "another secret");
    github.push_next(&world);
    world.until("the refused delivery is seen", || (look() == ["deliveries"]).then_some(()));
}

#[test]
fn the_secret_is_changed_while_deliveries_come_and_none_is_refused() {
    let github = hub::GitHub::new();
    let world = World::new("steps: []\n");
    fs::write(world.path().join("hook.secret"), SECRET).unwrap();
    let config = github.config(&world);
    let mut world = world.top(&config).webhook("secret_file = \"hook.secret\"");
    world.start();
    github.deliver_to(&world);
    let sent = |world: &World, n: usize| {
        for _ in 0..n {
            github.push_next(world);
        }
    };
    for round in 0..2 {
        sent(&world, 2);
        let mut rotation = world.tidegate(["github", "rotate-secret"]).stdout(Stdio::null()).spawn().unwrap();
        let mut during = 0;
        while rotation.try_wait().unwrap().is_none() {
            sent(&world, 1);
            during += 1;
        }
        assert!(rotation.wait().unwrap().success());
        assert!(during > 1, "round {round}");
        sent(&world, 2);
    }
    world.until("all deliveries are answered", || {
        let pushes =
            github.with(|hub, _| hub.deliveries().iter().filter(|d| d.event == "push").cloned().collect::<Vec<_>>());
        pushes.iter().all(|d| d.answer.is_some()).then(|| {
            let refused = pushes.iter().filter(|d| !d.succeeded()).count();
            assert_eq!(refused, 0, "of {}", pushes.len());
        })
    });
    let now = fs::read_to_string(world.path().join("hook.secret")).unwrap();
    assert_ne!(now, SECRET);
    assert!(!world.log().contains(&now));
    // The one before is accepted until that is ended.
    let old = fs::read_to_string(world.path().join("hook.secret.old")).unwrap();
    let answer = |secret: &str| {
        let file = world.payload("refs/heads/main", &"0".repeat(40));
        let output = world.run(["deliver", &file.display().to_string(), "--event", "push", "--secret", secret]);
        text(&output.stdout).split(' ').next().unwrap().to_owned()
    };
    assert_eq!(answer(&old), "202");
    assert!(world.run(["github", "rotate-secret", "--finish"]).status.success());
    world.until("the old secret is refused", || (answer(&old) == "401").then_some(()));
    assert_eq!(answer(&now), "202");
    assert_eq!(answer(SECRET), "401");
}
