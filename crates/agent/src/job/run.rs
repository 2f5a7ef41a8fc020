//! The phases of a job, in order: working directory, checkout, `start`, command, artifacts, what is left running, log,
//! result.
//!
//! If we crash: before `start` nothing of the user ran, and the control plane may try again freely; after it, the
//! attempt ends as `lost`. The kernel and the watchdog end what ran, and the directory is removed by the next attempt
//! that wants its name or with the instance's own.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::attempt::Cause;
use tidegate_core::plan::Env;
use tidegate_core::wire::gate::{Assignment, Outcome, ReportResult, ResultAnswer, Start, StartAnswer};
use tidegate_core::wire::instance::InstanceFile;

use super::dirs::{self, JobDir};
use super::env::{JobEnv, Places, compose};
use super::outcome::Seen;
use super::outcome::{cause_of, of_command, plain};
use super::pressure::{OomKills, disk_full};
use crate::artifacts;
use crate::checkout::{self, CheckoutError};
use crate::control::{Control, Ending, Watch};
use crate::gate::Gate;
use crate::output::{Log, LogEnd, LogSettings};
use crate::process::{Children, End, JobCommand, stop};

/// What a process gets to end by itself once the command has ended: a `tee` that still writes the last line.
const LINGER: Duration = Duration::from_millis(250);
/// Between SIGTERM and SIGKILL for what a job left running.
const LEFTOVER_GRACE: Duration = Duration::from_secs(1);
/// Artifacts of a job that was ended get this long, at least.
const LAST_ARTIFACTS: Duration = Duration::from_secs(10);
/// A longer script goes into a file: the kernel limits one argument to 128 KiB.
const LONGEST_ARGUMENT: usize = 100 * 1024;

/// What all jobs of this process share.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) children: Children,
    pub(crate) gate: Gate,
    pub(crate) boot: String,
    pub(crate) instance: Arc<InstanceFile>,
    pub(crate) control: Control,
    pub(crate) base_env: Env,
}

/// Runs an attempt and reports its result. Nothing of it is left when this returns.
pub(crate) async fn run(host: &Host, mut assignment: Assignment) {
    let attempt = assignment.attempt.clone();
    tracing::info!(attempt.id = %attempt, "job begins");
    let limit = assignment.timeout_ms.map(Duration::from_millis);
    let watch = host.control.watch(&attempt, limit);
    let urls = std::mem::take(&mut assignment.log_urls);
    let opened = Log::open(LogSettings {
        gate: host.gate.clone(),
        boot: host.boot.clone(),
        attempt: attempt.clone(),
        urls,
        limit: assignment.log_limit,
    });
    let prepared = JobDir::create(&host.instance.work_dir, &attempt);
    let (outcome, log, dir) = match (opened, prepared) {
        (Ok(log), Ok(dir)) => {
            let job = Job::new(host, &assignment, &watch, &log, &dir);
            let outcome = tokio::select! {
                outcome = job.run() => outcome,
                ending = watch.hopeless() => plain(cause_of(ending), Some("the attempt was given up".to_owned())),
            };
            stop::kill_all().await;
            (outcome, Some(log), Some(dir))
        }
        (Ok(log), Err(error)) => {
            let detail = format!("cannot make a working directory in `{}`: {error}", host.instance.work_dir.display());
            log.say(&detail).await;
            (cannot_start(&error, detail), Some(log), None)
        }
        (Err(error), dir) => {
            let detail = format!("cannot make a pipe for the log: {error}");
            (cannot_start(&error, detail), None, dir.ok())
        }
    };
    let removal = dir.map(|dir| tokio::task::spawn_blocking(move || dirs::remove(&dir.root)));
    tokio::select! {
        () = report(host, &watch, assignment, outcome, log) => {}
        () = watch.abandoned() => {}
    }
    if let Some(removal) = removal
        && let Ok(Err(error)) = removal.await
    {
        tracing::warn!(attempt.id = %attempt, %error, "the working directory is not removed");
    }
}

fn cannot_start(error: &std::io::Error, detail: String) -> Outcome {
    let cause = if error.kind() == std::io::ErrorKind::StorageFull { Cause::OutOfDisk } else { Cause::AgentStopped };
    plain(cause, Some(detail))
}

