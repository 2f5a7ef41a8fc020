//! Hooks and plugins around a command.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use support::*;
use tidegate_core::attempt::Cause;
use tidegate_core::wire::gate::{Assignment, CancelReason, Outcome};

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn with_hooks() -> World {
    let world = World::new();
    let hooks = world.path("hooks").display().to_string();
    let plugins = world.path("plugins").display().to_string();
    let mirrors = world.path("plugin-mirrors").display().to_string();
    world.set("hooks_dir", hooks).set("plugins_dir", plugins).set("plugin_mirrors", mirrors)
}

/// A plugin's repository where the mirrors are looked for.
fn plugin(world: &World, name: &str, hooks: &[(&str, &str)]) -> repo::Repo {
    let path = format!("plugin-mirrors/github.com/buildkite-plugins/{name}-buildkite-plugin");
    let repo = repo::Repo::new(world.path(&path));
    for (hook, text) in hooks {
        write(&repo.path.join("hooks").join(hook), text);
    }
    repo.commit("plugin.yml", "name: test\nrequirements: [\"sh\"]\n");
    repo.git(&["tag", "v1"]);
    repo
}

fn job_with(plugins: &str, command: &str) -> Assignment {
    let mut assignment = job(command);
    assignment.env.push(("BUILDKITE_PLUGINS".to_owned(), plugins.to_owned()));
    assignment
}

/// The lines that hooks and commands print beginning with `> `.
fn said(world: &World) -> Vec<String> {
    world.gate.log(&attempt(1)).lines().filter_map(|l| l.strip_prefix("> ").map(str::to_owned)).collect()
}

fn run(world: &World, assignment: Assignment) -> Outcome {
    world.gate.with(|m| {
        m.leave = false;
        m.results.clear();
        m.objects.clear();
    });
    world.run(assignment).outcome
}

