use std::fmt::Write as _;

use jiff::Timestamp;
use owo_colors::Style;
use tidegate_core::report::Status;
use tidegate_engine::api::{AttemptAnswer, BuildAnswer, FormAnswer, JobAnswer};

use super::builds::short_ref;
use super::{Table, ago, attempt_outcome, build_state, elapsed, job_state, paint, parse, since, span, symbol};
use crate::terminal::clean;

/// How a job is named on the command line, if that is not its label: `key`, or `key:index` among several.
pub(crate) fn job_name(build: &BuildAnswer, job: &JobAnswer) -> String {
    let same = |other: &&JobAnswer| match (&job.key, &other.key) {
        (Some(key), Some(other)) => key == other,
        (None, None) => job.label == other.label,
        _ => false,
    };
    let name = job.key.as_deref().unwrap_or(&job.label);
    if build.jobs.iter().filter(same).count() > 1 { format!("{name}:{}", job.index) } else { name.to_owned() }
}

/// A build with its jobs and attempts.
pub(crate) fn build(build: &BuildAnswer, now: Timestamp, limit: Option<usize>) -> String {
    let mut out = String::new();
    let dim = Style::new().dimmed();
    let line = &build.build;
    let state = line.state.name();
    let bold = Style::new().bold();
    let title = paint(format!("{}#{}", line.pipeline, line.number), bold);
    // Writing to a text cannot fail, here and below.
    let _ = write!(out, "{} {title}  {}", symbol(state), build_state(state));
    if let Some(by) = &build.canceled_by {
        let _ = write!(out, " by {}", clean(by));
    }
    match (line.started_at.as_deref().and_then(parse), line.finished_at.as_deref().and_then(parse)) {
        (Some(started), Some(finished)) => {
            let _ = write!(out, " in {}", since(started, finished).map(elapsed).unwrap_or_default());
        }
        (Some(started), None) => {
            let _ = write!(out, " for {}", since(started, now).map(elapsed).unwrap_or_default());
        }
        (None, _) => {}
    }
    out.push('\n');
    let on = short_ref(line);
    let on = if on.is_empty() { String::new() } else { format!("{on} at ") };
    let _ = writeln!(out, "  {on}{}  {}", line.commit.get(..8).unwrap_or(&line.commit), clean(&line.message));
    let _ = writeln!(out, "  {}", paint(format!("{}, made {}", line.id, ago(&line.created_at, now)), dim));
    if let Some(id) = &build.rebuilt_from {
        let number = build.rebuilt_number.map_or_else(|| id.to_string(), |number| format!("#{number}"));
        let _ = writeln!(out, "  {}", paint(format!("rebuilt from {number} by {}", clean(&build.creator)), dim));
    }
    if let Some(by) = &build.triggered_by {
        let _ = writeln!(out, "  {}", paint(format!("triggered by {}#{}", clean(&by.pipeline), by.number), dim));
    }
    for act in &build.acts {
        let what = match (act.what.as_str(), &act.job) {
            ("retried", None) => "retried all that failed".to_owned(),
            (what, None) => what.replace('_', " "),
            (what, Some(job)) => format!("{} {}", what.replace('_', " "), clean(job)),
        };
        let _ = writeln!(out, "  {}", paint(format!("{} {what}, {}", clean(&act.by), ago(&act.at, now)), dim));
    }
    if !build.waits.is_empty() {
        let _ = writeln!(out, "\n  waits: {}", clean(&build.waits));
    }
    if !build.failure.is_empty() {
        out.push('\n');
        for line in build.failure.lines() {
            let _ = writeln!(out, "  {}", paint(clean(line), Style::new().red()));
        }
    }
    if !build.diagnostics.is_empty() {
        let _ = write!(out, "\n{}", tidegate_pipeline::render::text(&build.diagnostics, true));
        trim_end(&mut out);
    }
    let jobs: Vec<&JobAnswer> = build.jobs.iter().filter(|job| job.kind != "wait").collect();
    if !jobs.is_empty() {
        out.push('\n');
        out.push_str(&job_table(build, &jobs).render("  ", limit));
    }
    let notes = notes(build, &jobs);
    if !notes.is_empty() {
        out.push('\n');
        out.push_str(&notes);
    }
    for notice in &build.notices {
        let told = match (&notice.why, notice.told, notice.given_up) {
            (_, true, _) => "told".to_owned(),
            (Some(why), false, true) => format!("not told: {}", clean(why)),
            (Some(why), false, false) => format!("tried {} times, and again later: {}", notice.tries, clean(why)),
            (None, false, _) => "about to be told".to_owned(),
        };
        let _ = writeln!(out, "\n  {}", paint(format!("{}: {told}", clean(&notice.service)), dim));
    }
    if let Some(status) = &build.status {
        let told = match (&status.refused, status.posted) {
            (Some(why), _) => format!("refused by GitHub: {}", clean(why)),
            (None, true) => "on GitHub".to_owned(),
            (None, false) => "recorded; no GitHub token is configured".to_owned(),
        };
        let Status { context, description, .. } = &status.status;
        let words = format!("status {}: {} ({told})", clean(context), clean(description));
        let _ = writeln!(out, "\n  {}", paint(words, dim));
    }
    out
}

