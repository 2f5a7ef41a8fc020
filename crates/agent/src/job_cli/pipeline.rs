//! `pipeline upload` (`spec/pipeline.md` 1.17).

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use tidegate_core::diagnostic::Diagnostic;
use tidegate_core::plan::Env;
use tidegate_core::wire::gate::UploadAnswer;
use tidegate_pipeline::{Context, FindError, Limits, Source, Unset, find, normalize, render};

use super::args::{Format, Upload};
use super::client::Agent;
use super::{fresh_uuid, print, say, wire, yaml};
use crate::output::is_secret_name;

/// A pipeline and what it is called.
struct Text {
    name: String,
    bytes: Vec<u8>,
}

pub(super) fn upload(args: &Upload) -> anyhow::Result<ExitCode> {
    let text = open(args.file.as_deref())?;
    let env =
        Variables::of(std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?))));
    if args.dry_run {
        return dry_run(args, &text, &env);
    }
    let pipeline = String::from_utf8(text.bytes.clone()).with_context(|| format!("`{}` is not UTF-8", text.name))?;
    if !args.no_interpolation {
        refuse_secrets(&text, &env)?;
    }
    let mut sent = if args.no_interpolation { Env::new() } else { env.mentioned_in(&pipeline) };
    sent.extend(args.env.iter().cloned());
    let request = wire::Upload {
        uuid: fresh_uuid(),
        pipeline,
        replace: args.replace,
        env: sent,
        no_interpolation: args.no_interpolation,
    };
    let mut answer: UploadAnswer = Agent::of_this_job()?.post(wire::UPLOAD, &request)?;
    show(&mut answer.diagnostics, &text.name);
    if !answer.accepted {
        bail!("`{}` was not added to the build", text.name);
    }
    say(&format!("Added the steps of `{}` to the build.", text.name));
    Ok(ExitCode::SUCCESS)
}

/// Prints the findings; the gate does not know what the text is called here.
fn show(diagnostics: &mut [Diagnostic], name: &str) {
    for diagnostic in diagnostics.iter_mut() {
        name.clone_into(&mut diagnostic.file);
    }
    if !diagnostics.is_empty() {
        say(&render::text(diagnostics, std::io::stderr().is_terminal()));
    }
}

