//! One job in its surroundings: running its processes and hooks, and saying what happens.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_core::attempt::Cause;
use tidegate_core::wire::gate::{Assignment, CancelReason, Outcome, Start, StartAnswer};

use super::api::JobApi;
use super::difference::Changes;
use super::dirs::JobDir;
use super::env::{JobEnv, Places, compose};
use super::forbidden::OffLimits;
use super::hooks::{self, Moment};
use super::outcome::{cause_of, plain};
use super::plugins::Ready;
use super::run::{Host, cannot_start};
use super::script::{LONGEST_ARGUMENT, make_executable};
use crate::control::{Ending, Watch};
use crate::output::{Log, secret_values};
use crate::process::{End, JobCommand, pty, stop};

/// What a process gets to end by itself once the command has ended: a `tee` that still writes the last line.
const LINGER: Duration = Duration::from_millis(250);
/// Set to `true`, processes of the job write to a pseudo-terminal; without it, to a pipe.
const TERMINAL: &str = "BUILDKITE_PTY";
/// Between SIGTERM and SIGKILL for what a job left running.
pub(crate) const LEFTOVER_GRACE: Duration = Duration::from_secs(1);

/// One job.
pub(crate) struct Job<'a> {
    pub(crate) host: &'a Host,
    pub(crate) assignment: &'a Assignment,
    pub(crate) watch: &'a Watch,
    pub(crate) log: &'a Log,
    pub(crate) dir: &'a JobDir,
    pub(crate) api: &'a JobApi,
    pub(crate) env: JobEnv,
    /// Where the next process starts; hooks may change it.
    pub(crate) cwd: PathBuf,
    /// Plugins whose files are there.
    pub(crate) plugins: Vec<Ready>,
    started: bool,
    hooks_run: u32,
}

/// Why a phase does not go on.
pub(crate) enum Halt {
    /// A hook failed with this status.
    Hook(i32),
    /// The job is to end.
    Ending(Ending),
    /// The outcome is certain.
    Fatal(Box<Outcome>),
}

impl From<Outcome> for Halt {
    fn from(outcome: Outcome) -> Self {
        Halt::Fatal(Box::new(outcome))
    }
}

/// Whose hook it is.
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    Agent,
    Repository,
    Plugin(usize),
}

/// How long a process may run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Until somebody wants the job to end.
    Job,
    /// The job is ending already: this long.
    Last(Duration),
}

/// How a process of the job ended, and whether we made it end.
pub(crate) struct Ran {
    pub(crate) end: End,
    pub(crate) ending: Option<Ending>,
}

impl<'a> Job<'a> {
    pub(crate) fn new(
        host: &'a Host,
        assignment: &'a Assignment,
        watch: &'a Watch,
        log: &'a Log,
        dir: &'a JobDir,
        api: &'a JobApi,
    ) -> Self {
        let places = Places { build: &dir.root, checkout: &dir.checkout, tmp: &dir.tmp };
        let mut env =
            compose(&host.base_env, &assignment.env, &assignment.attempt, assignment.grace_ms, &host.instance, places);
        if assignment.command.len() <= LONGEST_ARGUMENT {
            env.set("BUILDKITE_COMMAND", &assignment.command);
        } else {
            // A variable is limited as an argument is; the command itself is then given as a file.
            env.unset("BUILDKITE_COMMAND");
        }
        api.offer(&mut env);
        Self {
            host,
            assignment,
            watch,
            log,
            dir,
            api,
            env,
            cwd: dir.checkout.clone(),
            plugins: Vec::new(),
            started: false,
            hooks_run: 0,
        }
    }

    /// Says that code of users is about to run, once, unless somebody objects.
    pub(crate) async fn start(&mut self) -> Result<(), Halt> {
        if self.started {
            return Ok(());
        }
        let start = Start { boot: self.host.boot.clone(), attempt: self.assignment.attempt.clone() };
        let ending = tokio::select! {
            answer = self.host.gate.call::<_, StartAnswer>("start", &start) => match answer {
                Ok(StartAnswer { cancel: None }) => self.watch.now(),
                Ok(StartAnswer { cancel: Some(reason) }) => Some(Ending::Cancel(reason)),
                Err(refused) => {
                    return Err(plain(Cause::AgentStopped, Some(refused.to_string())).into());
                }
            },
            ending = self.watch.ending() => Some(ending),
        };
        if let Some(ending) = ending {
            self.say_ending(ending).await;
            return Err(Halt::Ending(ending));
        }
        self.started = true;
        Ok(())
    }

