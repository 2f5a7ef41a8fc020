//! Secrets, from the command line of their owner to the log of a job.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;

use world::{World, job, text};

/// Runs `tidegate secret …` with something on its standard input; whether it succeeded, and what it said.
fn secret(world: &World, args: &[&str], input: &str) -> (Option<i32>, String) {
    let mut child = world
        .tidegate([&["secret"], args].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Every file below a directory that holds a text.
fn files_with(directory: &Path, wanted: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_with(&path, wanted, found);
        } else if std::fs::read(&path).is_ok_and(|bytes| text(&bytes).contains(wanted)) {
            found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
}

#[test]
fn a_secret_reaches_the_job_and_nothing_else() {
    let mut world = World::new(
        r#"
secrets: [SHARED]
steps:
  - key: uses
    secrets: { DEPLOY: deploy_key }
    command: |
      echo "deploys with $$DEPLOY"
      echo "shared is $$SHARED"
      echo "by name $$(tidegate-agent secret get later)"
      printf %s "$$DEPLOY" | sha256sum
  - key: misses
    secrets: [NOWHERE, SHARED]
    command: echo "this must not run"
    depends_on: uses
  - key: asks
    command: tidegate-agent secret get NOWHERE
"#,
    );
    let value = "correct horse 'battery' staple";
    // Before any server has run.
    let (code, said) =
        secret(&world, &["set", "DEPLOY_KEY", "--pipeline", "web", "--trusted-only"], &format!("{value}\n"));
    assert_eq!((code, said.as_str()), (Some(0), "kept the secret `DEPLOY_KEY` of the pipeline `web`\n"));
    assert_eq!(secret(&world, &["set", "DEPLOY_KEY"], "the wrong one").0, Some(0));
    assert_eq!(secret(&world, &["set", "DEPLOY_KEY", "--pipeline", "shop"], "another wrong one").0, Some(0));
    world.start();
    assert_eq!(secret(&world, &["set", "SHARED"], "an old value").0, Some(0));
    let (_, said) = secret(&world, &["set", "shared"], "shared between all\n");
    assert_eq!(said, "replaced the secret `SHARED` for all pipelines\n");
    assert_eq!(secret(&world, &["set", "LATER"], "known only by name").0, Some(0));
    world.push();
    let build = world.finished(1);
    assert_eq!(job(&build, "uses")["state"], "passed", "{build:#}\n{}", world.logs("uses"));
    let log = world.logs("uses");
    for wanted in ["deploys with [REDACTED]", "shared is [REDACTED]", "by name [REDACTED]"] {
        assert!(log.contains(wanted), "`{wanted}` is not in\n{log}");
    }
    let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(value));
    assert!(log.contains(&digest), "the job had another value\n{log}");
    let missed = job(&build, "misses");
    assert_eq!(missed["state"], "failed", "{build:#}");
    assert_eq!(
        missed["attempts"][0]["detail"],
        "the pipeline `web` has no secret `NOWHERE`: make it with `tidegate secret set NOWHERE`"
    );
    assert!(world.logs("misses").contains("has no secret `NOWHERE`") && !world.logs("misses").contains("must not run"));
    assert_eq!(job(&build, "asks")["state"], "failed");
    assert!(world.logs("asks").contains("error: the pipeline `web` has no secret `NOWHERE`"), "{}", world.logs("asks"));
    // In one file, for its owner only: not in a record, a log of the server, a blob, a build.
    for secret in [value, "shared between all", "known only by name"] {
        let mut found = Vec::new();
        files_with(world.path(), secret, &mut found);
        assert_eq!(found, ["secrets.json"], "{secret}");
        assert!(!build.to_string().contains(secret));
    }
    assert_eq!(std::fs::metadata(world.state().join("secrets.json")).unwrap().mode() & 0o777, 0o600);
    assert!(world.log().contains("secret.name=DEPLOY_KEY"), "who asked for what is not in the log of the server");
}

#[test]
fn secrets_are_listed_without_their_values_and_removed() {
    let world = World::empty();
    assert_eq!(secret(&world, &["list"], "").0, Some(3));
    for (args, input, wanted) in [
        (&["set", "KEY"][..], "", "the value is empty"),
        (&["set", "KEY"], "\n", "the value is empty"),
        (&["set", "a-b"], "x", "letters, digits and `_`, a letter first"),
        (&["set", "KEY", "--pipeline", "../x"], "x", "is not a valid pipeline slug"),
        (&["set", "KEY"], &"x".repeat(8193), "at most 8192 are kept"),
        (&["set", "KEY", "--url", "http://127.0.0.1:1"], "x", "which `--url` does not reach"),
        (&["set", "KEY", "value"], "x", "unexpected argument 'value'"),
    ] {
        let (code, said) = secret(&world, args, input);
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert!(said.contains(wanted), "`{wanted}` is not in {said}");
    }
    assert_eq!(secret(&world, &["set", "KEY", "--trusted-only"], "hush-hush\n").0, Some(0));
    assert_eq!(secret(&world, &["set", "KEY", "--pipeline", "web"], "hush-hush\n").0, Some(0));
    let (_, list) = secret(&world, &["list"], "");
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(list.contains("KEY   all       trusted work") && list.contains("KEY   web       all work"), "{list}");
    let (_, list) = secret(&world, &["list", "--json"], "");
    assert!(list.contains(r#""trusted_only":true"#) && !list.contains("hush"), "{list}");
    assert_eq!(secret(&world, &["remove", "key"], "").1, "removed the secret `KEY` for all pipelines\n");
    let (code, said) = secret(&world, &["remove", "key"], "");
    assert_eq!(code, Some(1));
    assert!(said.contains("there is no secret `KEY` for all pipelines; `tidegate secret list`"), "{said}");
    assert_eq!(secret(&world, &["remove", "key", "--pipeline", "web"], "").0, Some(0));
    assert_eq!(secret(&world, &["list"], "").1, "no secrets\n");
    assert!(!world.state().join("secrets.json").exists());
}
