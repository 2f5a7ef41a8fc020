use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_core::ids::PoolName;
use tidegate_core::wire::instance::Forbidden;

/// How instances are started and ended.
#[derive(Clone, Debug)]
pub struct FleetSettings {
    /// The program that is an instance.
    pub program: PathBuf,
    /// Its arguments; `--file <instance.json>` follows.
    pub args: Vec<OsString>,
    /// How long an instance may take to end its job after it was asked to end.
    pub stop: Duration,
    /// After `stop` and this long it is killed with everything that it started.
    pub grace: Duration,
    /// An instance ends itself at its hard stop. One that has not after this much longer is killed.
    pub overdue: Duration,
    /// Between two beats of an agent.
    pub beat: Duration,
    /// After this long without a successful beat an agent ends its job and leaves. Has to be shorter than the time after
    /// which the engine gives an attempt up.
    pub self_kill: Duration,
    /// Hooks of the machine's owner.
    pub hooks_dir: Option<PathBuf>,
    /// Fetched plugins, shared by the instances.
    pub plugins_dir: Option<PathBuf>,
    /// Directories that stand for remote plugin repositories.
    pub plugin_mirrors: Option<PathBuf>,
    /// What jobs of a pool may not do; pools that are not named may do everything.
    pub forbidden: BTreeMap<PoolName, Forbidden>,
    /// Variables of the server that its instances do not get, because they hold its secrets. None whose name begins with
    /// `TIDEGATE_` is passed on but `TIDEGATE_LOG`.
    pub withheld: Vec<String>,
}

impl FleetSettings {
    /// Instances that are this same program, started as `<program> instance --file <instance.json>`.
    pub fn this_program() -> io::Result<Self> {
        Ok(Self::program(std::env::current_exe()?, [OsString::from("instance")]))
    }

    /// Instances that are another program.
    pub fn program(program: impl Into<PathBuf>, args: impl IntoIterator<Item = OsString>) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().collect(),
            stop: Duration::from_secs(10),
            grace: Duration::from_secs(5),
            overdue: Duration::from_secs(60),
            beat: Duration::from_secs(5),
            self_kill: Duration::from_secs(120),
            hooks_dir: None,
            plugins_dir: None,
            plugin_mirrors: None,
            forbidden: BTreeMap::new(),
            withheld: Vec::new(),
        }
    }

    /// Whether instances do not get this variable.
    pub(super) fn withholds(&self, name: &str) -> bool {
        (name.starts_with("TIDEGATE_") && name != "TIDEGATE_LOG") || self.withheld.iter().any(|held| held == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_not_passed_on() {
        let mut settings = FleetSettings::program("/bin/true", []);
        settings.withheld.push("GITHUB_TOKEN".to_owned());
        for (name, withheld) in [
            ("TIDEGATE_STATE", true),
            ("TIDEGATE_INSTANCE", true),
            ("TIDEGATE_LOG", false),
            ("GITHUB_TOKEN", true),
            ("GITHUB_TOKENS", false),
            ("PATH", false),
        ] {
            assert_eq!(settings.withholds(name), withheld, "{name}");
        }
    }
}
