//! What an expansion knows of the build it is for.

use crate::condition::Facts;
use crate::limits::Limits;

/// What is known of the build, the event and the machine's settings when a text is expanded. Nothing is read from
/// anywhere else.
#[derive(Clone, Debug)]
pub struct Context {
    /// Variables of the build, beyond those that follow from [`Context::facts`]: what `build.env("X")` and `$X` see.
    pub env: Vec<(String, String)>,
    /// What conditions and branch filters look at: branch, tag, message, pull request and so on. The standard
    /// variables, such as `BUILDKITE_BRANCH`, follow from it.
    pub facts: Facts,
    /// Whether `$X` is replaced (`--no-interpolation` turns it off).
    pub interpolate: bool,
    /// Whether a variable of the build beats one of the same name in the file's top-level `env`.
    pub prefer_build_env: bool,
    /// What a variable without a value means.
    pub unset: Unset,
    /// What `if_changed` looks at. `None` when it is not known: then no step is left out
    /// (`spec/pipeline.md` 1.10).
    pub changed_files: Option<Vec<String>>,
    /// Whether `if` and `branches` are decided. Without it every step is planned, as `lint` wants it.
    pub decide: bool,
    /// No other text adds steps to this build before its jobs run, so a dependency on an unknown key is an error
    /// unless a job of the file uploads steps (`spec/pipeline.md` 1.7, rule 6).
    pub complete: bool,
    /// The queue of a step that names none.
    pub default_queue: String,
    /// Caps.
    pub limits: Limits,
}

/// What a variable without a value means to an interpolation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Unset {
    /// It is unset: `$X` is empty and `${X?}` an error. For a build.
    #[default]
    Empty,
    /// It may have a value in a build: `$X` is empty, and what depends on it is not judged. For `lint`, and for `plan`
    /// without the whole environment.
    Unknown,
}

impl Default for Context {
    fn default() -> Self {
        Self {
            env: Vec::new(),
            facts: Facts::default(),
            interpolate: true,
            prefer_build_env: false,
            unset: Unset::Empty,
            changed_files: None,
            decide: true,
            complete: false,
            default_queue: "default".to_owned(),
            limits: Limits::default(),
        }
    }
}

impl Context {
    /// A context that judges a file without a build: nothing is known of variables, and no condition is decided.
    pub fn for_lint() -> Self {
        Self { unset: Unset::Unknown, decide: false, ..Self::default() }
    }

    /// The variables that `$X` sees before the file's own `env`: those that follow from the facts, below
    /// [`Context::env`].
    pub(crate) fn interpolation_env(&self) -> Vec<(String, String)> {
        let mut env = self.facts.standard_env(self.unset == Unset::Empty);
        env.extend(self.env.iter().cloned());
        env
    }
}
