use std::fmt::Write as _;

use jiff::Timestamp;
use owo_colors::Style;
use tidegate_engine::api::{GroupAnswer, GroupMember, WhyAnswer, WhyJob};

use super::{Table, ago, job_state, paint, symbol};
use crate::terminal::clean;

/// Why a build waits; or only one job of it.
pub(crate) fn why(answer: &WhyAnswer, one: bool, now: Timestamp) -> String {
    let mut out = String::new();
    if !one {
        // Writing to a text cannot fail, here and below.
        let _ = writeln!(out, "{}", clean(&answer.sentence));
    }
    for job in &answer.jobs {
        let _ = writeln!(out, "{}{}", if one { "" } else { "  " }, sentence(answer, job, now));
    }
    out
}

fn sentence(answer: &WhyAnswer, job: &WhyJob, now: Timestamp) -> String {
    let same = answer.jobs.iter().filter(|other| other.key == job.key && other.label == job.label).count();
    let name = job.key.as_deref().unwrap_or(&job.label);
    let name = if same > 1 || job.index > 0 { format!("{name}:{}", job.index) } else { name.to_owned() };
    let mut out =
        format!("{} {} {}", symbol(&job.state), paint(clean(&name), Style::new().bold()), clean(&job.because));
    if let Some(since) = &job.since {
        let _ = write!(out, ", since {} ({})", since, ago(since, now));
    }
    if !job.until.is_empty() {
        let _ = write!(out, "; {}", paint(format!("until {}", clean(&job.until)), Style::new().dimmed()));
    }
    out
}

/// Concurrency groups with their members.
pub(crate) fn groups(groups: &[GroupAnswer], now: Timestamp) -> String {
    if groups.is_empty() {
        return "nobody is in a concurrency group\n".to_owned();
    }
    let mut table = Table::new(&["GROUP", "LIMIT", "", "JOB", "BUILD", "STATE", "JOINED"]).right(&[1]);
    for group in groups {
        let limits: Vec<String> = group.limits.iter().map(ToString::to_string).collect();
        let mut first = true;
        let members = group.holders.iter().map(|m| ("holds", m)).chain(group.waiters.iter().map(|m| ("waits", m)));
        for (what, member) in members {
            let (name, limit) = match std::mem::take(&mut first) {
                true => (clean(&group.name).into_owned(), limits.join(", ")),
                false => (String::new(), String::new()),
            };
            table.row([
                name,
                limit,
                what.to_owned(),
                member.job.as_deref().map_or_else(|| member.job_id.clone(), |job| clean(job).into_owned()),
                build(member),
                member.state.as_deref().map_or_else(String::new, job_state),
                member.since.as_deref().map_or_else(String::new, |since| ago(since, now)),
            ]);
        }
    }
    table.render("", None)
}

fn build(member: &GroupMember) -> String {
    match (&member.pipeline, member.number) {
        (Some(pipeline), Some(number)) => format!("{}#{number}", clean(pipeline)),
        _ => member.build.to_string(),
    }
}
