//! `tidegate secret`: secrets in the state directory, whether a server runs on it or not. Values come in and never go out.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde_json::{Value, json};
use tidegate_core::secret::{LARGEST_VALUE, SecretValue};
use tidegate_core::time::Timestamp;
use tidegate_local::{KeptSecret, SecretFile, StateDir, StateError};

use crate::args::{Global, Secret, WhichSecret};
use crate::exit::{self, Expected};
use crate::out;
use crate::show::{Table, ago};
use crate::signals::Signals;
use crate::terminal::clean;

/// `tidegate secret`.
pub(super) async fn run(global: &Global, command: &Secret) -> anyhow::Result<u8> {
    if global.url.is_some() {
        return Err(Expected::usage(
            "secrets are kept in the state directory of the server, which `--url` does not reach: do this on the server's \
             machine, with `--state DIR`",
        ));
    }
    let path = global.state_path()?;
    match command {
        Secret::Set { which, trusted_only } => {
            let value = SecretValue::new(value(which).await?).map_err(|error| Expected::usage(error.to_string()))?;
            let secret = KeptSecret {
                name: which.name.clone(),
                pipeline: which.pipeline.clone(),
                trusted_only: *trusted_only,
                set_at: now(),
                value,
            };
            let replaced = file(&path, true)?.set(secret)?;
            say(global, which, if replaced { "replaced" } else { "kept" })
        }
        Secret::List => list(global, &file(&path, false)?.read()?),
        Secret::Remove { which } => {
            if !file(&path, false)?.remove(&which.name, which.pipeline.as_ref())? {
                return Err(anyhow!("there is no {}; `tidegate secret list` shows what there is", called(which)));
            }
            say(global, which, "removed")
        }
    }
}

/// The file of a state directory, which is made when something is to be kept in it.
fn file(path: &Path, make: bool) -> anyhow::Result<SecretFile> {
    let state = match StateDir::read(path) {
        Err(StateError::Missing { .. }) if make => StateDir::serve(path),
        other => other,
    };
    let state = state.map_err(|error| match error {
        StateError::Missing { .. } => Expected::unreachable(format!(
            "no server has run on `{}`, and it keeps no secrets: say where they are with `--state DIR`",
            path.display()
        )),
        error => Expected::unreachable(error.to_string()),
    })?;
    Ok(SecretFile::at(state.secrets()))
}

fn called(which: &WhichSecret) -> String {
    match &which.pipeline {
        Some(pipeline) => format!("secret `{}` of the pipeline `{pipeline}`", which.name),
        None => format!("secret `{}` for all pipelines", which.name),
    }
}

fn say(global: &Global, which: &WhichSecret, what: &str) -> anyhow::Result<u8> {
    if global.json {
        out::json(&json!({ "name": which.name, "pipeline": which.pipeline, "done": what }))?;
    } else {
        out::line(&format!("{what} the {}", called(which)))?;
    }
    Ok(exit::DONE)
}

fn list(global: &Global, secrets: &[KeptSecret]) -> anyhow::Result<u8> {
    if global.json {
        let secrets: Vec<Value> = secrets
            .iter()
            .map(|secret| {
                json!({
                    "name": secret.name, "pipeline": secret.pipeline, "trusted_only": secret.trusted_only,
                    "set_at": written(secret.set_at),
                })
            })
            .collect();
        out::json(&json!({ "secrets": secrets }))?;
    } else if secrets.is_empty() {
        out::line("no secrets")?;
    } else {
        let mut table = Table::new(&["NAME", "PIPELINE", "FOR", "SET"]);
        for secret in secrets {
            table.row([
                secret.name.to_string(),
                secret.pipeline.as_ref().map_or_else(|| "all".to_owned(), |slug| clean(slug.as_str()).into_owned()),
                if secret.trusted_only { "trusted work" } else { "all work" }.to_owned(),
                ago(&written(secret.set_at), jiff::Timestamp::now()),
            ]);
        }
        out::text(&table.render("", None))?;
    }
    Ok(exit::DONE)
}

fn now() -> Timestamp {
    Timestamp(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0))
}

/// As every time of an answer: RFC 3339, UTC.
fn written(at: Timestamp) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| String::new(), |at| at.to_string())
}

/// The value: what comes in, without one line end behind it. A person types it unseen.
async fn value(which: &WhichSecret) -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        return tokio::task::spawn_blocking(piped).await?;
    }
    let mut signals = Signals::new()?;
    let _unseen = Unseen::begin()?;
    out::note(&format!("Value of the {} (it is not shown; end it with Enter):", called(which)));
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).context("cannot read the standard input")?;
        Ok(line)
    });
    tokio::select! {
        line = line => line?.map(without_end),
        () = signals.next() => Err(Expected::Interrupted.into()),
    }
}

fn piped() -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    // More than is kept is refused without being read to its end.
    let most = LARGEST_VALUE as u64 + 3;
    std::io::stdin().lock().take(most).read_to_end(&mut bytes).context("cannot read the standard input")?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Expected::usage("the value is not UTF-8: keep it in base64, and decode it in the job"))?;
    Ok(without_end(text))
}

fn without_end(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

/// The terminal does not show what is typed, until this is dropped.
struct Unseen(Termios);

impl Unseen {
    fn begin() -> anyhow::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ECHO);
        modes.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &modes)?;
        Ok(Self(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // Nothing else can be done about the terminal.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::without_end;

    #[test]
    fn one_line_end_is_not_part_of_the_value() {
        for (text, wanted) in
            [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a\nb", "a\nb"), ("", ""), (" a ", " a ")]
        {
            assert_eq!(without_end(text.to_owned()), wanted);
        }
    }
}
