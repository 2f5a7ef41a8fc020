//! Variables of a job while it runs.

use std::collections::BTreeMap;

/// Variables that only the agent may set: a pipeline that sets one is told so in `BUILDKITE_IGNORED_ENV`.
const AGENT_ONLY: [&str; 24] = [
    "BUILDKITE_AGENT_ACCESS_TOKEN",
    "BUILDKITE_AGENT_DEBUG",
    "BUILDKITE_AGENT_ENDPOINT",
    "BUILDKITE_AGENT_JOB_API_SOCKET",
    "BUILDKITE_AGENT_JOB_API_TOKEN",
    "BUILDKITE_AGENT_JOB_TIMEOUT_FILE",
    "BUILDKITE_AGENT_PID",
    "BUILDKITE_BIN_PATH",
    "BUILDKITE_BUILD_CHECKOUT_PATH",
    "BUILDKITE_BUILD_PATH",
    "BUILDKITE_COMMAND_EVAL",
    "BUILDKITE_CONFIG_PATH",
    "BUILDKITE_CONTAINER_COUNT",
    "BUILDKITE_GIT_MIRRORS_LOCK_TIMEOUT",
    "BUILDKITE_GIT_MIRRORS_PATH",
    "BUILDKITE_GIT_SUBMODULE_CLONE_CONFIG",
    "BUILDKITE_HOOKS_PATH",
    "BUILDKITE_HOOKS_SHELL",
    "BUILDKITE_KUBERNETES_EXEC",
    "BUILDKITE_LOCAL_HOOKS_ENABLED",
    "BUILDKITE_PLUGINS_ENABLED",
    "BUILDKITE_PLUGINS_PATH",
    "BUILDKITE_SHELL",
    "BUILDKITE_SSH_KEYSCAN",
];

/// Whether hooks and the job's own commands may not change a variable: it would have no effect, or a bad one.
pub(crate) fn is_agent_only(name: &str) -> bool {
    AGENT_ONLY.contains(&name) || name.starts_with("TIDEGATE_")
}

/// The environment of a job while it runs. Ordered by name, so that what a job sees does not depend on chance.
#[derive(Clone, Default, Eq, PartialEq)]
pub(crate) struct JobEnv(BTreeMap<String, String>);

/// Names only: values may be secrets.
impl std::fmt::Debug for JobEnv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl JobEnv {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    pub(crate) fn to_vec(&self) -> Vec<(String, String)> {
        self.0.iter().map(|(n, v)| (n.clone(), v.clone())).collect()
    }

    /// Whether a variable is set to what people write for "no".
    pub(crate) fn is_off(&self, name: &str) -> bool {
        self.get(name).is_some_and(|v| matches!(v.to_ascii_lowercase().as_str(), "false" | "0" | "no" | "off"))
    }

    /// Whether a variable is set to what people write for "yes".
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|v| matches!(v.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on"))
    }
}

/// What the kernel can carry.
pub(crate) fn is_possible(name: &str, value: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
}
