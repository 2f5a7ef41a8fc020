//! A world whose server is an App of a GitHub in memory: people push there, and look there.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]
#![allow(dead_code, clippy::allow_attributes, reason = "each story uses a part of it")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use tidegate_github_memory::{AppCredentials, CheckRun, Hub, Server, Shown};

use crate::world::{REPOSITORY, SECRET, World};

pub(crate) const ZEROS: &str = "0000000000000000000000000000000000000000";

pub(crate) struct GitHub {
    // Its tasks end with it.
    runtime: tokio::runtime::Runtime,
    pub(crate) server: Server,
    pub(crate) app: AppCredentials,
    pub(crate) installation: u64,
}

impl GitHub {
    /// A GitHub with the repository of the stories, and an App with what it needs that is installed there.
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(Server::start()).unwrap();
        let wanted = json!({
            "default_permissions": {
                "checks": "write", "statuses": "write", "contents": "read", "pull_requests": "read", "merge_queues": "read",
            },
            "default_events": [
                "push", "pull_request", "merge_group", "check_run", "check_suite", "issue_comment", "create", "delete",
                "repository",
            ],
        });
        let (app, installation) = server.with(|hub, now| {
            hub.make_repository(REPOSITORY, "story/web");
            let app = hub.make_app("story", "Tide", "http://127.0.0.1:1/webhook", &wanted);
            let installation = hub.install(now, app.id, "story", None);
            (app, installation)
        });
        Self { runtime, server, app, installation }
    }

    /// Writes the App's key beside the configuration; returns what belongs into the configuration.
    pub(crate) fn config(&self, world: &World) -> String {
        let key = world.path().join("app.pem");
        fs::write(&key, &self.app.private_key).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        format!(
            "base_url = \"https://ci.example.com\"\n[github]\napp_id = {}\nprivate_key_file = \"app.pem\"\napi_url = \"{}\"\n",
            self.app.id,
            self.server.url()
        )
    }

    /// What a browser gets: the status, and the page.
    pub(crate) fn browse(&self, url: &str) -> (u16, String) {
        self.runtime.block_on(async {
            let answer = reqwest::get(url).await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        })
    }

    /// Deliveries go to the server of a world from now on.
    pub(crate) fn deliver_to(&self, world: &World) {
        self.deliver_with(world, SECRET);
    }

    /// The same, signed with another secret.
    pub(crate) fn deliver_with(&self, world: &World, secret: &str) {
        let file: Value = serde_json::from_slice(&fs::read(world.state().join("api.json")).unwrap()).unwrap();
        let url = format!("{}/webhook", file["public_url"].as_str().unwrap());
        self.server.with(|hub, _| hub.set_hook(self.app.id, &url, secret));
    }

    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Hub, u64) -> T) -> T {
        self.server.with(act)
    }

    /// Somebody pushes what the repository of a world has now.
    pub(crate) fn push(&self, world: &World, git_ref: &str) -> String {
        let (head, message) = (world.git(["rev-parse", "HEAD"]), world.git(["log", "-1", "--format=%B"]));
        self.with(|hub, now| hub.push(now, "teller", REPOSITORY, git_ref, &head, &message));
        head
    }

    /// Somebody makes an empty commit and pushes it.
    pub(crate) fn push_next(&self, world: &World) -> String {
        world.commit("next");
        self.push(world, "refs/heads/main")
    }

    /// Whether an address was asked for, by the end of its path.
    pub(crate) fn asked(&self, end: &str) -> bool {
        self.with(|hub, _| hub.seen.iter().any(|s| s.status == 200 && s.path.split('?').next().unwrap().ends_with(end)))
    }

    /// What people see beside a commit.
    pub(crate) fn shown(&self, sha: &str) -> Vec<Shown> {
        self.with(|hub, _| hub.shown(REPOSITORY, sha))
    }

    /// Waits until a check of this name stands so.
    pub(crate) fn check_until(&self, world: &World, sha: &str, name: &str, state: &str) -> CheckRun {
        world.until(&format!("`{name}` is {state} at {sha}"), || {
            let run = self.with(|hub, _| hub.newest_check(REPOSITORY, sha, name).cloned())?;
            (run.conclusion.as_deref().unwrap_or(&run.status) == state).then_some(run)
        })
    }
}

/// A world whose server is that App.
pub(crate) fn world(pipeline: &str) -> (World, GitHub) {
    world_with(pipeline, "")
}

/// The same, with more in the section `[github]`.
pub(crate) fn world_with(pipeline: &str, more: &str) -> (World, GitHub) {
    let (world, github) = (World::new(pipeline), GitHub::new());
    let config = github.config(&world) + more;
    let mut world = world.top(&config);
    world.start();
    github.deliver_to(&world);
    (world, github)
}
