//! What the owner of the machine does not let jobs do: said with the name of the setting, as the job's failure.

use tidegate_core::attempt::Cause;
use tidegate_core::wire::gate::Outcome;

use super::outcome::plain;
use super::plugins::Plugin;
use super::steps::{Halt, Job};

/// What a job wanted to do.
#[derive(Debug)]
pub(crate) enum OffLimits<'a> {
    /// Run this hook of the repository.
    Hook(&'a str),
    /// Use this plugin.
    Plugin(&'a Plugin),
    /// Run this, which is no script of the repository.
    Command(&'a str),
}

impl OffLimits<'_> {
    fn why(&self) -> String {
        let (what, setting) = match self {
            OffLimits::Hook(name) => (format!("the repository's `{name}` hook does not run"), "no_local_hooks"),
            OffLimits::Plugin(plugin) => (format!("the plugin `{}` is not used", plugin.label()), "no_plugins"),
            OffLimits::Command(command) => (
                format!(
                    "`{}` does not run, because it is no file of the repository",
                    command.lines().next().unwrap_or_default()
                ),
                "no_command_eval",
            ),
        };
        format!("{what}: the owner of this machine forbids that (`{setting}` in the server's configuration)")
    }
}

impl Job<'_> {
    /// Hooks of the owner can forbid it for one job, too.
    pub(crate) fn local_hooks_are_off(&self) -> bool {
        self.host.instance.forbidden.local_hooks || self.env.is_on("BUILDKITE_NO_LOCAL_HOOKS")
    }

    /// Says why not.
    pub(crate) async fn forbidden(&self, wanted: &OffLimits<'_>) -> Halt {
        let why = wanted.why();
        self.log.say(format!("^^^ +++\n{why}")).await;
        Outcome { exit_status: Some(1), ..plain(Cause::Exit, Some(why)) }.into()
    }
}
