//! What a job asks of its agent by the commands on its `PATH`.

mod support;

use support::*;
use tidegate_core::diagnostic::{Diagnostic, Severity};
use tidegate_core::wire::gate::{Assignment, UploadAnswer};
use tidegate_core::wire::job::{AnnotateAsk, AnnotationStyle};

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
tidegate-agent nonsense && exit 9
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
        "error: `oidc` is a command that this agent does not have",
        "error: there is no command `nonsense`",
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

/// Runs a script of which every line must succeed; returns the log.
fn succeeds(world: &World, command: &str) -> String {
    let result = world.run(scripted(command));
    let log = world.gate.log(&attempt(1));
    assert_eq!(result.outcome.exit_status, Some(0), "{log}");
    log
}

fn contains(log: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(log.contains(wanted), "`{wanted}` is not in\n{log}");
    }
}

#[test]
fn meta_data_is_written_and_read() {
    let world = World::new();
    let log = succeeds(
        &world,
        r#"
tidegate-agent meta-data set one 1
printf 'two\nlines' | buildkite-agent meta-data set two
tidegate-agent meta-data set-batch three=3 'four=a=b'
echo '{"five": "5"}' | tidegate-agent meta-data set-batch
tidegate-agent meta-data set leak "it is $DEPLOY_TOKEN."
test "$(tidegate-agent meta-data get two)" = $'two\nlines'
test "$(tidegate-agent meta-data get none --default -1)" = -1
tidegate-agent meta-data get none && exit 9
tidegate-agent meta-data set empty ' ' && exit 9
tidegate-agent meta-data exists one
tidegate-agent meta-data exists none || echo "exists says $?"
tidegate-agent meta-data keys
"#,
    );
    contains(
        &log,
        &[
            "error: there is no meta-data `none`",
            "error: the value is empty",
            "exists says 100",
            "\nfive\nfour\nleak\none\nthree\ntwo\n",
            "warning: secrets were replaced by [REDACTED]",
        ],
    );
    let known = world.gate.with(|m| m.meta_data.clone());
    assert_eq!(known["leak"], "it is [REDACTED].");
    assert_eq!(known["four"], "a=b");
}

#[test]
fn artifacts_go_there_and_back() {
    let world = World::new();
    let mut assignment = scripted(
        r#"
mkdir -p sub/out/deep && cd sub
echo one > out/one.txt; echo two > out/deep/two.txt; echo log > out/x.log
buildkite-agent artifact upload 'out/**/*.txt;out/x.log'
buildkite-agent artifact upload 'nothing/*'
buildkite-agent artifact upload 'out/*' s3://bucket && exit 9
buildkite-agent artifact upload '../../*' && exit 9
buildkite-agent artifact search '**/*.txt' --format '%p %s\n'
buildkite-agent artifact download 'out/**/*.txt' back/here --step this
diff -r out/deep back/here/out/deep
test ! -e back/here/out/x.log
buildkite-agent artifact download 'none*' . && exit 9
buildkite-agent artifact download '*' . --step other && exit 9
buildkite-agent artifact search 'none*' --allow-empty-results
test "$(buildkite-agent artifact shasum out/x.log --sha256)" = "$(sha256sum < out/x.log | cut -d' ' -f1)"
buildkite-agent artifact shasum out/x.log && exit 9
cd ..; echo late > late.txt
"#,
    );
    assignment.artifact_paths = vec!["late.txt".to_owned()];
    let result = world.run(assignment);
    let log = world.gate.log(&attempt(1));
    assert_eq!(result.outcome.exit_status, Some(0), "{log}");
    contains(
        &log,
        &[
            "3 files uploaded.",
            "No file matches `nothing/*`.",
            "the destination `s3://bucket` is not supported",
            "`../../*` leads out of",
            "out/deep/two.txt 4\nout/one.txt 4\n",
            "2 files downloaded to `back/here`.",
            "error: no artifact of this build matches `none*`",
            "error: the build has no such step",
            "error: only SHA-256 is kept",
        ],
    );
    // No number is used twice.
    let kept = world.gate.with(|m| m.artifacts.iter().map(|f| (f.number, f.path.clone())).collect::<Vec<_>>());
    let paths: Vec<&str> = kept.iter().map(|(_, path)| path.as_str()).collect();
    assert_eq!(paths, ["out/deep/two.txt", "out/one.txt", "out/x.log", "late.txt"]);
    assert!(kept.iter().map(|(number, _)| *number).eq(0..4));
}

