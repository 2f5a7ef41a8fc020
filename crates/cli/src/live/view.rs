//! Shows events: as a living picture on a terminal, as lines elsewhere, as JSON to programs.

use std::time::{Duration, Instant};

use owo_colors::Style;
use tidegate_engine::api::{BuildAnswer, InstanceAnswer};

use super::event::{Event, JobRef};
use super::screen::Screen;
use crate::out;
use crate::show::{cause_word, cut, elapsed, paint, parse, since, symbol};
use crate::terminal::{Neutral, clean};

/// Titles before lines of output are not wider than this.
const TITLE: usize = 32;
/// What a machine said last may be long.
const DETAIL: usize = 120;

/// Where events are shown.
#[derive(Debug)]
pub(crate) struct View {
    begun: Instant,
    kind: Kind,
    /// The machines are part of the story.
    machines: bool,
}

#[derive(Debug)]
enum Kind {
    Json,
    Lines,
    Screen(Box<Screen>),
}

impl View {
    /// The view that fits the standard output.
    pub(crate) fn new(json: bool, machines: bool) -> Self {
        let kind = if json {
            Kind::Json
        } else if out::is_terminal() {
            Kind::Screen(Box::default())
        } else {
            Kind::Lines
        };
        Self { begun: Instant::now(), kind, machines }
    }

    /// Says something to people.
    pub(crate) fn say(&mut self, text: &str) -> anyhow::Result<()> {
        let line = self.stamped(text);
        match &mut self.kind {
            Kind::Json => Ok(()),
            Kind::Lines => out::line(&line),
            Kind::Screen(screen) => screen.print(&line),
        }
    }

    /// Shows what happened.
    pub(crate) fn show(&mut self, events: &[Event]) -> anyhow::Result<()> {
        for event in events {
            if let Kind::Json = self.kind {
                out::json_line(event)?;
                continue;
            }
            if let Kind::Screen(screen) = &mut self.kind
                && let Event::Output { job, text, .. } = event
            {
                screen.output(&job.job, text);
                continue;
            }
            if let Some(line) = self.sentence(event) {
                self.say(&line)?;
            }
        }
        Ok(())
    }

    /// Draws the picture again, where there is one.
    pub(crate) fn draw(&mut self, build: Option<&BuildAnswer>, instances: &[InstanceAnswer]) -> anyhow::Result<()> {
        let machines = self.machines;
        match (&mut self.kind, build) {
            (Kind::Screen(screen), Some(build)) => screen.draw(build, if machines { instances } else { &[] }),
            _ => Ok(()),
        }
    }

    /// Takes the picture away; what was said stays.
    pub(crate) fn clear(&mut self) -> anyhow::Result<()> {
        match &mut self.kind {
            Kind::Screen(screen) => screen.clear(),
            Kind::Json | Kind::Lines => Ok(()),
        }
    }

    fn stamped(&self, text: &str) -> String {
        let at = stamp(self.begun.elapsed());
        format!("{}  {text}", paint(at, Style::new().dimmed()))
    }

    fn sentence(&self, event: &Event) -> Option<String> {
        let bold = Style::new().bold();
        let title = |job: &JobRef| paint(cut(&clean(&job.title), 2 * TITLE), bold);
        match event {
            Event::Build { number, pipeline, state, .. } => {
                Some(format!("{} build {pipeline}#{number} {}", symbol(state), crate::show::build_state(state)))
            }
            Event::Instance { id, state, pid, .. } if self.machines => {
                let pid = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
                match state.as_str() {
                    "launched" => Some(format!("  instance {id} launched{pid}")),
                    "closing" => Some(format!("  instance {id} has nothing more to do and leaves")),
                    "lost" => Some(format!("  instance {id} is lost")),
                    "gone" => Some(format!("  instance {id} is gone")),
                    _ => None,
                }
            }
            Event::Instance { .. } => None,
            Event::Job { job, state, instance, waiting, .. } => {
                let title = title(job);
                let sign = symbol(state);
                Some(match state.as_str() {
                    "assigned" => return None,
                    "running" => {
                        let on = instance.as_deref().filter(|_| self.machines);
                        format!("{sign} {title} runs{}", on.map_or_else(String::new, |i| format!(" on {i}")))
                    }
                    "scheduled" => match waiting {
                        Some(why) if why.starts_with("no pool") => format!("{sign} {title} waits: {}", clean(why)),
                        _ => return None,
                    },
                    "waiting" | "passed" | "failed" | "soft_failed" | "canceled" | "timed_out" | "expired" => {
                        return None;
                    }
                    state => format!("{sign} {title} is {}", cause_word(state)),
                })
            }
            Event::AttemptEnded { .. } => Some(ended(event)?),
            Event::Output { job, text, .. } => {
                let mut plain = String::new();
                let mut neutral = Neutral::new(out::is_coloured());
                neutral.push(text.as_bytes(), &mut plain);
                neutral.finish(&mut plain);
                Some(format!(
                    "  {} {plain}",
                    paint(format!("{} |", cut(&clean(&job.title), TITLE)), Style::new().dimmed())
                ))
            }
        }
    }
}

/// The end of an attempt in a sentence.
fn ended(event: &Event) -> Option<String> {
    let Event::AttemptEnded { at, job, attempt, cause, exit_status, signal, instance, retry_count, detail, started_at } =
        event
    else {
        return None;
    };
    let title = paint(cut(&clean(&job.title), 2 * TITLE), Style::new().bold());
    let ran = started_at.as_deref().and_then(parse).zip(parse(at)).and_then(|(from, to)| since(from, to));
    let ran = ran.map_or_else(String::new, |ran| format!(" after {}", elapsed(ran)));
    let good = cause == "exit" && *exit_status == Some(0);
    if good {
        return Some(format!("{} {title} passed{ran}", symbol("passed")));
    }
    let what = match (cause.as_str(), exit_status, signal) {
        ("exit", Some(status), _) => format!("ended with status {status}"),
        ("signal", _, Some(signal)) => format!("was ended by signal {signal}"),
        ("lost", ..) => format!("lost its machine {}", instance.as_deref().unwrap_or_default()),
        ("canceled", ..) => "was canceled".to_owned(),
        (cause, ..) => format!("ended: {}", cause_word(cause)),
    };
    let mut line = format!("{} {title} {what}{ran}", symbol(if cause == "canceled" { "canceled" } else { "failed" }));
    if *attempt > 1 || cause == "lost" {
        line.push_str(&format!(" (attempt {attempt}, cause {cause}, {retry_count} of the user's retries used)"));
    }
    if let Some(detail) = detail {
        line.push_str(&format!(": {}", cut(&clean(detail), DETAIL)));
    }
    Some(line)
}

/// How long it is since the beginning: `  1.23s`.
fn stamp(elapsed: Duration) -> String {
    format!("{:>6.2}s", elapsed.as_secs_f64())
}
