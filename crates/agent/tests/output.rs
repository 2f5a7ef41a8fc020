//! Logs and artifacts as they arrive at the store.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use sha2::{Digest as _, Sha256};
use support::*;
use tidegate_core::attempt::Cause;

#[test]
fn bytes_arrive_as_they_were_written() {
    let world = World::new();
    let every = world.path("bytes");
    // Every pair of bytes but escapes and what begins them: not valid UTF-8 by far.
    let bytes: Vec<u8> = (0..=255u8)
        .flat_map(|a| (0..=255u8).flat_map(move |b| [a, b]))
        .filter(|b| !matches!(*b, 0x1b | 0xc2 | 0x0e))
        .collect();
    std::fs::write(&every, &bytes).unwrap();
    let outcome = world.run(job(&format!("cat {}", every.display()))).outcome;
    assert_eq!(outcome.exit_status, Some(0));
    let log = gate::unmark(&world.gate.raw_log(&attempt(1)));
    let start = log.len() - bytes.len();
    assert_eq!(&log[start..], &bytes[..]);
}

#[test]
fn a_reader_sees_a_line_while_the_job_runs() {
    let world = World::new();
    let mut agent = world.agent();
    let go = world.path("go");
    world.gate.give(job(&format!("echo early; while [ ! -e {} ]; do sleep 0.01; done; echo late", go.display())));
    world.gate.wait("the early line", |m| m.objects.values().any(|c| String::from_utf8_lossy(c).contains("early\n")));
    assert!(world.gate.with(|m| m.results.is_empty()));
    std::fs::write(go, "").unwrap();
    world.gate.result(0);
    assert!(world.gate.log(&attempt(1)).ends_with("late\n"));
    world.gate.with(|m| m.leave = true);
    assert!(agent.ends());
}

#[test]
fn much_output_without_a_newline_passes_through_a_small_process() {
    let world = World::new();
    world.gate.with(|m| m.count_only = true);
    let mut agent = world.agent();
    let (done, go) = (world.path("done"), world.path("go"));
    let mut assignment = job(&format!(
        "head -c 300000000 /dev/zero; echo x > {}; while [ ! -e {} ]; do sleep 0.01; done",
        done.display(),
        go.display()
    ));
    assignment.log_limit = 1 << 30;
    world.gate.give(assignment);
    world.file(&done);
    let memory = peak_memory(agent.worker());
    assert!(memory < 100 * 1024, "{memory} KiB");
    std::fs::write(go, "").unwrap();
    let outcome = world.gate.result(0).outcome;
    assert_eq!(outcome.exit_status, Some(0));
    assert_eq!(outcome.log.dropped, 0);
    assert!(outcome.log.bytes > 300_000_000);
    assert_eq!(world.gate.with(|m| m.counted), outcome.log.bytes);
    world.gate.with(|m| m.leave = true);
    assert!(agent.ends());
}

#[test]
fn what_is_over_the_limit_is_dropped_counted_and_told() {
    let world = World::new();
    let mut assignment = job("head -c 100000 /dev/zero | tr '\\0' x; echo; echo end; exit 4");
    assignment.log_limit = 10_000;
    let outcome = world.run(assignment).outcome;
    assert_eq!(outcome.exit_status, Some(4));
    let log = world.gate.log(&attempt(1));
    assert!(log.contains("reached its limit of 10000 bytes"), "{log}");
    assert!(log.ends_with("The command exited with status 4.\n"), "{log}");
    assert!(outcome.log.dropped > 90_000);
    assert!(outcome.tail.contains("end"));
}

#[test]
fn a_store_that_is_slow_to_answer_loses_nothing() {
    let world = World::new();
    world.gate.with(|m| m.bad_puts = [500, 503, 403, 500, 403, 502].into());
    let outcome = world.run(job("seq 1 200000")).outcome;
    assert_eq!(outcome.exit_status, Some(0));
    let log = world.gate.log(&attempt(1));
    let numbers: Vec<&str> = log.lines().skip(2).collect();
    assert_eq!(numbers.len(), 200_000);
    assert!(numbers.iter().zip(1..).all(|(line, n)| **line == n.to_string()));
}

#[test]
fn artifacts_are_kept_also_of_a_job_that_failed() {
    let world = World::new();
    let mut assignment =
        job("mkdir -p out/deep; echo one > out/a.txt; echo two > out/deep/b.json; ln -s /etc/passwd out/c.txt; exit 2");
    assignment.artifact_paths = vec!["out/**/*".to_owned(), "nothing/*".to_owned()];
    world.gate.with(|m| m.bad_puts = [500].into());
    let outcome = world.run(assignment).outcome;
    assert_eq!((outcome.cause, outcome.exit_status), (Cause::Exit, Some(2)));
    world.gate.with(|m| {
        assert!(m.listed);
        let files: Vec<_> =
            m.artifacts.iter().map(|f| (f.number, f.path.as_str(), f.size, f.content_type.as_str())).collect();
        assert_eq!(files, [(0, "out/a.txt", 4, "text/plain"), (1, "out/deep/b.json", 4, "application/json")]);
        for file in &m.artifacts {
            let body = &m.objects[&tidegate_core::wire::gate::artifact_key(&attempt(1), file.number)];
            assert_eq!(file.sha256, hex::encode(Sha256::digest(body)));
        }
    });
    let log = world.gate.log(&attempt(1));
    assert!(log.contains("No file matches `nothing/*`."), "{log}");
    assert!(log.contains("Left out: out/c.txt: a link that leads out of the checkout."), "{log}");
}

