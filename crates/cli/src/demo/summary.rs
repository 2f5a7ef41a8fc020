//! What is said in the end.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use owo_colors::Style;
use serde_json::{Value, json};
use tidegate_engine::api::{BuildAnswer, JobAnswer};

use super::pipeline::LONG;
use super::state;
use super::story::Ended;
use crate::show::{Table, bytes, cut, elapsed, job_table, paint, parse, since};
use crate::terminal::clean;

/// From the webhook to the first line of output.
pub(super) fn timeline(
    build: &BuildAnswer,
    posted: Timestamp,
    accepted: Timestamp,
    first_line: Option<Timestamp>,
) -> Vec<(&'static str, Duration)> {
    let attempts = || build.jobs.iter().flat_map(|job| &job.attempts);
    let first = |time: fn(&tidegate_engine::api::AttemptAnswer) -> Option<&String>| {
        attempts().filter_map(|attempt| parse(time(attempt)?)).min()
    };
    let points = [
        ("webhook answered, stored on disk", Some(accepted)),
        ("build planned", parse(&build.build.created_at)),
        ("first job taken by a machine that was launched for it", first(|a| a.claimed_at.as_ref())),
        ("first line of a log", first_line),
        ("first command started, repository checked out", first(|a| a.started_at.as_ref())),
        ("first line of a command's output", first(|a| a.first_output_at.as_ref())),
    ];
    let mut timeline: Vec<(&'static str, Duration)> =
        points.into_iter().filter_map(|(what, at)| Some((what, since(posted, at?)?))).collect();
    timeline.sort_by_key(|(_, after)| *after);
    timeline
}

/// For people.
pub(super) fn text(ended: &Ended, kept: Option<&Path>, limit: Option<usize>) -> String {
    let mut out = String::new();
    let bold = Style::new().bold();
    let jobs: Vec<&JobAnswer> = ended.build.jobs.iter().filter(|job| job.kind != "wait").collect();
    let line = &ended.build.build;
    // Writing to a text cannot fail, here and below.
    let _ = writeln!(
        out,
        "\n{} {} in {}, everything in {}\n",
        paint(format!("{}#{}", line.pipeline, line.number), bold),
        crate::show::build_state(line.state.name()),
        crate::show::span(Some(&line.created_at), line.finished_at.as_deref()).map(elapsed).unwrap_or_default(),
        elapsed(ended.took)
    );
    out.push_str(&job_table(&ended.build, &jobs).render("  ", limit));
    if let Some(job) = jobs.iter().find(|job| job.key.as_deref() == Some(LONG)) {
        out.push('\n');
        out.push_str(&attempts(job));
    }
    let _ = writeln!(out, "\n{}", paint("From the webhook to the first line of output", bold));
    let mut table = Table::plain().right(&[0]);
    for (what, after) in &ended.timeline {
        table.row([format!("{} ms", after.as_millis()), (*what).to_owned()]);
    }
    out.push_str(&table.render("  ", limit));
    let _ = writeln!(out, "\n{}", paint("Logs and artifacts", bold));
    for artifact in &ended.artifacts {
        let _ = writeln!(out, "  artifact {} ({}) of `{}`", artifact.path, bytes(artifact.size), artifact.job);
    }
    out.push_str(&where_things_are(ended, kept));
    out
}

fn attempts(job: &JobAnswer) -> String {
    let mut out = String::new();
    for attempt in &job.attempts {
        let _ = writeln!(
            out,
            "  {} attempt {}: {} on {}, user's retries used: {}{}",
            job.label,
            attempt.number,
            paint(crate::show::attempt_outcome(attempt), outcome_style(attempt.exit_status)),
            attempt.instance.as_deref().unwrap_or("no machine"),
            attempt.retry_count,
            attempt.detail.as_deref().map_or_else(String::new, |detail| format!(" ({})", cut(&clean(detail), 80))),
        );
    }
    out
}

fn outcome_style(exit_status: Option<i32>) -> Style {
    if exit_status == Some(0) { Style::new().green() } else { Style::new().red() }
}

fn where_things_are(ended: &Ended, kept: Option<&Path>) -> String {
    let bold = Style::new().bold();
    let number = ended.build.build.number;
    let mut out = String::new();
    match kept {
        Some(directory) => {
            let state = quoted(&state(directory));
            let _ = writeln!(out, "  kept in {}; read them with", directory.display());
            let _ = writeln!(out, "    export TIDEGATE_STATE={state}");
            for command in [
                "tidegate builds".to_owned(),
                format!("tidegate build show {number}"),
                format!("tidegate logs {number} {LONG}"),
                format!("tidegate logs {number} {LONG} --attempt 1"),
                format!("tidegate artifact list {number}"),
                format!("tidegate artifact download {number} --to artifacts"),
            ] {
                let _ = writeln!(out, "    {command}");
            }
            let _ = writeln!(out, "  and remove them with  rm -r {}", quoted(directory));
        }
        None => {
            let _ = writeln!(out, "  removed with everything else; `tidegate demo --keep` leaves them to be read");
        }
    }
    let _ = writeln!(out, "\n{}", paint("Next", bold));
    let _ = writeln!(out, "  tidegate run              the pipeline of the repository you are in, without a server");
    let _ = writeln!(out, "  tidegate config example   a configuration for `tidegate up`");
    out
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.'));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// For programs.
pub(super) fn json(ended: &Ended, broken: &[String]) -> Value {
    let timeline: Vec<Value> =
        ended.timeline.iter().map(|(what, after)| json!({ "what": what, "ms": after.as_millis() as u64 })).collect();
    json!({
        "event": "summary",
        "kept_its_promises": broken.is_empty(),
        "broken": broken,
        "took_ms": ended.took.as_millis() as u64,
        "timeline": timeline,
        "killed": ended.killed.as_ref().map(|(id, pid)| json!({ "instance": id, "pid": pid })),
        "artifacts": ended.artifacts,
        "build": ended.build,
    })
}
