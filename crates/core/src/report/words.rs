//! What a check says: one line, and Markdown that names what failed first, why, after how long, what it wrote last and what
//! happens next.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::check::{Check, CheckState, Conclusion, Mark, SUMMARY_LIMIT, Subject};
use super::{Status, blocked_state, status};
use crate::attempt::{Attempt, End, Phase};
use crate::build::{Build, BuildState, Cell, Graph, Hold, JobState, Limits, quarantine};
use crate::event::truncate;
use crate::ids::JobIndex;
use crate::plan::{BlockedState, StepKind};
use crate::time::Timestamp;
use crate::why::words::{count, span};

/// How many lines of a log are shown.
const LINES: usize = 20;
/// How many failed jobs are listed.
const LISTED: usize = 20;
/// Longest name of a check, in bytes.
const NAME_LIMIT: usize = 200;

/// What there is to say it with.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The build.
    pub build: &'a Build,
    /// Its plan.
    pub graph: &'a Graph,
    /// The latest attempts of jobs that failed, as far as they are at hand.
    pub attempts: &'a BTreeMap<JobIndex, Attempt>,
    /// Where people see the build; empty where there is no such place.
    pub link: &'a str,
    /// Limits of builds.
    pub limits: &'a Limits,
}

/// Whether a job is red for a reason of its own.
pub fn is_culprit(state: JobState) -> bool {
    matches!(state, JobState::Failed | JobState::TimedOut | JobState::Expired)
}

/// The check of a build.
pub fn build_check(sources: &Sources<'_>) -> (Status, Check) {
    let Sources { build, graph, .. } = *sources;
    let shown = status(build, graph);
    let check = Check {
        name: shown.context.clone(),
        external_id: Subject::Build(build.facts.id.clone()).external_id(),
        state: state_of(build, graph),
        title: sources.title(),
        summary: sources.summary(),
        details_url: (!sources.link.is_empty()).then(|| sources.link.to_owned()),
        annotations: marks(build),
        started_at: build.started_at.or(Some(build.facts.created_at)),
        completed_at: build.finished_at.filter(|_| build.state.is_final()),
    };
    (shown, check)
}

/// The check of one job.
pub fn job_check(sources: &Sources<'_>, job: JobIndex) -> Option<Check> {
    let Sources { build, .. } = *sources;
    let cell = build.cells.get(job.0 as usize)?;
    let (end, failed) = (sources.end(job), cell.state);
    let state = match failed {
        JobState::Waiting | JobState::Limited | JobState::Blocked => CheckState::Queued,
        JobState::Scheduled | JobState::Backoff | JobState::Canceling => CheckState::InProgress,
        JobState::Passed | JobState::Unblocked => CheckState::Completed(Conclusion::Success),
        JobState::SoftFailed | JobState::Broken | JobState::Skipped => CheckState::Completed(Conclusion::Neutral),
        JobState::Failed | JobState::WaitingFailed | JobState::Expired => CheckState::Completed(Conclusion::Failure),
        JobState::TimedOut => CheckState::Completed(Conclusion::TimedOut),
        JobState::Canceled => CheckState::Completed(Conclusion::Cancelled),
    };
    let words = failed.name().replace('_', " ");
    let title = match end.filter(|_| is_culprit(failed)) {
        Some(end) => format!("{words}: {}", cause(end)),
        None => words,
    };
    let mut summary = String::new();
    if is_culprit(failed) {
        sources.tell_end(&mut summary, job, "failed");
    }
    sources.tell_link(&mut summary);
    let ended_at = end.map(|end| end.at).filter(|_| matches!(state, CheckState::Completed(_)));
    Some(Check {
        name: truncate(&format!("tidegate/{}: {}", build.facts.pipeline, line(sources.label(job))), NAME_LIMIT),
        external_id: Subject::Job(build.facts.id.clone(), job).external_id(),
        state,
        title,
        summary: truncate(&summary, SUMMARY_LIMIT),
        details_url: (!sources.link.is_empty()).then(|| sources.link.to_owned()),
        annotations: Vec::new(),
        started_at: end.and_then(|end| end.held.as_ref()).map(|held| held.started_at.unwrap_or(held.claimed_at)),
        completed_at: ended_at,
    })
}