#[test]
fn a_download_that_is_not_what_was_uploaded_fails() {
    let world = World::new();
    let go = world.path("go");
    let mut agent = world.agent();
    world.gate.give(scripted(&format!(
        "echo good > a.txt; tidegate-agent artifact upload a.txt; rm a.txt; echo up > {up}
         until test -e {go}; do sleep 0.01; done
         tidegate-agent artifact download a.txt . && exit 9; test ! -e a.txt; ls -A",
        up = world.path("up").display(),
        go = go.display()
    )));
    world.file(&world.path("up"));
    world.gate.with(|m| {
        for (key, body) in &mut m.objects {
            if key.starts_with("artifacts/") {
                *body = b"evil\n".to_vec();
            }
        }
    });
    std::fs::write(&go, "").unwrap_or_else(|e| panic!("{e}"));
    let result = world.gate.result(0);
    world.gate.with(|m| m.leave = true);
    agent.ends();
    let log = world.gate.log(&attempt(1));
    assert_eq!(result.outcome.exit_status, Some(0), "{log}");
    contains(&log, &["its SHA-256 is not that of the artifact", "`a.txt` could not be downloaded in"]);
    assert!(!log.contains(".tidegate-"), "{log}");
}

#[test]
fn annotations_are_sent() {
    let world = World::new();
    let log = succeeds(
        &world,
        r#"
tidegate-agent annotate 'text' --style warning --context c --priority 7
printf -- '- more' | buildkite-agent annotate --append
tidegate-agent annotation remove --context c
tidegate-agent annotate --scope job x && exit 9
tidegate-agent annotate '' && exit 9
true
"#,
    );
    contains(&log, &["`--scope job` is not supported", "error: the text of the annotation is empty"]);
    let sent = world.gate.with(|m| std::mem::take(&mut m.annotations));
    let asks: Vec<_> = sent.into_iter().map(|a| (a.context, a.ask)).collect();
    let write =
        |body: &str, style, append, priority| AnnotateAsk::Write { body: body.to_owned(), style, append, priority };
    assert_eq!(
        asks,
        [
            ("c".to_owned(), write("text", Some(AnnotationStyle::Warning), false, Some(7))),
            ("default".to_owned(), write("- more", None, true, None)),
            ("c".to_owned(), AnnotateAsk::Remove),
        ]
    );
}

#[test]
fn the_environment_of_what_follows_is_changed_by_the_socket() {
    let world = World::new();
    let hooks = world.path("hooks");
    std::fs::create_dir(&hooks).unwrap_or_else(|e| panic!("{e}"));
    for (name, text) in [
        (
            "pre-command",
            "tidegate-agent env set ADDED='by a hook' REGION=south\ntidegate-agent env unset CI\n\
             tidegate-agent env set BUILDKITE_SHELL=x || echo refused\n\
             printf 'pass-%s' word | tidegate-agent redactor add\nexport OWN=1\n",
        ),
        ("post-command", "echo \"after: $ADDED $LATE\"\n"),
    ] {
        std::fs::write(hooks.join(name), text).unwrap_or_else(|e| panic!("{e}"));
    }
    let world = world.set("hooks_dir", hooks.display().to_string());
    let log = succeeds(
        &world,
        r#"
echo "now: $ADDED $REGION ${CI-unset} $OWN pass-word"
test "$(tidegate-agent env get ADDED)" = 'by a hook'
tidegate-agent env get CI && exit 9
tidegate-agent env get REGION OWN --format json
tidegate-agent env set LATE=now
SHOUT=1 tidegate-agent env dump --format json-pretty | grep SHOUT
for group in '' pipeline meta-data artifact annotate annotation env redactor lock step build job secret; do tidegate-agent $group --help > help; test -s help; done
for gone in cache oidc pause tool; do tidegate-agent $gone x 2> error && exit 9; grep -q "$gone. is a command that this agent does not have" error; done
true
"#,
    );
    contains(
        &log,
        &[
            "Added: ADDED\n",
            "Updated: REGION\n",
            "Unset: CI\n",
            "error: only the agent sets BUILDKITE_SHELL\nrefused",
            "now: by a hook south unset 1 [REDACTED]",
            "error: the job has no variable `CI`",
            r#"{"OWN":"1","REGION":"south"}"#,
            r#""SHOUT": "1""#,
            "after: by a hook now",
        ],
    );
}
