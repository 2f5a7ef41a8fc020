//! What client commands say, and with which status, where there is no server, or another than was meant.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn tidegate(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).env("HOME", home).current_dir(home).stdin(Stdio::null());
    for name in
        ["TIDEGATE_STATE", "TIDEGATE_CONFIG", "TIDEGATE_URL", "TIDEGATE_TOKEN", "TIDEGATE_LOG", "XDG_STATE_HOME"]
    {
        command.env_remove(name);
    }
    command
}

fn run(home: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = tidegate(home, arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn without_a_server_there_is_a_way_out() {
    let home = tempfile::tempdir().unwrap();
    for command in [
        &["builds"][..],
        &["build", "show", "1"],
        &["logs", "1", "test"],
        &["artifact", "list", "1"],
        &["cancel", "1"],
        &["retry", "1"],
        &["instances"],
        &["build", "create", "--pipeline", "web"],
    ] {
        let (status, out, error) = run(home.path(), command);
        assert_eq!((status, out.as_str()), (Some(3), ""), "{command:?}");
        assert!(error.contains("tidegate up") && error.contains("--state DIR"), "{error}");
        assert!(!home.path().join(".local").exists(), "asking makes nothing");
    }
    fs::write(home.path().join("secret"), "s\n").unwrap();
    fs::write(home.path().join("push.json"), "{}").unwrap();
    let (status, _, error) = run(home.path(), &["deliver", "push.json", "--event", "push", "--secret-file", "secret"]);
    assert_eq!(status, Some(3), "{error}");
}

#[test]
fn wrong_usage_and_wrong_configuration_are_told_apart_from_failures() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("wrong.toml"), "lisen = \"127.0.0.1:0\"\n").unwrap();
    fs::write(home.path().join("push.json"), "{}").unwrap();
    for (command, says) in [
        (&["biulds"][..], "builds"),
        (&["build", "show", "x#y"], "names no build"),
        (&["builds", "--limit", "0"], "1..=10000"),
        (&["builds", "--url", "localhost:1"], "no URL of a server"),
        (&["config", "check"], "tidegate.toml"),
        (&["config", "check", "--config", "wrong.toml"], "`listen`"),
        (&["up", "--config", "wrong.toml"], "`listen`"),
        (&["up", "--config", "none.toml"], "none.toml"),
        (&["deliver", "none.json", "--event", "push", "--secret", "s"], "none.json"),
        (&["deliver", "push.json", "--event", "push"], "--secret-file"),
        (&["pipeline", "lint", "none.yml"], "none.yml"),
        (&["pipeline", "lint"], ".tidegate/pipeline.yml"),
        (&["run", "--repo", "none"], "none"),
    ] {
        let (status, out, error) = run(home.path(), command);
        assert_eq!((status, out.as_str()), (Some(2), ""), "{command:?}: {error}");
        assert!(error.contains(says), "{command:?}: {error}");
    }
}

/// Answers one request with this text, and returns what was asked.
fn answer_once(listener: TcpListener, answer: &'static str) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut piece = [0; 1024];
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let length = stream.read(&mut piece).unwrap();
            request.extend_from_slice(&piece[..length]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&request).into_owned()
    })
}