fn state_of(build: &Build, graph: &Graph) -> CheckState {
    let failed = build.cells.iter().any(|c| c.state.is_failure());
    match build.state {
        BuildState::Scheduled => CheckState::Queued,
        BuildState::Running | BuildState::Failing | BuildState::Canceling => CheckState::InProgress,
        // Nothing of it was looked at: it must not look like something that passed.
        BuildState::Blocked if build.hold.is_some() => CheckState::Queued,
        BuildState::Blocked => match blocked_state(build, graph) {
            _ if failed => CheckState::Completed(Conclusion::Failure),
            Some(BlockedState::Failed) => CheckState::Completed(Conclusion::Failure),
            Some(BlockedState::Running) => CheckState::InProgress,
            Some(BlockedState::Passed) | None => CheckState::Completed(Conclusion::Success),
        },
        BuildState::Passed => CheckState::Completed(Conclusion::Success),
        BuildState::Failed => CheckState::Completed(Conclusion::Failure),
        BuildState::Canceled | BuildState::Skipped => CheckState::Completed(Conclusion::Cancelled),
        BuildState::NotRun => CheckState::Completed(Conclusion::Neutral),
    }
}

impl<'a> Sources<'a> {
    fn label(&self, job: JobIndex) -> &'a str {
        self.graph.job(job).map_or("a job", |job| job.label())
    }

    fn end(&self, job: JobIndex) -> Option<&'a End> {
        match &self.attempts.get(&job)?.phase {
            Phase::Ended(end) => Some(end),
            Phase::Queued | Phase::Held(_) => None,
        }
    }

    fn cells(&self) -> impl Iterator<Item = (JobIndex, &'a Cell)> {
        (0u32..).map(JobIndex).zip(self.build.cells.iter())
    }

    /// Jobs that are red for reasons of their own, those that ended first before the others.
    fn culprits(&self) -> Vec<JobIndex> {
        let mut culprits: Vec<JobIndex> =
            self.cells().filter(|(_, c)| is_culprit(c.state)).map(|(job, _)| job).collect();
        culprits.sort_by_key(|&job| (self.end(job).map_or(Timestamp(u64::MAX), |end| end.at), job));
        culprits
    }

    /// How many jobs are over, and how many there are. Waits are no jobs.
    fn progress(&self) -> (u32, u32) {
        let is_job = |job: JobIndex| self.graph.job(job).is_some_and(|j| !matches!(j.step.kind, StepKind::Wait { .. }));
        let states = self.cells().filter(|(job, _)| is_job(*job)).map(|(_, cell)| cell.state);
        states.fold((0, 0), |(over, all), state| (over + u32::from(state.is_final()), all + 1))
    }

    fn title(&self) -> String {
        let build = self.build;
        let (over, all) = self.progress();
        let so_far = format!("{over} of {} done", count(all, "job", "jobs"));
        let took = match (build.started_at, build.finished_at) {
            (Some(from), Some(to)) => format!(" in {}", span(to.since(from))),
            _ => String::new(),
        };
        let first = self.culprits().first().map(|&job| {
            let why = self.end(job).map_or_else(String::new, |end| format!(" ({})", cause(end)));
            format!("{}{why}", line(self.label(job)))
        });
        let by = |cancel: &crate::build::Cancel| format!(" by {}", line(&cancel.by));
        let title = match build.state {
            BuildState::Scheduled => "Waiting for a machine".to_owned(),
            BuildState::Running => format!("Running: {so_far}"),
            BuildState::Failing => {
                format!("Failing, {}: {so_far}", first.as_deref().unwrap_or("a step before it failed"))
            }
            BuildState::Blocked if build.hold == Some(Hold::Approval) => {
                format!("A fork's commit waits for a comment: /approve {}", build.facts.commit)
            }
            BuildState::Blocked => format!("Blocked, waiting for a person: {so_far}"),
            BuildState::Canceling => format!("Being canceled: {so_far}"),
            BuildState::Passed => format!("Passed{took}: {}", count(all, "job", "jobs")),
            BuildState::Failed if !build.failure.is_empty() => line(build.failure.lines().next().unwrap_or_default()),
            BuildState::Failed => match first {
                Some(first) => format!("Failed{took}: {first}"),
                None => line(&status(build, self.graph).description),
            },
            BuildState::Canceled => format!("Canceled{}", build.cancel.as_ref().map_or_else(String::new, by)),
            BuildState::Skipped => "Skipped for a newer build".to_owned(),
            BuildState::NotRun => "There was nothing to run".to_owned(),
        };
        truncate(&title, 250)
    }

    fn summary(&self) -> String {
        let build = self.build;
        let mut text = String::new();
        if !build.failure.is_empty() {
            let _ = writeln!(text, "{}\n", fenced(&build.failure));
        }
        let culprits = self.culprits();
        if let [first, rest @ ..] = culprits.as_slice() {
            self.tell_end(&mut text, *first, "failed first");
            if !rest.is_empty() {
                let _ = writeln!(text, "Then failed:\n");
                for &job in rest.iter().take(LISTED) {
                    let how = self
                        .end(job)
                        .map_or_else(|| "failed".to_owned(), |end| format!("{}, after {}", cause(end), lasted(end)));
                    let _ = writeln!(text, "- {}: {}", code(self.label(job)), escaped(&how));
                }
                if rest.len() > LISTED {
                    let _ = writeln!(text, "- and {} more", rest.len() - LISTED);
                }
                text.push('\n');
            }
        }
        let again: Vec<String> = self
            .cells()
            .filter(|(_, c)| !c.state.is_final() && c.attempt > u32::from(c.state != JobState::Backoff))
            .take(LISTED)
            .map(|(job, c)| {
                let next = if c.state == JobState::Backoff { c.attempt + 1 } else { c.attempt };
                format!("{} (attempt {next})", code(self.label(job)))
            })
            .collect();
        if !again.is_empty() {
            let _ = writeln!(text, "Tried again: {}.\n", again.join(", "));
        }
        let warnings = build.diagnostics.iter().filter(|d| !d.is_error()).count();
        if warnings > 0 && build.failure.is_empty() {
            let warnings = count(u32::try_from(warnings).unwrap_or(u32::MAX), "finding", "findings");
            let _ = writeln!(text, "{warnings} in the pipeline file, shown beside its lines.\n");
        }
        self.tell_link(&mut text);
        truncate(&text, SUMMARY_LIMIT)
    }

    /// How a job ended, its last lines and what happens next.
    fn tell_end(&self, text: &mut String, job: JobIndex, failed: &str) {
        let (label, cell) = (code(self.label(job)), self.build.cells.get(job.0 as usize));
        let Some(end) = self.end(job) else {
            let _ = writeln!(text, "{label} {failed}.\n");
            return;
        };
        let tries = match cell.map_or(1, |c| c.attempt) {
            0 | 1 => String::new(),
            n => format!(", in attempt {n}"),
        };
        let _ = write!(text, "{label} {failed}: **{}**, after {}{tries}.", escaped(&cause(end)), lasted(end));
        if let Some(detail) = &end.detail {
            let _ = write!(text, " {}.", escaped(detail.trim_end_matches('.')));
        }
        text.push_str("\n\n");
        let last = last_lines(&end.tail);
        if !last.trim().is_empty() {
            let _ = writeln!(text, "{}\n", fenced(&last));
        }
        if let Some(cell) = cell {
            let _ = writeln!(text, "{}\n", self.next(job, cell, end));
        }
    }

    /// What happens next with a job that failed.
    fn next(&self, job: JobIndex, cell: &Cell, end: &End) -> String {
        let command = self.graph.job(job).and_then(|job| job.command);
        let rules = command.and_then(|command| command.retry.automatic.as_ref()).map_or(0, Vec::len);
        let uses: u32 = cell.rule_uses.iter().map(|n| u32::from(*n)).sum();
        let not_again = match quarantine(cell, self.limits) {
            Some(why) => escaped(&why),
            None if end.permanent => "It is not tried again: that cannot help".to_owned(),
            None if uses > 0 => {
                format!("It is not tried again: `retry` allowed {} of it", count(uses, "repetition", "repetitions"))
            }
            None if rules > 0 => "It is not tried again: no rule of its `retry` covers this".to_owned(),
            None => "It is not tried again by itself: its step has no `retry` rule for this".to_owned(),
        };
        match command.map(|command| &command.retry.manual) {
            Some(manual) if !manual.allowed => {
                let why = manual.reason.as_deref().map_or_else(String::new, |why| format!(" ({})", escaped(why)));
                format!("{not_again}, and its step does not let people retry it{why}.")
            }
            _ => format!(
                "{not_again}. “Re-run” runs what failed once more; so does {}.",
                code(&format!("tidegate retry {}#{}", self.build.facts.pipeline, self.build.facts.number))
            ),
        }
    }

    fn tell_link(&self, text: &mut String) {
        let name = format!("Build #{}", self.build.facts.number);
        if self.link.is_empty() {
            let pipeline = format!("{}#{}", self.build.facts.pipeline, self.build.facts.number);
            let _ = writeln!(text, "{name}: {} shows it.", code(&format!("tidegate build show {pipeline}")));
        } else {
            let _ = writeln!(text, "[{name}]({})", self.link);
        }
    }
}

