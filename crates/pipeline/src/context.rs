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

    /// What conditions see: the facts, the variables of [`Context::env`], and the changed files. A standard variable
    /// in the environment stands in for a fact that is not given, so that `--env BUILDKITE_BRANCH=main` is enough.
    pub(crate) fn condition_facts(&self) -> Facts {
        let mut facts = self.facts.clone();
        facts.build_env.extend(self.env.iter().cloned());
        facts.changed_files.clone_from(&self.changed_files);
        let env = &facts.build_env;
        let build = &mut facts.build;
        let fill = |fact: &mut Option<String>, name: &str| {
            if fact.is_none() {
                *fact = env.get(name).filter(|value| !value.is_empty()).cloned();
            }
        };
        fill(&mut build.branch, "BUILDKITE_BRANCH");
        fill(&mut build.tag, "BUILDKITE_TAG");
        fill(&mut build.message, "BUILDKITE_MESSAGE");
        fill(&mut build.commit, "BUILDKITE_COMMIT");
        fill(&mut build.source, "BUILDKITE_SOURCE");
        fill(&mut build.pull_request.base_branch, "BUILDKITE_PULL_REQUEST_BASE_BRANCH");
        if env.get("BUILDKITE_PULL_REQUEST").is_some_and(|id| id != "false") {
            fill(&mut build.pull_request.id, "BUILDKITE_PULL_REQUEST");
        }
        fill(&mut facts.pipeline.slug, "BUILDKITE_PIPELINE_SLUG");
        fill(&mut facts.pipeline.default_branch, "BUILDKITE_PIPELINE_DEFAULT_BRANCH");
        fill(&mut facts.pipeline.repository, "BUILDKITE_REPO");
        fill(&mut facts.organization.slug, "BUILDKITE_ORGANIZATION_SLUG");
        facts
    }

    /// The variables that `$X` sees before the file's own `env`: those that follow from the facts, below
    /// [`Context::env`].
    pub(crate) fn interpolation_env(&self) -> Vec<(String, String)> {
        let mut env = self.facts.standard_env(self.unset == Unset::Empty);
        env.extend(self.env.iter().cloned());
        env
    }
}
