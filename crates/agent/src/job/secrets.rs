//! The `secrets` attribute (`spec/pipeline.md` 1.4): fetched from the gate before anything of the job runs, hidden in its
//! log before anything can print them, and given to it as variables. They are in the agent's memory and in the environment
//! of the job's processes, and nowhere else.

use tidegate_core::attempt::Cause;
use tidegate_core::wire::gate::Outcome;
use tidegate_core::wire::secret::{Secrets, SecretsAnswer};

use super::env::{is_agent_only, is_possible};
use super::outcome::plain;
use super::steps::{Halt, Job};
use crate::gate::Refused;
use crate::output::{REDACTED_VARIABLES, SECRET_NAMES, SHORTEST};

/// The status of an answer to a request that breaks a rule: there is no such secret, or not for this job.
pub(crate) const BREAKS_A_RULE: u16 = 422;

impl Job<'_> {
    /// Fetches the secrets that the step names, all or none.
    pub(super) async fn fetch_secrets(&mut self) -> Result<(), Halt> {
        let (wanted, ignored): (Vec<_>, Vec<_>) = self
            .assignment
            .secrets
            .iter()
            .partition(|(variable, _)| !is_agent_only(variable) && is_possible(variable, ""));
        if !ignored.is_empty() {
            let names: Vec<&str> = ignored.iter().map(|(variable, _)| variable.as_str()).collect();
            self.ignore(&names).await;
        }
        if wanted.is_empty() {
            return Ok(());
        }
        self.log.say("~~~ Fetching secrets").await;
        let request = Secrets {
            boot: self.host.boot.clone(),
            attempt: self.assignment.attempt.clone(),
            names: wanted.iter().map(|(_, name)| name.clone()).collect(),
        };
        let answer = tokio::select! {
            answer = self.host.gate.call::<_, SecretsAnswer>("secrets", &request) => answer,
            ending = self.watch.ending() => {
                self.say_ending(ending).await;
                return Err(Halt::Ending(ending));
            }
        };
        let values = match answer {
            Ok(answer) if answer.values.len() == wanted.len() => answer.values,
            Ok(answer) => {
                let why = format!("the gate gave {} secrets for {}", answer.values.len(), wanted.len());
                return Err(plain(Cause::AgentStopped, Some(why)).into());
            }
            Err(refused) => return Err(self.without_secrets(&refused).await.into()),
        };
        self.log.redact(values.iter().map(|value| value.expose().to_owned()).collect()).await;
        for ((variable, name), value) in wanted.iter().zip(&values) {
            let short = if value.expose().trim().len() < SHORTEST {
                format!(": its value is shorter than {SHORTEST} bytes and cannot be hidden in the log")
            } else {
                String::new()
            };
            self.log.say(format!("`{variable}` is the secret `{name}`{short}")).await;
            self.env.set(variable, value.expose());
        }
        // From here on they are as secret as if their names said so: for `pipeline upload`, `meta-data` and `annotate` too.
        let known = self.env.get(REDACTED_VARIABLES).unwrap_or(SECRET_NAMES);
        let names: Vec<&str> =
            std::iter::once(known).chain(wanted.iter().map(|(variable, _)| variable.as_str())).collect();
        let names = names.join(",");
        self.env.set(REDACTED_VARIABLES, names);
        Ok(())
    }

    async fn ignore(&mut self, names: &[&str]) {
        let text = format!("Only the agent sets {}: these secrets were not fetched.", names.join(", "));
        self.log.say(text).await;
        let before = self.env.get("BUILDKITE_IGNORED_ENV").map(str::to_owned);
        let all: Vec<&str> = before.as_deref().into_iter().chain(names.iter().copied()).collect();
        self.env.set("BUILDKITE_IGNORED_ENV", all.join(",").replace('\0', "?"));
    }

    async fn without_secrets(&self, refused: &Refused) -> Outcome {
        if refused.status != BREAKS_A_RULE {
            return plain(Cause::AgentStopped, Some(refused.to_string()));
        }
        self.log.say(format!("^^^ +++\n{}", refused.why)).await;
        Outcome { exit_status: Some(1), ..plain(Cause::Exit, Some(refused.why.clone())) }
    }
}
