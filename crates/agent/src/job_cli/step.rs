//! `step`: what is known of the steps of the build.

use std::process::ExitCode;

use anyhow::bail;
use serde_json::{Value, to_value};
use tidegate_core::wire::job::StepAnswer;

use super::args::Step;
use super::client::Agent;
use super::{print, wire};

pub(super) fn run(command: &Step) -> anyhow::Result<ExitCode> {
    let Step::Get { attribute, step } = command;
    let answer: StepAnswer = Agent::of_this_job()?.post(wire::STEP, step)?;
    let answer = to_value(&answer)?;
    match attribute {
        None => print(format!("{}\n", serde_json::to_string_pretty(&answer)?))?,
        Some(name) => match answer.get(name) {
            Some(Value::String(text)) => print(format!("{text}\n"))?,
            Some(_) => print("\n")?,
            None => bail!("a step has no attribute `{name}`; it has type, key, label, state and outcome"),
        },
    }
    Ok(ExitCode::SUCCESS)
}
