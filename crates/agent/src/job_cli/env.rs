//! `env` and `redactor`: the environment of what runs next in this job, and what its log must not show.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::args::{Env, EnvFormat, Redactor};
use super::client::Agent;
use super::{print, say, wire};

pub(super) fn run(command: &Env) -> anyhow::Result<ExitCode> {
    match command {
        Env::Get { names, format } => get(names, *format)?,
        Env::Set { entries } => {
            let env = entries.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
            let changed: wire::Changed = Agent::of_this_job()?.send("PATCH", wire::ENV, &wire::Variables { env })?;
            tell("Added", &changed.added);
            tell("Updated", &changed.updated);
        }
        Env::Unset { names } => {
            let changed: wire::Changed =
                Agent::of_this_job()?.send("DELETE", wire::ENV, &wire::Names { keys: names.clone() })?;
            tell("Unset", &changed.deleted);
        }
        Env::Dump { format } => {
            let env = std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)));
            show(&env.collect(), *format)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(what: &str, names: &[String]) {
    if !names.is_empty() {
        say(&format!("{what}: {}", names.join(", ")));
    }
}

fn get(names: &[String], format: EnvFormat) -> anyhow::Result<()> {
    let answer: wire::Variables = Agent::of_this_job()?.request("GET", wire::ENV, b"")?;
    let mut env: BTreeMap<String, String> = answer.env.into_iter().filter_map(|(n, v)| Some((n, v?))).collect();
    if !names.is_empty() {
        if let Some(missing) = names.iter().find(|name| !env.contains_key(*name)) {
            bail!("the job has no variable `{missing}`");
        }
        env.retain(|name, _| names.contains(name));
        if let ([name], EnvFormat::Plain) = (names, format)
            && let Some(value) = env.get(name)
        {
            return print(format!("{value}\n"));
        }
    }
    show(&env, format)
}

fn show(env: &BTreeMap<String, String>, format: EnvFormat) -> anyhow::Result<()> {
    let text = match format {
        EnvFormat::Plain => env.iter().map(|(name, value)| format!("{name}={value:?}\n")).collect(),
        EnvFormat::Json => format!("{}\n", serde_json::to_string(env)?),
        EnvFormat::JsonPretty => format!("{}\n", serde_json::to_string_pretty(env)?),
    };
    print(text)
}

pub(super) fn redactor(command: &Redactor) -> anyhow::Result<ExitCode> {
    let Redactor::Add { file } = command;
    let mut text = String::new();
    match file {
        Some(path) if path.as_os_str() != "-" => {
            std::fs::File::open(path).and_then(|mut f| f.read_to_string(&mut text))
        }
        _ => std::io::stdin().lock().read_to_string(&mut text),
    }
    .context("cannot read the secret")?;
    let secret = text.trim();
    if secret.is_empty() {
        bail!("the secret is empty");
    }
    let redact = wire::Redact { redact: secret.to_owned() };
    let _: wire::Redacted = Agent::of_this_job()?.post(wire::REDACTIONS, &redact)?;
    Ok(ExitCode::SUCCESS)
}
