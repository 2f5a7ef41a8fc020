//! The phases of a job in the order of `spec/pipeline.md` 1.15: plugins, `environment`, checkout, `pre-command`,
//! command, `post-command`, artifacts, `pre-exit`. Scopes run in the order agent, repository, plugins.
//!
//! Where the reference is silent: a job that was cancelled or ran out of time gets its artifacts and its `pre-exit`
//! hooks within its grace period, and no `post-command` hooks.

use std::time::Duration;

use tidegate_core::attempt::Cause;
use tidegate_core::ids::CommitSha;
use tidegate_core::wire::gate::{CancelReason, Outcome};
use tidegate_core::wire::job::{MetaData, MetaDataAnswer, MetaDataAsk};

use super::forbidden::OffLimits;
use super::hooks::Moment;
use super::outcome::{Failures, Seen, of_command, plain, shorten};
use super::plugins::{self, Plugin, Ready, Source};
use super::pressure::{OomKills, disk_full};
use super::run::cannot_start;
use super::script::{arguments, named_file, shell};
use super::steps::{Halt, Job, LEFTOVER_GRACE, Patience, Scope};
use crate::artifacts;
use crate::checkout::{self, CheckoutError, Wanted};
use crate::control::Ending;
use crate::process::{End, stop};

/// Artifacts and hooks of a job that was ended get this long, at least.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What a job came to so far.
#[derive(Default)]
struct Tally {
    failures: Failures,
    /// How the command ended, if it ran.
    command: Option<Outcome>,
    /// Certain, whatever comes after.
    fatal: Option<Outcome>,
    ending: Option<Ending>,
    detail: Option<String>,
}

impl Tally {
    fn halted(&mut self, halt: Halt) -> Option<i32> {
        match halt {
            Halt::Hook(status) => Some(status),
            Halt::Ending(ending) => {
                self.ending = Some(ending);
                None
            }
            Halt::Fatal(outcome) => {
                self.fatal = Some(*outcome);
                None
            }
        }
    }

    fn outcome(self) -> Outcome {
        if let Some(fatal) = self.fatal {
            return fatal;
        }
        let (status, of_command_itself) = self.failures.status();
        let mut outcome = match (self.command, self.ending) {
            (Some(command), _) if of_command_itself => command,
            (command, Some(ending)) => {
                let mut outcome = Job::ended(ending);
                if let Some(command) = command {
                    outcome.exit_status = command.exit_status;
                    outcome.signal = command.signal;
                }
                outcome
            }
            (_, None) => Outcome { exit_status: Some(status), ..plain(Cause::Exit, None) },
        };
        if let Some(ending) = self.ending {
            outcome.cause = super::outcome::cause_of(ending);
        }
        if outcome.detail.is_none() {
            outcome.detail = self.detail.map(shorten);
        }
        outcome
    }
}

