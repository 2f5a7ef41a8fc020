//! Instances as processes: what is gone is gone, and what lives is found again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use tidegate_core::ids::{InstanceId, PoolName};
use tidegate_engine::conformance::{self, Trial};
use tidegate_engine::ports::{Fleet, InstanceStatus, InstanceView, LaunchRequest, Launched, PortError};
use tidegate_local::{FleetSettings, ProcessFleet, StateDir, SystemClock};
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(20);

/// An instance that only waits.
const WAIT: &str = "exec sleep 1000";

/// Starts processes that try to get away: in a session of its own; a daemon whose parent has ended; one without an
/// environment below one that has one. Writes their ids to `pids` when all run.
const ESCAPE: &str = r#"
setsid sleep 1001 & echo $! >> new
(setsid sleep 1002 & echo $! >> new)
setsid sh -c 'env -i sleep 1003 & echo $! >> new; echo $$ >> new; echo > ready; wait' &
while ! [ -e ready ]; do sleep 0.01; done
mv new pids
wait
"#;

fn settings(script: &str) -> FleetSettings {
    let mut settings = FleetSettings::program("/bin/sh", ["-c", script, "instance"].map(OsString::from));
    settings.stop = Duration::from_millis(200);
    settings.grace = Duration::from_millis(200);
    settings
}

fn pool() -> PoolName {
    PoolName::new("default").unwrap()
}

fn request(token: &str, count: u32) -> LaunchRequest {
    LaunchRequest {
        token: token.to_owned(),
        pool: pool(),
        count,
        idle: Duration::from_secs(30),
        hard_stop: Duration::from_secs(600),
        tags: vec![("queue".to_owned(), "default".to_owned())],
    }
}

/// A state directory with a server on it that can be killed.
struct World {
    directory: tempfile::TempDir,
    server: Option<(Runtime, StateDir, ProcessFleet)>,
}

impl World {
    fn new(script: &str) -> Self {
        Self::with(settings(script))
    }

    fn with(settings: FleetSettings) -> Self {
        let mut world = Self { directory: tempfile::tempdir().unwrap(), server: None };
        world.start_with(settings);
        world
    }

    fn start(&mut self, script: &str) {
        self.start_with(settings(script));
    }

