//! Checkouts from real repositories.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use support::*;
use tidegate_core::attempt::Cause;
use tidegate_core::wire::gate::Outcome;

fn origin(world: &World) -> repo::Repo {
    repo::Repo::new(world.path("repo"))
}

fn run_at(world: &World, url: &Path, commit: &str, command: &str) -> Outcome {
    world.gate.with(|m| {
        m.leave = false;
        m.results.clear();
        m.objects.clear();
    });
    let mut assignment = job(command);
    assignment.checkout = checkout(url, commit);
    world.run(assignment).outcome
}

#[test]
fn the_exact_commit_in_a_clean_directory() {
    let world = World::new();
    let repo = origin(&world);
    let first = repo.commit("file", "one\n");
    repo.git(&["tag", "--annotate", "--message", "v1", "v1"]);
    let second = repo.commit("dir/other", "two\n");
    let show = "git rev-parse HEAD; git status --porcelain; git symbolic-ref -q HEAD || echo detached; ls -A; \
                git rev-parse origin/main 'v1^{commit}'; git describe --tags; git remote get-url origin; git fsck --connectivity-only";
    // Cold, then warm.
    for _ in 0..2 {
        let outcome = run_at(&world, &repo.path, &first, show);
        assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
        let log = world.gate.log(&attempt(1));
        assert!(log.starts_with("~~~ Preparing working directory\n"), "{log}");
        let output = log.split_once("git fsck --connectivity-only\n").unwrap().1;
        assert_eq!(output, format!("{first}\ndetached\n.git\nfile\n{second}\n{first}\nv1\n{}\n", repo.path.display()));
    }
    // A commit that the mirror does not have yet.
    let third = repo.commit("file", "three\n");
    let outcome = run_at(&world, &repo.path, &third, "cat file; git rev-parse origin/main");
    assert!(outcome.tail.ends_with(&format!("three\n{third}")), "{}", outcome.tail);
    let old = run_at(&world, &repo.path, &first, "cat file; ls dir 2>&1 || true");
    assert!(old.tail.contains("one\n"), "{}", old.tail);
}

#[test]
fn a_commit_that_only_a_pull_request_has() {
    let world = World::new();
    let repo = origin(&world);
    repo.commit("file", "one\n");
    repo.git(&["checkout", "--quiet", "-b", "topic"]);
    let head = repo.commit("file", "two\n");
    repo.git(&["update-ref", "refs/pull/7/head", &head]);
    repo.git(&["checkout", "--quiet", "main"]);
    repo.git(&["branch", "--quiet", "-D", "topic"]);
    let mut assignment = job("cat file");
    assignment.checkout = checkout(&repo.path, &head);
    assignment.checkout.as_mut().unwrap().git_ref = Some("refs/pull/7/head".to_owned());
    let outcome = world.run(assignment).outcome;
    assert!(outcome.tail.ends_with("two"), "{}", outcome.tail);
}

#[test]
fn a_commit_that_was_forced_away_is_still_had_by_its_id() {
    let world = World::new();
    let repo = origin(&world);
    repo.commit("file", "one\n");
    let gone = repo.commit("file", "two\n");
    repo.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    let outcome = run_at(&world, &repo.path, &gone, "cat file");
    assert!(outcome.tail.ends_with("two"), "{}", outcome.tail);
}

#[test]
fn refused_for_good_ends_at_once_with_gits_own_words() {
    let world = World::new();
    let repo = origin(&world);
    repo.commit("file", "one\n");
    let missing = "1234567890123456789012345678901234567890";
    let secret_dir = world.path("plain");
    std::fs::create_dir(&secret_dir).unwrap();
    for (url, commit, words) in [
        (repo.path.as_path(), missing, "not our ref 1234567890"),
        (Path::new("/no/such/repository"), missing, "does not appear to be a git repository"),
        (secret_dir.as_path(), missing, "does not appear to be a git repository"),
        (Path::new("ext::sh -c touch% /tmp/never"), missing, "not allowed"),
        (repo.path.as_path(), "--upload-pack=evil", "is not a valid commit id"),
    ] {
        let outcome = run_at(&world, url, commit, "echo never");
        assert_eq!(outcome.cause, Cause::CheckoutFailed, "{words}");
        assert!(outcome.permanent, "{words}");
        let detail = outcome.detail.unwrap();
        assert!(detail.contains(words), "{detail}");
        assert_eq!(outcome.exit_status, None);
        assert!(world.gate.with(|m| m.started.is_empty()), "it never started");
        assert!(outcome.tail.contains(words), "{}", outcome.tail);
    }
}

