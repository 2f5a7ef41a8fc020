//! `secret`: secrets that the owner keeps. Before one is printed, it is hidden in the log of the job.

use std::process::ExitCode;

use serde_json::{Map, Value};
use tidegate_core::wire::secret::SecretsAnswer;

use super::args::{Secret, SecretFormat};
use super::client::Agent;
use super::{print, say, wire};

pub(super) fn run(command: &Secret) -> anyhow::Result<ExitCode> {
    let Secret::Get { names, format, skip_redaction, .. } = command;
    if *skip_redaction {
        say("warning: `--skip-redaction` has no effect: secrets are always hidden in the log");
    }
    let asked = wire::Secrets { names: names.clone() };
    let answer: SecretsAnswer = Agent::of_this_job()?.post(wire::SECRETS, &asked)?;
    let values: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(answer.values.iter().map(|value| value.expose())).collect();
    print(show(&values, *format)?)?;
    Ok(ExitCode::SUCCESS)
}

/// One alone is printed as it is.
fn show(values: &[(&str, &str)], format: SecretFormat) -> anyhow::Result<String> {
    Ok(match (format, values) {
        (SecretFormat::Default, [(_, value)]) => format!("{value}\n"),
        (SecretFormat::Default | SecretFormat::Json, _) => {
            let map: Map<String, Value> =
                values.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
            format!("{}\n", serde_json::to_string(&map)?)
        }
        (SecretFormat::Env, _) => {
            let line = |(name, value): &(&str, &str)| {
                format!("{}='{}'\n", name.to_ascii_uppercase(), value.replace('\'', r"'\''"))
            };
            values.iter().map(line).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn formats_are_those_of_the_reference() {
        let one = [("key", "it's\n")];
        let two = [("key", "it's"), ("other", "\"x\"")];
        assert_eq!(show(&one, SecretFormat::Default).unwrap(), "it's\n\n");
        assert_eq!(show(&one, SecretFormat::Json).unwrap(), "{\"key\":\"it's\\n\"}\n");
        assert_eq!(show(&two, SecretFormat::Default).unwrap(), "{\"key\":\"it's\",\"other\":\"\\\"x\\\"\"}\n");
        assert_eq!(show(&two, SecretFormat::Env).unwrap(), "KEY='it'\\''s'\nOTHER='\"x\"'\n");
    }
}
