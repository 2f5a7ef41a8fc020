//! A plan as text for people.

use std::collections::HashMap;
use std::fmt::Write;

use super::{JobView, PlanView};

/// The plan, a few lines a job: what it waits for, its queue, its values and its variables; then what was left out and
/// why.
pub fn text(view: &PlanView) -> String {
    let labels = labels(view);
    let mut out = String::new();
    // Writing to a text cannot fail.
    let _ = writeln!(out, "{} {}", view.jobs.len(), if view.jobs.len() == 1 { "job" } else { "jobs" });
    for (at, job) in view.jobs.iter().enumerate() {
        let _ = writeln!(out, "\n{:>4}  {}", at + 1, title(job));
        if let Some(group) = &job.group {
            let _ = writeln!(out, "      group      {group}");
        }
        if let Some(queue) = &job.queue {
            let tags = job.agents.iter().map(|(tag, value)| format!(" {tag}={}", value.as_str().unwrap_or_default()));
            let tags: String = tags.collect();
            let _ = writeln!(out, "      queue      {queue}{tags}");
        }
        if !job.depends_on.is_empty() {
            let names: Vec<&str> = job.depends_on.iter().map(|name| label(&labels, name)).collect();
            let _ = writeln!(out, "      waits for  {}", names.join(", "));
        }
        if let Some((index, count)) = job.parallel {
            let _ = writeln!(out, "      parallel   {index} of {count}");
        }
        for (dimension, value) in &job.matrix {
            let name = if dimension.is_empty() { String::new() } else { format!("{dimension}=") };
            let _ = writeln!(out, "      matrix     {name}{}", value.as_str().unwrap_or_default());
        }
        if job.priority != 0 {
            let _ = writeln!(out, "      priority   {}", job.priority);
        }
        for (name, value) in &job.env {
            let _ = writeln!(out, "      env        {name}={}", shorten(value.as_str().unwrap_or_default()));
        }
        let mut lines = job.command.lines();
        if let Some(line) = lines.next() {
            let more = if lines.next().is_some() { " …" } else { "" };
            let _ = writeln!(out, "      command    {}{more}", shorten(line));
        }
    }
    for gate in &view.gates {
        let names: Vec<&str> = gate.depends_on.iter().map(|name| label(&labels, name)).collect();
        let also = if gate.continue_on_failure { ", also when something failed" } else { "" };
        let after = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        let _ = writeln!(out, "\n      {} opens after {after}{also}", label(&labels, &gate.step));
    }
    if !view.left_out.is_empty() {
        let _ = writeln!(out, "\nleft out");
        for left_out in &view.left_out {
            let _ = writeln!(out, "      {}: {}", shorten(&left_out.label), left_out.why);
        }
    }
    out
}

fn title(job: &JobView) -> String {
    let key = job.key.as_ref().map(|key| format!(" ({key})")).unwrap_or_default();
    let kind = if job.kind == "command" { String::new() } else { format!(" [{}]", job.kind) };
    format!("{}{key}{kind}", shorten(&job.label))
}

/// What each step and each gate is called; gates are numbered where there are several.
fn labels(view: &PlanView) -> HashMap<&str, String> {
    let mut out: HashMap<&str, String> =
        super::step_labels(view).into_iter().map(|(step, label)| (step, shorten(label))).collect();
    for (at, gate) in view.gates.iter().enumerate() {
        let name = if view.gates.len() > 1 { format!("wait {}", at + 1) } else { "wait".to_owned() };
        out.insert(&gate.step, name);
    }
    out
}

fn label<'l>(labels: &'l HashMap<&str, String>, name: &'l str) -> &'l str {
    labels.get(name).map_or(name, String::as_str)
}

/// One line of at most 100 characters, without what a terminal would act on.
fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    let mut out: String = line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(100).collect();
    if line.chars().nth(100).is_some() {
        out.push('…');
    }
    out
}