fn trim_end(out: &mut String) {
    out.truncate(out.trim_end().len());
    out.push('\n');
}

/// The jobs: how often each was tried, how long it waited for a machine and how long it ran.
pub(crate) fn job_table(build: &BuildAnswer, jobs: &[&JobAnswer]) -> Table {
    let mut table = Table::new(&["", "JOB", "STATE", "ATTEMPTS", "WAITED", "RAN"]).right(&[3, 4, 5]);
    for job in jobs {
        let first = job.attempts.first();
        let last = job.attempts.last();
        let waited = first.and_then(|a| span(a.created_at.as_deref(), a.started_at.as_deref()));
        let ran = last.and_then(|a| span(a.started_at.as_deref(), a.finished_at.as_deref()));
        let count = job.attempts.len();
        let name = job_name(build, job);
        let label = clean(&job.label).into_owned();
        let shown = if name == label {
            label
        } else {
            format!("{label} {}", paint(format!("({})", clean(&name)), Style::new().dimmed()))
        };
        table.row([
            symbol(&job.state),
            shown,
            job_state(&job.state),
            if count == 0 { String::new() } else { count.to_string() },
            waited.map_or_else(String::new, elapsed),
            ran.map_or_else(String::new, elapsed),
        ]);
    }
    table
}

/// What the table does not say: why a job waits, and every attempt that did not simply end well.
fn notes(build: &BuildAnswer, jobs: &[&JobAnswer]) -> String {
    let mut out = String::new();
    let bold = Style::new().bold();
    for job in jobs {
        let plain =
            |a: &AttemptAnswer| a.cause.as_deref().is_none_or(|c| c == "exit") && a.exit_status.unwrap_or(0) == 0;
        let title = || paint(clean(&job_name(build, job)), bold);
        if let Some(why) = &job.waiting {
            let _ = writeln!(out, "  {} waits {}", title(), clean(why));
        }
        if let Some(made) = &job.triggered {
            let state = made.state.map_or_else(String::new, |state| format!(", {}", state.name().replace('_', " ")));
            let _ = writeln!(out, "  {} is {}#{}{state}", title(), clean(&made.pipeline), made.number);
        }
        if let Some(why) = &job.reason {
            let _ = writeln!(out, "  {} {}", title(), paint(clean(why), Style::new().red()));
        }
        if let Some(form) = &job.form {
            out.push_str(&question(build, job, form));
        }
        if job.attempts.len() < 2 && job.attempts.iter().all(plain) {
            continue;
        }
        let _ = writeln!(out, "  {}", title());
        for attempt in &job.attempts {
            let _ = writeln!(out, "    {}", attempt_line(attempt));
            let shown = attempt.number == u32::try_from(job.attempts.len()).unwrap_or(0) && job.state != "passed";
            if shown {
                for line in tail_lines(&attempt.tail, 8) {
                    let _ = writeln!(out, "      {} {line}", paint("│", Style::new().dimmed()));
                }
            }
        }
    }
    out
}

