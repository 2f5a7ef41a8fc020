//! The living picture: a line a job, drawn again and again below what was said.

use std::collections::HashMap;

use owo_colors::Style;
use tidegate_engine::api::{BuildAnswer, InstanceAnswer, JobAnswer};

use super::event::job_ref;
use crate::out;
use crate::show::{build_state, cut, elapsed, job_state, paint, parse, since, symbol, width};
use crate::terminal::{Neutral, clean};

/// Titles are not wider than this.
const TITLE: usize = 32;

/// What is drawn.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// Lines that are drawn now.
    drawn: usize,
    /// The last line of each job's output.
    last: HashMap<String, String>,
}

impl Screen {
    /// Notes a line of output.
    pub(super) fn output(&mut self, job: &str, text: &str) {
        let mut plain = String::new();
        let mut neutral = Neutral::new(false);
        neutral.push(text.as_bytes(), &mut plain);
        neutral.finish(&mut plain);
        let line = plain.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default().replace('\t', "    ");
        if !line.trim().is_empty() {
            self.last.insert(job.to_owned(), line);
        }
    }

    /// Prints a line that stays, above the picture.
    pub(super) fn print(&mut self, line: &str) -> anyhow::Result<()> {
        let text = format!("{}{line}\n", self.erasure());
        self.drawn = 0;
        write(&text)
    }

    /// Takes the picture away.
    pub(super) fn clear(&mut self) -> anyhow::Result<()> {
        let text = self.erasure();
        self.drawn = 0;
        write(&text)
    }

    /// Draws the picture.
    pub(super) fn draw(&mut self, build: &BuildAnswer, instances: &[InstanceAnswer]) -> anyhow::Result<()> {
        let (columns, rows) = out::size().unwrap_or((80, 24));
        let lines = picture(build, instances, &self.last, jiff::Timestamp::now(), rows.saturating_sub(2).max(3));
        let mut text = self.erasure();
        for line in &lines {
            // The last place stays free: some terminals go to the next line as soon as it is taken.
            text.push_str(&cut(line, columns.saturating_sub(1)));
            text.push('\n');
        }
        self.drawn = lines.len();
        write(&text)
    }

    /// Up to the first line of the picture, and everything below away.
    fn erasure(&self) -> String {
        if self.drawn == 0 { String::new() } else { format!("\x1b[{}A\r\x1b[0J", self.drawn) }
    }
}

/// Colours go where they are not wanted; the cursor's movements stay, because this is a terminal.
fn write(text: &str) -> anyhow::Result<()> {
    if out::is_coloured() { out::bytes(text.as_bytes()) } else { out::bytes(without_colours(text).as_bytes()) }
}

fn without_colours(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        let end = rest[at + 2..].find(|c: char| c.is_ascii_alphabetic()).map_or(rest.len(), |end| at + 2 + end + 1);
        out.push_str(&rest[..at]);
        if !rest[at..end].ends_with('m') {
            out.push_str(&rest[at..end]);
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// The lines of the picture, not more than `rows`.
fn picture(
    build: &BuildAnswer,
    instances: &[InstanceAnswer],
    last: &HashMap<String, String>,
    now: jiff::Timestamp,
    rows: usize,
) -> Vec<String> {
    let jobs: Vec<&JobAnswer> = build.jobs.iter().filter(|job| job.kind != "wait").collect();
    let titles: Vec<String> = jobs.iter().map(|job| cut(&clean(&job_ref(build, job).title), TITLE)).collect();
    let widest = titles.iter().map(|title| width(title)).max().unwrap_or(0);
    let dim = Style::new().dimmed();
    let mut lines = vec![String::new(), headline(build, now)];
    let room = rows.saturating_sub(lines.len() + usize::from(!instances.is_empty()) + 1).max(1);
    // Where not all fit, those that run come first.
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    if jobs.len() > room {
        order.sort_by_key(|&at| match jobs[at].state.as_str() {
            "running" => 0,
            "failed" | "assigned" => 1,
            "passed" => 3,
            _ => 2,
        });
        order.truncate(room);
        order.sort_unstable();
    }
    for at in &order {
        let (job, title) = (jobs[*at], &titles[*at]);
        let pad = " ".repeat(widest.saturating_sub(width(title)));
        let attempt = job.attempts.last();
        let began = attempt.and_then(|a| a.started_at.as_deref()).and_then(parse);
        let ended = attempt.and_then(|a| a.finished_at.as_deref()).and_then(parse).unwrap_or(now);
        let time = began.and_then(|began| since(began, ended)).map_or_else(String::new, elapsed);
        let again = if job.attempts.len() > 1 { format!("attempt {} ", job.attempts.len()) } else { String::new() };
        let says = match (job.state.as_str(), &job.waiting) {
            ("running" | "passed" | "failed", _) => last.get(&job.id).cloned().unwrap_or_default(),
            (_, Some(waiting)) => clean(waiting).into_owned(),
            _ => String::new(),
        };
        let state = job_state(&job.state);
        let state_pad = " ".repeat(10usize.saturating_sub(width(&state)));
        lines.push(format!(
            "  {} {title}{pad}  {state}{state_pad} {time:>8}  {again}{}",
            symbol(&job.state),
            paint(says, dim)
        ));
    }
    if jobs.len() > order.len() {
        lines.push(paint(format!("    … and {} more jobs", jobs.len() - order.len()), dim));
    }
    if !instances.is_empty() {
        let list: Vec<String> = instances.iter().map(|i| format!("{} {}", i.id, i.state)).collect();
        lines.push(paint(format!("  instances: {}", list.join(", ")), dim));
    }
    lines
}

fn headline(build: &BuildAnswer, now: jiff::Timestamp) -> String {
    let line = &build.build;
    let began = parse(&line.created_at);
    let ended = line.finished_at.as_deref().and_then(parse).unwrap_or(now);
    let time = began.and_then(|began| since(began, ended)).map_or_else(String::new, elapsed);
    let title = paint(format!("{}#{}", line.pipeline, line.number), Style::new().bold());
    format!("{} {title} {} {time}", symbol(line.state.name()), build_state(line.state.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_go_and_movements_stay() {
        assert_eq!(without_colours("\x1b[3A\r\x1b[0Ja\x1b[1;31mb\x1b[0mc"), "\x1b[3A\r\x1b[0Jabc");
    }
}
