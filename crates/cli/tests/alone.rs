//! Commands that need no server: `demo`, `run`, and what they leave behind, which is nothing.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The command, with directories of its own for everything that it makes.
fn tidegate(home: &Path) -> Command {
    let temporary = home.join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.env("TMPDIR", &temporary).env("HOME", home).env_remove("TIDEGATE_LOG").stdin(Stdio::null());
    for name in ["TIDEGATE_STATE", "TIDEGATE_CONFIG", "TIDEGATE_URL", "TIDEGATE_TOKEN", "XDG_STATE_HOME"] {
        command.env_remove(name);
    }
    command
}

/// Nothing that was made is left, and no process that knows of it.
fn assert_nothing_left(home: &Path) {
    let left: Vec<_> = fs::read_dir(home.join("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
    let name = home.display().to_string();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let own = entry.file_name().to_str() == Some(&std::process::id().to_string());
        if own || !entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        for file in ["environ", "cmdline"] {
            let content = fs::read(entry.path().join(file)).unwrap_or_default();
            let content = String::from_utf8_lossy(&content).into_owned();
            assert!(!content.contains(&name), "process {:?} is left: {content}", entry.file_name());
        }
    }
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn git(directory: &Path, arguments: &[&str]) {
    let settings = ["-c", "user.name=Story", "-c", "user.email=story@example.com", "-c", "commit.gpgsign=false"];
    let status = Command::new("git").arg("-C").arg(directory).args(settings).args(arguments).status().unwrap();
    assert!(status.success(), "git {arguments:?}");
}

/// A repository with this pipeline, committed.
fn repository(home: &Path, pipeline: &str) -> std::path::PathBuf {
    let root = home.join("web");
    fs::create_dir_all(root.join(".tidegate")).unwrap();
    fs::write(root.join(".tidegate/pipeline.yml"), pipeline).unwrap();
    git(&root, &["init", "--quiet", "."]);
    git(&root, &["symbolic-ref", "HEAD", "refs/heads/main"]);
    git(&root, &["add", "--all"]);
    git(&root, &["commit", "--quiet", "-m", "First [skip ci]"]);
    root
}

#[test]
fn the_demo_keeps_its_promises() {
    let home = tempfile::tempdir().unwrap();
    let output = tidegate(home.path()).args(["demo", "--json"]).output().unwrap();
    let lines = lines(&output);
    let summary = lines.last().unwrap();
    assert!(output.status.success(), "{summary:#}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(summary["build"]["state"], "passed");
    let jobs = summary["build"]["jobs"].as_array().unwrap();
    let long = jobs.iter().find(|job| job["key"] == "integration").unwrap();
    let seen: Vec<_> = long["attempts"].as_array().unwrap().iter().map(|a| (&a["cause"], &a["retry_count"])).collect();
    assert_eq!(seen, [(&Value::from("lost"), &Value::from(0)), (&Value::from("exit"), &Value::from(0))]);
    assert_eq!(long["attempts"][0]["instance"], summary["killed"]["instance"]);
    let gone = lines.iter().filter(|line| line["event"] == "instance" && line["state"] == "gone").count();
    let launched = lines.iter().filter(|line| line["event"] == "instance" && line["state"] == "launched").count();
    assert_eq!(gone, launched, "every instance that came went");
    assert!(launched >= 3);
    assert_nothing_left(home.path());
}

#[test]
fn what_the_demo_keeps_can_be_read_without_a_server() {
    let home = tempfile::tempdir().unwrap();
    let output = tidegate(home.path()).args(["demo", "--keep"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(!text.contains('\x1b'), "no escape sequences outside of a terminal");
    assert!(text.contains("kill -9:") && text.contains("lost its machine"), "{text}");
    let state = text.lines().find_map(|line| line.trim().strip_prefix("export TIDEGATE_STATE=")).unwrap().to_owned();
    // What it says next are commands that work.
    let mut commands = 0;
    for line in text.lines().map(str::trim).filter(|line| line.starts_with("tidegate ")) {
        let arguments: Vec<&str> =
            line.split_whitespace().skip(1).take_while(|word| *word != "the" && *word != "a").collect();
        if matches!(arguments[0], "demo" | "run" | "config" | "up") {
            continue;
        }
        let run =
            tidegate(home.path()).args(&arguments).env("TIDEGATE_STATE", &state).current_dir(home.path()).output();
        let run = run.unwrap();
        assert!(run.status.success(), "{line}: {}", String::from_utf8_lossy(&run.stderr));
        assert!(!run.stdout.is_empty(), "{line}");
        commands += 1;
    }
    assert!(commands >= 6, "{text}");
    assert!(fs::read_to_string(home.path().join("artifacts/pkg/hello.txt")).unwrap().contains("hello from commit"));
}

#[test]
fn a_commit_is_built_and_a_working_tree_too() {
    let home = tempfile::tempdir().unwrap();
    let root = repository(
        home.path(),
        "steps:\n  - { key: one, command: 'cat value || echo none', agents: { queue: special, gpu: '*' } }\n",
    );
    // A skip token is for pushes: whoever says `run` means it.
    let output = tidegate(home.path()).args(["run", "--json"]).current_dir(&root).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let events = lines(&output);
    let build = events.last().unwrap();
    assert_eq!((&build["state"], &build["pipeline"]), (&"passed".into(), &"web".into()));
    let printed = |events: &[Value]| -> Vec<String> {
        let output = events.iter().filter(|e| e["event"] == "output");
        output.map(|e| e["text"].as_str().unwrap().to_owned()).collect()
    };
    assert!(printed(&events).contains(&"none".to_owned()), "{events:#?}");

    fs::write(root.join("value"), "from disk\n").unwrap();
    let output = tidegate(home.path()).args(["run", "--dirty", "--json", "--repo"]).arg(&root).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed(&lines(&output)).contains(&"from disk".to_owned()));
    assert_nothing_left(home.path());
}

#[test]
fn exit_statuses_of_run() {
    let home = tempfile::tempdir().unwrap();
    let root = repository(home.path(), "steps:\n  - { key: bad, command: exit 7 }\n");
    let run =
        |arguments: &[&str]| tidegate(home.path()).arg("run").args(arguments).current_dir(&root).output().unwrap();
    let failed = run(&[]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stdout).contains("exit 7"));
    let missing = run(&["--file", "other.yml"]);
    assert_eq!(missing.status.code(), Some(2), "{}", String::from_utf8_lossy(&missing.stdout));
    assert!(String::from_utf8_lossy(&missing.stdout).contains("other.yml"));
    fs::write(root.join(".tidegate/pipeline.yml"), "steps:\n  - commnad: true\n    command: [{}]\n").unwrap();
    let broken = run(&["--dirty"]);
    assert_eq!(broken.status.code(), Some(2));
    let text = String::from_utf8_lossy(&broken.stdout).into_owned();
    assert!(text.contains(".tidegate/pipeline.yml:3:"), "{text}");
    let outside = tidegate(home.path()).arg("run").current_dir(home.path().join("tmp")).output().unwrap();
    assert_eq!(outside.status.code(), Some(2));
    assert_nothing_left(home.path());
}

#[test]
fn a_run_has_the_plugins_and_hooks_of_its_configuration() {
    let home = tempfile::tempdir().unwrap();
    let plugin = home.path().join("mirrors/github.com/some/one-buildkite-plugin");
    fs::create_dir_all(plugin.join("hooks")).unwrap();
    fs::write(plugin.join("hooks/pre-command"), "export FROM_PLUGIN=$BUILDKITE_PLUGIN_ONE_WORD\n").unwrap();
    git(&plugin, &["init", "--quiet", "."]);
    git(&plugin, &["add", "."]);
    git(&plugin, &["commit", "--quiet", "-m", "one"]);
    git(&plugin, &["tag", "v1"]);
    fs::create_dir(home.path().join("hooks")).unwrap();
    fs::write(home.path().join("hooks/environment"), "export FROM_HOOK=hook\n").unwrap();
    let config = home.path().join("tidegate.toml");
    fs::write(&config, "[hooks]\ndir = \"hooks\"\nplugin_mirrors = \"mirrors\"\n").unwrap();
    let root = repository(
        home.path(),
        "steps: [{ command: 'test $$FROM_HOOK-$$FROM_PLUGIN = hook-word', plugins: [{ 'some/one#v1': { word: word } }] }]\n",
    );
    let output = tidegate(home.path()).current_dir(&root).arg("run").arg("--config").arg(&config).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn an_interrupted_run_cancels_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let command = "trap 'echo cleaning up; exit 1' TERM; echo ready; sleep 600 & wait";
    let root = repository(home.path(), &format!("steps:\n  - {{ key: long, command: \"{command}\" }}\n"));
    for (signals, clean) in [(1, true), (2, false)] {
        let mut child =
            tidegate(home.path()).args(["run", "--json"]).current_dir(&root).stdout(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let mut cleaned = false;
        let mut last = Value::Null;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            last = serde_json::from_str(&line.unwrap()).unwrap();
            if last["event"] == "output" && last["text"] == "ready" {
                for _ in 0..signals {
                    kill(pid, Signal::SIGINT).unwrap();
                    // Two that come at once are one.
                    std::thread::sleep(std::time::Duration::from_millis(30));
                }
            }
            cleaned |= last["event"] == "output" && last["text"] == "cleaning up";
        }
        assert_eq!(child.wait().unwrap().code(), Some(130));
        if clean {
            assert!(cleaned, "a job may clean up");
            assert_eq!(last["state"], "canceled", "{last:#}");
        }
        assert_nothing_left(home.path());
    }
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut child = tidegate(home.path()).args(["demo", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["event"] == "output" && event["text"] == "check 1 of 6" {
            kill(pid, Signal::SIGINT).unwrap();
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_nothing_left(home.path());
}
