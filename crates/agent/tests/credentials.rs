//! Repositories that not everybody may read: a git server on loopback that demands a user and a token.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use support::*;
use tidegate_core::attempt::Cause;
use tidegate_core::wire::credential::Credential;
use tidegate_core::wire::gate::Assignment;
use tidegate_git::testing::HttpGit;

const SECRET: &str = "ghs_nobodyshallseethis4711";
/// `x-access-token:ghs_nobodyshallseethis4711`.
const BASIC: &str = "eC1hY2Nlc3MtdG9rZW46Z2hzX25vYm9keXNoYWxsc2VldGhpczQ3MTE=";

/// A machine, a server that demands [`BASIC`], and a repository there with one commit.
fn world() -> (World, HttpGit, repo::Repo, String) {
    let world = World::new();
    let repo = repo::Repo::new(world.path("origins/private.git"));
    let commit = repo.commit("file", "one\n");
    let server = HttpGit::start(&world.path("origins"));
    server.demand(&format!("Basic {BASIC}"));
    (world, server, repo, commit)
}

fn private(server: &HttpGit, commit: &str, command: &str) -> Assignment {
    let mut assignment = job(command);
    let mut wanted = checkout(Path::new(&server.url("private.git/.git")), commit).unwrap();
    wanted.credentials = true;
    assignment.checkout = Some(wanted);
    assignment
}

fn give(world: &World, password: &str) {
    let credential = Credential { username: "x-access-token".to_owned(), password: password.to_owned() };
    world.gate.with(|m| m.credential = Some(credential));
}

/// Writes down the arguments and the environment of every git that is started, then runs it.
fn witness(world: &mut World) -> std::path::PathBuf {
    let (bin, seen) = (world.path("witness"), world.path("witnessed"));
    std::fs::create_dir(&bin).unwrap();
    let path = std::env::var("PATH").unwrap();
    let real = std::env::split_paths(&path).map(|directory| directory.join("git")).find(|git| git.is_file()).unwrap();
    let (seen_there, real) = (seen.display(), real.display());
    let script = format!("#!/bin/sh\n{{ echo \"git $*\"; env; }} >> '{seen_there}'\nexec '{real}' \"$@\"\n");
    let git = bin.join("git");
    std::fs::write(&git, script).unwrap();
    std::fs::set_permissions(&git, std::fs::Permissions::from_mode(0o755)).unwrap();
    world.env.push(("PATH".to_owned(), format!("{}:{path}", bin.display())));
    seen
}

/// Every file beneath a directory that holds the token in any form.
fn files_with_the_token(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files_with_the_token(&path));
        } else if kind.is_file() && std::fs::read(&path).is_ok_and(|bytes| shows(&bytes)) {
            found.push(path);
        }
    }
    found
}

fn shows(bytes: &[u8]) -> bool {
    [SECRET, BASIC].iter().any(|secret| bytes.windows(secret.len()).any(|window| window == secret.as_bytes()))
}

#[test]
fn git_is_given_the_token_and_nobody_sees_it() {
    let (mut world, server, _repo, commit) = world();
    give(&world, SECRET);
    let seen = witness(&mut world);
    let (up, go) = (world.path("up"), world.path("go"));
    let command = format!(
        "cat file; cat .git/config; env; git fetch --quiet origin && echo fetched; \
         echo up > {}; while [ ! -e {} ]; do sleep 0.01; done",
        up.display(),
        go.display()
    );
    let mut agent = world.agent();
    world.gate.give(private(&server, &commit, &command));
    world.file(&up);
    // While it runs: no process of the instance, and nothing on its disk.
    for process in agent.family() {
        assert!(!shows(process.command.as_bytes()) && !shows(process.environ.as_bytes()), "{}", process.command);
    }
    assert_eq!(files_with_the_token(world.dir.path()), Vec::<std::path::PathBuf>::new());
    std::fs::write(&go, "").unwrap();
    let outcome = world.gate.result(0).outcome;
    world.gate.with(|m| m.leave = true);
    assert!(agent.ends());

    assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
    let log = world.gate.log(&attempt(1));
    assert!(log.contains("one\n") && log.contains("\nfetched\n"), "{log}");
    assert!(!shows(log.as_bytes()) && !shows(agent.log().as_bytes()));
    assert!(server.presented().iter().all(|value| *value == format!("Basic {BASIC}")));
    let git = std::fs::read(&seen).unwrap();
    assert!(!shows(&git));
    assert!(String::from_utf8_lossy(&git).contains("git-credentials-helper"), "git was told where to ask");
    world.gate.with(|m| {
        assert!(m.credential_asked.len() >= 2, "by the checkout, and by the job");
        for asked in &m.credential_asked {
            assert_eq!((asked.protocol.as_str(), asked.path.as_str()), ("http", "private.git/.git"));
        }
    });
}

#[test]
fn a_job_that_prints_the_token_prints_nothing() {
    let (world, server, _repo, commit) = world();
    give(&world, SECRET);
    let ask = format!(
        "printf 'url={}\\n' | git credential fill; printf 'x-access-token:{}_nobody%s' shallseethis4711 | base64",
        server.url("private.git/.git"),
        "ghs"
    );
    let outcome = world.run(private(&server, &commit, &ask)).outcome;
    assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
    let log = world.gate.log(&attempt(1));
    assert!(log.contains("password=[REDACTED]"), "{log}");
    assert!(!shows(log.as_bytes()) && !shows(outcome.tail.as_bytes()));
}

#[test]
fn a_wrong_token_fails_the_checkout_at_once_in_gits_own_words() {
    let (world, server, _repo, commit) = world();
    give(&world, "wrong");
    let outcome = world.run(private(&server, &commit, "echo never")).outcome;
    assert_eq!(outcome.cause, Cause::CheckoutFailed);
    assert!(outcome.permanent);
    let detail = outcome.detail.unwrap();
    let url = server.url("private.git/.git");
    assert_eq!(detail, format!("fatal: Authentication failed for '{url}/'"));
    let log = world.gate.log(&attempt(1));
    assert!(log.contains(&detail) && !log.contains("Trying again"), "{log}");
    // Asked without, refused, asked with, refused: one try.
    assert_eq!(server.requests().len(), 2, "{:?}", server.requests());
    assert!(world.gate.with(|m| m.started.is_empty()));
}

#[test]
fn without_a_credential_nobody_is_asked() {
    let (world, server, _repo, commit) = world();
    let outcome = world.run(private(&server, &commit, "echo never")).outcome;
    assert!(outcome.permanent);
    assert!(outcome.detail.unwrap().contains("could not read Username"), "git did not ask a person");
}

/// Servers that are down now and then.
#[test]
fn a_server_that_recovers_is_waited_for() {
    let (world, server, _repo, commit) = world();
    give(&world, SECRET);
    server.break_down(2, 503);
    let outcome = world.run(private(&server, &commit, "cat file")).outcome;
    assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
    let log = world.gate.log(&attempt(1));
    assert!(log.contains("The requested URL returned error: 503"), "{log}");
    assert!(log.contains("Trying again (2 of 5 tries made)."), "{log}");
}