async fn report(host: &Host, watch: &Watch, assignment: Assignment, mut outcome: Outcome, log: Option<Log>) {
    let end = match log {
        Some(log) => log.finish().await,
        None => LogEnd::default(),
    };
    outcome.log = end.extent;
    outcome.tail = end.tail;
    outcome.first_output_ms = end.first_output.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    tracing::info!(
        attempt.id = %assignment.attempt,
        outcome.cause = ?outcome.cause,
        outcome.exit_status = outcome.exit_status,
        "job ends"
    );
    let result = ReportResult { boot: host.boot.clone(), attempt: assignment.attempt, outcome };
    match host.gate.call::<_, ResultAnswer>("result", &result).await {
        Ok(ResultAnswer { accepted: true }) => {}
        Ok(ResultAnswer { accepted: false }) => {
            tracing::warn!(attempt.id = %result.attempt, "the attempt had ended before its result");
        }
        Err(refused) => {
            tracing::error!(attempt.id = %result.attempt, error = %refused, ending = ?watch.now(), "the result was refused");
        }
    }
}

/// One job in its surroundings.
struct Job<'a> {
    host: &'a Host,
    assignment: &'a Assignment,
    watch: &'a Watch,
    log: &'a Log,
    dir: &'a JobDir,
    env: JobEnv,
}

/// How a process of the job ended, and whether we made it end.
struct Ran {
    end: End,
    ending: Option<Ending>,
}

impl<'a> Job<'a> {
    fn new(host: &'a Host, assignment: &'a Assignment, watch: &'a Watch, log: &'a Log, dir: &'a JobDir) -> Self {
        let places = Places { build: &dir.root, checkout: &dir.checkout, tmp: &dir.tmp };
        let env =
            compose(&host.base_env, &assignment.env, &assignment.attempt, assignment.grace_ms, &host.instance, places);
        Self { host, assignment, watch, log, dir, env }
    }

    async fn run(self) -> Outcome {
        if let Err(outcome) = self.check_out().await {
            return outcome;
        }
        if let Err(outcome) = self.start().await {
            return outcome;
        }
        let mut outcome = match self.command().await {
            Ok(outcome) => outcome,
            Err(outcome) => return outcome,
        };
        self.end_leftovers().await;
        if outcome.cause != Cause::AgentStopped {
            self.keep_artifacts(&mut outcome).await;
        }
        outcome
    }

    async fn check_out(&self) -> Result<(), Outcome> {
        let Some(wanted) = &self.assignment.checkout else {
            return Ok(());
        };
        self.log.say("~~~ Preparing working directory").await;
        let checkout = checkout::check_out(self.host, self.log, wanted, self.dir, &self.env);
        let result = tokio::select! {
            result = checkout => result,
            ending = self.watch.ending() => {
                stop::end_all(None, LEFTOVER_GRACE).await;
                self.say_ending(ending).await;
                return Err(plain(cause_of(ending), None));
            }
        };
        match result {
            Ok(()) => Ok(()),
            Err(error) => {
                self.log.say(format!("^^^ +++\n{error}")).await;
                Err(match error {
                    CheckoutError::DiskFull(detail) => plain(Cause::OutOfDisk, Some(detail)),
                    CheckoutError::Permanent(detail) => {
                        Outcome { permanent: true, ..plain(Cause::CheckoutFailed, Some(detail)) }
                    }
                    CheckoutError::Failed(detail) => plain(Cause::CheckoutFailed, Some(detail)),
                })
            }
        }
    }

    /// Says that the user's own code is about to run, unless somebody objects.
    async fn start(&self) -> Result<(), Outcome> {
        let start = Start { boot: self.host.boot.clone(), attempt: self.assignment.attempt.clone() };
        let ending = tokio::select! {
            answer = self.host.gate.call::<_, StartAnswer>("start", &start) => match answer {
                Ok(StartAnswer { cancel: None }) => self.watch.now(),
                Ok(StartAnswer { cancel: Some(reason) }) => Some(Ending::Cancel(reason)),
                Err(refused) => return Err(plain(Cause::AgentStopped, Some(refused.to_string()))),
            },
            ending = self.watch.ending() => Some(ending),
        };
        match ending {
            None => Ok(()),
            Some(ending) => {
                self.say_ending(ending).await;
                Err(plain(cause_of(ending), None))
            }
        }
    }

    async fn command(&self) -> Result<Outcome, Outcome> {
        let command = self.assignment.command.trim_end();
        if command.trim().is_empty() {
            self.log.say("~~~ No command to run").await;
            return Ok(of_command(End::Exited(0), None, Seen::default()));
        }
        self.log.say(format!("~~~ Running commands\n\x1b[90m$\x1b[0m {command}")).await;
        self.log.command_starts().await;
        let oom = OomKills::watch();
        let script = self
            .script(command)
            .map_err(|error| cannot_start(&error, format!("cannot write the script of the job: {error}")))?;
        let ran = match self.process(script).await {
            Ok(ran) => ran,
            Err(error) => {
                let detail = format!("cannot start the shell: {error}");
                self.log.say(format!("^^^ +++\n{detail}")).await;
                return Err(cannot_start(&error, detail));
            }
        };
        let seen = Seen { out_of_memory: oom.happened(), disk_full: disk_full(&self.dir.checkout) };
        let outcome = of_command(ran.end, ran.ending, seen);
        self.say_end(&ran, &outcome).await;
        Ok(outcome)
    }

