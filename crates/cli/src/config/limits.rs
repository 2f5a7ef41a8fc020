//! The `[limits]` table.

use serde::Deserialize;
use toml::Spanned;

use super::duration::Span;
use super::file::Reader;
use tidegate_engine::UntrustedSettings;

use super::{ConfigError, LimitSettings, MOST_BUILD_JOBS, MOST_BUILD_UPLOADS};

/// A number that was written, with its place.
type Written = Option<Spanned<u64>>;

/// The caps on pipeline texts, named once: what may be written, and how it becomes [`tidegate_pipeline::Limits`].
macro_rules! limits {
    ($($cap:ident)*) => {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct Limits {
            wait: Option<Span>,
            grace: Option<Span>,
            silence: Option<Spanned<Span>>,
            boot: Option<Span>,
            beat: Option<Span>,
            log_bytes: Option<u64>,
            build_jobs: Written,
            build_uploads: Written,
            untrusted_timeout: Option<Span>,
            untrusted_jobs: Written,
            $($cap: Written,)*
        }

        impl Limits {
            fn pipeline(&self, reader: &Reader<'_>) -> Result<tidegate_pipeline::Limits, ConfigError> {
                let defaults = tidegate_pipeline::Limits::default();
                let ceiling = tidegate_pipeline::Limits::CEILING;
                Ok(tidegate_pipeline::Limits {
                    $($cap: cap(reader, stringify!($cap), &self.$cap, defaults.$cap, ceiling.$cap)?,)*
                })
            }
        }
    };
}

limits! {
    bytes depth nodes aliases expanded_bytes jobs matrix_jobs matrix_dimensions matrix_values matrix_value_bytes
    matrix_adjustments condition_bytes expression_depth regex_backtracks pattern_bytes
}

/// A cap as it was written, or its default. Nothing would be possible with 0.
fn cap(
    reader: &Reader<'_>,
    name: &str,
    written: &Written,
    default: usize,
    ceiling: usize,
) -> Result<usize, ConfigError> {
    let Some(written) = written else { return Ok(default) };
    usize::try_from(*written.get_ref()).ok().filter(|value| (1..=ceiling).contains(value)).ok_or_else(|| {
        let value = written.get_ref();
        reader.wrong(Some(written.span()), format!("`{name}` is {value}: write 1 to {ceiling}"))
    })
}

impl Limits {
    pub(super) fn checked(&self, reader: &Reader<'_>) -> Result<LimitSettings, ConfigError> {
        let defaults = LimitSettings::default();
        let or = |span: Option<Span>, default| span.map_or(default, |span| span.0);
        let beat = or(self.beat, defaults.beat);
        let silence = self.silence.as_ref().map_or(defaults.silence, |span| span.get_ref().0);
        if silence < beat * 5 {
            let span = self.silence.as_ref().map(Spanned::span);
            return Err(reader
                .wrong(span, "`silence` must be at least five times `beat`, or instances are given up for nothing"));
        }
        let number = |name, written, default, ceiling| cap(reader, name, written, default, ceiling);
        Ok(LimitSettings {
            wait: or(self.wait, defaults.wait),
            grace: or(self.grace, defaults.grace),
            silence,
            boot: or(self.boot, defaults.boot),
            beat,
            log_bytes: self.log_bytes.unwrap_or(defaults.log_bytes),
            pipeline: self.pipeline(reader)?,
            build_jobs: number("build_jobs", &self.build_jobs, defaults.build_jobs, MOST_BUILD_JOBS)?,
            build_uploads: number("build_uploads", &self.build_uploads, defaults.build_uploads, MOST_BUILD_UPLOADS)?,
            untrusted: UntrustedSettings {
                timeout: or(self.untrusted_timeout, defaults.untrusted.timeout),
                jobs: number("untrusted_jobs", &self.untrusted_jobs, defaults.untrusted.jobs, MOST_BUILD_JOBS)?,
            },
        })
    }
}