    /// Whether code of users may have run.
    pub(crate) fn has_started(&self) -> bool {
        self.started
    }

    /// Runs one process of the job to its end.
    pub(crate) async fn process(
        &self,
        program: OsString,
        args: Vec<OsString>,
        env: &JobEnv,
        patience: Patience,
    ) -> std::io::Result<Ran> {
        self.api.publish(env);
        let (output, copy) = match self.log.writer()? {
            pipe if env.is_on(TERMINAL) => pty::open(pipe).map(|(end, copy)| (end, Some(copy)))?,
            pipe => (pipe, None),
        };
        let command = JobCommand { program, args, env: env.to_vec(), cwd: self.cwd.clone(), output };
        let mut running = self.host.children.spawn(&mut command.build()?)?;
        prefer_as_victim(running.pid);
        let ending = async {
            match patience {
                Patience::Job => self.watch.ending().await,
                Patience::Last(time) => {
                    tokio::time::sleep(time).await;
                    Ending::Cancel(CancelReason::Timeout)
                }
            }
        };
        let ran = tokio::select! {
            biased;
            end = running.ended() => Ran { end, ending: None },
            ending = ending => {
                let grace = match patience {
                    Patience::Job => {
                        self.say_ending(ending).await;
                        Duration::from_millis(self.assignment.grace_ms)
                    }
                    Patience::Last(_) => LEFTOVER_GRACE,
                };
                stop::end_all(&self.host.children, Some(running.pid), grace).await;
                Ran { end: running.ended().await, ending: Some(ending) }
            }
        };
        if let Some(copy) = copy {
            copy.ends(LINGER).await;
        }
        Ok(ran)
    }

    /// The hook of somebody for a moment, if there is one.
    pub(crate) fn find_hook(&self, scope: &Scope, moment: Moment) -> Option<PathBuf> {
        match scope {
            Scope::Agent => hooks::find(self.host.instance.hooks_dir.as_ref()?, moment),
            Scope::Repository => hooks::find(&self.dir.checkout.join(".buildkite/hooks"), moment),
            Scope::Plugin(index) => {
                let plugin = self.plugins.get(*index)?;
                hooks::find(&plugin.directory.join("hooks"), moment)
            }
        }
    }

    /// Runs the hooks for a moment, in order; the first that fails ends it.
    pub(crate) async fn hooks(
        &mut self,
        moment: Moment,
        scopes: impl IntoIterator<Item = Scope>,
        patience: Patience,
    ) -> Result<bool, Halt> {
        let mut any = false;
        for scope in scopes {
            if let Some(hook) = self.find_hook(&scope, moment) {
                any = true;
                self.hook(&scope, moment, &hook, patience).await?;
            }
        }
        Ok(any)
    }