#[test]
fn everything_runs_in_its_order() {
    let world = with_hooks();
    let moments = [
        "environment",
        "pre-checkout",
        "post-checkout",
        "pre-command",
        "post-command",
        "pre-artifact",
        "post-artifact",
        "pre-exit",
    ];
    let repo = repo::Repo::new(world.path("repo"));
    for moment in moments {
        write(&world.path("hooks").join(moment), &format!("echo '> agent {moment}'"));
        write(&repo.path.join(".buildkite/hooks").join(moment), &format!("echo '> repository {moment}'"));
    }
    let own: Vec<(&str, String)> =
        moments.iter().map(|m| (*m, format!("echo \"> plugin {m} $BUILDKITE_PLUGIN_ORDER_K\""))).collect();
    let own: Vec<(&str, &str)> = own.iter().map(|(m, t)| (*m, t.as_str())).collect();
    plugin(&world, "order", &own);
    write(&repo.path.join("vendored/hooks/environment"), "echo \"> vendored environment $BUILDKITE_PLUGIN_NAME\"");
    let commit = repo.commit("file", "x");
    let mut assignment = job_with(r#"[{"order#v1": {"k": "v"}}, "./vendored"]"#, "echo '> command' | tee out");
    assignment.checkout = checkout(&repo.path, &commit);
    assignment.artifact_paths = vec!["out".to_owned()];
    let outcome = run(&world, assignment);
    assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
    assert_eq!(
        said(&world),
        [
            "agent environment",
            "plugin environment v",
            "agent pre-checkout",
            "plugin pre-checkout v",
            "agent post-checkout",
            "repository post-checkout",
            "plugin post-checkout v",
            "vendored environment VENDORED",
            "agent pre-command",
            "repository pre-command",
            "plugin pre-command v",
            "command",
            "agent post-command",
            "repository post-command",
            "plugin post-command v",
            "agent pre-artifact",
            "repository pre-artifact",
            "plugin pre-artifact v",
            "agent post-artifact",
            "repository post-artifact",
            "plugin post-artifact v",
            "agent pre-exit",
            "repository pre-exit",
            "plugin pre-exit v",
        ]
    );
    assert_eq!(world.gate.with(|m| m.started.len()), 1);
}

#[test]
fn changes_are_carried_over() {
    let world = with_hooks();
    write(
        &world.path("hooks/environment"),
        "export ADDED='two\nlines'; export CI=changed; unset GONE; local_only=1; \
         export BUILDKITE_SHELL=evil; mkdir -p sub; cd sub; exit 0",
    );
    write(
        &world.path("hooks/pre-command"),
        "#!/usr/bin/env python3\nimport os\nprint('> python', os.environ['ADDED'].replace('\\n', '+'))",
    );
    let mut assignment =
        job("echo \"> $CI ${GONE-unset} ${local_only-unset} $BUILDKITE_SHELL\"; basename \"$PWD\" | sed 's/^/> /'");
    assignment.env.push(("GONE".to_owned(), "x".to_owned()));
    let outcome = run(&world, assignment);
    assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
    assert_eq!(said(&world), ["python two+lines", "changed unset unset /bin/bash -e -c", "sub"]);
    let log = world.gate.log(&attempt(1));
    assert!(log.contains("this has no effect: BUILDKITE_SHELL"), "{log}");
}

#[test]
fn a_hook_that_fails_early_ends_the_job_with_its_status() {
    let world = with_hooks();
    write(&world.path("hooks/pre-command"), "exit 42");
    write(
        &world.path("hooks/pre-exit"),
        "echo \"> exit $BUILDKITE_LAST_HOOK_EXIT_STATUS ${BUILDKITE_COMMAND_EXIT_STATUS-none}\"",
    );
    let outcome = run(&world, job("echo '> never'"));
    assert_eq!((outcome.cause, outcome.exit_status), (Cause::Exit, Some(42)));
    assert_eq!(said(&world), ["exit 42 none"]);
}

#[test]
fn later_hooks_see_the_status_and_may_change_it() {
    let world = with_hooks();
    write(&world.path("hooks/post-command"), "echo \"> status $BUILDKITE_COMMAND_EXIT_STATUS\"; exit ${POST:-0}");
    write(&world.path("hooks/pre-exit"), "exit ${LAST:-0}");
    let run_with = |env: &[(&str, &str)]| {
        let mut assignment = job("exit 3");
        for (name, value) in env {
            assignment.env.push(((*name).to_owned(), (*value).to_owned()));
        }
        run(&world, assignment).exit_status
    };
    assert_eq!(run_with(&[]), Some(3));
    assert_eq!(said(&world), ["status 3"]);
    assert_eq!(run_with(&[("POST", "4")]), Some(4));
    assert_eq!(run_with(&[("POST", "4"), ("LAST", "5")]), Some(5));
}

#[test]
fn a_command_hook_takes_the_place_of_the_command() {
    let world = with_hooks();
    write(&world.path("hooks/command"), "echo \"> agent instead of $BUILDKITE_COMMAND\"; exit 9");
    let outcome = run(&world, job("true"));
    assert_eq!(outcome.exit_status, Some(9));
    assert_eq!(said(&world), ["agent instead of true"]);
    plugin(&world, "first", &[("command", "echo '> first'")]);
    plugin(&world, "second", &[("command", "echo '> second'")]);
    let outcome = run(&world, job_with(r#"["first#v1", "second#v1"]"#, "true"));
    assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
    assert_eq!(said(&world), ["first", "second"]);
}

#[test]
fn a_checkout_hook_takes_the_place_of_git() {
    let world = with_hooks();
    write(&world.path("hooks/checkout"), "echo '> agent'; echo mine > file");
    let mut assignment = job("sed 's/^/> /' file");
    assignment.checkout = checkout(Path::new("/no/such/repository"), &"1".repeat(40));
    assert_eq!(run(&world, assignment).exit_status, Some(0));
    assert_eq!(said(&world), ["agent", "mine"]);
}

#[test]
fn plugins_are_fetched_by_any_ref_and_refused_in_words() {
    let world = with_hooks();
    let repo = plugin(&world, "p", &[("pre-command", "echo '> p'")]);
    let commit = repo.git(&["rev-parse", "HEAD"]);
    for version in ["v1", "main", &commit] {
        let outcome = run(&world, job_with(&format!("[\"p#{version}\"]"), "true"));
        assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
        assert_eq!(said(&world), ["p"]);
    }
    // It is there, and not fetched again.
    std::fs::remove_dir_all(&repo.path).unwrap();
    assert_eq!(run(&world, job_with("[\"p#v1\"]", "true")).exit_status, Some(0));
    let repo = plugin(&world, "q", &[]);
    let outcome = run(&world, job_with("[\"q#no-such-ref\"]", "true"));
    assert_eq!(outcome.cause, Cause::CheckoutFailed);
    assert!(outcome.permanent);
    assert!(outcome.detail.unwrap().contains("no-such-ref"));
    assert!(repo.path.exists());
    let outcome = run(&world, job_with("[\"./not-there\"]", "true"));
    assert_eq!((outcome.cause, outcome.exit_status), (Cause::Exit, Some(1)));
    let outcome = run(&world, job_with("{}", "true"));
    assert_eq!((outcome.cause, outcome.exit_status), (Cause::Exit, Some(1)));
}

#[test]
fn a_canceled_job_still_gets_its_last_hook() {
    let world = with_hooks();
    write(&world.path("hooks/pre-exit"), "echo \"> canceled: $BUILDKITE_JOB_CANCELLED\"");
    write(&world.path("hooks/post-command"), "echo '> never'");
    let mut agent = world.agent();
    let up = world.path("up");
    world.gate.give(job(&format!("echo up > {}; sleep 1000", up.display())));
    world.file(&up);
    world.gate.with(|m| m.cancel = Some(CancelReason::Canceled));
    let outcome = world.gate.result(0).outcome;
    assert_eq!(outcome.cause, Cause::Canceled);
    assert_eq!(outcome.signal.as_deref(), Some("TERM"));
    assert_eq!(said(&world), ["canceled: true"]);
    world.gate.with(|m| m.leave = true);
    assert!(agent.ends());
}

#[test]
fn a_process_that_a_hook_starts_lives_until_the_job_ends() {
    let world = with_hooks();
    write(&world.path("hooks/environment"), "sleep 1000 & echo $! > \"$TMPDIR/pid\"");
    let proof = world.path("pid");
    let outcome =
        run(&world, job(&format!("kill -0 $(cat \"$TMPDIR/pid\") && cp \"$TMPDIR/pid\" {}", proof.display())));
    assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
    assert!(!is_alive(world.file(&proof).trim().parse().unwrap()));
}

#[test]
fn a_hook_needs_no_executable_bit() {
    let world = with_hooks();
    let hook = world.path("hooks/environment");
    write(&hook, "echo '> ran'");
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(run(&world, job("true")).exit_status, Some(0));
    assert_eq!(said(&world), ["ran"]);
}

#[test]
fn a_plugin_says_what_it_needs() {
    let world = with_hooks();
    let repo = plugin(&world, "needy", &[("pre-command", "echo '> ran'")]);
    repo.commit("plugin.yml", "name: needy\nrequirements: [\"sh\", \"no-such-program\"]\n");
    repo.git(&["tag", "v2"]);
    let mut assignment = job_with(r#"["needy#v2"]"#, "true");
    assert_eq!(run(&world, assignment.clone()).exit_status, Some(0));
    assert_eq!(said(&world), ["ran"]);
    let needs = "the plugin needy#v2 needs no-such-program, which this machine does not have";
    assert!(world.gate.log(&attempt(1)).contains(needs));
    assignment.env.push(("BUILDKITE_PLUGIN_VALIDATION".to_owned(), "true".to_owned()));
    let outcome = run(&world, assignment);
    assert_eq!((outcome.cause, outcome.exit_status, outcome.detail.as_deref()), (Cause::Exit, Some(1), Some(needs)));
}

#[test]
fn a_configuration_that_a_plugin_does_not_understand_is_named() {
    let schema = "name: test\nrequirements: [no-such-tool]\nconfiguration:\n  properties:\n    image: { type: string }\n    \
                  ports: { type: array, items: { type: integer } }\n  required: [image]\n  additionalProperties: false\n";
    let world = with_hooks();
    let repo = plugin(&world, "strict", &[("pre-command", "echo '> ran'")]);
    repo.commit("plugin.yml", schema);
    repo.git(&["tag", "v2"]);
    let plugins = r#"[{"strict#v2": {"ports": [80, "x"], "imgae": "node"}}]"#;
    // As the reference: said, and no reason not to run.
    let outcome = run(&world, job_with(plugins, "true"));
    assert_eq!(outcome.exit_status, Some(0));
    let log = world.gate.log(&attempt(1));
    for wanted in [
        "the plugin strict#v2 needs no-such-tool, which this machine does not have\n",
        "the configuration of the plugin strict#v2 is wrong: `image` is missing. Change it in the pipeline, see its `plugin.yml`",
        "`imgae` is unknown; there are image, ports.",
        "`ports[1]` must be integer, not a text.",
        "> ran",
    ] {
        assert!(log.contains(wanted), "`{wanted}` is not in\n{log}");
    }
    let mut strict = job_with(plugins, "echo '> must not run'");
    strict.env.push(("BUILDKITE_PLUGIN_VALIDATION".to_owned(), "true".to_owned()));
    let outcome = run(&world, strict);
    assert_eq!(outcome.exit_status, Some(1));
    assert!(outcome.detail.is_some_and(|detail| detail.contains("`image` is missing")));
    assert!(said(&world).is_empty());
    let mut right = job_with(r#"[{"strict#v2": {"ports": [80, "443"], "image": "node"}}]"#, "true");
    right.env.push(("BUILDKITE_PLUGIN_VALIDATION".to_owned(), "false".to_owned()));
    run(&world, right);
    assert!(!world.gate.log(&attempt(1)).contains("is wrong"));
}
