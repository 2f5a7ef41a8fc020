//! A job from its assignment to its result: working directory and log, the [steps](super::steps), the end of everything
//! it started, the upload of the log, the report.
//!
//! If we crash: before `start` nothing of the user ran, and the control plane may try again freely; after it, the
//! attempt ends as `lost`. The kernel and the watchdog end what ran, and the directory is removed by the next attempt
//! that wants its name or with the instance's own.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::attempt::Cause;
use tidegate_core::plan::Env;
use tidegate_core::wire::gate::{Assignment, Outcome, ReportResult, ResultAnswer};
use tidegate_core::wire::instance::InstanceFile;

use super::api::JobApi;
use super::dirs::{self, JobDir};
use super::outcome::{cause_of, plain};
use super::steps::Job;
use crate::control::{Control, Watch};
use crate::gate::Gate;
use crate::output::{Log, LogEnd, LogSettings};
use crate::process::{Children, stop};

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
        rate: assignment.log_rate,
    });
    let prepared = JobDir::create(&host.instance.work_dir, &attempt);
    let (outcome, log, dir) = match (opened, prepared) {
        (Ok(log), Ok(dir)) => {
            let outcome = match JobApi::open(host, &attempt, &dir, &log, &watch) {
                Ok(api) => {
                    let job = Job::new(host, &assignment, &watch, &log, &dir, &api);
                    let mut outcome = tokio::select! {
                        outcome = job.run() => outcome,
                        ending = watch.hopeless() => plain(cause_of(ending), Some("the attempt was given up".to_owned())),
                    };
                    stop::kill_all(&host.children).await;
                    outcome.uploads = api.close();
                    outcome
                }
                Err(error) => {
                    let detail = format!("cannot make the socket of the job in `{}`: {error}", dir.root.display());
                    log.say(&detail).await;
                    cannot_start(&error, detail)
                }
            };
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

/// The outcome of a job for which something that every job needs could not be made.
pub(crate) fn cannot_start(error: &std::io::Error, detail: String) -> Outcome {
    let cause = if error.kind() == std::io::ErrorKind::StorageFull { Cause::OutOfDisk } else { Cause::AgentStopped };
    plain(cause, Some(detail))
}

async fn report(host: &Host, watch: &Watch, assignment: Assignment, mut outcome: Outcome, log: Option<Log>) {
    let end = match log {
        Some(log) => {
            // What git or the kernel said may hold a secret, and the record is for everybody.
            outcome.detail = outcome.detail.map(|detail| log.redactions().clean(&detail).unwrap_or(detail));
            log.finish().await
        }
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