    async fn hook(
        &mut self,
        scope: &Scope,
        moment: Moment,
        hook: &std::path::Path,
        patience: Patience,
    ) -> Result<(), Halt> {
        if matches!(patience, Patience::Job) {
            self.start().await?;
        }
        if matches!(scope, Scope::Repository) && self.local_hooks_are_off() {
            return Err(self.forbidden(&OffLimits::Hook(moment.file())).await);
        }
        let name = match scope {
            Scope::Agent => format!("agent {} hook", moment.file()),
            Scope::Repository => format!("repository {} hook", moment.file()),
            Scope::Plugin(index) => format!(
                "plugin {} {} hook",
                self.plugins.get(*index).map_or_else(String::new, |ready| ready.plugin.label()),
                moment.file()
            ),
        };
        self.log.say(format!("~~~ Running {name}")).await;
        let mut given = self.env.clone();
        if let Scope::Plugin(index) = scope
            && let Some(ready) = self.plugins.get(*index)
        {
            for (name, value) in ready.plugin.environment() {
                given.set(name, value);
            }
        }
        self.hooks_run += 1;
        make_executable(hook);
        let result = match hooks::prepare(hook, &self.dir.root, self.hooks_run) {
            Ok(started) => self
                .process(started.program.clone(), started.args.clone(), &given, patience)
                .await
                .map(|ran| (ran, started)),
            Err(error) => Err(error),
        };
        let (ran, started) = match result {
            Ok(done) => done,
            Err(error) => {
                let detail = format!("cannot run the {name}: {error}");
                self.log.say(format!("^^^ +++\n{detail}")).await;
                return Err(cannot_start(&error, detail).into());
            }
        };
        if let Some(ending) = ran.ending {
            return Err(Halt::Ending(ending));
        }
        let status = ran.end.status();
        self.env.set("BUILDKITE_LAST_HOOK_EXIT_STATUS", status.to_string());
        if status != 0 {
            self.log.say(format!("^^^ +++\nThe {name} exited with status {status}.")).await;
            return Err(Halt::Hook(status));
        }
        self.apply(started.changes(&given)).await;
        self.take_changes().await;
        Ok(())
    }

    /// Applies what the process that has just ended asked for by the socket.
    pub(crate) async fn take_changes(&mut self) {
        let changes = self.api.take_changes();
        if changes.is_empty() {
            return;
        }
        for (name, value) in changes {
            match value {
                Some(value) => self.env.set(name, value),
                None => self.env.unset(&name),
            }
        }
        self.redact_environment().await;
    }

    /// Hides the values of variables whose names say that they are secret.
    pub(crate) async fn redact_environment(&self) {
        let patterns = self.env.get("BUILDKITE_REDACTED_VARS");
        self.log.redact(secret_values(self.env.iter(), patterns)).await;
    }

    async fn apply(&mut self, changes: Changes) {
        let changed = !changes.set.is_empty();
        for (name, value) in changes.set {
            self.env.set(name, value);
        }
        for name in changes.unset {
            self.env.unset(&name);
        }
        if changed {
            self.redact_environment().await;
        }
        if !changes.refused.is_empty() {
            self.log
                .say(format!(
                    "The hook changed what only the agent sets; this has no effect: {}",
                    changes.refused.join(", ")
                ))
                .await;
        }
        if let Some(directory) = changes.directory
            && directory != self.cwd
            && directory.is_dir()
        {
            self.cwd = directory;
        }
    }

    /// Every plugin, in order.
    pub(crate) fn plugin_scopes(&self) -> Vec<Scope> {
        (0..self.plugins.len()).map(Scope::Plugin).collect()
    }

    pub(crate) async fn say_ending(&self, ending: Ending) {
        let why = match ending {
            Ending::Cancel(CancelReason::Canceled) => "The job was canceled.",
            Ending::Cancel(CancelReason::Timeout) => "The job has run out of time.",
            Ending::Stop => "The agent was told to stop.",
            Ending::Ended | Ending::Abandon => "The attempt was given up.",
        };
        self.log.say(format!("~~~ {why}")).await;
    }

    /// Ends what the job left running, and says what it was.
    pub(crate) async fn end_leftovers(&self) {
        if stop::gone_within(LINGER).await {
            return;
        }
        let left = stop::alive();
        if left.is_empty() {
            return;
        }
        let names: Vec<String> =
            left.iter().take(10).map(|process| format!("{} ({})", process.name, process.pid)).collect();
        let more = left.len().saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        self.log.say(format!("~~~ Ending what the job left running: {}{more}", names.join(", "))).await;
        stop::end_all(&self.host.children, None, LEFTOVER_GRACE).await;
    }

    /// An outcome for an end that was wanted from outside, before the command ran.
    pub(crate) fn ended(ending: Ending) -> Outcome {
        plain(cause_of(ending), None)
    }
}

/// When memory runs out the job goes, not the agent that must tell about it.
fn prefer_as_victim(pid: i32) {
    // Best effort: the process may have ended.
    let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "300");
}
