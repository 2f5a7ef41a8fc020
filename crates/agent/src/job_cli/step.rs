//! `step`, `build` and `job`: what is known of the steps of the build, and what a job may change.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, to_value};
use tidegate_core::build::StepChange;
use tidegate_core::wire::job::{Canceled, StepAnswer};

use super::args::{Job, Step};
use super::client::Agent;
use super::{fresh_uuid, input, print, say, wire};

pub(super) fn run(command: &Step) -> anyhow::Result<ExitCode> {
    match command {
        Step::Get { attribute, step, .. } => get(attribute.as_deref(), step.as_ref())?,
        Step::Update { attribute, value, append, step, .. } => {
            let change = change(attribute, value.as_deref(), *append)?;
            let update = wire::StepUpdate { step: step.clone(), uuid: fresh_uuid(), change };
            let _: StepAnswer = Agent::of_this_job()?.post(wire::UPDATE_STEP, &update)?;
        }
        Step::Cancel { step, .. } => {
            let answer: StepAnswer = Agent::of_this_job()?.post(wire::CANCEL_STEP, step)?;
            say(&format!("Canceled the step `{}`.", answer.label));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn get(attribute: Option<&str>, step: Option<&String>) -> anyhow::Result<()> {
    let answer: StepAnswer = Agent::of_this_job()?.post(wire::STEP, &step)?;
    let answer = to_value(&answer)?;
    match attribute {
        None => print(format!("{}\n", serde_json::to_string_pretty(&answer)?)),
        Some(name) => match answer.get(name) {
            Some(Value::String(text)) => print(format!("{text}\n")),
            Some(_) => print("\n"),
            None => bail!("a step has no attribute `{name}`; it has type, key, label, state and outcome"),
        },
    }
}

fn change(attribute: &str, value: Option<&str>, append: bool) -> anyhow::Result<StepChange> {
    match attribute {
        "label" => {
            let text = input::without_secrets(input::text(value, "the label")?);
            let text = text.trim_end_matches(['\r', '\n']).to_owned();
            Ok(if append { StepChange::Append(text) } else { StepChange::Label(text) })
        }
        "priority" if append => bail!("`--append` is for labels"),
        "priority" => {
            let text = input::text(value, "the priority")?;
            let text = text.trim();
            let priority = text.parse().with_context(|| format!("the priority `{text}` is no whole number"))?;
            Ok(StepChange::Priority(priority))
        }
        "notify" => bail!("nobody is notified by steps: `notify` cannot be changed"),
        other => bail!("`{other}` of a step cannot be changed; label and priority can"),
    }
}

pub(super) fn cancel_build(build: Option<&str>) -> anyhow::Result<ExitCode> {
    if let Some(build) = build {
        only_own("build", build, "BUILDKITE_BUILD_ID")?;
    }
    let _: Canceled = Agent::of_this_job()?.post(wire::CANCEL_BUILD, &())?;
    say("Canceled the build.");
    Ok(ExitCode::SUCCESS)
}

pub(super) fn job(command: &Job) -> anyhow::Result<ExitCode> {
    let Job::Update { attribute, value, job } = command;
    if let Some(job) = job {
        only_own("job", job, "BUILDKITE_JOB_ID")?;
    }
    if !matches!(attribute.as_str(), "timeout" | "timeout_in_minutes") {
        bail!("`{attribute}` of a job cannot be changed; timeout can");
    }
    let text = input::text(value.as_deref(), "the time-out")?;
    let text = text.trim();
    let minutes: u32 = text
        .parse()
        .ok()
        .filter(|minutes| *minutes > 0)
        .with_context(|| format!("the time-out `{text}` is no number of minutes, 1 or more"))?;
    let () = Agent::of_this_job()?.post(wire::TIMEOUT, &minutes)?;
    Ok(ExitCode::SUCCESS)
}

fn only_own(what: &str, named: &str, variable: &str) -> anyhow::Result<()> {
    if std::env::var(variable).is_ok_and(|own| own == named) {
        return Ok(());
    }
    bail!("a job reaches its own {what} only, not `{named}`")
}
