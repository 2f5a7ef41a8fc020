//! What a claimed attempt is to do.

use std::time::Duration;

use serde_json::Value;
use tidegate_core::attempt::{Attempt, Refused};
use tidegate_core::build::Build;
use tidegate_core::plan::JobSpec;
use tidegate_core::trust::Trust;
use tidegate_core::wire::gate::{Assignment, Checkout, CheckoutOptions, DEFAULT_LOG_RATE};

use super::GateError;
use crate::engine::Engine;
use crate::environment;

/// How many URLs of log chunks come with the assignment: a short job needs no more.
const FIRST_URLS: u32 = 4;

impl Engine {
    pub(super) async fn assignment(&self, attempt: &Attempt) -> Result<Assignment, GateError> {
        let (build, graph) = self.load_build(&attempt.id.build).await?.ok_or(Refused::Ended)?;
        let job = graph.job(attempt.id.job).ok_or(Refused::Ended)?;
        let spec = job.spec().ok_or(Refused::Ended)?;
        let repository = self.repository(build.facts.repository).await?;
        let repository = repository.as_ref();
        let env =
            environment::of_job(&self.settings, &build, &graph, attempt.id.job, &job, repository, attempt.retry_count);
        let skip = env.iter().rev().find(|(name, _)| name == "BUILDKITE_SKIP_CHECKOUT");
        let skip = skip.is_some_and(|(_, value)| matches!(value.as_str(), "true" | "1")) || skips_checkout(spec);
        let checkout = repository.filter(|_| !skip).map(|repository| Checkout {
            credentials: self.ports.credentials.has(repository),
            options: options(spec),
            ..checkout(&build, repository)
        });
        let timeout = job.command.and_then(|c| c.timeout_in_minutes).map(|m| Duration::from_secs(u64::from(m) * 60));
        let timeout = match attempt.trust {
            Trust::Trusted => timeout,
            Trust::Untrusted => Some(timeout.unwrap_or(Duration::MAX).min(self.settings.untrusted.timeout)),
        };
        let timeout_ms = timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        Ok(Assignment {
            attempt: attempt.id.clone(),
            env,
            command: spec.command.clone(),
            checkout,
            secrets: spec.secrets.clone(),
            artifact_paths: spec.artifact_paths.clone(),
            timeout_ms,
            grace_ms: u64::try_from(self.settings.grace.as_millis()).unwrap_or(u64::MAX),
            log_urls: self.log_urls(&attempt.id, 0, FIRST_URLS).await?,
            log_limit: self.settings.log_limit,
            log_rate: DEFAULT_LOG_RATE,
        })
    }
}

fn skips_checkout(spec: &JobSpec) -> bool {
    spec.checkout.as_ref().and_then(|c| c.get("skip")).and_then(serde_json::Value::as_bool).unwrap_or(false)
}

fn checkout(build: &Build, repository: &crate::ports::RepositorySource) -> Checkout {
    Checkout {
        repository: repository.id.to_string(),
        url: repository.clone_url.clone(),
        commit: build.facts.commit.to_string(),
        git_ref: build.facts.git_ref.as_ref().map(tidegate_core::event::GitRef::full),
        credentials: false,
        options: CheckoutOptions::default(),
    }
}

/// The `checkout` attribute; what it does not have, or not in a usable form, is not wanted.
fn options(spec: &JobSpec) -> CheckoutOptions {
    let Some(written) = &spec.checkout else {
        return CheckoutOptions::default();
    };
    let truth = |name: &str| written.get(name).and_then(Value::as_bool);
    let flags = |command: &str| {
        let flags = written.get("flags").and_then(|flags| flags.get(command));
        texts(flags).join(" ")
    };
    CheckoutOptions {
        depth: written.get("depth").and_then(Value::as_u64).and_then(|depth| u32::try_from(depth).ok()),
        submodules: truth("submodules"),
        lfs: truth("lfs"),
        sparse: texts(written.get("sparse").and_then(|sparse| sparse.get("paths"))),
        clone_flags: flags("clone"),
        fetch_flags: flags("fetch"),
        checkout_flags: flags("checkout"),
    }
}

/// One text, or a list of texts.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_checkout_attribute_reaches_the_agent() {
        let of = |checkout: Value| options(&JobSpec { checkout: Some(checkout), ..JobSpec::default() });
        assert_eq!(options(&JobSpec::default()), CheckoutOptions::default());
        let all = of(json!({
            "depth": 3, "submodules": false, "lfs": true, "sparse": {"paths": ["a", "b/c"]},
            "flags": {"clone": "--filter=blob:none", "fetch": ["--no-tags", "-v"], "clean": "-ffxdq"},
        }));
        let wanted = CheckoutOptions {
            depth: Some(3),
            submodules: Some(false),
            lfs: Some(true),
            sparse: vec!["a".to_owned(), "b/c".to_owned()],
            clone_flags: "--filter=blob:none".to_owned(),
            fetch_flags: "--no-tags -v".to_owned(),
            checkout_flags: String::new(),
        };
        assert_eq!(all, wanted);
        assert_eq!(of(json!({"depth": -1, "sparse": {"paths": "src"}})).sparse, ["src"]);
        assert_eq!(of(json!({"depth": "1", "lfs": "x", "sparse": 3})), CheckoutOptions::default());
    }
}
