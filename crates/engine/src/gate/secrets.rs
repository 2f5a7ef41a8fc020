//! Secrets: released to the machine that holds the attempt, for the pipeline and with the trust of the attempt's record.

use futures_util::future::try_join_all;
use tidegate_core::build::Build;
use tidegate_core::secret::{SecretName, SecretScope, SecretValue};
use tidegate_core::trust::Trust;
use tidegate_core::wire::secret::{MOST_SECRETS, Secrets, SecretsAnswer};

use super::{Caller, GateError};
use crate::engine::Engine;
use crate::keys;
use crate::ports::{Found, PortError};

impl Engine {
    /// Secrets for the caller's attempt, all or none. Who asked for what is in the log of the server; values never are.
    ///
    /// # Errors
    /// Refused unless the caller holds the attempt; invalid with a sentence that names what there is not, or what this
    /// attempt may not have.
    pub async fn secrets(&self, caller: &Caller, request: &Secrets) -> Result<SecretsAnswer, GateError> {
        let held = self.held(caller, &request.boot, &request.attempt).await?;
        if request.names.len() > MOST_SECRETS {
            return Err(GateError::Invalid(format!("at most {MOST_SECRETS} secrets in one request")));
        }
        let names: Vec<SecretName> = request
            .names
            .iter()
            .map(|name| SecretName::new(name).map_err(|error| GateError::Invalid(error.to_string())))
            .collect::<Result<_, _>>()?;
        let Some(build) = self.load::<Build>(&keys::build(&request.attempt.build)).await? else {
            return Err(GateError::Invalid("the build is gone".to_owned()));
        };
        // Whatever is kept for whom: code of strangers is given nothing, so that there is nothing to send away.
        if held.body.trust < Trust::Trusted && !names.is_empty() {
            let names: Vec<&str> = names.iter().map(SecretName::as_str).collect();
            return Err(GateError::Invalid(format!(
                "this build is not trusted, because its commit comes from a fork, and is given no secret: not {}",
                listed(&names, "or")
            )));
        }
        // The attempt's own trust: it was copied into the record before any machine saw it, and never rises (I4).
        let scope = SecretScope { pipeline: build.body.facts.pipeline, trust: held.body.trust };
        let found = try_join_all(names.iter().map(|name| self.ports.secrets.get(name, &scope))).await;
        let found = found.map_err(|error| match error {
            // It stays as it is until somebody sees to it, who should read why.
            PortError::Fatal { why } | PortError::Reject { why } => {
                GateError::Invalid(format!("secrets cannot be read: {why}"))
            }
            error => error.into(),
        })?;
        let values = judge(&names, found, scope.pipeline.as_str()).map_err(GateError::Invalid)?;
        for name in &names {
            tracing::info!(secret.name = %name, attempt.id = %request.attempt, instance.id = %caller.instance, "a secret is released");
        }
        Ok(SecretsAnswer { values })
    }
}

/// The values, or a sentence for people about every one that cannot be had.
fn judge(names: &[SecretName], found: Vec<Found>, pipeline: &str) -> Result<Vec<SecretValue>, String> {
    let (mut values, mut missing, mut withheld) = (Vec::new(), Vec::new(), Vec::new());
    for (name, found) in names.iter().zip(found) {
        match found {
            Found::Value(value) => values.push(value),
            Found::Nothing => missing.push(name.as_str()),
            Found::Withheld => withheld.push(name.as_str()),
        }
    }
    let mut sentences = Vec::new();
    if let Some(first) = missing.first() {
        sentences.push(format!(
            "the pipeline `{pipeline}` has no secret {}: make it with `tidegate secret set {first}`",
            listed(&missing, "or")
        ));
    }
    if !withheld.is_empty() {
        sentences.push(format!(
            "this build is not trusted, and only trusted work may have the secret {}",
            listed(&withheld, "and")
        ));
    }
    if sentences.is_empty() { Ok(values) } else { Err(sentences.join("; ")) }
}

fn listed(names: &[&str], word: &str) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(&format!(" {word} "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_cannot_be_had_is_named_at_once() {
        let names = ["A", "B", "C", "D"].map(|name| SecretName::new(name).unwrap_or_else(|e| panic!("{e}")));
        let value = SecretValue::new("hush").unwrap_or_else(|e| panic!("{e}"));
        let found = vec![Found::Value(value.clone()), Found::Nothing, Found::Withheld, Found::Nothing];
        assert_eq!(
            judge(&names, found, "web"),
            Err(
                "the pipeline `web` has no secret `B` or `D`: make it with `tidegate secret set B`; this build is not \
                 trusted, and only trusted work may have the secret `C`"
                    .to_owned()
            )
        );
        assert_eq!(judge(&names[..1], vec![Found::Value(value.clone())], "web"), Ok(vec![value]));
    }
}
