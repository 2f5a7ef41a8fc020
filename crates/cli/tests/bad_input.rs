//! What is wrong is said, with its place, and nothing is half done.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use world::{SECRET, World, attempts, job, text};

#[test]
fn no_pipeline_file_is_a_failed_build_that_says_where_it_looked() {
    let mut world = World::empty();
    world.start();
    world.push();
    let build = world.finished(1);
    assert_eq!(build["state"], "failed");
    let why = build["failure"].as_str().unwrap();
    assert!(why.contains(".tidegate/pipeline.yml") && why.contains(".buildkite/pipeline.yml"), "{why}");
    let shown = text(&world.run(["build", "show", "1"]).stdout);
    assert!(shown.contains(".buildkite/pipeline.yml"), "{shown}");
}

#[test]
fn a_broken_pipeline_file_is_a_failed_build_with_its_findings() {
    let mut world = World::new(
        "steps:\n  - command: a\n    key: x\n  - command: b\n    key: x\n  - command: c\n    parallelism: many\n",
    );
    world.start();
    world.push();
    let build = world.finished(1);
    assert_eq!(build["state"], "failed");
    let lines: Vec<u64> =
        build["diagnostics"].as_array().unwrap().iter().map(|d| d["line"].as_u64().unwrap()).collect();
    assert!(lines.contains(&5) && lines.contains(&7), "{build:#}");
}

#[test]
fn a_commit_that_is_not_there_fails_at_once_with_gits_words() {
    let mut world = World::new("steps: [{ command: 'true' }]");
    world.start();
    let file = world.payload("refs/heads/main", &"0".repeat(40));
    let head = world.git(["rev-parse", "HEAD"]);
    let payload = std::fs::read_to_string(&file).unwrap().replace(&head, &"deadbeef".repeat(5));
    std::fs::write(&file, payload).unwrap();
    let output = world.run(["deliver".as_ref(), file.as_os_str(), "--event".as_ref(), "push".as_ref()]);
    assert!(output.status.success());
    let build = world.finished(1);
    assert_eq!(build["state"], "failed", "{build:#}");
    assert!(build["failure"].as_str().unwrap().contains("deadbeef"), "{build:#}");
}