/// Findings that have a place.
fn marks(build: &Build) -> Vec<Mark> {
    let placed = build.diagnostics.iter().filter(|d| d.line > 0 && !d.file.is_empty());
    placed
        .map(|d| Mark {
            path: d.file.clone(),
            line: d.line,
            columns: (d.column > 0).then(|| (d.column, d.column + d.length.saturating_sub(1))),
            failure: d.is_error(),
            title: d.code.clone(),
            message: match &d.help {
                Some(help) => format!("{}\n{help}", d.message),
                None => d.message.clone(),
            },
        })
        .collect()
}

/// How an attempt ended.
fn cause(end: &End) -> String {
    match (end.exit_status, &end.signal) {
        (_, Some(signal)) => format!("{}, signal {}", end.cause.name().replace('_', " "), line(signal)),
        (Some(status), None) if end.cause == crate::attempt::Cause::Exit => format!("exit status {status}"),
        (Some(status), None) => format!("{}, exit status {status}", end.cause.name().replace('_', " ")),
        (None, None) => end.cause.name().replace('_', " "),
    }
}

/// How long it ran, from when its command began.
fn lasted(end: &End) -> String {
    let from = end.held.as_ref().map(|held| held.started_at.unwrap_or(held.claimed_at));
    from.map_or_else(|| "no time: it never began".to_owned(), |from| span(end.at.since(from)))
}

/// The end of a log: what the command wrote, without the headings of the agent's groups, and what the agent said of its end.
fn last_lines(tail: &str) -> String {
    let mut lines: Vec<&str> = tail.lines().filter(|line| line.trim() != "^^^ +++").collect();
    let heading = lines.iter().rposition(|line| line.starts_with("~~~ "));
    if let Some(heading) = heading.filter(|at| at + 1 < lines.len()) {
        lines.drain(..=heading);
    }
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// One line, without control characters.
fn line(text: &str) -> String {
    text.chars().map(|c| if is_active(c) { ' ' } else { c }).collect()
}

/// Control characters, and those that turn the direction of writing around.
fn is_active(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text of somebody else's in which Markdown means nothing.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in line(text).chars() {
        if c.is_ascii_punctuation() && !matches!(c, ',' | '.' | ':' | ';' | '/' | '-' | '\'' | '(' | ')') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A name as code.
fn code(text: &str) -> String {
    format!("`{}`", line(text).replace('`', "'"))
}

/// Lines as a block that nothing in them can end.
fn fenced(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let clean: String = text.chars().map(|c| if c != '\n' && is_active(c) { ' ' } else { c }).collect();
    format!("{fence}text\n{clean}\n{fence}")
}
