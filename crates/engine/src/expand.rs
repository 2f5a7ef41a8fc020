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
use crate::ports::RepositorySource;

/// A text, and what its expansion may know.
pub(crate) struct Text<'a> {
    /// What findings call it.
    pub(crate) name: &'a str,
    pub(crate) bytes: &'a [u8],
    /// Variables for interpolation beyond those of the build.
    pub(crate) env: Env,
    pub(crate) interpolate: bool,
    /// Paths that the event changed, if they are known.
    pub(crate) changed_files: Option<Vec<String>>,
}

impl Engine {
    /// Expands a text for a build. Errors are in the diagnostics; the segment is there exactly when there is none.
    pub(crate) fn expand(
        &self,
        text: Text<'_>,
        facts: &Facts,
        repository: &RepositorySource,
    ) -> (Option<Segment>, Vec<Diagnostic>) {
        let mut env = facts.env.clone();
        env.extend(text.env);
        let context = Context {
            env,
            facts: pipeline_facts(&self.settings, facts, &repository.clone_url),
            interpolate: text.interpolate,
            changed_files: text.changed_files,
            limits: self.settings.pipeline,
            ..Context::default()
        };
        let expansion = tidegate_pipeline::expand(Source { name: text.name, text: text.bytes }, &context);
        (expansion.segment, expansion.diagnostics)
    }

    /// Stores a segment. Its name says which one it is: storing it twice is storing it once.
    pub(crate) async fn store_segment(&self, blob: &str, segment: &Segment) -> Result<(), Error> {
        let bytes = Bytes::from(envelope::seal(segment)?);
        self.ports.blobs.put_if_absent(blob, bytes).await?;
        Ok(())
    }
}

/// How many of these are errors, in words.
pub(crate) fn errors_in_words(diagnostics: &[Diagnostic]) -> String {
    match diagnostics.iter().filter(|d| d.severity == Severity::Error).count() {
        1 => "1 error".to_owned(),
        n => format!("{n} errors"),
    }
}
