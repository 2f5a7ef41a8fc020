//! `tidegate pipeline …`: looks at pipeline files, without a server.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegate_core::diagnostic::Diagnostic;
use tidegate_pipeline::condition::{self, Evaluation, Facts};
use tidegate_pipeline::interpolate::interpolate;
use tidegate_pipeline::{
    Context, FindError, Limits, Source, Unset, expand, find, lint, normalize, plan_view, render, schema, view,
};

use crate::args::{Global, LintFormat, Normalize, Pipeline, Plan, PlanFormat};
use crate::config::suggest;
use crate::exit::Expected;
use crate::{exit, out};

/// `tidegate pipeline …`.
pub(super) fn run(global: &Global, command: Pipeline) -> anyhow::Result<u8> {
    let limits = || super::local(global).map(|local| local.limits.pipeline);
    match command {
        Pipeline::Lint { files, format } => {
            run_lint(&files, if global.json { LintFormat::Json } else { format }, limits()?)
        }
        Pipeline::Plan(plan) => run_plan(global, &plan, limits()?),
        Pipeline::Normalize(arguments) => run_normalize(&arguments, limits()?),
        Pipeline::Schema => {
            out::bytes(format!("{}\n", serde_json::to_string_pretty(&schema())?).as_bytes())?;
            Ok(exit::DONE)
        }
        Pipeline::Eval { expression, context } => run_eval(&expression, context.as_deref(), limits()?),
        Pipeline::Interpolate { text, env } => {
            let text = if text == "-" {
                String::from_utf8_lossy(&read(Path::new("-"), limits()?.bytes)?).into_owned()
            } else {
                text
            };
            let result = interpolate(&text, &env).map_err(|error| Expected::usage(error.message))?;
            if global.json {
                out::json(&json!({ "text": result }))?
            } else {
                out::bytes(format!("{result}\n").as_bytes())?
            }
            Ok(exit::DONE)
        }
    }
}

/// A file and what it is called.
struct Text {
    name: String,
    bytes: Vec<u8>,
}

impl Text {
    fn source(&self) -> Source<'_> {
        Source { name: &self.name, text: &self.bytes }
    }
}

/// The file that was named, or the one in the usual places below the working directory.
fn open(path: Option<&Path>, limits: Limits) -> anyhow::Result<Text> {
    let found;
    let path = match path {
        Some(path) => path,
        None => {
            found = find(|place| Path::new(place).is_file())
                .map_err(|error: FindError| Expected::usage(format!("{error}; name the file")))?;
            Path::new(found)
        }
    };
    let name = if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() };
    Ok(Text { name, bytes: read(path, limits.bytes)? })
}

fn read(path: &Path, most: usize) -> anyhow::Result<Vec<u8>> {
    // One byte more than is allowed is enough to say that it is too much.
    let most = most as u64 + 1;
    let mut bytes = Vec::new();
    let result = if path == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    match result {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Expected::usage(format!("cannot read `{}`: {error}", path.display()))),
    }
}

fn run_lint(files: &[PathBuf], format: LintFormat, limits: Limits) -> anyhow::Result<u8> {
    let texts = if files.is_empty() {
        vec![open(None, limits)?]
    } else {
        files.iter().map(|file| open(Some(file), limits)).collect::<Result<Vec<_>, _>>()?
    };
    let context = Context { limits, ..Context::for_lint() };
    let findings: Vec<Diagnostic> = texts.iter().flat_map(|text| lint(text.source(), &context)).collect();
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    match format {
        LintFormat::Json => out::json(&render::json(&findings))?,
        LintFormat::Github => out::bytes(render::github(&findings).as_bytes())?,
        LintFormat::Text => {
            out::text(&render::text(&findings, true))?;
            out::line(&tally(texts.len(), errors, findings.len() - errors))?;
        }
    }
    Ok(if errors > 0 { exit::FAILED } else { exit::DONE })
}

fn tally(files: usize, errors: usize, warnings: usize) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let files = count(files, "file");
    if errors + warnings == 0 {
        format!("{files}: nothing found")
    } else {
        format!("{files}: {}, {}", count(errors, "error"), count(warnings, "warning"))
    }
}

