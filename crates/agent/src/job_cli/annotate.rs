//! `annotate` and `annotation`: texts that people see with the build.

use std::process::ExitCode;

use anyhow::bail;
use tidegate_core::wire::job::{AnnotateAnswer, AnnotateAsk};

use super::args::{Annotate, Annotation, Scope};
use super::client::Agent;
use super::{fresh_uuid, input, wire};

pub(super) fn write(args: &Annotate) -> anyhow::Result<ExitCode> {
    only_of_the_build(args.scope)?;
    let body = input::without_secrets(input::text(args.body.as_deref(), "the text of the annotation")?);
    let ask =
        AnnotateAsk::Write { body, style: args.style.map(Into::into), append: args.append, priority: args.priority };
    send(&args.context, ask)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn run(command: &Annotation) -> anyhow::Result<ExitCode> {
    let Annotation::Remove { context, scope } = command;
    only_of_the_build(*scope)?;
    if !send(context, AnnotateAsk::Remove)?.existed {
        bail!("the build has no annotation `{context}`");
    }
    Ok(ExitCode::SUCCESS)
}

fn only_of_the_build(scope: Scope) -> anyhow::Result<()> {
    match scope {
        Scope::Build => Ok(()),
        Scope::Job => bail!("annotations belong to builds: `--scope job` is not supported"),
    }
}

fn send(context: &str, ask: AnnotateAsk) -> anyhow::Result<AnnotateAnswer> {
    let request = wire::Annotation { context: context.to_owned(), uuid: fresh_uuid(), ask };
    Agent::of_this_job()?.post(wire::ANNOTATE, &request)
}
