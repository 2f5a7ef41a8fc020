//! A small gate in memory and real agent processes that talk to it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::print_stderr,
    reason = "each test file uses its own part"
)]

pub mod gate;
pub mod repo;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tidegate_core::ids::AttemptId;
use tidegate_core::wire::gate::{Assignment, Checkout, CheckoutOptions, ReportResult};

pub use gate::Gate;

/// Longer than anything takes on a busy machine. Nothing is decided by it but that a test has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const TOKEN: &str = "token-that-nobody-may-see-4711";

/// Waits for a condition that nobody can tell us about.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One machine with its gate.
pub struct World {
    pub dir: tempfile::TempDir,
    pub gate: Gate,
    pub instance: String,
    settings: serde_json::Value,
    /// More variables for the agent.
    pub env: Vec<(String, String)>,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = dir.path().join("endpoint");
        let instance = format!("i-{:017x}", rand::random::<u64>());
        let settings = serde_json::json!({
            "instance": instance,
            "pool": "default",
            "tags": [["queue", "default"]],
            "token": TOKEN,
            "endpoint_file": endpoint,
            "idle_ms": 60_000,
            "hard_stop_ms": 600_000,
            "work_dir": dir.path().join("work"),
            "mirrors_dir": dir.path().join("mirrors"),
            "beat_ms": 50,
            "self_kill_ms": 60_000,
        });
        Self { gate: Gate::start(endpoint, instance.clone()), dir, instance, settings, env: Vec::new() }
    }

    pub fn set(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.settings[name] = value.into();
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the watchdog, which starts the worker.
    pub fn agent(&self) -> Agent {
        let file = self.path("instance.json");
        std::fs::write(&file, self.settings.to_string()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tidegate-agent"))
            .arg("instance")
            .arg("--file")
            .arg(&file)
            .env("TIDEGATE_LOG", "info")
            .env("SHOULD_NOT_BE_SEEN", "by-a-job")
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(self.path("agent.log")).unwrap())
            .spawn()
            .unwrap();
        Agent { child, instance: self.instance.clone(), log: self.path("agent.log") }
    }

    /// Runs one job to its end on a fresh agent.
    pub fn run(&self, assignment: Assignment) -> ReportResult {
        let mut agent = self.agent();
        self.gate.give(assignment);
        let result = self.gate.result(0);
        self.gate.with(|s| s.leave = true);
        agent.ends();
        result
    }

    /// Waits for a file that a job writes.
    pub fn file(&self, path: &Path) -> String {
        eventually(&format!("`{}`", path.display()), || std::fs::read_to_string(path).is_ok_and(|t| t.ends_with('\n')));
        std::fs::read_to_string(path).unwrap()
    }
}

/// A running watchdog. Whatever a test leaves is killed.
pub struct Agent {
    child: Child,
    instance: String,
    log: PathBuf,
}

impl Agent {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// The worker's process.
    pub fn worker(&self) -> i32 {
        let mut found = None;
        eventually("the worker", || {
            found = processes()
                .into_iter()
                .find(|p| p.parent == self.pid() && p.command.contains("--worker"))
                .map(|p| p.pid);
            found.is_some()
        });
        found.unwrap()
    }

    pub fn signal(&self, signal: &str) {
        send(self.pid(), signal);
    }

    /// Waits until it has ended; whether in peace.
    pub fn ends(&mut self) -> bool {
        let mut status = None;
        eventually("the agent's end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().success()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Every process that carries the instance's tag.
    pub fn family(&self) -> Vec<Seen> {
        let tag = format!("TIDEGATE_INSTANCE={}", self.instance);
        processes().into_iter().filter(|p| p.environ.split('\0').any(|e| e == tag)).collect()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for process in self.family() {
            send(process.pid, "KILL");
        }
        if std::thread::panicking() {
            eprintln!("--- the agent said:\n{}", self.log());
        }
    }
}

pub fn send(pid: i32, signal: &str) {
    let _ = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).stderr(Stdio::null()).status();
}

pub fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|s| !s.rsplit(')').next().unwrap_or("").starts_with(" Z"))
}

/// Most memory that a process had resident, in KiB.
pub fn peak_memory(pid: i32) -> u64 {
    std::fs::read_to_string(format!("/proc/{pid}/status"))
        .unwrap_or_default()
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[derive(Debug)]
pub struct Seen {
    pub pid: i32,
    pub parent: i32,
    pub command: String,
    pub environ: String,
}

pub fn processes() -> Vec<Seen> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let read = |name: &str| {
            std::fs::read(entry.path().join(name)).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
        };
        let stat = read("stat");
        let rest = stat.rsplit(')').next().unwrap_or("");
        let mut fields = rest.split_whitespace();
        if fields.next() == Some("Z") {
            continue;
        }
        all.push(Seen {
            pid,
            parent: fields.next().and_then(|p| p.parse().ok()).unwrap_or(0),
            command: read("cmdline").replace('\0', " "),
            environ: read("environ"),
        });
    }
    all
}

pub fn attempt(number: u32) -> AttemptId {
    format!("0197a7c0-0000-7000-8000-000000000001/0/{number}").parse().unwrap()
}

/// A job that runs this and nothing else.
pub fn job(command: &str) -> Assignment {
    Assignment {
        attempt: attempt(1),
        env: vec![("CI".to_owned(), "true".to_owned())],
        command: command.to_owned(),
        checkout: None,
        secrets: Vec::new(),
        artifact_paths: Vec::new(),
        timeout_ms: None,
        grace_ms: 500,
        log_urls: Vec::new(),
        log_limit: 64 << 20,
        log_rate: 64 << 20,
    }
}

pub fn checkout(url: &Path, commit: &str) -> Option<Checkout> {
    Some(Checkout {
        repository: "7".to_owned(),
        url: url.display().to_string(),
        commit: commit.to_owned(),
        git_ref: Some("refs/heads/main".to_owned()),
        credentials: false,
        options: CheckoutOptions::default(),
    })
}
