//! Looks at a build again and again.

use std::collections::HashMap;

use tidegate_engine::api::{BuildAnswer, InstanceAnswer, LogPosition};

use super::Lines;
use super::event::{Event, JobRef, build_events, instance_events, job_ref};
use crate::client::Backend;

/// How many parts of one log are read at one look.
const PARTS: usize = 64;

/// Follows one build and the machines.
#[derive(Debug)]
pub(crate) struct Follower {
    name: String,
    build: Option<BuildAnswer>,
    instances: Vec<InstanceAnswer>,
    logs: HashMap<(String, u32), Log>,
}

#[derive(Debug)]
struct Log {
    at: LogPosition,
    lines: Lines,
    done: bool,
}

impl Follower {
    /// Follows the build of this name.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), build: None, instances: Vec::new(), logs: HashMap::new() }
    }

    /// The build, as it was at the last look.
    pub(crate) fn build(&self) -> Option<&BuildAnswer> {
        self.build.as_ref()
    }

    /// The machines at the last look.
    pub(crate) fn instances(&self) -> &[InstanceAnswer] {
        &self.instances
    }

    /// Whether the build has ended, and everything that its jobs wrote was read.
    pub(crate) fn is_done(&self) -> bool {
        self.build.as_ref().is_some_and(|build| build.build.state.is_final()) && self.logs.values().all(|log| log.done)
    }

    /// Looks, and says what happened since the last look.
    pub(crate) async fn look(&mut self, backend: &Backend) -> anyhow::Result<Vec<Event>> {
        let build = backend.build(&self.name).await?;
        let instances = backend.instances().await?.instances;
        let now = jiff::Timestamp::now();
        let at = format!("{now:.3}");
        let mut events = instance_events(&self.instances, &instances, &at);
        let (starts, ends) = build_events(self.build.as_ref(), &build, &at);
        events.extend(starts);
        // A job whose end we see has written all its log before.
        self.read_logs(backend, &build, &mut events).await?;
        events.extend(ends);
        self.build = Some(build);
        self.instances = instances;
        Ok(events)
    }

    /// Only the machines, after the build has ended.
    pub(crate) async fn look_at_instances(&mut self, backend: &Backend) -> anyhow::Result<Vec<Event>> {
        let instances = backend.instances().await?.instances;
        let now = jiff::Timestamp::now();
        let events = instance_events(&self.instances, &instances, &format!("{now:.3}"));
        self.instances = instances;
        Ok(events)
    }

    async fn read_logs(
        &mut self,
        backend: &Backend,
        build: &BuildAnswer,
        events: &mut Vec<Event>,
    ) -> anyhow::Result<()> {
        for job in &build.jobs {
            for attempt in job.attempts.iter().filter(|attempt| attempt.claimed_at.is_some()) {
                let key = (job.id.clone(), attempt.number);
                if !self.logs.contains_key(&key) {
                    let at = backend.log_position(build.build.id.as_str(), &job.id, Some(attempt.number)).await?;
                    self.logs.insert(key.clone(), Log { at, lines: Lines::default(), done: false });
                }
                if let Some(log) = self.logs.get_mut(&key).filter(|log| !log.done) {
                    read(backend, log, &job_ref(build, job), events).await?;
                }
            }
        }
        Ok(())
    }
}

async fn read(backend: &Backend, log: &mut Log, job: &JobRef, events: &mut Vec<Event>) -> anyhow::Result<()> {
    let attempt = log.at.attempt.number;
    let mut take = |line: super::Line| {
        events.push(Event::Output {
            at: line.at.map(|at| at.to_string()),
            job: job.clone(),
            attempt,
            text: line.text,
            partial: line.partial,
        });
    };
    for _ in 0..PARTS {
        let part = backend.log_part(&log.at).await?;
        let more = !part.bytes.is_empty();
        log.lines.push(&part.bytes, &mut take);
        log.at = part.next;
        if !more {
            if part.end {
                log.lines.finish(&mut take);
                log.done = true;
            }
            return Ok(());
        }
    }
    Ok(())
}