impl Job<'_> {
    /// Runs everything; what is still running afterwards has been asked to end.
    pub(crate) async fn run(mut self) -> Outcome {
        let mut tally = Tally::default();
        let token = self.host.instance.token.expose().to_owned();
        self.log.redact(vec![token]).await;
        self.redact_environment().await;
        match self.before_command().await {
            Ok(()) => self.command_and_after(&mut tally).await,
            Err(halt) => tally.failures.early_hook = tally.halted(halt),
        }
        self.last_hooks(&mut tally).await;
        self.end_leftovers().await;
        tally.outcome()
    }

    async fn before_command(&mut self) -> Result<(), Halt> {
        self.fetch_secrets().await?;
        let wanted = match self.env.get("BUILDKITE_PLUGINS") {
            Some(json) if !json.trim().is_empty() => {
                plugins::parse(json).map_err(|why| Outcome { exit_status: Some(1), ..plain(Cause::Exit, Some(why)) })?
            }
            _ => Vec::new(),
        };
        if let Some(plugin) = wanted.first().filter(|_| self.host.instance.forbidden.plugins) {
            return Err(self.forbidden(&OffLimits::Plugin(plugin)).await);
        }
        self.fetch_plugins(&wanted).await?;
        let mut scopes = vec![Scope::Agent];
        scopes.extend(self.plugin_scopes());
        self.hooks(Moment::Environment, scopes.clone(), Patience::Job).await?;
        if self.assignment.checkout.is_some() {
            self.hooks(Moment::PreCheckout, scopes, Patience::Job).await?;
            self.check_out().await?;
            self.hooks(Moment::PostCheckout, self.everybody(), Patience::Job).await?;
        }
        let fetched = self.plugins.len();
        self.find_vendored(&wanted).await?;
        let vendored = self.plugin_scopes().split_off(fetched);
        self.hooks(Moment::Environment, vendored, Patience::Job).await?;
        self.hooks(Moment::PreCommand, self.everybody(), Patience::Job).await?;
        self.start().await
    }

    fn everybody(&self) -> Vec<Scope> {
        let mut scopes = vec![Scope::Agent, Scope::Repository];
        scopes.extend(self.plugin_scopes());
        scopes
    }

    async fn fetch_plugins(&mut self, wanted: &[Plugin]) -> Result<(), Halt> {
        let mut said = false;
        for plugin in wanted {
            let source = plugin
                .source()
                .map_err(|why| Outcome { permanent: true, ..plain(Cause::CheckoutFailed, Some(why)) })?;
            let Source::Repository { url, below } = source else {
                continue;
            };
            if !said {
                said = true;
                self.log.say("~~~ Preparing plugins").await;
            }
            let name = plugin.directory_name();
            let fetch = checkout::fetch_plugin(
                self.host,
                self.log,
                self.dir,
                Wanted {
                    url: &url,
                    version: plugin.version.as_deref(),
                    name: &name,
                    fresh: self.env.is_on("BUILDKITE_PLUGINS_ALWAYS_CLONE_FRESH"),
                },
            );
            let fetched = tokio::select! {
                fetched = fetch => fetched,
                ending = self.watch.ending() => return Err(self.cut_off(ending).await),
            };
            match fetched {
                Ok(directory) => {
                    self.add_plugin(plugin, directory.join(below)).await?;
                }
                Err(error) => {
                    let text = format!("the plugin {} cannot be fetched: {error}", plugin.label());
                    return Err(self.no_checkout(&error, text).await);
                }
            }
        }
        Ok(())
    }

    async fn find_vendored(&mut self, wanted: &[Plugin]) -> Result<(), Halt> {
        for plugin in wanted {
            if let Ok(Source::Vendored(path)) = plugin.source() {
                let directory = self.dir.checkout.join(path);
                if !directory.is_dir() {
                    let detail =
                        format!("the plugin `{}` is not in the checkout: there is no such directory", plugin.location);
                    self.log.say(format!("^^^ +++\n{detail}")).await;
                    return Err(Outcome { exit_status: Some(1), ..plain(Cause::Exit, Some(detail)) }.into());
                }
                self.add_plugin(plugin, directory).await?;
            }
        }
        Ok(())
    }

    async fn add_plugin(&mut self, plugin: &Plugin, directory: std::path::PathBuf) -> Result<(), Halt> {
        let findings = plugins::findings(plugin, &directory, &self.env);
        if !findings.is_empty() {
            let detail = findings.join("\n");
            self.log.say(&detail).await;
            if self.env.is_on("BUILDKITE_PLUGIN_VALIDATION") {
                return Err(Outcome { exit_status: Some(1), ..plain(Cause::Exit, Some(detail)) }.into());
            }
        }
        self.plugins.push(Ready { plugin: plugin.clone(), directory });
        Ok(())
    }

    /// The checkout: the last plugin's own way, or the agent's, or git's.
    async fn check_out(&mut self) -> Result<(), Halt> {
        let Some(wanted) = &self.assignment.checkout else {
            return Ok(());
        };
        let mut scopes = self.plugin_scopes();
        scopes.reverse();
        scopes.push(Scope::Agent);
        let own = scopes.into_iter().find(|scope| self.find_hook(scope, Moment::Checkout).is_some());
        if let Some(scope) = own {
            self.hooks(Moment::Checkout, [scope], Patience::Job).await?;
            return Ok(());
        }
        self.log.say("~~~ Preparing working directory").await;
        let checkout = checkout::check_out(self.host, self.log, wanted, self.dir, &self.env, self.api);
        let result = tokio::select! {
            result = checkout => result,
            ending = self.watch.ending() => return Err(self.cut_off(ending).await),
        };
        match result {
            Ok(commit) => {
                if wanted.commit.eq_ignore_ascii_case("HEAD") {
                    self.resolved(&commit).await;
                }
                Ok(())
            }
            Err(error) => Err(self.no_checkout(&error, error.to_string()).await),
        }
    }

    /// The build was for whatever its branch pointed at, and now that is known: by the name that the reference uses, too.
    async fn resolved(&mut self, commit: &CommitSha) {
        self.env.set("BUILDKITE_COMMIT", commit.as_str());
        self.env.set("BUILDKITE_COMMIT_RESOLVED", "true");
        let ask = MetaDataAsk::Set(vec![("buildkite:git:commit".to_owned(), commit.to_string())]);
        let (boot, attempt) = (self.host.boot.clone(), self.assignment.attempt.clone());
        let request = MetaData { boot, attempt, ask };
        let told = self.host.gate.call::<_, MetaDataAnswer>("meta_data", &request);
        tokio::select! {
            told = told => if let Err(error) = told {
                tracing::warn!(%error, "the commit of the build is not told");
            },
            // The loop of phases sees to it.
            _ = self.watch.ending() => {}
        }
    }

    async fn cut_off(&self, ending: Ending) -> Halt {
        stop::end_all(&self.host.children, None, LEFTOVER_GRACE).await;
        self.say_ending(ending).await;
        Halt::Ending(ending)
    }

    async fn no_checkout(&self, error: &CheckoutError, text: String) -> Halt {
        self.log.say(format!("^^^ +++\n{text}")).await;
        match error {
            CheckoutError::DiskFull(_) => plain(Cause::OutOfDisk, Some(text)),
            CheckoutError::Permanent(_) => Outcome { permanent: true, ..plain(Cause::CheckoutFailed, Some(text)) },
            CheckoutError::Failed(_) => plain(Cause::CheckoutFailed, Some(text)),
        }
        .into()
    }

    async fn command_and_after(&mut self, tally: &mut Tally) {
        match self.command().await {
            Ok(outcome) => {
                let status = outcome.exit_status.unwrap_or(0);
                self.env.set("BUILDKITE_COMMAND_EXIT_STATUS", status.to_string());
                tally.failures.command = (status != 0).then_some(status);
                tally.command = Some(outcome);
            }
            Err(halt) => {
                if let Some(status) = tally.halted(halt) {
                    self.env.set("BUILDKITE_COMMAND_EXIT_STATUS", status.to_string());
                    tally.failures.command = Some(status);
                }
            }
        }
        tally.ending = tally.ending.or_else(|| self.watch.now());
        if tally.fatal.is_some() || tally.ending == Some(Ending::Stop) {
            return;
        }
        if tally.ending.is_none()
            && let Err(halt) = self.hooks(Moment::PostCommand, self.everybody(), Patience::Job).await
        {
            tally.failures.post_command = tally.halted(halt);
        }
        self.keep_artifacts(tally).await;
    }

    /// The command: plugins' own way (all of them, in order), or the repository's, or the agent's, or the shell's.
    async fn command(&mut self) -> Result<Outcome, Halt> {
        let plugins = self.plugin_scopes();
        for scopes in [plugins, vec![Scope::Repository], vec![Scope::Agent]] {
            self.log.command_starts().await;
            if self.hooks(Moment::Command, scopes, Patience::Job).await? {
                return Ok(of_command(End::Exited(0), None, Seen::default()));
            }
        }
        // A hook may have changed it.
        let changed = self.env.get("BUILDKITE_COMMAND");
        let command = changed.unwrap_or(&self.assignment.command).trim_end();
        if command.trim().is_empty() {
            self.log.say("~~~ No command to run").await;
            return Ok(of_command(End::Exited(0), None, Seen::default()));
        }
        if self.host.instance.forbidden.command_eval && named_file(&self.dir.checkout, command).is_none() {
            return Err(self.forbidden(&OffLimits::Command(command)).await);
        }
        self.log.say(format!("~~~ Running commands\n\x1b[90m$\x1b[0m {command}")).await;
        self.log.command_starts().await;
        let oom = OomKills::watch();
        let args = arguments(command, &self.cwd, &self.dir.root.join("command"))
            .map_err(|e| cannot_start(&e, format!("cannot write the script of the job: {e}")))?;
        let ran = match self.process(shell().into(), args, &self.env, Patience::Job).await {
            Ok(ran) => ran,
            Err(error) => {
                let detail = format!("cannot start the shell: {error}");
                self.log.say(format!("^^^ +++\n{detail}")).await;
                return Err(cannot_start(&error, detail).into());
            }
        };
        self.take_changes().await;
        let seen = Seen { out_of_memory: oom.happened(), disk_full: disk_full(&self.dir.checkout) };
        let outcome = of_command(ran.end, ran.ending, seen);
        self.say_end(ran.end, &outcome).await;
        Ok(outcome)
    }

    async fn say_end(&self, end: End, outcome: &Outcome) {
        let status = end.status();
        if status == 0 {
            return;
        }
        let text = match (&outcome.signal, &outcome.detail) {
            (Some(signal), None) => format!("The command was ended by signal {signal}."),
            (None, None) => format!("The command exited with status {status}."),
            (_, Some(detail)) => format!("The command exited with status {status}: {detail}."),
        };
        self.log.say(format!("^^^ +++\n{text}")).await;
    }

    async fn keep_artifacts(&mut self, tally: &mut Tally) {
        if self.assignment.artifact_paths.is_empty() {
            return;
        }
        let patience = self.patience(tally.ending);
        if tally.ending.is_none()
            && let Err(halt) = self.hooks(Moment::PreArtifact, self.everybody(), patience).await
        {
            tally.failures.artifacts = tally.halted(halt);
            return;
        }
        self.log.say("~~~ Uploading artifacts").await;
        let voice = artifacts::Voice::Log(self.log);
        let upload = artifacts::upload(
            self.host,
            &voice,
            &self.assignment.attempt,
            &self.dir.checkout,
            &self.assignment.artifact_paths,
            self.api.artifacts(),
        );
        let result = match patience {
            Patience::Last(time) => tokio::time::timeout(time, upload)
                .await
                .unwrap_or_else(|_| Err("there was no time left to upload artifacts".to_owned())),
            Patience::Job => tokio::select! {
                result = upload => result,
                ending = self.watch.ending() => {
                    self.say_ending(ending).await;
                    tally.ending = Some(ending);
                    return;
                }
            },
        };
        if let Err(why) = result {
            self.log.say(format!("^^^ +++\n{why}")).await;
            tally.failures.artifacts = Some(1);
            tally.detail = Some(why);
        } else if tally.ending.is_none()
            && let Err(halt) = self.hooks(Moment::PostArtifact, self.everybody(), patience).await
        {
            tally.failures.artifacts = tally.halted(halt);
        }
    }

    /// `pre-exit`, whatever happened; nothing of it runs for a job whose code never ran.
    async fn last_hooks(&mut self, tally: &mut Tally) {
        if !self.has_started() {
            return;
        }
        if let Some(ending) = tally.ending {
            self.env.set("BUILDKITE_JOB_CANCELLED", "true");
            if ending == Ending::Cancel(CancelReason::Timeout) {
                self.env.set("BUILDKITE_JOB_TIMED_OUT", "true");
            }
        }
        let patience = self.patience(tally.ending);
        if let Err(halt) = self.hooks(Moment::PreExit, self.everybody(), patience).await {
            // An end that was wanted before stays the reason.
            let before = tally.ending;
            tally.failures.pre_exit = tally.halted(halt);
            tally.ending = before.or(tally.ending);
        }
    }

    fn patience(&self, ending: Option<Ending>) -> Patience {
        match ending {
            None => Patience::Job,
            Some(_) => Patience::Last(Duration::from_millis(self.assignment.grace_ms).max(LAST_WORDS)),
        }
    }
}