    /// The shell and what it is to run. One line that names a file of the checkout runs that file, as the reference
    /// does: `scripts/test` needs neither `./` nor the executable bit.
    fn script(&self, command: &str) -> std::io::Result<Vec<std::ffi::OsString>> {
        let mut args = vec!["-e".into()];
        if command.len() > LONGEST_ARGUMENT {
            let file = self.dir.root.join("command");
            std::fs::write(&file, command)?;
            args.push(file.into_os_string());
            return Ok(args);
        }
        let mut text = command.to_owned();
        if let Some(file) = named_file(&self.dir.checkout, command) {
            make_executable(&file);
            text = format!("./{}", quote(command.trim_start_matches("./")));
        }
        args.push("-c".into());
        args.push(text.into());
        Ok(args)
    }

    async fn process(&self, args: Vec<std::ffi::OsString>) -> std::io::Result<Ran> {
        let command = JobCommand {
            program: shell().into(),
            args,
            env: self.env.to_vec(),
            cwd: self.dir.checkout.clone(),
            output: self.log.writer()?,
        };
        let mut running = self.host.children.spawn(&mut command.build()?)?;
        prefer_as_victim(running.pid);
        tokio::select! {
            biased;
            end = running.ended() => Ok(Ran { end, ending: None }),
            ending = self.watch.ending() => {
                self.say_ending(ending).await;
                let grace = Duration::from_millis(self.assignment.grace_ms);
                stop::end_all(Some(running.pid), grace).await;
                Ok(Ran { end: running.ended().await, ending: Some(ending) })
            }
        }
    }

    async fn say_ending(&self, ending: Ending) {
        let why = match ending {
            Ending::Cancel(tidegate_core::wire::gate::CancelReason::Canceled) => "The job was canceled.",
            Ending::Cancel(tidegate_core::wire::gate::CancelReason::Timeout) => "The job has run out of time.",
            Ending::Stop => "The agent was told to stop.",
            Ending::Ended | Ending::Abandon => "The attempt was given up.",
        };
        self.log.say(format!("~~~ {why}")).await;
    }

    async fn say_end(&self, ran: &Ran, outcome: &Outcome) {
        let status = ran.end.status();
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

    /// Ends what the job left running, and says what it was.
    async fn end_leftovers(&self) {
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
        stop::end_all(None, LEFTOVER_GRACE).await;
    }

    async fn keep_artifacts(&self, outcome: &mut Outcome) {
        if self.assignment.artifact_paths.is_empty() {
            return;
        }
        let upload = artifacts::upload(
            self.host,
            self.log,
            &self.assignment.attempt,
            &self.dir.checkout,
            &self.assignment.artifact_paths,
        );
        let ended_already = self.watch.now().is_some();
        let result = if ended_already {
            let grace = Duration::from_millis(self.assignment.grace_ms).max(LAST_ARTIFACTS);
            tokio::time::timeout(grace, upload)
                .await
                .unwrap_or_else(|_| Err("there was no time left to upload artifacts".to_owned()))
        } else {
            tokio::select! {
                result = upload => result,
                ending = self.watch.ending() => {
                    self.say_ending(ending).await;
                    outcome.cause = cause_of(ending);
                    return;
                }
            }
        };
        if let Err(why) = result {
            self.log.say(format!("^^^ +++\n{why}")).await;
            // A command that failed keeps its own status.
            if outcome.cause == Cause::Exit && outcome.exit_status == Some(0) {
                outcome.exit_status = Some(1);
                outcome.detail = Some(super::outcome::shorten(why));
            }
        }
    }
}

/// `bash` where there is one: pipelines are written for it.
fn shell() -> &'static str {
    if std::path::Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" }
}

/// The file of the checkout that a command of one word names, if it does.
fn named_file(checkout: &std::path::Path, command: &str) -> Option<std::path::PathBuf> {
    let relative = std::path::Path::new(command);
    let inside = relative
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir));
    let file = checkout.join(relative);
    (inside && !command.contains('\n') && file.is_file()).then_some(file)
}

fn make_executable(file: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    // If it cannot be made executable the shell says so, which is what the user should read.
    if let Ok(metadata) = file.metadata() {
        let mode = metadata.permissions().mode();
        if mode & 0o111 == 0 {
            let _ = std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode | 0o755));
        }
    }
}

/// Quotes a word for the shell.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// When memory runs out the job goes, not the agent that must tell about it.
fn prefer_as_victim(pid: i32) {
    // Best effort: the process may have ended.
    let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "300");
}
