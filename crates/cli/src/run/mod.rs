//! `tidegate run`: the pipeline of a local repository, through the same engine as under `up`, without a server that
//! stays.
//!
//! The system is started in this process on a state directory of its own and free loopback ports, and a push of what is
//! to be built is put into the queue into which webhooks are put. In the end nothing is left: no process, no file.

mod snapshot;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use nix::sys::signal::Signal;
use tidegate_core::build::BuildState;
use tidegate_core::event::{Event, EventKind, GitRef, HeadCommit, MESSAGE_LIMIT, Push, Repository, truncate};
use tidegate_core::ids::{CommitSha, DeliveryId, PipelineSlug, RepositoryId, RepositoryName};
use tidegate_core::plan::StepKind;
use tidegate_core::time::Timestamp;
use tidegate_core::wire::envelope::to_ascii_json;
use tidegate_engine::api::{BuildAnswer, JobAnswer};
use tidegate_engine::ports::{InstanceStatus, Outgoing, RepositorySource};
use tidegate_engine::{INGEST, PipelineSettings};
use tidegate_local::SECRETS_FILE;
use tidegate_pipeline::{Context, Limits, Source, Unset, expand};

use crate::args::{Global, Run};
use crate::client::Backend;
use crate::commands::{local, me};
use crate::config::{Config, Local, default_pool};
use crate::exit::{self, Expected};
use crate::live::{Follower, View};
use crate::process;
use crate::server::{Server, StartError};
use crate::signals::Signals;
use crate::{out, show};
use snapshot::Snapshot;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// The one repository has this id.
const ID: u64 = 1;
/// How long instances may take to end, beyond the grace of their jobs.
const STOP: Duration = Duration::from_secs(10);

/// `tidegate run`.
pub(crate) async fn run(global: &Global, arguments: &Run) -> anyhow::Result<u8> {
    let mut signals = Signals::new()?;
    let directory = tempfile::Builder::new().prefix("tidegate-run-").tempdir().context("cannot make a directory")?;
    let root = snapshot::root(arguments.repo.as_deref().unwrap_or_else(|| Path::new(".")))?;
    let snapshot = Snapshot::take(&root, &directory.path().join("repository.git"), arguments.dirty)?;
    let file = arguments.file.as_deref().map(|file| snapshot::inside(&root, file)).transpose()?;
    let mut config = configure(&snapshot, file, arguments, local(global)?)?;
    // Those of the user's own server: the jobs run as the user.
    config.secrets = global.state_path().ok().map(|state| state.join(SECRETS_FILE));
    let server = match Server::start(&config, &directory.path().join("state")).await {
        Ok(server) => server,
        Err(StartError::Other(error)) => return Err(error),
        Err(error @ StartError::Listen { .. }) => return Err(anyhow!("{error}")),
    };
    let backend = Backend::Engine(Arc::clone(&server.engine));
    let mut view = View::new(global.json, false);
    let state = directory.path().join("state");
    let followed = follow(&server, &backend, &snapshot, &state, &mut signals, &mut view).await;
    view.clear()?;
    let patience = config.limits.grace + STOP;
    match &followed {
        Ok(Outcome::Cut) => {
            end_at_once(&server).await;
            server.stop(Duration::from_secs(2)).await;
        }
        _ => {
            let cut = tokio::select! {
                () = server.stop(patience) => false,
                () = signals.next() => true,
            };
            if cut {
                end_at_once_engine(&backend).await;
            }
        }
    }
    // The store is closed before its directory goes.
    drop(backend);
    let removed = directory.close().context("cannot remove the state");
    let (build, interrupted) = match followed? {
        Outcome::Ended { build, interrupted } => (build, interrupted),
        Outcome::Cut => return Err(Expected::Interrupted.into()),
    };
    if global.json {
        out::json_line(&build)?;
    } else {
        out::text(&format!("\n{}", show::build(&told(*build.clone()), jiff::Timestamp::now(), out::width())))?;
    }
    removed?;
    Ok(status(&build, interrupted))
}

