//! From a pipeline text to a stored segment.

use bytes::Bytes;
use tidegate_core::build::Facts;
use tidegate_core::diagnostic::{Diagnostic, Severity};
use tidegate_core::plan::{Env, Segment};
use tidegate_core::wire::envelope;
use tidegate_pipeline::{Context, Source};

use crate::engine::Engine;
use crate::environment::pipeline_facts;
use crate::error::Error;
use crate::ports::{PortError, RepositorySource};

/// A text, and what its expansion may know.
pub(crate) struct Text<'a> {
    /// What findings call it.
    pub(crate) name: &'a str,
    pub(crate) bytes: &'a [u8],
    /// Variables for interpolation beyond those of the build.
    pub(crate) env: Env,
    pub(crate) interpolate: bool,
}

impl Engine {
    /// Expands a text for a build. Errors are in the diagnostics; the segment is there exactly when there is none.
    ///
    /// # Errors
    /// A port failed for now.
    pub(crate) async fn expand(
        &self,
        text: Text<'_>,
        facts: &Facts,
        repository: &RepositorySource,
    ) -> Result<(Option<Segment>, Vec<Diagnostic>), Error> {
        let mut env = facts.env.clone();
        env.extend(text.env);
        let changed_files =
            if asks_for_changes(text.bytes) { self.changed_files(&env, facts, repository).await? } else { None };
        let context = Context {
            env,
            facts: pipeline_facts(&self.settings, facts, &repository.clone_url),
            interpolate: text.interpolate,
            changed_files,
            limits: self.settings.pipeline,
            ..Context::default()
        };
        let expansion = tidegate_pipeline::expand(Source { name: text.name, text: text.bytes }, &context);
        Ok((expansion.segment, expansion.diagnostics))
    }

    /// Paths that the commit of a build changes, compared with the branch that it is meant for; `None` where that cannot
    /// be told, and then no step is left out for it (`spec/pipeline.md` 1.10).
    async fn changed_files(
        &self,
        env: &Env,
        facts: &Facts,
        repository: &RepositorySource,
    ) -> Result<Option<Vec<String>>, Error> {
        let given = |name| env.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let base = [
            given("BUILDKITE_GIT_DIFF_BASE"),
            given("BUILDKITE_PULL_REQUEST_BASE_BRANCH"),
            facts.origin.as_ref().and_then(|o| Some(o.pull_request.as_ref()?.base_branch.as_str())),
            facts.origin.as_ref().and_then(|o| Some(o.merge_queue.as_ref()?.base_branch.as_str())),
            Some(facts.default_branch.as_str()),
        ];
        let base = base.into_iter().flatten().find(|name| !name.is_empty()).unwrap_or("main");
        // Remotes have no name here.
        let base = base.strip_prefix("origin/").unwrap_or(base);
        let found = async {
            let Some(base) = self.ports.repositories.resolve(repository, base).await? else {
                return Err(PortError::reject(format!("there is no branch `{base}`")));
            };
            self.ports.repositories.changed_files(repository, &base, &facts.commit).await
        };
        match found.await {
            Ok(found) => Ok(Some(found)),
            Err(PortError::Reject { why }) => {
                tracing::warn!(build.id = %facts.id, why, "what the commit changed is not known: `if_changed` skips nothing");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Stores a segment. Its name says which one it is: storing it twice is storing it once.
    pub(crate) async fn store_segment(&self, blob: &str, segment: &Segment) -> Result<(), Error> {
        let bytes = Bytes::from(envelope::seal(segment)?);
        self.ports.blobs.put_if_absent(blob, bytes).await?;
        Ok(())
    }
}

/// Whether a text has a word that asks what was changed. Finding out costs the network.
fn asks_for_changes(text: &[u8]) -> bool {
    [&b"if_changed"[..], b"changed_files"].iter().any(|word| text.windows(word.len()).any(|piece| piece == *word))
}

/// How many of these are errors, in words.
pub(crate) fn errors_in_words(diagnostics: &[Diagnostic]) -> String {
    match diagnostics.iter().filter(|d| d.severity == Severity::Error).count() {
        1 => "1 error".to_owned(),
        n => format!("{n} errors"),
    }
}
