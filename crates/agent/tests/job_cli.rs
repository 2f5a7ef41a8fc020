//! What a job asks of its agent by the commands on its `PATH`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::*;
use tidegate_core::diagnostic::{Diagnostic, Severity};
use tidegate_core::wire::gate::{Assignment, UploadAnswer};

/// A job with a secret in its environment.
fn scripted(command: &str) -> Assignment {
    let mut job = job(command);
    job.env.push(("DEPLOY_TOKEN".to_owned(), "hush-hush-4711".to_owned()));
    job.env.push(("REGION".to_owned(), "north".to_owned()));
    job
}

#[test]
fn a_pipeline_is_uploaded_with_the_variables_that_it_mentions() {
    let world = World::new();
    world.gate.with(|m| m.lost_uploads = 2);
    let result = world.run(scripted(
        r#"
export LATE='from the script'
tidegate-agent pipeline upload <<'END'
steps: [{command: 'echo $REGION ${LATE} $$DEPLOY_TOKEN'}]
END
echo 'steps: [{command: b}]' > second.yml
buildkite-agent --debug pipeline upload second.yml --replace --no-interpolation
mkdir .buildkite && echo 'steps: [{command: c $X}]' > .buildkite/pipeline.yml
buildkite-agent pipeline upload --env X=1
"#,
    ));
    let log = world.gate.log(&attempt(1));
    assert_eq!(result.outcome.exit_status, Some(0), "{log}");
    assert_eq!(result.outcome.uploads, 3);
    let uploads = world.gate.with(|m| std::mem::take(&mut m.uploads));
    let [first, second, third] = uploads.as_slice() else { panic!("{uploads:?}") };
    assert_eq!(first.attempt, attempt(1));
    assert!(first.pipeline.contains("$REGION"));
    let mut env = first.env.clone();
    env.sort();
    assert_eq!(env, [("LATE".to_owned(), "from the script".to_owned()), ("REGION".to_owned(), "north".to_owned())]);
    assert!(!first.replace && !first.no_interpolation);
    assert!(second.replace && second.no_interpolation && second.env.is_empty());
    assert_eq!(third.pipeline, "steps: [{command: c $X}]\n");
    assert_eq!(third.env, [("X".to_owned(), "1".to_owned())]);
    assert!(log.contains("Added the steps of `second.yml` to the build."), "{log}");
}

#[test]
fn an_upload_with_findings_fails_and_shows_all_of_them() {
    let world = World::new();
    let finding = |severity, code: &str, message: &str| Diagnostic {
        file: "<pipeline upload>".to_owned(),
        line: 3,
        column: 5,
        ..Diagnostic::new(severity, code, message)
    };
    let diagnostics = vec![
        finding(Severity::Error, "unknown-key", "`comand` is no attribute"),
        finding(Severity::Warning, "trap", "this may not mean what it says"),
    ];
    world.gate.with(|m| m.upload_answer = Some(UploadAnswer { diagnostics, accepted: false }));
    let result = world.run(scripted("echo 'steps: []' > p.yml; tidegate-agent pipeline upload p.yml"));
    assert_eq!(result.outcome.exit_status, Some(1));
    assert_eq!(result.outcome.uploads, 0);
    let log = world.gate.log(&attempt(1));
    for wanted in [
        "error[unknown-key]: `comand` is no attribute",
        "--> p.yml",
        "warning[trap]: this may not mean",
        "error: `p.yml` was not added to the build",
    ] {
        assert!(log.contains(wanted), "`{wanted}` is not in\n{log}");
    }
}

#[test]
fn what_cannot_be_uploaded_never_reaches_the_gate() {
    let world = World::new();
    let result = world.run(scripted(
        r#"
tidegate-agent pipeline upload && exit 9
echo 'steps: [{command: "use $DEPLOY_TOKEN"}]' | tidegate-agent pipeline upload && exit 9
mkdir .buildkite && touch .buildkite/pipeline.yml buildkite.yml
tidegate-agent pipeline upload && exit 9
tidegate-agent pipeline upload no-such-file && exit 9
tidegate-agent pipeline uplaod && exit 9
tidegate-agent oidc request-token && exit 9
BUILDKITE_AGENT_JOB_API_TOKEN=forged tidegate-agent pipeline upload /dev/stdin <<< 'steps: []' && exit 9
env -u BUILDKITE_AGENT_JOB_API_SOCKET tidegate-agent pipeline upload /dev/stdin <<< 'steps: []' && exit 9
tidegate-agent pipeline upload --help > /dev/null
echo '{steps: [{command: "a $REGION"}]}' | tidegate-agent pipeline upload --dry-run --format yaml
stat -c '%a' "$BUILDKITE_AGENT_JOB_API_SOCKET" "$(dirname "$BUILDKITE_AGENT_JOB_API_SOCKET")"
echo "token $BUILDKITE_AGENT_JOB_API_TOKEN"
"#,
    ));
    let log = world.gate.log(&attempt(1));
    assert_eq!(result.outcome.exit_status, Some(0), "{log}");
    assert_eq!(result.outcome.uploads, 0);
    assert!(world.gate.with(|m| m.uploads.is_empty()));
    for wanted in [
        "error: no pipeline file; looked for",
        "error: `<stdin>` uses `$DEPLOY_TOKEN`, whose value is a secret",
        "error: more than one pipeline file: buildkite.yml, .buildkite/pipeline.yml; name the one that is meant",
        "error: cannot read the pipeline `no-such-file`",
        "unrecognized subcommand 'uplaod'",
        "error: there is no command `oidc`",
        "error: this is not the token of this job",
        "error: this works inside a job only: `BUILDKITE_AGENT_JOB_API_SOCKET` is not set",
        "steps:\n  - command: \"a north\"\n",
        "\n600\n700\n",
        "token [REDACTED]",
    ] {
        assert!(log.contains(wanted), "`{wanted}` is not in\n{log}");
    }
    assert!(!log.contains("hush-hush"));
}