/// What there is still to say to a person who has watched the build.
fn told(mut build: BuildAnswer) -> BuildAnswer {
    // Nobody but the person is told of it.
    build.status = None;
    if !out::is_terminal() {
        // Every line was printed already.
        build.jobs.iter_mut().flat_map(|job| &mut job.attempts).for_each(|attempt| attempt.tail.clear());
    }
    build
}

fn status(build: &BuildAnswer, interrupted: bool) -> u8 {
    match build.build.state {
        _ if interrupted => exit::INTERRUPTED,
        BuildState::Passed | BuildState::NotRun => exit::DONE,
        // There is nothing to run: the pipeline file is wrong, or not there.
        _ if !build.failure.is_empty() => exit::USAGE,
        _ => exit::FAILED,
    }
}

/// How following a build ended.
enum Outcome {
    /// The build has ended, perhaps because a person wanted so.
    Ended { build: Box<BuildAnswer>, interrupted: bool },
    /// A person did not want to wait.
    Cut,
}

async fn follow(
    server: &Server,
    backend: &Backend,
    snapshot: &Snapshot,
    state: &Path,
    signals: &mut Signals,
    view: &mut View,
) -> anyhow::Result<Outcome> {
    let delivery = DeliveryId::new("run")?;
    let event =
        Event { delivery: delivery.clone(), received_at: now(), kind: EventKind::Push(Box::new(push(snapshot)?)) };
    let message = Outgoing { body: to_ascii_json(&event)?, ..Outgoing::default() };
    server.engine.ports().queue.send(INGEST, message).await?;
    let build = tokio::select! {
        build = build_of(backend, &delivery) => build?,
        () = signals.next() => return Ok(Outcome::Cut),
    };
    let mut follower = Follower::new(build.clone());
    let mut interrupted = false;
    let mut asked: Vec<String> = Vec::new();
    loop {
        let events = follower.look(backend).await?;
        view.show(&events)?;
        for job in follower.build().map(|build| questions(build, &asked)).unwrap_or_default() {
            let how = format!("tidegate unblock {build} {job:?} --state {}", state.display());
            view.say(&format!("`{job}` waits for a person: {how}"))?;
            asked.push(job);
        }
        view.draw(follower.build(), &[])?;
        if follower.is_done() {
            let build = follower.build().context("the build was never seen")?.clone();
            return Ok(Outcome::Ended { build: Box::new(build), interrupted });
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = signals.next() => {
                if interrupted {
                    return Ok(Outcome::Cut);
                }
                interrupted = true;
                view.say("canceling: running jobs may clean up; once more ends everything at once")?;
                // What is over meanwhile cannot be canceled, which is as good.
                let _over = backend.cancel(&build, &me()).await;
            }
        }
    }
}

/// Steps that wait for a person who was not told of them yet.
fn questions(build: &BuildAnswer, asked: &[String]) -> Vec<String> {
    let name = |job: &JobAnswer| job.key.clone().unwrap_or_else(|| job.label.clone());
    let blocked = build.jobs.iter().filter(|job| job.state == "blocked").map(name);
    blocked.filter(|name| !asked.contains(name)).collect()
}

