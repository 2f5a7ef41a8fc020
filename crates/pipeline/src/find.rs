//! Where the pipeline file is looked for.

use thiserror::Error;

/// The places, in order: our own first, then those of `spec/pipeline.md` 1.17.
pub const SEARCH_PATHS: [&str; 11] = [
    ".tidegate/pipeline.yml",
    ".tidegate/pipeline.yaml",
    "buildkite.yml",
    "buildkite.yaml",
    "buildkite.json",
    ".buildkite/pipeline.yml",
    ".buildkite/pipeline.yaml",
    ".buildkite/pipeline.json",
    "buildkite/pipeline.yml",
    "buildkite/pipeline.yaml",
    "buildkite/pipeline.json",
];

/// How many of [`SEARCH_PATHS`] are our own: one of them beats all others.
const OWN: usize = 2;

/// Why no pipeline file was chosen.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum FindError {
    /// There is none.
    #[error("no pipeline file; looked for {}", SEARCH_PATHS.join(", "))]
    Missing,
    /// There are several of the same rank.
    #[error("more than one pipeline file: {}", .0.join(", "))]
    Several(Vec<&'static str>),
}

/// The pipeline file, out of those places where `exists` says that there is one. A file under `.tidegate` beats the
/// others, so that a repository can keep both; among the others, more than one is an error.
///
/// # Errors
///
/// When there is none, or several of the same rank.
pub fn find(exists: impl Fn(&str) -> bool) -> Result<&'static str, FindError> {
    for places in [&SEARCH_PATHS[..OWN], &SEARCH_PATHS[OWN..]] {
        let found: Vec<&'static str> = places.iter().copied().filter(|path| exists(path)).collect();
        match found.as_slice() {
            [] => {}
            [one] => return Ok(one),
            _ => return Err(FindError::Several(found)),
        }
    }
    Err(FindError::Missing)
}