/// What a step that waits for a person asks, and how to answer.
fn question(build: &BuildAnswer, job: &JobAnswer, form: &FormAnswer) -> String {
    let name = job_name(build, job);
    let mut out = format!("  {} waits for a person", paint(clean(&name), Style::new().bold()));
    if let Some(prompt) = &form.prompt {
        let _ = write!(out, ": {}", clean(prompt));
    }
    out.push('\n');
    for field in &form.fields {
        let _ = write!(out, "    {}", clean(&field.key));
        let title = [&field.label, &field.hint].into_iter().flatten().map(|t| clean(t).into_owned());
        let title: Vec<String> = title.collect();
        if !title.is_empty() {
            let _ = write!(out, "  {}", title.join(": "));
        }
        let mut rules = Vec::new();
        if !field.options.is_empty() {
            let which = if field.multiple { "some" } else { "one" };
            rules.push(format!("{which} of {}", clean(&field.options.join(", "))));
        }
        rules.extend(field.format.as_ref().map(|format| format!("matches {}", clean(format))));
        if !field.default.is_empty() {
            rules.push(format!("default {}", clean(&field.default.join(", "))));
        } else if !field.required {
            rules.push("may be left out".to_owned());
        }
        if !rules.is_empty() {
            let _ = write!(out, "  {}", paint(format!("({})", rules.join("; ")), Style::new().dimmed()));
        }
        out.push('\n');
    }
    let needed = form.fields.iter().filter(|f| f.required && f.default.is_empty());
    let fields: String = needed.map(|f| format!(" --field {}=…", clean(&f.key))).collect();
    let step = if name.contains([' ', '\'', '"', '$']) { format!("{name:?}") } else { name };
    let command = format!("tidegate unblock {} {}{fields}", build.build.number, clean(&step));
    let _ = writeln!(out, "    {}", paint(command, Style::new().cyan()));
    out
}

/// One attempt in a line.
fn attempt_line(attempt: &AttemptAnswer) -> String {
    let outcome = attempt_outcome(attempt);
    let good = outcome == "exit 0";
    let style = match attempt.cause {
        Some(_) if good => Style::new().green(),
        Some(_) => Style::new().red(),
        None => Style::new().cyan(),
    };
    let mut line = format!("attempt {}: {}", attempt.number, paint(outcome, style));
    if let Some(instance) = &attempt.instance {
        let _ = write!(line, " on {instance}");
    }
    if let Some(ran) = span(attempt.started_at.as_deref(), attempt.finished_at.as_deref()) {
        let _ = write!(line, " after {}", elapsed(ran));
    }
    if attempt.retry_count > 0 {
        let _ = write!(line, ", retry {}", attempt.retry_count);
    }
    if let Some(detail) = &attempt.detail {
        let _ = write!(line, ": {}", clean(detail));
    }
    line
}

/// The last lines of an output, without marks and without what a terminal would act on.
pub(crate) fn tail_lines(tail: &str, most: usize) -> Vec<String> {
    let mut plain = Vec::new();
    let mut marks = crate::terminal::Marks::default();
    let mut take = |piece: crate::terminal::Piece<'_>| {
        if let crate::terminal::Piece::Bytes(bytes) = piece {
            plain.extend_from_slice(bytes);
        }
    };
    marks.push(tail.as_bytes(), &mut take);
    marks.finish(&mut take);
    let mut text = String::new();
    let mut neutral = crate::terminal::Neutral::new(false);
    neutral.push(&plain, &mut text);
    neutral.finish(&mut text);
    // Of a line that was written over, the last version.
    let lines: Vec<&str> = text.lines().map(|l| l.trim_end_matches('\r').rsplit('\r').next().unwrap_or(l)).collect();
    lines[lines.len().saturating_sub(most)..].iter().map(|line| line.replace('\t', "    ")).collect()
}