    fn start_with(&mut self, settings: FleetSettings) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let state = StateDir::serve(self.directory.path()).unwrap();
        let fleet = runtime.block_on(ProcessFleet::open(&state, settings)).unwrap();
        self.server = Some((runtime, state, fleet));
    }

    /// All of the server ends where it stands. Its instances do not notice.
    fn crash(&mut self) {
        let (runtime, _state, fleet) = self.server.take().unwrap();
        runtime.shutdown_timeout(PATIENCE);
        drop(fleet);
    }

    fn fleet(&self) -> &ProcessFleet {
        &self.server.as_ref().unwrap().2
    }

    fn launch(&self, request: &LaunchRequest) -> Result<Launched, PortError> {
        let (runtime, _, fleet) = self.server.as_ref().unwrap();
        runtime.block_on(fleet.launch(request))
    }

    fn launch_one(&self, token: &str) -> InstanceView {
        match self.launch(&request(token, 1)).unwrap() {
            Launched::Instances(ids) => self.view(&ids[0]).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn view(&self, id: &InstanceId) -> Option<InstanceView> {
        let (runtime, _, fleet) = self.server.as_ref().unwrap();
        runtime.block_on(fleet.describe()).unwrap().into_iter().find(|view| view.id == *id)
    }

    fn terminate(&self, id: &InstanceId) {
        let (runtime, _, fleet) = self.server.as_ref().unwrap();
        runtime.block_on(fleet.terminate(std::slice::from_ref(id))).unwrap();
    }

    fn instance(&self, id: &InstanceId) -> PathBuf {
        self.directory.path().join("instances").join(id.as_str())
    }

    fn gone(&self, id: &InstanceId) -> InstanceView {
        wait_for("the instance to be gone", || self.view(id).filter(|view| view.status == InstanceStatus::Gone))
    }

    /// The processes that the script of [`ESCAPE`] has started.
    fn escaped(&self, id: &InstanceId) -> Vec<u32> {
        let path = self.instance(id).join("work/pids");
        let text = wait_for("the processes of the instance", || fs::read_to_string(&path).ok());
        let pids: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(pids.len(), 4, "{text}");
        assert!(pids.iter().all(|pid| runs(*pid)), "{text}");
        pids
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((runtime, _, fleet)) = &self.server {
            assert!(runtime.block_on(fleet.end_all(PATIENCE)), "instances are left");
        }
    }
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn runs(pid: u32) -> bool {
    state_of(pid).is_some_and(|state| state != 'Z')
}

fn kill(pid: u32) {
    rustix::process::kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, serde_json::to_vec(&value).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::serve(directory.path()).unwrap();
    let fleet = ProcessFleet::open(&state, settings(WAIT)).await.unwrap();
    let trial = Trial::new(&SystemClock, "t", PATIENCE);
    let pool = pool();
    let subject = conformance::fleet::Subject { fleet: &fleet, pool: &pool };
    let report = conformance::fleet::suite(&trial, subject).await.unwrap();
    assert!(report.counts.is_empty(), "{report}");
}

#[test]
fn an_instance_finds_what_it_needs() {
    let world = World::new(r#"cp "$2" copy; env > env; exec sleep 1000"#);
    let view = world.launch_one("a");
    let directory = world.instance(&view.id);
    let environment = wait_for("the environment", || {
        fs::read_to_string(directory.join("work/env")).ok().filter(|text| text.contains("TIDEGATE_INSTANCE"))
    });
    assert!(environment.lines().any(|line| line == format!("TIDEGATE_INSTANCE={}", view.id)), "{environment}");
    let file = directory.join("instance.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let found: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let root = world.directory.path().canonicalize().unwrap();
    assert_eq!(found["instance"], json!(view.id));
    assert_eq!(found["tags"], json!([["queue", "default"]]));
    assert_eq!(found["idle_ms"], json!(30_000));
    assert_eq!(found["endpoint_file"], json!(root.join("endpoint")));
    assert_eq!(found["work_dir"], json!(root.join("instances").join(view.id.as_str()).join("work")));
    let token = found["token"].as_str().unwrap();
    assert!(!environment.contains(token), "the token is in the environment");
    assert_eq!(world.fleet().identify(token), Some(view.id.clone()));
    assert_eq!(world.fleet().token_of(&view.id).unwrap().expose(), token);
    for wrong in ["", "x", view.id.as_str(), &format!("{}.", view.id), &token[..token.len() - 1], &format!("{token}0")]
    {
        assert_eq!(world.fleet().identify(wrong), None, "{wrong}");
    }
    world.terminate(&view.id);
    world.gone(&view.id);
    assert_eq!(world.fleet().identify(token), None);
    wait_for("its directory to be removed", || (!directory.exists()).then_some(()));
}

#[test]
fn a_killed_instance_is_gone_only_when_nothing_of_it_runs() {
    let world = World::new(ESCAPE);
    let (view, other) = (world.launch_one("a"), world.launch_one("b"));
    let (pids, others) = (world.escaped(&view.id), world.escaped(&other.id));
    let mut changes = world.fleet().changes();
    changes.mark_unchanged();
    kill(view.pid.unwrap());
    let gone = wait_for("the instance to be gone", || {
        let view = world.view(&view.id).unwrap();
        // In this order: what runs after it was said to be gone must not have run before either.
        let said = view.status == InstanceStatus::Gone;
        assert!(!said || !pids.iter().any(|pid| runs(*pid)), "gone, but {pids:?} run");
        said.then_some(view)
    });
    assert_eq!(gone.why.as_deref(), Some("its process was ended by signal 9 (SIGKILL)"));
    assert_eq!(gone.pid, view.pid);
    wait_for("the word of it", || changes.has_changed().unwrap().then_some(()));
    assert!(others.iter().all(|pid| runs(*pid)), "another instance was hit");
}

#[test]
fn an_instance_that_does_not_want_to_end_is_killed() {
    let world = World::new("trap '' TERM; echo > up; while :; do sleep 1000; done");
    let view = world.launch_one("a");
    let up = world.instance(&view.id).join("work/up");
    wait_for("the trap", || up.exists().then_some(()));
    world.terminate(&view.id);
    let gone = world.gone(&view.id);
    assert_eq!(gone.why.as_deref(), Some("it was asked to end, and was killed because it did not"));
    assert!(!runs(view.pid.unwrap()));
}

#[test]
fn why_an_instance_ended_is_told() {
    let world = World::new("echo first; echo no such flag >&2; exit 3");
    let view = world.launch_one("a");
    let gone = world.gone(&view.id);
    assert_eq!(gone.why.as_deref(), Some("its process ended with exit status 3; it last said: no such flag"));
    let world = World::new("exit 0");
    let view = world.launch_one("a");
    assert_eq!(world.gone(&view.id).why.as_deref(), Some("it left"));
}

#[test]
fn the_next_server_finds_living_instances() {
    let mut world = World::new(ESCAPE);
    let view = world.launch_one("a");
    let pids = world.escaped(&view.id);
    let token = world.fleet().token_of(&view.id).unwrap();
    world.crash();
    assert!(runs(view.pid.unwrap()));
    world.start(ESCAPE);
    assert_eq!(world.view(&view.id), Some(view.clone()));
    assert_eq!(world.fleet().identify(token.expose()), Some(view.id.clone()));
    assert_eq!(world.launch(&request("a", 1)).unwrap(), Launched::Instances(vec![view.id.clone()]));
    kill(view.pid.unwrap());
    world.gone(&view.id);
    assert!(!pids.iter().any(|pid| runs(*pid)));
}

#[test]
fn the_next_server_ends_what_remained_of_an_ended_instance() {
    let mut world = World::new(ESCAPE);
    let view = world.launch_one("a");
    let pids = world.escaped(&view.id);
    world.crash();
    kill(view.pid.unwrap());
    assert!(pids.iter().all(|pid| runs(*pid)));
    world.start(ESCAPE);
    let gone = world.gone(&view.id);
    assert!(!pids.iter().any(|pid| runs(*pid)));
    assert_eq!(gone.why.as_deref(), Some("it ended while no server watched"));
    // And the one after that still knows.
    world.crash();
    world.start(ESCAPE);
    assert_eq!(world.view(&view.id), Some(gone));
    assert_eq!(world.launch(&request("a", 1)).unwrap(), Launched::Instances(vec![view.id]));
}

#[test]
fn an_instance_whose_process_was_not_noted_is_found_by_its_tag() {
    let mut world = World::new(ESCAPE);
    let view = world.launch_one("a");
    world.escaped(&view.id);
    world.crash();
    fs::remove_file(world.instance(&view.id).join("process.json")).unwrap();
    world.start(ESCAPE);
    assert_eq!(world.view(&view.id), Some(view));
}

#[test]
fn a_launch_that_was_only_recorded_is_done_when_it_is_repeated() {
    let mut world = World::new(WAIT);
    let view = world.launch_one("a");
    world.crash();
    // As if the server had died right behind the record of the launch.
    kill(view.pid.unwrap());
    fs::remove_dir_all(world.instance(&view.id)).unwrap();
    wait_for("its end", || (!runs(view.pid.unwrap())).then_some(()));
    world.start(WAIT);
    assert_eq!(world.view(&view.id), None);
    let again = world.launch_one("a");
    assert_eq!(again.id, view.id);
    assert_eq!(again.status, InstanceStatus::Alive);
    assert_ne!(again.pid, view.pid);
}

#[test]
fn a_stranger_with_the_same_process_id_is_left_alone() {
    let mut world = World::new(WAIT);
    let view = world.launch_one("a");
    world.crash();
    kill(view.pid.unwrap());
    let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    edit(&world.instance(&view.id).join("process.json"), |started| {
        // The id was used again: the start is another one.
        started["process"]["pid"] = json!(stranger.id());
        started["process"]["start"] = json!(started["process"]["start"].as_u64().unwrap() - 1);
    });
    world.start(WAIT);
    world.gone(&view.id);
    assert!(stranger.try_wait().unwrap().is_none(), "a stranger was killed");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn an_instance_that_was_to_end_is_ended_by_the_next_server() {
    let script = "trap '' TERM; echo > up; while :; do sleep 1000; done";
    let mut patient = settings(script);
    patient.stop = Duration::from_secs(600);
    let mut world = World::with(patient);
    let view = world.launch_one("a");
    let up = world.instance(&view.id).join("work/up");
    wait_for("the trap", || up.exists().then_some(()));
    world.terminate(&view.id);
    world.crash();
    assert!(runs(view.pid.unwrap()));
    world.start(script);
    world.gone(&view.id);
    assert!(!runs(view.pid.unwrap()));
}

#[test]
fn an_instance_that_outlives_its_hard_stop_is_killed() {
    let mut strict = settings(ESCAPE);
    strict.overdue = Duration::ZERO;
    let world = World::with(strict);
    let launched = world.launch(&LaunchRequest { hard_stop: Duration::from_secs(1), ..request("a", 1) });
    let Ok(Launched::Instances(ids)) = launched else { panic!("{launched:?}") };
    let pids = world.escaped(&ids[0]);
    let gone = world.gone(&ids[0]);
    assert!(gone.why.as_ref().unwrap().starts_with("it was killed after its hard stop"), "{gone:?}");
    assert!(!pids.iter().any(|pid| runs(*pid)));
}

#[test]
fn what_cannot_be_started_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let state = StateDir::serve(directory.path()).unwrap();
    let settings = FleetSettings::program("/no/such/program", []);
    let fleet = runtime.block_on(ProcessFleet::open(&state, settings)).unwrap();
    let error = runtime.block_on(fleet.launch(&request("a", 2))).unwrap_err();
    assert!(matches!(&error, PortError::Fatal { why } if why.contains("/no/such/program")), "{error}");
    for folder in ["instances", "launches"] {
        assert_eq!(fs::read_dir(directory.path().join(folder)).unwrap().count(), 0, "{folder}");
    }
    assert_eq!(runtime.block_on(fleet.describe()).unwrap(), []);
}

#[test]
fn a_token_is_for_one_request() {
    let world = World::new(WAIT);
    world.launch_one("a");
    let error = world.launch(&request("a", 2)).unwrap_err();
    assert!(matches!(error, PortError::Reject { .. }), "{error}");
    for bad in ["", "a/b", "../x", "a b", &"x".repeat(65)] {
        assert!(matches!(world.launch(&request(bad, 1)), Err(PortError::Reject { .. })), "{bad}");
    }
    assert!(matches!(world.launch(&request("b", 0)), Err(PortError::Reject { .. })));
}
