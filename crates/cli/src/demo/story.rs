//! What happens, in order.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use owo_colors::Style;
use reqwest::Url;
use secrecy::SecretString;
use tidegate_engine::api::{ArtifactAnswer, BuildAnswer, JobAnswer};
use tidegate_github::payload::push;

use super::guard::Server;
use super::pipeline::{self, ID, LONG, NAME};
use super::state;
use crate::client::Backend;
use crate::commands::deliver::{Answer, Delivery, fresh_guid, with_path};
use crate::live::{Event, Follower, View};
use crate::process::signal;
use crate::show::{elapsed, paint};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(80);
/// A story that takes longer has gone wrong.
const LONGEST: Duration = Duration::from_secs(60);
/// How many machines there may be.
const WIDTH: usize = 3;
/// The machine is killed after so many lines of output.
const LINES_BEFORE: usize = 2;

/// How it ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) build: BuildAnswer,
    pub(super) artifacts: Vec<ArtifactAnswer>,
    pub(super) timeline: Vec<(&'static str, Duration)>,
    pub(super) took: Duration,
    /// The machine that was killed, and its process.
    pub(super) killed: Option<(String, u32)>,
    /// How many builds there are in the end.
    builds: usize,
    /// The builds that the same push led to, told again under another delivery id.
    retold: Vec<String>,
    /// Machines that would not leave.
    left: usize,
}

impl Ended {
    /// What did not happen as it should.
    pub(super) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let state = self.build.build.state.name();
        if state != "passed" {
            broken.push(format!("the build should have passed, and is {state}"));
        }
        if self.killed.is_none() {
            broken.push(format!("no machine was killed: `{LONG}` was never seen running"));
        }
        match self.build.jobs.iter().find(|job| job.key.as_deref() == Some(LONG)) {
            None => broken.push(format!("there is no job `{LONG}`")),
            Some(job) => broken.extend(wrong_attempts(job)),
        }
        if self.builds != 1 {
            broken.push(format!("one push should have led to one build, and there are {}", self.builds));
        }
        if self.retold != [self.build.build.id.to_string()] {
            broken.push("the same push, told again, was not recognised".to_owned());
        }
        if self.left > 0 {
            broken.push(format!("{} machines did not leave", self.left));
        }
        if self.artifacts.is_empty() {
            broken.push("there is no artifact".to_owned());
        }
        broken
    }
}

fn wrong_attempts(job: &JobAnswer) -> Option<String> {
    let seen: Vec<(&str, u32)> =
        job.attempts.iter().map(|a| (a.cause.as_deref().unwrap_or("nothing"), a.retry_count)).collect();
    (seen != [("lost", 0), ("exit", 0)]).then(|| {
        let seen: Vec<String> = seen.iter().map(|(cause, retries)| format!("{cause} (retry {retries})")).collect();
        format!(
            "the attempts of `{LONG}` should have ended `lost` and `exit`, without a retry, and did: {}",
            seen.join(", ")
        )
    })
}

/// Tells it.
pub(super) async fn tell(directory: &Path, view: &mut View, server: &mut Server) -> anyhow::Result<Ended> {
    match tokio::time::timeout(LONGEST, Story::begin(directory, view, server)).await {
        Ok(ended) => ended,
        Err(_) => bail!("it did not end within {} s", LONGEST.as_secs()),
    }
}

struct Story<'a> {
    view: &'a mut View,
    server: &'a mut Server,
    backend: Backend,
    url: Url,
    secret: SecretString,
    payload: Vec<u8>,
}

impl<'a> Story<'a> {
    async fn begin(directory: &Path, view: &'a mut View, server: &'a mut Server) -> anyhow::Result<Ended> {
        let begun = Instant::now();
        let bold = Style::new().bold();
        let repository = directory.join("repository");
        fs::create_dir(&repository)?;
        let facts = pipeline::make(&repository)?;
        view.say(&format!("a repository with a pipeline: {}", repository.display()))?;
        let (config, secret) = configure(directory, &repository)?;
        let state = state(directory);
        let pid = server.start(directory, &config, &state)?;
        let api = server.ready(&state).await?;
        let backend = Server::client(state).await?;
        view.say(&format!(
            "{} as process {pid}, listening for webhooks at {}",
            paint("tidegate up", bold),
            api.public_url
        ))?;
        let url = with_path(api.public_url.parse()?);
        let mut story = Self { view, server, backend, url, secret, payload: push(&facts).to_string().into_bytes() };

        let guid = fresh_guid();
        let posted = jiff::Timestamp::now();
        let answer = story.deliver(&guid).await?;
        let accepted = jiff::Timestamp::now();
        let size = crate::show::bytes(story.payload.len() as u64);
        let head = facts.after.short();
        story.view.say(&format!(
            "POST /webhook: {} of {} at {head}, {size} signed with HMAC-SHA256: {} after {}",
            paint("push", bold),
            facts.git_ref.name(),
            paint(answer.status, bold),
            elapsed(crate::show::since(posted, accepted).unwrap_or_default())
        ))?;
        let id = story.build_of(&guid).await?;
        let mut follower = Follower::new(id);
        let (killed, first_line) = story.watch(&mut follower).await?;
        let builds = story.deliver_again(&guid).await?;
        let launched = story.until_machines_left(&mut follower).await?;
        story.view.clear()?;

        let build = follower.build().context("the build was never seen")?.clone();
        let artifacts = story.backend.artifacts(build.build.id.as_str(), None).await?.artifacts;
        let timeline = super::summary::timeline(&build, posted, accepted, first_line);
        Ok(Ended {
            build,
            artifacts,
            timeline,
            took: begun.elapsed(),
            killed,
            builds: builds.0,
            retold: builds.1,
            left: launched,
        })
    }