#[test]
fn many_artifacts_are_registered_in_batches() {
    let world = World::new();
    let mut assignment = job("mkdir o; for i in $(seq 1000 1249); do echo $i > o/$i; done");
    assignment.artifact_paths = vec!["o/*".to_owned()];
    let outcome = world.run(assignment).outcome;
    assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
    world.gate.with(|m| {
        assert_eq!(m.artifacts.len(), 250);
        assert!(m.artifacts.iter().zip(0..).all(|(f, n)| f.number == n));
        assert!(m.artifacts.iter().map(|f| &f.path).is_sorted());
    });
}

#[test]
fn more_than_a_job_may_keep_is_refused_before_it_is_read() {
    let world = World::new();
    let mut assignment = job("truncate --size 6G one.bin; truncate --size 5G two.bin");
    assignment.artifact_paths = vec!["*.bin".to_owned()];
    let outcome = world.run(assignment).outcome;
    assert_eq!(outcome.exit_status, Some(1));
    let log = world.gate.log(&attempt(1));
    assert!(log.contains("have 11811160064 bytes; a job may keep at most 10737418240 (10 GiB)"), "{log}");
    assert!(world.gate.with(|m| m.artifacts.is_empty()));
}

#[test]
fn an_artifact_outside_of_the_checkout_fails_the_job_and_says_why() {
    let world = World::new();
    let mut assignment = job("true");
    assignment.artifact_paths = vec!["/etc/passwd".to_owned()];
    let outcome = world.run(assignment).outcome;
    assert_eq!((outcome.cause, outcome.exit_status), (Cause::Exit, Some(1)));
    assert!(outcome.detail.unwrap().contains("leads out of the checkout"));
    assert!(world.gate.with(|m| m.artifacts.is_empty()));
}

#[test]
fn directories_that_forbid_writing_are_removed_too() {
    let world = World::new();
    world.run(job("mkdir -p a/b; echo x > a/b/c; chmod 555 a/b a"));
    assert_eq!(std::fs::read_dir(world.path("work")).unwrap().count(), 0);
}

#[test]
fn secrets_and_escape_sequences_do_not_reach_the_log() {
    let world = World::new();
    let mut assignment =
        job("echo \"my $DEPLOY_TOKEN\"; printf hunter; sleep 0.4; echo 2two; printf %s \"$DEPLOY_TOKEN\" | base64; \
         printf '\\033[31mred\\033[0m \\033]0;title\\007plain \\033]8;;https://x.y\\033\\\\link\\033]8;;\\007\\n'");
    assignment.env.push(("DEPLOY_TOKEN".to_owned(), "hunter2two".to_owned()));
    let outcome = world.run(assignment).outcome;
    assert_eq!(outcome.exit_status, Some(0));
    let log = world.gate.log(&attempt(1));
    let output: Vec<&str> = log.lines().rev().take(4).collect();
    assert_eq!(
        output,
        [
            "\x1b[31mred\x1b[0m plain \x1b]8;;https://x.y\x1b\\link\x1b]8;;\x1b\\",
            // The last character holds bits of what follows too, so it is not part of what is looked for.
            "[REDACTED]w==",
            "[REDACTED]",
            "my [REDACTED]",
        ]
    );
    assert!(!outcome.tail.contains("hunter2two"));
}

#[test]
fn a_line_that_is_too_long_is_broken_and_told_and_nothing_of_it_is_lost() {
    let world = World::new();
    let result = world.run(job("head -c 200000 /dev/zero | tr '\\0' x; echo; echo after"));
    assert_eq!(result.outcome.exit_status, Some(0));
    let log = world.gate.log(&attempt(1));
    assert!(log.lines().all(|line| line.len() <= 64 * 1024));
    assert_eq!(log.lines().filter(|line| line.starts_with("xx")).map(str::len).sum::<usize>(), 200_000);
    assert_eq!(log.matches("A line has more than 65536 bytes: it is shown as several lines.").count(), 1);
    assert!(log.ends_with("x\nafter\n"), "{}", &log[log.len() - 100..]);
}

#[test]
fn a_job_that_prints_too_fast_is_slowed_down_and_told() {
    let world = World::new();
    world.gate.with(|m| m.count_only = true);
    let mut assignment = job("head -c 3000000 /dev/zero | tr '\\0' '\\n'");
    assignment.log_rate = 300_000;
    assignment.log_limit = 1 << 30;
    let result = world.run(assignment);
    assert_eq!((result.outcome.exit_status, result.outcome.log.dropped), (Some(0), 0));
    assert!(world.gate.with(|m| m.counted) > 3_000_000);
    let mut assignment = job("head -c 3000000 /dev/zero | tr '\\0' x");
    assignment.log_rate = 300_000;
    let world = World::new();
    world.run(assignment);
    let log = world.gate.log(&attempt(1));
    assert_eq!(
        log.matches("prints more than 300000 bytes a second: it is slowed down, and nothing is lost.").count(),
        1
    );
}

#[test]
fn a_job_has_a_terminal_where_it_wants_one() {
    let world = World::new();
    let script = "test -t 1 && test -t 2 && echo 'a terminal' || echo 'a pipe'; test -t 0 || stty size < /dev/stdout; \
                  echo err >&2; printf 'no end'";
    let mut assignment = job(script);
    assignment.env.push(("BUILDKITE_PTY".to_owned(), "true".to_owned()));
    let result = world.run(assignment);
    assert_eq!(result.outcome.exit_status, Some(0));
    let log = world.gate.log(&attempt(1));
    assert!(log.ends_with("a terminal\n100 160\nerr\nno end"), "{log:?}");
    let world = World::new();
    world.run(job("test -t 1 && echo 'a terminal' || echo 'a pipe'"));
    assert!(world.gate.log(&attempt(1)).ends_with("a pipe\n"));
}
