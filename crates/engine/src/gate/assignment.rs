//! What a claimed attempt is to do.

use tidegate_core::attempt::{Attempt, Refused};
use tidegate_core::build::Build;
use tidegate_core::plan::JobSpec;
use tidegate_core::wire::gate::{Assignment, Checkout};

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
        let repository = self.repository(build.facts.repository);
        let env =
            environment::of_job(&self.settings, &build, &graph, attempt.id.job, &job, repository, attempt.retry_count);
        let skip = env.iter().rev().find(|(name, _)| name == "BUILDKITE_SKIP_CHECKOUT");
        let skip = skip.is_some_and(|(_, value)| matches!(value.as_str(), "true" | "1")) || skips_checkout(spec);
        let checkout = repository.filter(|_| !skip).map(|repository| checkout(&build, repository));
        let timeout_ms = job.command.and_then(|c| c.timeout_in_minutes).map(|m| u64::from(m) * 60_000);
        Ok(Assignment {
            attempt: attempt.id.clone(),
            env,
            command: spec.command.clone(),
            checkout,
            artifact_paths: spec.artifact_paths.clone(),
            timeout_ms,
            grace_ms: u64::try_from(self.settings.grace.as_millis()).unwrap_or(u64::MAX),
            log_urls: self.log_urls(&attempt.id, 0, FIRST_URLS).await?,
            log_limit: self.settings.log_limit,
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
    }
}