fn dry_run(args: &Upload, text: &Text, env: &Variables) -> anyhow::Result<ExitCode> {
    let mut known = env.all();
    known.extend(args.env.iter().cloned());
    // Whether a step is left out is for the build to decide.
    let context = Context {
        env: known,
        interpolate: !args.no_interpolation,
        decide: false,
        // What the configuration allows is known to the gate alone.
        limits: Limits::CEILING,
        ..Context::default()
    };
    let mut normalized = normalize(Source { name: &text.name, text: &text.bytes }, &context);
    show(&mut normalized.diagnostics, &text.name);
    let Some(json) = normalized.json else {
        bail!("`{}` has errors", text.name);
    };
    print(match args.format {
        Format::Json => format!("{}\n", serde_json::to_string_pretty(&json)?),
        Format::Yaml => yaml::document(&json),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What is uploaded: a file, standard input, or what is found.
fn open(file: Option<&Path>) -> anyhow::Result<Text> {
    let stdin = || -> anyhow::Result<Text> {
        let bytes = read(std::io::stdin().lock()).context("cannot read the pipeline from standard input")?;
        Ok(Text { name: "<stdin>".to_owned(), bytes })
    };
    let named = |path: &Path| -> anyhow::Result<Text> {
        let bytes = std::fs::File::open(path)
            .and_then(read)
            .with_context(|| format!("cannot read the pipeline `{}`", path.display()))?;
        Ok(Text { name: path.display().to_string(), bytes })
    };
    match file {
        Some(path) if path == Path::new("-") => stdin(),
        Some(path) => named(path),
        None => {
            // A job's standard input is empty unless somebody pipes something into this command.
            if !std::io::stdin().is_terminal() {
                let text = stdin()?;
                if !text.bytes.iter().all(u8::is_ascii_whitespace) {
                    return Ok(text);
                }
            }
            match find(|place| Path::new(place).is_file()) {
                Ok(place) => named(Path::new(place)),
                Err(error @ FindError::Missing) => bail!("{error}; name the file, or pipe the pipeline in"),
                Err(error @ FindError::Several(_)) => bail!("{error}; name the one that is meant"),
            }
        }
    }
}

/// Reads a text that some configuration may allow; whether this one does, the gate says.
fn read(from: impl Read) -> std::io::Result<Vec<u8>> {
    let most = Limits::CEILING.bytes;
    let mut bytes = Vec::new();
    from.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        let why = format!("it has more than {most} bytes, which no configuration allows");
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

/// The environment of this process as interpolation sees it.
struct Variables {
    open: Env,
    /// Names of variables whose values are secret.
    secret: Vec<String>,
}

impl Variables {
    fn of(env: impl Iterator<Item = (String, String)>) -> Self {
        let env: Env = env.filter(|(name, _)| !name.starts_with("TIDEGATE_")).collect();
        let patterns = env.iter().find(|(name, _)| name == "BUILDKITE_REDACTED_VARS").map(|(_, value)| value.clone());
        let mut variables = Self { open: Env::new(), secret: Vec::new() };
        for (name, value) in env {
            if is_secret_name(&name, patterns.as_deref()) {
                if !value.is_empty() {
                    variables.secret.push(name);
                }
            } else {
                variables.open.push((name, value));
            }
        }
        variables
    }

    fn all(&self) -> Env {
        self.open.clone()
    }

    /// Those whose names the text mentions: nothing else has to leave the machine.
    fn mentioned_in(&self, text: &str) -> Env {
        let words: BTreeSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        // `$1NAME` is `$1` and `NAME`: a variable may follow a digit directly, but no pipeline means that.
        self.open.iter().filter(|(name, _)| words.contains(&**name)).cloned().collect()
    }
}

/// A pipeline is stored and shown: the value of a secret must not become part of it. Each secret is replaced by a mark of
/// our own, and the result searched for it.
fn refuse_secrets(text: &Text, env: &Variables) -> anyhow::Result<()> {
    if env.secret.is_empty() {
        return Ok(());
    }
    let nonce = hex::encode(rand::random::<[u8; 8]>());
    let mark = |index: usize| format!("tidegate-{nonce}-{index}-secret");
    let mut known = env.all();
    known.extend(env.secret.iter().enumerate().map(|(index, name)| (name.clone(), mark(index))));
    // Whatever the gate may accept must be looked through.
    let limits = Limits::CEILING;
    let context = Context { env: known, unset: Unset::Unknown, decide: false, limits, ..Context::default() };
    // What cannot be read is for the gate to say.
    let Some(json) = normalize(Source { name: &text.name, text: &text.bytes }, &context).json else {
        return Ok(());
    };
    let plain = json.to_string();
    let found = env.secret.iter().enumerate().find(|(index, _)| plain.contains(&mark(*index)));
    match found {
        None => Ok(()),
        Some((_, name)) => bail!(
            "`{}` uses `${name}`, whose value is a secret and would be stored with the build; write `$${name}`, so that \
             the job reads it when it runs",
            text.name
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(env: &[(&str, &str)]) -> Variables {
        Variables::of(env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())))
    }

    fn text(pipeline: &str) -> Text {
        Text { name: "p.yml".to_owned(), bytes: pipeline.as_bytes().to_vec() }
    }

    #[test]
    fn only_what_the_text_mentions_is_sent() {
        let env = variables(&[("A", "1"), ("AB", "2"), ("LONG_NAME", "3"), ("MY_TOKEN", "hush"), ("TIDEGATE_X", "4")]);
        let sent = env.mentioned_in("steps: [{command: 'echo $AB ${LONG_NAME:-x} $MY_TOKEN $TIDEGATE_X'}]");
        assert_eq!(sent, [("AB".to_owned(), "2".to_owned()), ("LONG_NAME".to_owned(), "3".to_owned())]);
    }

    #[test]
    fn secrets_do_not_become_part_of_a_pipeline() {
        let env = variables(&[("MY_TOKEN", "hush"), ("EMPTY_TOKEN", "")]);
        for harmless in [
            "steps: [{command: 'echo $$MY_TOKEN'}] # not $MY_TOKEN",
            "steps: [{command: 'echo \\$MY_TOKEN $OTHER $EMPTY_TOKEN'}]",
            "steps: [",
        ] {
            assert!(refuse_secrets(&text(harmless), &env).is_ok(), "{harmless}");
        }
        for leak in [
            "steps: [{command: 'echo ${MY_TOKEN:0:2}$MY_TOKEN'}]",
            "{env: {X: '$MY_TOKEN'}, steps: [{command: 'a'}]}",
            "steps: [{command: a, plugins: ['x/y#v1': {t: '$MY_TOKEN'}]}]",
        ] {
            let error = refuse_secrets(&text(leak), &env).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains("write `$$MY_TOKEN`") && !error.contains("hush"), "{leak}: {error}");
        }
        // Beyond the caps that hold where no others are configured.
        let large = format!("# {}\nsteps: [{{command: 'echo $MY_TOKEN'}}]", "x".repeat(2 << 20));
        assert!(refuse_secrets(&text(&large), &env).is_err());
    }
}