    async fn deliver(&self, guid: &str) -> anyhow::Result<Answer> {
        let delivery = Delivery { url: &self.url, event: "push", guid, body: self.payload.clone() };
        let answer = delivery.send(&self.secret).await?;
        if answer.status != 202 {
            bail!("the delivery was answered with {}: {}", answer.status, answer.body);
        }
        Ok(answer)
    }

    /// The one build that a delivery led to.
    async fn build_of(&mut self, guid: &str) -> anyhow::Result<String> {
        let builds = self.builds_of(guid).await?;
        match builds.as_slice() {
            [one] => Ok(one.clone()),
            _ => bail!("the delivery led to {} builds", builds.len()),
        }
    }

    async fn builds_of(&self, guid: &str) -> anyhow::Result<Vec<String>> {
        loop {
            if let Some(record) = self.backend.delivery(guid).await? {
                if let Some(why) = record.why {
                    bail!("the delivery led to no build: {why}");
                }
                return Ok(record.builds.iter().map(ToString::to_string).collect());
            }
            tokio::time::sleep(LOOK / 8).await;
        }
    }

    /// Follows the build to its end, and kills a machine on the way.
    async fn watch(
        &mut self,
        follower: &mut Follower,
    ) -> anyhow::Result<(Option<(String, u32)>, Option<jiff::Timestamp>)> {
        let mut killed = None;
        let mut printed = 0;
        let mut first_line = None;
        let mut planned = false;
        loop {
            let events = follower.look(&self.backend).await?;
            if !planned && let Some(build) = follower.build().filter(|build| !build.jobs.is_empty()) {
                planned = true;
                let jobs = build.jobs.iter().filter(|job| job.kind != "wait").count();
                let line = format!("build {}#{} planned: {jobs} jobs", build.build.pipeline, build.build.number);
                self.view.say(&line)?;
            }
            self.view.show(&events)?;
            for event in &events {
                if let Event::Output { at, job, text, .. } = event {
                    first_line = first_line.or_else(|| at.as_deref().and_then(crate::show::parse));
                    printed += usize::from(job.key.as_deref() == Some(LONG) && text.starts_with("check "));
                }
            }
            self.server.note_instances(follower.instances().iter().filter_map(|instance| instance.pid));
            if killed.is_none() && printed >= LINES_BEFORE {
                killed = self.kill_machine(follower)?;
            }
            self.view.draw(follower.build(), follower.instances())?;
            if follower.is_done() {
                return Ok((killed, first_line));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// SIGKILL for the machine under the long step, while it runs.
    fn kill_machine(&mut self, follower: &Follower) -> anyhow::Result<Option<(String, u32)>> {
        let job = follower.build().and_then(|build| build.jobs.iter().find(|job| job.key.as_deref() == Some(LONG)));
        let Some(attempt) = job.and_then(|job| job.attempts.last()).filter(|attempt| attempt.cause.is_none()) else {
            return Ok(None);
        };
        let machine = follower.instances().iter().find(|instance| Some(&instance.id) == attempt.instance.as_ref());
        let Some((id, pid)) = machine.and_then(|machine| Some((machine.id.clone(), machine.pid?))) else {
            return Ok(None);
        };
        let red = Style::new().red().bold();
        self.view
            .say(&format!("{} instance {id} (process {pid}) while `{LONG}` runs on it", paint("kill -9:", red)))?;
        signal(pid, Signal::SIGKILL);
        Ok(Some((id, pid)))
    }

    /// The same delivery again, and the same push under another delivery id. How many builds there are then, and which the
    /// second telling led to.
    async fn deliver_again(&mut self, guid: &str) -> anyhow::Result<(usize, Vec<String>)> {
        self.deliver(guid).await?;
        let other = fresh_guid();
        self.deliver(&other).await?;
        // Once this one is decided, the one before it is too.
        let retold = self.builds_of(&other).await?;
        let count = self.backend.builds(None, 100).await?.builds.len();
        let plural = if count == 1 { "build" } else { "builds" };
        self.view.say(&format!("the same push delivered twice more: still {count} {plural}"))?;
        Ok((count, retold))
    }

    /// Waits until the machines have left by themselves; how many have not.
    async fn until_machines_left(&mut self, follower: &mut Follower) -> anyhow::Result<usize> {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let events = follower.look_at_instances(&self.backend).await?;
            self.view.show(&events)?;
            self.view.draw(follower.build(), follower.instances())?;
            let left = follower.instances().len();
            if left == 0 || Instant::now() >= deadline {
                return Ok(left);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Writes a configuration: free ports, a new secret, the repository, a few machines that leave soon.
fn configure(directory: &Path, repository: &Path) -> anyhow::Result<(std::path::PathBuf, SecretString)> {
    let secret = format!("{:032x}", rand::random::<u128>());
    let file = directory.join("webhook.secret");
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file)?;
    fs::write(&file, &secret)?;
    let path = directory.join("tidegate.toml");
    let text = format!(
        "listen = \"127.0.0.1:0\"\napi_listen = \"127.0.0.1:0\"\n\n[webhook]\nsecret_file = \"webhook.secret\"\n\n\
         [[repository]]\nfull_name = \"{NAME}\"\nid = {ID}\nclone_url = {}\n\n\
         [[pool]]\nname = \"default\"\nwidth = {WIDTH}\nidle = \"1s\"\n\n[limits]\ngrace = \"2s\"\n",
        toml::Value::from(repository.display().to_string()),
    );
    fs::write(&path, text)?;
    Ok((path, SecretString::from(secret)))
}
