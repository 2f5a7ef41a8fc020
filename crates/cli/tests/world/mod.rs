//! The whole system as its users see it: the real binary, a real git repository, real processes, signed webhooks over
//! loopback. Stories drive it through its public edges only.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a story that cannot go on has failed, and shows the log of the server then"
)]
#![allow(dead_code, clippy::allow_attributes, reason = "each story uses a part of the world")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const SECRET: &str = "a secret of stories, never printed";
pub(crate) const REPOSITORY: u64 = 4242;

/// How long anything may take before the story has failed.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    dir: tempfile::TempDir,
    server: Option<Child>,
    width: u32,
    extra: String,
    top: String,
    webhook: String,
    clone_url: Option<String>,
    of_repository: String,
}

impl World {
    /// A repository with this pipeline file, and a configuration. Nothing runs yet.
    pub(crate) fn new(pipeline: &str) -> Self {
        let world = Self::empty();
        world.write(".tidegate/pipeline.yml", pipeline);
        world.commit("first");
        world
    }

    /// A repository without a pipeline file.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = Self {
            dir,
            server: None,
            width: 4,
            extra: String::new(),
            top: String::new(),
            webhook: format!("secret = \"{SECRET}\""),
            clone_url: None,
            of_repository: String::new(),
        };
        fs::create_dir_all(world.repo()).unwrap();
        world.git(["init", "--quiet", "--initial-branch=main"]);
        world.write("README", "hello\n");
        world.commit("zeroth");
        world
    }

    /// How many instances there may be.
    pub(crate) fn width(mut self, width: u32) -> Self {
        self.width = width;
        self
    }

    /// More configuration.
    pub(crate) fn config(mut self, text: &str) -> Self {
        self.extra = text.to_owned();
        self
    }

    /// What the configuration says of the webhook instead of the secret.
    pub(crate) fn webhook(mut self, text: &str) -> Self {
        self.webhook = text.to_owned();
        self
    }

    /// Configuration that stands before everything else.
    pub(crate) fn top(mut self, text: &str) -> Self {
        self.top = text.to_owned();
        self
    }

    /// Where the server and its instances get the repository from, instead of its directory, and more configuration of it.
    pub(crate) fn cloned_from(mut self, url: &str, of_repository: &str) -> Self {
        self.clone_url = Some(url.to_owned());
        self.of_repository = of_repository.to_owned();
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.path().join("repo")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path().join("server.log")).unwrap_or_default()
    }

    fn write_config(&self) -> PathBuf {
        let path = self.path().join("tidegate.toml");
        let text = format!(
            "listen = \"127.0.0.1:0\"\napi_listen = \"127.0.0.1:0\"\n{}\n[webhook]\n{}\n\
             [[repository]]\nfull_name = \"story/web\"\nid = {REPOSITORY}\nclone_url = \"{}\"\n{}\n\
             [[pool]]\nname = \"default\"\nwidth = {}\nidle = \"2s\"\n{}",
            self.top,
            self.webhook,
            self.clone_url.clone().unwrap_or_else(|| self.repo().display().to_string()),
            self.of_repository,
            self.width,
            self.extra
        );
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn git<const N: usize>(&self, args: [&str; N]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Story", "-c", "user.email=story@example.com", "-c", "commit.gpgsign=false"])
            .args(args)
            .current_dir(self.repo())
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.repo().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Commits everything; returns the commit.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.git(["add", "--all"]);
        self.git(["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(["rev-parse", "HEAD"])
    }

    /// The command as a user would type it.
    pub(crate) fn tidegate<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command
            .args(args)
            .env("TIDEGATE_STATE", self.state())
            .env("TIDEGATE_CONFIG", self.path().join("tidegate.toml"))
            .env_remove("TIDEGATE_URL")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.tidegate(args).output().unwrap()
    }

    /// Starts the server and waits until it answers.
    pub(crate) fn start(&mut self) -> &mut Self {
        self.write_config();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path().join("server.log")).unwrap();
        let child = self
            .tidegate(["up"])
            .env("TIDEGATE_LOG", "debug,tidegate_engine::records=trace")
            .env("NO_COLOR", "1")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let pid = u64::from(child.id());
        self.server = Some(child);
        self.until("the server is ready", || {
            let file: Value = serde_json::from_slice(&fs::read(self.state().join("api.json")).ok()?).ok()?;
            (file["pid"].as_u64()? == pid).then_some(())?;
            self.run(["builds", "--json"]).status.success().then_some(())
        });
        self
    }

    pub(crate) fn server_pid(&self) -> u32 {
        self.server.as_ref().expect("the server runs").id()
    }

    /// kill -9.
    pub(crate) fn kill_server(&mut self) -> &mut Self {
        let mut child = self.server.take().expect("the server runs");
        child.kill().unwrap();
        child.wait().unwrap();
        self
    }

    /// SIGTERM.
    pub(crate) fn stop_server(&mut self) -> ExitStatus {
        let mut child = self.server.take().expect("the server runs");
        kill(child.id(), "TERM");
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not stop\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Polls until `what` holds: a condition with a deadline.
    pub(crate) fn until<T>(&self, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = check() {
                return found;
            }
            assert!(Instant::now() < deadline, "waited in vain until {what}\nserver log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    /// A push payload for what the repository has now.
    pub(crate) fn payload(&self, git_ref: &str, before: &str) -> PathBuf {
        self.payload_of(git_ref, before, &self.git(["rev-parse", "HEAD"]))
    }

    /// A push payload for a commit.
    pub(crate) fn payload_of(&self, git_ref: &str, before: &str, head: &str) -> PathBuf {
        let message = self.git(["log", "-1", "--format=%B", head]);
        let payload = serde_json::json!({
            "ref": git_ref, "before": before, "after": head,
            "created": before.bytes().all(|b| b == b'0'), "deleted": false, "forced": false,
            "repository": { "id": REPOSITORY, "full_name": "story/web", "default_branch": "main" },
            "pusher": { "name": "teller", "email": null },
            "sender": { "id": 7, "login": "teller" },
            "head_commit": {
                "id": head, "message": message,
                "author": { "name": "Story", "email": "story@example.com" },
            },
            "commits": [],
        });
        let path = self.path().join(format!("payload-{head}.json"));
        fs::write(&path, payload.to_string()).unwrap();
        path
    }

    /// Delivers a push of the current commit to `main`.
    pub(crate) fn push(&self) -> Output {
        self.push_as(&format!("story-{}", self.git(["rev-parse", "HEAD"])))
    }

    /// The same, with a delivery id of one's own.
    pub(crate) fn push_as(&self, delivery: &str) -> Output {
        let file = self.payload("refs/heads/main", &"0".repeat(40));
        let output = self.run([
            "deliver".as_ref(),
            file.as_os_str(),
            "--event".as_ref(),
            "push".as_ref(),
            "--delivery".as_ref(),
            delivery.as_ref(),
        ]);
        assert!(output.status.success(), "deliver: {}{}", text(&output.stdout), text(&output.stderr));
        output
    }

    pub(crate) fn builds(&self) -> Vec<Value> {
        let output = self.run(["builds", "--json"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["builds"].as_array().unwrap().clone()
    }

    pub(crate) fn build(&self, number: u64) -> Option<Value> {
        let output = self.run(["build", "show", &number.to_string(), "--json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// Waits until a build satisfies a condition.
    pub(crate) fn build_until(&self, number: u64, what: &str, check: impl Fn(&Value) -> bool) -> Value {
        self.until(what, || self.build(number).filter(|build| check(build)))
    }

    /// Waits until a build is over.
    pub(crate) fn finished(&self, number: u64) -> Value {
        self.build_until(number, &format!("build {number} is over"), |build| {
            matches!(build["state"].as_str(), Some("passed" | "failed" | "canceled" | "not_run"))
        })
    }

    pub(crate) fn logs(&self, job: &str) -> String {
        let output = self.run(["logs", "1", job]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    pub(crate) fn instances(&self) -> Vec<Value> {
        let output = self.run(["instances", "--json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        answer["instances"].as_array().cloned().unwrap_or_default()
    }

    /// Processes that carry the mark of an instance of this world.
    pub(crate) fn processes(&self) -> Vec<(u32, String)> {
        let state = self.state().display().to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
            let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
            let (environ, cmdline) = (read("environ"), read("cmdline"));
            let of_instance = environ.split(|b| *b == 0).any(|v| v.starts_with(b"TIDEGATE_INSTANCE="));
            let ours = String::from_utf8_lossy(&cmdline).contains(&state)
                || String::from_utf8_lossy(&environ).contains(&state);
            if of_instance && ours {
                found.push((pid, String::from_utf8_lossy(&cmdline).replace('\0', " ")));
            }
        }
        found
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(child) = &mut self.server {
            kill(child.id(), "TERM");
            let deadline = Instant::now() + Duration::from_secs(20);
            while Instant::now() < deadline && child.try_wait().ok().flatten().is_none() {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("server log:\n{}", self.log());
        }
        for (pid, _) in self.processes() {
            kill(pid, "KILL");
        }
    }
}

pub(crate) fn kill(pid: u32, signal: &str) {
    let _ = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).stderr(Stdio::null()).status();
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A job of a build, by key or label.
pub(crate) fn job<'a>(build: &'a Value, name: &str) -> &'a Value {
    let jobs = build["jobs"].as_array().unwrap();
    let found = jobs.iter().find(|j| j["key"] == name || j["label"] == name);
    found.unwrap_or_else(|| panic!("no job {name} in {build:#}"))
}

pub(crate) fn attempts(job: &Value) -> &Vec<Value> {
    job["attempts"].as_array().unwrap()
}
