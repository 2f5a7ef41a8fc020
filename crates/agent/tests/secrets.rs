//! Secrets of a job: where they come from, who sees them, and what never does.

mod support;

use support::*;
use tidegate_core::attempt::Cause;
use tidegate_core::wire::gate::Assignment;

const VALUE: &str = "s3cr'et/ \"key\" of 4711";

fn world() -> World {
    let world = World::new();
    world.gate.with(|m| {
        m.secrets.insert("DEPLOY_KEY".to_owned(), VALUE.to_owned());
        m.secrets.insert("PIN".to_owned(), "1234".to_owned());
        m.secrets.insert("CHAIN".to_owned(), "-----BEGIN-----\nfirst line of it all\n-----END-----\n".to_owned());
    });
    world
}

fn with(secrets: &[(&str, &str)], command: &str) -> Assignment {
    let mut job = job(command);
    job.secrets = secrets.iter().map(|(variable, name)| ((*variable).to_owned(), (*name).to_owned())).collect();
    job
}

/// Nothing that left the agent holds the secret: no call of the gate, no chunk of the log, no record of the result.
fn assert_unseen(world: &World, secret: &str) {
    world.gate.with(|m| {
        for heard in &m.heard {
            assert!(!heard.contains(secret), "the gate heard {heard}");
        }
        for (key, object) in &m.objects {
            assert!(!String::from_utf8_lossy(object).contains(secret), "{key} holds it");
        }
        assert!(!format!("{:?}", m.results).contains(secret));
    });
}

#[test]
fn secrets_of_a_step_are_variables_that_nobody_else_sees() {
    let world = world();
    let result = world.run(with(
        &[("DEPLOY", "DEPLOY_KEY"), ("PIN", "PIN"), ("BUILDKITE_SHELL", "PIN")],
        r#"
echo "plain $DEPLOY"
printf 'base64 %s\n' "$(printf '%s' "user:$DEPLOY" | base64 -w0)"
python3 - <<'END'
import json, os, urllib.parse
print("json", json.dumps({"k": os.environ["DEPLOY"]}))
print("url", urllib.parse.quote(os.environ["DEPLOY"], safe=""))
END
tidegate-agent meta-data set where "it is $DEPLOY"
tidegate-agent annotate "it is $DEPLOY"
echo "steps: [{command: '\$DEPLOY'}]" | tidegate-agent pipeline upload && exit 9
echo "pin $PIN, ignored $BUILDKITE_IGNORED_ENV, shell $BUILDKITE_SHELL"
tr '\0' '\n' < /proc/$PPID/cmdline
"#,
    ));
    let log = world.gate.log(&attempt(1));
    assert_eq!(result.outcome.exit_status, Some(0), "{log}");
    for wanted in [
        "`DEPLOY` is the secret `DEPLOY_KEY`\n",
        "`PIN` is the secret `PIN`: its value is shorter than 6 bytes and cannot be hidden in the log\n",
        "Only the agent sets BUILDKITE_SHELL: these secrets were not fetched.",
        "\nplain [REDACTED]\n",
        "base64 ",
        "json {\"k\": \"[REDACTED]\"}\n",
        "url [REDACTED]\n",
        "uses `$DEPLOY`, whose value is a secret",
        "pin 1234, ignored BUILDKITE_SHELL, shell /bin/bash",
    ] {
        assert!(log.contains(wanted), "`{wanted}` is not in\n{log}");
    }
    assert!(!log.contains("ZXQvICJrZXkiIG9mIDQ3M"), "{log}");
    assert_unseen(&world, VALUE);
    assert_unseen(&world, "of 4711");
    assert_eq!(world.gate.with(|m| m.meta_data["where"].clone()), "it is [REDACTED]");
}

#[test]
fn a_secret_that_there_is_not_ends_the_job_before_anything_runs() {
    let world = world();
    let result = world.run(with(&[("DEPLOY", "DEPLOY_KEY"), ("X", "NOPE")], "echo ran"));
    let log = world.gate.log(&attempt(1));
    assert_eq!((result.outcome.cause, result.outcome.exit_status), (Cause::Exit, Some(1)));
    assert_eq!(result.outcome.detail.as_deref(), Some("the pipeline `p` has no secret `NOPE`"));
    assert!(log.contains("the pipeline `p` has no secret `NOPE`") && !log.contains("ran"), "{log}");
    assert!(world.gate.with(|m| m.started.is_empty()));
    assert_unseen(&world, VALUE);
}

#[test]
fn secrets_are_had_by_name_and_hidden_from_then_on() {
    let world = world();
    let result = world.run(job(r#"
key=$(buildkite-agent secret get DEPLOY_KEY)
test ${#key} = 22
echo "key $key"
buildkite-agent secret get DEPLOY_KEY --skip-redaction
buildkite-agent secret get DEPLOY_KEY PIN --format json
eval "$(buildkite-agent secret get DEPLOY_KEY PIN --format env)"
test "$DEPLOY_KEY/$PIN" = "$key/1234"
test "$(buildkite-agent secret get CHAIN | sed -n 2p | wc -c)" = 21
buildkite-agent secret get CHAIN
buildkite-agent meta-data set where "it is $key"
echo "steps: [{command: \"echo $key\"}]" | buildkite-agent pipeline upload && exit 9
buildkite-agent secret get && exit 9
buildkite-agent secret get NOPE && exit 9
true
"#));
    let log = world.gate.log(&attempt(1));
    assert_eq!(result.outcome.exit_status, Some(0), "{log}");
    for wanted in [
        "key [REDACTED]\n",
        "warning: `--skip-redaction` has no effect",
        "{\"DEPLOY_KEY\":\"[REDACTED]\",\"PIN\":\"1234\"}",
        "Secrets were replaced by [REDACTED] in the meta-data `where`.",
        "error: the pipeline holds the value of a secret of this job",
        "error: the pipeline `p` has no secret `NOPE`",
    ] {
        assert!(log.contains(wanted), "`{wanted}` is not in\n{log}");
    }
    assert!(!log.contains("first line of it all"), "{log}");
    assert_unseen(&world, VALUE);
    assert_unseen(&world, "of 4711");
}