#[test]
fn what_is_not_to_be_built_makes_no_build() {
    let mut world = World::new("steps: [{ command: 'true' }]");
    world.start();
    // Deleted, skipped, unknown repository; then one that is built, after which all are decided.
    let file = world.payload("refs/heads/gone", &world.git(["rev-parse", "HEAD"]));
    let payload = std::fs::read_to_string(&file).unwrap();
    let head = world.git(["rev-parse", "HEAD"]);
    let variants = [
        payload
            .replace("\"deleted\":false", "\"deleted\":true")
            .replace(&format!("\"after\":\"{head}\""), &format!("\"after\":\"{}\"", "0".repeat(40))),
        payload.replace("refs/heads/gone", "refs/heads/skipped").replace("first", "first [skip ci]"),
        payload.replace("\"id\":4242", "\"id\":999"),
    ];
    for variant in variants {
        assert_ne!(variant, payload);
        std::fs::write(&file, variant).unwrap();
        let output = world.run(["deliver".as_ref(), file.as_os_str(), "--event".as_ref(), "push".as_ref()]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    world.push();
    assert_eq!(world.finished(1)["state"], "passed");
    world.until("everything is decided", || {
        let log = world.log();
        (log.contains("was deleted") && log.contains("[skip ci]") && log.contains("is not configured")).then_some(())
    });
    assert_eq!(world.builds().len(), 1);
}

#[test]
fn forged_deliveries_change_nothing_and_secrets_stay_out_of_the_log() {
    let mut world = World::new("steps: [{ command: 'true' }]");
    world.start();
    let file = world.payload("refs/heads/main", &"0".repeat(40));
    let forged = world.run([
        "deliver".as_ref(),
        file.as_os_str(),
        "--event".as_ref(),
        "push".as_ref(),
        "--secret".as_ref(),
        "wrong".as_ref(),
    ]);
    assert_eq!(forged.status.code(), Some(1), "{}", text(&forged.stderr));
    world.push();
    world.finished(1);
    assert_eq!(world.builds().len(), 1);
    assert!(world.stop_server().success());
    let log = world.log();
    assert!(log.contains("ready"), "{log}");
    assert!(!log.contains(SECRET), "the webhook secret is in the log");
}

#[test]
fn invalid_utf8_and_output_without_newline_are_kept() {
    let mut world = World::new(
        "steps:\n  - { command: \"head -c 20000000 /dev/zero | tr '\\\\0' x; printf '\\\\377\\\\376'\", key: flood }\n",
    );
    world.start();
    world.push();
    let build = world.finished(1);
    assert_eq!(build["state"], "passed", "{build:#}");
    let log = world.run(["logs", "1", "flood", "--raw"]).stdout;
    assert!(log.iter().filter(|b| **b == b'x').count() >= 20_000_000);
    assert!(log.windows(2).any(|w| w == [0xff, 0xfe]));
    assert_eq!(attempts(job(&build, "flood")).len(), 1);
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let world = World::new("steps: []");
    std::fs::write(
        world.path().join("tidegate.toml"),
        format!("listen = \"127.0.0.1:{port}\"\napi_listen = \"127.0.0.1:0\"\n"),
    )
    .unwrap();
    let output = world.run(["up"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains(&port.to_string()), "{}", text(&output.stderr));
}

#[test]
fn a_pipeline_file_over_a_cap_names_the_setting_and_passes_once_it_is_raised() {
    let pipeline = format!("steps: [{{ command: 'true', key: a, parallelism: 3 }}]\n{}", "# x\n".repeat(300_000));
    let mut world = World::new(&pipeline);
    let phases = [
        ("jobs = 600", "`bytes`"),
        ("bytes = 2000000\njobs = 2", "`jobs`"),
        ("bytes = 2000000\nbuild_jobs = 2", "`build_jobs`"),
        ("bytes = 2000000", ""),
    ];
    for (number, (limits, setting)) in (1..).zip(phases) {
        world = world.config(&format!("[limits]\n{limits}\n"));
        world.commit(limits);
        world.start();
        world.push();
        let build = world.finished(number);
        assert_eq!(build["state"], if setting.is_empty() { "passed" } else { "failed" }, "{limits}: {build:#}");
        let shown = text(&world.run(["build".to_owned(), "show".to_owned(), number.to_string()]).stdout);
        let told = shown.contains("[limits]") && shown.contains(setting);
        assert!(setting.is_empty() || told, "{limits}: {setting} is not in\n{shown}");
        world.stop_server();
        // What judges a file without a server reads the same settings.
        for command in ["lint", "plan"] {
            let file = world.repo().join(".tidegate/pipeline.yml");
            let judged = world.tidegate(["pipeline", command]).arg(&file).output().unwrap();
            let said = text(&judged.stdout) + &text(&judged.stderr);
            if matches!(setting, "" | "`build_jobs`") {
                assert!(judged.status.success(), "{limits}: {said}");
            } else {
                assert!(!judged.status.success() && said.contains(setting), "{limits}: {said}");
            }
        }
    }
}

#[test]
fn commands_that_look_at_pipelines_read_the_limits_and_nothing_else_of_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| std::fs::write(directory.path().join(name), content).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.env_remove("TIDEGATE_CONFIG").current_dir(directory.path()).args(arguments).output().unwrap()
    };
    write("buildkite.yml", "steps: [{ command: a, parallelism: 501 }]\n");
    let refused = run(&["pipeline", "lint"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stdout).contains("the cap is `jobs` in the `[limits]` table"), "{}", text(&refused.stdout));
    write("tidegate.toml", "[webhook]\nsecret_file = \"not-there\"\n[limits]\njobs = 501\n");
    for arguments in [&["pipeline", "lint"][..], &["pipeline", "plan"], &["pipeline", "normalize"]] {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    }
    write("other.toml", "[limits]\njob = 501\n");
    let wrong = run(&["pipeline", "lint", "--config", "other.toml"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("other.toml:2:1: unknown key `job`: did you mean `jobs`?"));
    let missing = run(&["pipeline", "lint", "--config", "missing.toml"]);
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn commands_that_look_at_pipelines_end_as_they_promise() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| std::fs::write(directory.path().join(name), content).unwrap();
    write("good.yml", b"steps: [{ command: make }]\n");
    write("doubtful.yml", b"steps: [{ command: make, paralellism: 3 }]\n");
    write("wrong.yml", b"steps: [{ command: make, retry: sometimes }]\n");
    write("empty.yml", b"");
    write("large.yml", &vec![b'#'; 10_000_000]);
    write("binary.yml", &[0, 159, 146, 150, 255]);
    write("context.json", br#"{"Build": {"Branch": "main"}, "BuildEnv": {"any": "name"}}"#);
    write("lower.json", br#"{"build": {"branch": "main"}}"#);
    std::fs::create_dir(directory.path().join("directory")).unwrap();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["lint", "good.yml"], 0, "1 file: nothing found"),
        (&["lint", "good.yml", "doubtful.yml"], 0, "2 files: 0 errors, 1 warning"),
        (&["lint", "wrong.yml", "doubtful.yml", "--format", "github"], 1, "::error file=wrong.yml,line=1,col=33,"),
        (&["lint", "wrong.yml", "--format", "json"], 1, "\"code\":\"bad-type\""),
        (&["lint", "wrong.yml", "--json"], 1, "\"code\":\"bad-type\""),
        (&["lint", "empty.yml"], 1, "empty-file"),
        (&["lint", "large.yml"], 1, "the file has more than 1048576 bytes"),
        (&["lint", "binary.yml"], 1, "not-utf8"),
        (&["lint", "/dev/zero"], 1, "too-large"),
        (&["lint", "missing.yml"], 2, "cannot read `missing.yml`"),
        (&["lint", "directory"], 2, "cannot read `directory`"),
        (&["lint"], 2, "no pipeline file; looked for .tidegate/pipeline.yml, "),
        (&["lint", "--format", "xml", "good.yml"], 2, "possible values: text, json, github"),
        (&["lint", "-"], 1, "<stdin>:1:8"),
        (&["plan", "good.yml"], 0, "1 job"),
        (&["plan", "good.yml", "--format", "mermaid"], 0, "flowchart"),
        (&["plan", "wrong.yml"], 2, "bad-type"),
        (&["plan", "good.yml", "--event", "good.yml"], 2, "this is not JSON"),
        (&["normalize", "good.yml"], 0, "\"command\": \"make\""),
        (&["normalize", "empty.yml"], 2, "empty-file"),
        (&["eval", "build.branch == 'main'", "--context", "context.json"], 0, "{\"value\":true}"),
        (
            &["eval", "build.branch == 'main'", "--context", "lower.json"],
            0,
            "`build`, which no condition sees: did you mean",
        ),
        (&["eval", "build.branch ="], 2, "\"kind\":\"parse\""),
        (&["eval", "true", "--context", "good.yml"], 2, "is no context"),
        (&["interpolate", "${A:-b}$C", "--env", "C=d"], 0, "bd\n"),
        (&["interpolate", "${A?gone}"], 2, "$A: gone"),
        (&["schema"], 0, "https://json-schema.org"),
    ];
    for (arguments, status, wanted) in cases {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.env_remove("TIDEGATE_CONFIG").current_dir(directory.path()).arg("pipeline").args(*arguments);
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Whoever does not read it has ended before.
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"steps: [\n");
        let output = child.wait_with_output().unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(*status), "{arguments:?}: {said}");
        assert!(said.contains(wanted), "{arguments:?}: {said}");
    }
    // Of several places the first counts, and of the others there may be one.
    let places = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.env_remove("TIDEGATE_CONFIG").current_dir(directory.path()).args(["pipeline", "plan"]).args(arguments);
        let output = command.output().unwrap();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    std::fs::create_dir(directory.path().join(".buildkite")).unwrap();
    write(".buildkite/pipeline.json", br#"[{"command": "from buildkite"}]"#);
    assert!(places(&[]).1.contains("from buildkite"));
    write("buildkite.yml", b"[]");
    let (status, said) = places(&[]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("buildkite.yml") && said.contains(".buildkite/pipeline.json"), "{said}");
    std::fs::create_dir(directory.path().join(".tidegate")).unwrap();
    write(".tidegate/pipeline.yaml", b"[{command: of our own}]");
    assert!(places(&[]).1.contains("of our own"));
}