#[test]
fn a_named_server_is_asked_with_the_token_and_nothing_else_answers_for_it() {
    let home = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (status, _, error) = run(home.path(), &["builds", "--url", &url]);
    assert_eq!(status, Some(3));
    assert!(error.contains("TIDEGATE_TOKEN"), "{error}");

    let with_token =
        |arguments: &[&str]| tidegate(home.path(), arguments).env("TIDEGATE_TOKEN", "sesame").output().unwrap();
    let body = "{\"builds\":[]}";
    let served =
        answer_once(listener, "HTTP/1.1 200 OK\r\ncontent-length: 13\r\nconnection: close\r\n\r\n{\"builds\":[]}");
    let output = with_token(&["builds", "--pipeline", "a b", "--url", &url, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), body);
    let request = served.join().unwrap();
    assert!(request.starts_with("GET /api/builds?limit=30&pipeline=a+b HTTP/1.1"), "{request}");
    assert!(request.to_lowercase().contains("authorization: bearer sesame"), "{request}");

    // Nobody listens any more.
    let output = with_token(&["builds", "--url", &url]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot reach the server"));
}

#[test]
fn a_refused_token_and_a_stranger_are_named() {
    let home = tempfile::tempdir().unwrap();
    for (answer, says) in [
        (
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: 14\r\nconnection: close\r\n\r\n{\"error\":\"no\"}",
            "does not accept the token",
        ),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\nconnection: close\r\n\r\nnginx", "is no tidegate"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = answer_once(listener, answer);
        let output = tidegate(home.path(), &["builds", "--url", &url]).env("TIDEGATE_TOKEN", "t").output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{}", String::from_utf8_lossy(&output.stderr));
        served.join().unwrap();
    }
}

#[test]
fn pipeline_files_are_looked_at_without_a_server() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".buildkite")).unwrap();
    let file = home.path().join(".buildkite/pipeline.yml");
    fs::write(&file, "steps:\n  - command: make test\n    paralellism: 3\n").unwrap();
    let (status, out, _) = run(home.path(), &["pipeline", "lint"]);
    assert_eq!(status, Some(0), "warnings alone are no failure: {out}");
    assert!(out.contains("did you mean `parallelism`?") && out.contains(".buildkite/pipeline.yml:3:5"), "{out}");
    assert!(!out.contains('\x1b'), "{out}");
    let (_, out, _) = run(home.path(), &["pipeline", "lint", "--json"]);
    let findings: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(findings["findings"][0]["severity"], "warning");
    let (_, out, _) = run(home.path(), &["pipeline", "lint", "--format", "github"]);
    assert!(out.starts_with("::warning file=.buildkite/pipeline.yml,line=3,"), "{out}");

    fs::write(&file, "steps:\n  - label: go $WHO\n    command: run\n    matrix: [a, b]\n  - { command: never, if: build.branch == 'main' }\n").unwrap();
    let (status, out, error) =
        run(home.path(), &["pipeline", "plan", "--env", "WHO=you", "--branch", "topic", "--format", "json"]);
    assert_eq!(status, Some(0), "{error}");
    let plan: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(plan["jobs"].as_array().unwrap().len(), 2, "{plan:#}");
    assert!(plan["jobs"][0]["label"].as_str().unwrap().starts_with("go you"), "{plan:#}");
    assert!(plan["left_out"][0]["why"].as_str().unwrap().contains("topic"), "{plan:#}");

    fs::write(&file, "steps: 5\n").unwrap();
    assert_eq!(run(home.path(), &["pipeline", "lint"]).0, Some(1));
    let (status, out, error) = run(home.path(), &["pipeline", "plan"]);
    assert_eq!((status, out.as_str()), (Some(2), ""));
    assert!(error.contains("pipeline.yml:1:8"), "{error}");

    assert_eq!(run(home.path(), &["pipeline", "eval", "build.nothing == 'a'"]).0, Some(2));
    let (status, out, _) = run(home.path(), &["pipeline", "eval", "'a' == \"a\""]);
    assert_eq!((status, out.trim()), (Some(0), "{\"value\":true}"));
    let (status, out, _) = run(home.path(), &["pipeline", "interpolate", "x ${A:-b}$C", "--env", "C=c=d"]);
    assert_eq!((status, out.as_str()), (Some(0), "x bc=d\n"));
    assert!(run(home.path(), &["pipeline", "schema"]).1.contains("$schema"));
}

#[test]
fn whoever_stops_reading_is_no_error() {
    let home = tempfile::tempdir().unwrap();
    let mut child =
        tidegate(home.path(), &["pipeline", "schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn the_version_names_a_commit_where_there_is_one() {
    let home = tempfile::tempdir().unwrap();
    let (status, out, _) = run(home.path(), &["--version"]);
    assert_eq!(status, Some(0));
    assert!(out.starts_with(concat!("tidegate ", env!("CARGO_PKG_VERSION"))), "{out}");
}
