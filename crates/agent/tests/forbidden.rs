//! What the owner of a machine forbids does not run, and the job says which setting it is.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::json;
use support::repo::Repo;
use support::*;
use tidegate_core::attempt::Cause;
use tidegate_core::wire::gate::Assignment;

/// A world with one thing forbidden, and a job of a repository with these files.
fn world(what: &str, file: (&str, &str), command: &str) -> (World, Assignment) {
    let world = World::new().set("forbidden", json!({ what: true }));
    let repo = Repo::new(world.path("repo"));
    let commit = repo.commit(file.0, file.1);
    let assignment = Assignment { checkout: checkout(&repo.path, &commit), ..job(command) };
    (world, assignment)
}

/// Runs it, sees it fail, and returns what it says of itself.
fn refused(world: &World, assignment: Assignment) -> String {
    let outcome = world.run(assignment).outcome;
    let log = world.gate.log(&attempt(1));
    assert_eq!((outcome.cause, outcome.exit_status), (Cause::Exit, Some(1)), "{log}");
    let why = outcome.detail.unwrap();
    assert!(log.contains(&why) && !log.contains("has run"), "{log}");
    why
}

#[test]
fn hooks_of_the_repository() {
    let hook = (".buildkite/hooks/pre-command", "echo the hook has run");
    let (one, assignment) = world("local_hooks", hook, "echo the command has run");
    assert_eq!(
        refused(&one, assignment),
        "the repository's `pre-command` hook does not run: the owner of this machine forbids that (`no_local_hooks` in the \
         server's configuration)"
    );
    // Without such hooks the job is as any other.
    let (other, assignment) = world("local_hooks", ("a", "b"), "echo $BUILDKITE_LOCAL_HOOKS_ENABLED");
    assert_eq!(other.run(assignment).outcome.exit_status, Some(0));
    assert!(other.gate.log(&attempt(1)).contains("\nfalse"));
}

#[test]
fn plugins() {
    let (one, mut assignment) = world("plugins", ("a", "b"), "echo the command has run");
    assignment.env.push(("BUILDKITE_PLUGINS".to_owned(), r#"["./vendored#v1"]"#.to_owned()));
    assert_eq!(
        refused(&one, assignment),
        "the plugin `vendored#v1` is not used: the owner of this machine forbids that (`no_plugins` in the server's \
         configuration)"
    );
}

#[test]
fn commands_that_are_no_file_of_the_repository() {
    for command in ["echo it has r''un", "ci/test now", "../ci/test", "/bin/true", "ci/test\necho it has r''un"] {
        let (one, assignment) = world("command_eval", ("ci/test", "echo fine"), command);
        let why = refused(&one, assignment);
        assert!(why.contains("it is no file of the repository") && why.contains("`no_command_eval`"), "{why}");
    }
    let (one, assignment) = world("command_eval", ("ci/test", "echo fine"), "ci/test");
    assert_eq!(one.run(assignment).outcome.exit_status, Some(0));
    assert!(one.gate.log(&attempt(1)).contains("\nfine"));
}
