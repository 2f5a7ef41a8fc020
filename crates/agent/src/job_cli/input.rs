//! Texts that a command is given: as an argument or by standard input.

use std::io::{IsTerminal as _, Read as _};

use anyhow::{Context as _, bail};

use super::say;
use crate::output::{REDACTED, Redactor, secret_values};

/// The largest text that is read; what may be sent is less.
const MOST: u64 = 4 << 20;

/// The argument, or else standard input to its end. `what` is for the messages.
pub(super) fn text(argument: Option<&str>, what: &str) -> anyhow::Result<String> {
    let text = match argument {
        Some(text) => text.to_owned(),
        None if std::io::stdin().is_terminal() => {
            bail!("{what} is missing: write it behind the command, or pipe it in")
        }
        None => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .lock()
                .take(MOST)
                .read_to_end(&mut bytes)
                .with_context(|| format!("cannot read {what} from standard input"))?;
            String::from_utf8(bytes).with_context(|| format!("{what} is not UTF-8"))?
        }
    };
    if text.trim().is_empty() {
        bail!("{what} is empty");
    }
    Ok(text)
}

/// The text without the values of secret variables of this process: what is stored with a build is shown to people.
pub(super) fn without_secrets(text: String) -> String {
    let env: Vec<(String, String)> =
        std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?))).collect();
    let patterns = env.iter().find(|(name, _)| name == "BUILDKITE_REDACTED_VARS").map(|(_, value)| value.as_str());
    let secrets = secret_values(env.iter().map(|(n, v)| (n.as_str(), v.as_str())), patterns);
    let mut redactor = Redactor::default();
    redactor.add(secrets.iter().map(String::as_str));
    let mut out = Vec::new();
    redactor.feed(text.as_bytes(), &mut out);
    redactor.finish(&mut out);
    if out == text.as_bytes() {
        return text;
    }
    say(&format!("warning: secrets were replaced by {}", String::from_utf8_lossy(REDACTED)));
    String::from_utf8_lossy(&out).into_owned()
}