#[test]
fn a_server_that_is_not_there_is_infrastructure() {
    let world = World::new();
    // Nobody listens on the port of a listener that is closed again.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut agent = world.agent();
    let mut assignment = job("echo never");
    let url = format!("git://127.0.0.1:{port}/x.git");
    assignment.checkout = checkout(Path::new(&url), "1234567890123456789012345678901234567890");
    world.gate.give(assignment);
    let outcome = world.gate.result(0).outcome;
    assert_eq!(outcome.cause, Cause::CheckoutFailed);
    assert!(!outcome.permanent);
    assert!(outcome.detail.unwrap().contains("Connection refused"));
    assert!(world.gate.log(&attempt(1)).contains("Trying again (1 of 5 tries made)."));
    world.gate.with(|m| m.leave = true);
    assert!(agent.ends());
}

#[test]
fn a_damaged_mirror_is_made_again() {
    let world = World::new();
    let repo = origin(&world);
    let commit = repo.commit("file", &"content\n".repeat(1000));
    assert_eq!(run_at(&world, &repo.path, &commit, "true").exit_status, Some(0));
    let mirror = world.path("mirrors/7.git");
    let packs = || -> Vec<_> {
        std::fs::read_dir(mirror.join("objects/pack"))
            .unwrap()
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.extension().is_some_and(|e| e == "pack"))
            .collect()
    };
    // The file's contents rot.
    for pack in packs() {
        let mut bytes = std::fs::read(&pack).unwrap();
        let length = bytes.len();
        bytes[12..length - 20].fill(0xaa);
        std::fs::set_permissions(&pack, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&pack, bytes).unwrap();
    }
    let outcome = run_at(&world, &repo.path, &commit, "wc -l < file");
    assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
    assert!(outcome.tail.ends_with("1000"), "{}", outcome.tail);
    // Packs are gone.
    for pack in packs() {
        std::fs::remove_file(pack).unwrap();
    }
    assert_eq!(run_at(&world, &repo.path, &commit, "true").exit_status, Some(0));
    // It is no repository at all.
    std::fs::write(mirror.join("config"), "[core\n").unwrap();
    assert_eq!(run_at(&world, &repo.path, &commit, "true").exit_status, Some(0));
    std::fs::remove_file(mirror.join("HEAD")).unwrap();
    assert_eq!(run_at(&world, &repo.path, &commit, "true").exit_status, Some(0));
}

#[test]
fn a_crash_while_cloning_leaves_nothing_in_the_way() {
    let world = World::new();
    let repo = origin(&world);
    let commit = repo.commit("file", "one\n");
    let half = world.path("mirrors/7.new");
    std::fs::create_dir_all(half.join("objects")).unwrap();
    std::fs::write(half.join("objects/junk"), "x").unwrap();
    assert_eq!(run_at(&world, &repo.path, &commit, "true").exit_status, Some(0));
    assert!(!half.exists());
}

#[test]
fn hooks_of_a_repository_do_not_run_during_the_checkout() {
    let world = World::new();
    let repo = origin(&world);
    let commit = repo.commit("file", "one\n");
    let proof = world.path("hook-ran");
    let hooks = world.path("templates/hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    let hook = hooks.join("post-checkout");
    std::fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", proof.display())).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = run_at(&world, &repo.path, &commit, "cat file");
    assert_eq!(outcome.exit_status, Some(0));
    assert!(!proof.exists());
}

#[test]
fn submodules_come_along() {
    let world = World::new();
    let inner = repo::Repo::new(world.path("inner"));
    inner.commit("inside", "deep\n");
    let repo = origin(&world);
    let inner_url = inner.path.display().to_string();
    repo.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &inner_url, "sub"]);
    let commit = repo.commit("file", "one\n");
    // Git refuses local paths for submodules by default; the words are git's own.
    let outcome = run_at(&world, &repo.path, &commit, "cat sub/inside");
    assert_eq!(outcome.cause, Cause::CheckoutFailed);
    assert!(outcome.permanent);
    assert!(outcome.detail.unwrap().contains("transport 'file' not allowed"));
    let mut assignment = job("ls sub | wc -l");
    assignment.checkout = checkout(&repo.path, &commit);
    assignment.env.push(("BUILDKITE_GIT_SUBMODULES".to_owned(), "false".to_owned()));
    world.gate.with(|m| {
        m.results.clear();
        m.objects.clear();
        m.leave = false;
    });
    assert!(world.run(assignment).outcome.tail.ends_with('0'));
}

#[test]
fn a_cancel_reaches_a_checkout() {
    let world = World::new();
    let mut agent = world.agent();
    // A server that accepts and says nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("git://{}/x.git", listener.local_addr().unwrap());
    let mut assignment = job("echo never");
    assignment.checkout = checkout(Path::new(&url), "1234567890123456789012345678901234567890");
    assignment.timeout_ms = Some(600);
    world.gate.give(assignment);
    let outcome = world.gate.result(0).outcome;
    assert_eq!(outcome.cause, Cause::Timeout);
    assert_eq!(outcome.exit_status, None);
    assert!(world.gate.with(|m| m.started.is_empty()));
    world.gate.with(|m| m.leave = true);
    assert!(agent.ends());
}