fn run_plan(global: &Global, arguments: &Plan, limits: Limits) -> anyhow::Result<u8> {
    let text = open(arguments.file.as_deref(), limits)?;
    let mut context = Context {
        env: arguments.env.clone(),
        unset: Unset::Unknown,
        changed_files: arguments.changed.clone(),
        limits,
        ..Context::default()
    };
    if let Some(path) = &arguments.event {
        context.facts = super::event::facts_of(path)?;
    }
    let build = &mut context.facts.build;
    for (fact, given) in [
        (&mut build.branch, &arguments.branch),
        (&mut build.tag, &arguments.tag),
        (&mut build.message, &arguments.message),
    ] {
        if given.is_some() {
            fact.clone_from(given);
        }
    }
    let expansion = expand(text.source(), &context);
    let Some(segment) = expansion.segment else {
        return broken(global, &expansion.diagnostics);
    };
    let plan = plan_view(&segment);
    match if global.json { PlanFormat::Json } else { arguments.format } {
        PlanFormat::Json => out::json(&plan)?,
        PlanFormat::Mermaid => out::bytes(view::mermaid(&plan).as_bytes())?,
        PlanFormat::Text => out::text(&view::text(&plan))?,
    }
    Ok(exit::DONE)
}

/// A pipeline file that cannot be used: its findings, on the standard error output unless JSON was asked for.
fn broken(global: &Global, findings: &[Diagnostic]) -> anyhow::Result<u8> {
    if global.json {
        out::json(&render::json(findings))?;
    } else {
        out::error_text(&render::text(findings, true));
    }
    Ok(exit::USAGE)
}

/// The context that a condition is given. What no condition looks at is told: a name in lower case would change nothing.
fn context_of(path: &Path, limits: Limits) -> anyhow::Result<Facts> {
    let wrong = |error: serde_json::Error| Expected::usage(format!("`{}` is no context: {error}", path.display()));
    let json: Value = serde_json::from_slice(&read(path, limits.bytes)?).map_err(wrong)?;
    let known = serde_json::to_value(Facts { step: Some(condition::Step::default()), ..Facts::default() })?;
    for unknown in unknown_names(&json, &known) {
        let near = suggest::nearest(&unknown.0, unknown.1.iter().copied());
        let near = near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
        out::note(&format!("warning: `{}` has `{}`, which no condition sees{near}", path.display(), unknown.0));
    }
    serde_json::from_value(json).map_err(wrong)
}

/// Names in a context that mean nothing, each with those that are known beside it. Variables may have any name.
fn unknown_names<'a>(json: &'a Value, known: &'a Value) -> Vec<(String, Vec<&'a str>)> {
    let (Some(json), Some(known)) = (json.as_object(), known.as_object()) else { return Vec::new() };
    if known.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (name, value) in json {
        match known.get(name) {
            Some(below) => found.extend(unknown_names(value, below)),
            None => found.push((name.clone(), known.keys().map(String::as_str).collect())),
        }
    }
    found
}

fn run_normalize(arguments: &Normalize, limits: Limits) -> anyhow::Result<u8> {
    let text = open(arguments.file.as_deref(), limits)?;
    let interpolate = !arguments.no_interpolation;
    let context = Context { env: arguments.env.clone(), interpolate, limits, ..Context::default() };
    let normalized = normalize(text.source(), &context);
    match normalized.json {
        Some(json) => {
            out::bytes(format!("{}\n", serde_json::to_string_pretty(&json)?).as_bytes())?;
            Ok(exit::DONE)
        }
        None => {
            out::error_text(&render::text(&normalized.diagnostics, true));
            Ok(exit::USAGE)
        }
    }
}

fn run_eval(expression: &str, context: Option<&Path>, limits: Limits) -> anyhow::Result<u8> {
    let facts = match context {
        None => Facts::default(),
        Some(path) => context_of(path, limits)?,
    };
    let evaluation = condition::eval(expression, &facts, &limits);
    out::json(&evaluation)?;
    Ok(match evaluation {
        Evaluation::Value(_) => exit::DONE,
        Evaluation::Error { .. } => exit::USAGE,
    })
}