/// The build that the push led to.
async fn build_of(backend: &Backend, delivery: &DeliveryId) -> anyhow::Result<String> {
    loop {
        if let Some(record) = backend.delivery(delivery.as_str()).await? {
            if let Some(why) = record.why {
                return Err(anyhow!("there is nothing to build: {why}"));
            }
            let build = record.builds.first().context("there is nothing to build")?;
            return Ok(build.to_string());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Ends every instance without waiting for what its job wants to clean up.
async fn end_at_once(server: &Server) {
    end_at_once_engine(&Backend::Engine(Arc::clone(&server.engine))).await;
}

async fn end_at_once_engine(backend: &Backend) {
    let Backend::Engine(engine) = backend else { return };
    let Ok(views) = engine.ports().fleet.describe().await else { return };
    let pids: Vec<u32> =
        views.iter().filter(|view| view.status == InstanceStatus::Alive).filter_map(|view| view.pid).collect();
    // A second signal ends an instance's patience: it kills everything that it started.
    for _ in 0..2 {
        for pid in &pids {
            process::signal(*pid, Signal::SIGTERM);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..100 {
        if !pids.iter().any(|pid| process::is_alive(*pid)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn now() -> Timestamp {
    Timestamp(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0))
}

/// The push that the same commit would come with.
fn push(snapshot: &Snapshot) -> anyhow::Result<Push> {
    let commit = CommitSha::new(snapshot.commit.clone())?;
    Ok(Push {
        repository: Repository {
            id: RepositoryId(ID),
            full_name: RepositoryName::new(snapshot.full_name.clone())?,
            default_branch: snapshot.default_branch.clone(),
            private: None,
        },
        git_ref: GitRef::parse(&format!("refs/heads/{}", snapshot.branch)).context("the branch has a strange name")?,
        before: CommitSha::new("0".repeat(commit.as_str().len()))?,
        after: commit.clone(),
        created: true,
        deleted: false,
        forced: false,
        head: Some(HeadCommit {
            id: commit,
            message: truncate(&snapshot.message, MESSAGE_LIMIT),
            author_name: snapshot.author_name.clone(),
            author_email: snapshot.author_email.clone(),
            // Whoever says `run` means it, whatever the message says.
            skip: None,
        }),
        pusher: me(),
        sender: None,
        installation: None,
    })
}

/// A configuration for one repository on one machine, which is every machine that the pipeline asks for.
fn configure(
    snapshot: &Snapshot,
    file: Option<String>,
    arguments: &Run,
    Local { limits, hooks_dir, plugin_mirrors }: Local,
) -> anyhow::Result<Config> {
    let mut config = Config {
        limits,
        hooks_dir,
        plugin_mirrors,
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        api_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..Config::default()
    };
    let full_name = RepositoryName::new(snapshot.full_name.clone())?;
    let slug = full_name.as_str().rsplit('/').next().unwrap_or_default().to_owned();
    config.repositories = vec![RepositorySource {
        id: RepositoryId(ID),
        full_name,
        clone_url: snapshot.repository.display().to_string(),
    }];
    let text = snapshot.pipeline(file.as_deref());
    config.pipelines =
        vec![PipelineSettings { file, ..PipelineSettings::new(PipelineSlug::new(slug)?, RepositoryId(ID)) }];
    let mut pool = default_pool();
    for (tag, value) in text.map(|text| agents(&text, limits.pipeline)).unwrap_or_default() {
        let any = matches!(value.as_str(), "" | "*");
        let known = pool.tags.iter().any(|(t, v)| *t == tag && (any || *v == value));
        if !known {
            pool.tags.push((tag, if any { "true".to_owned() } else { value }));
        }
    }
    config.pools = vec![pool];
    if let Some(hooks) = &arguments.hooks {
        let absolute = std::fs::canonicalize(hooks)
            .map_err(|error| Expected::usage(format!("cannot open `{}`: {error}", hooks.display())))?;
        config.hooks_dir = Some(absolute);
    }
    Ok(config)
}

/// What the steps of a pipeline ask of machines. A text with errors asks nothing: the build will say what is wrong.
fn agents(text: &[u8], limits: Limits) -> Vec<(String, String)> {
    let context = Context { unset: Unset::Unknown, decide: false, limits, ..Context::default() };
    let Some(segment) = expand(Source { name: "pipeline", text }, &context).segment else { return Vec::new() };
    let mut wanted = Vec::new();
    for step in &segment.steps {
        if let StepKind::Command(command) = &step.kind {
            for index in 0..command.jobs.len() {
                wanted.extend(command.spec_of(index).agents.iter().cloned());
            }
        }
    }
    wanted
}
