//! What happened, and how it follows from two looks at a build.

use serde::Serialize;
use tidegate_engine::api::{AttemptAnswer, BuildAnswer, InstanceAnswer, JobAnswer};

/// Which job an event is about.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct JobRef {
    /// Its id.
    pub(crate) job: String,
    /// Key of its step.
    pub(crate) key: Option<String>,
    /// What people see.
    pub(crate) label: String,
    /// Its place among the jobs of its step.
    pub(crate) index: usize,
    /// For people: the label, with the place where the step has several jobs.
    #[serde(skip)]
    pub(crate) title: String,
}

/// Something that happened.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// The build is in another state.
    Build {
        /// When it was seen.
        at: String,
        id: String,
        number: u64,
        pipeline: String,
        state: String,
    },
    /// A machine came, changed, or went.
    Instance {
        at: String,
        id: String,
        pool: String,
        /// `launched`, or a state, or `gone`.
        state: String,
        pid: Option<u32>,
    },
    /// A job is in another state.
    Job {
        at: String,
        #[serde(flatten)]
        job: JobRef,
        state: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        waiting: Option<String>,
        /// Where it runs.
        #[serde(skip_serializing_if = "Option::is_none")]
        instance: Option<String>,
    },
    /// An attempt ended.
    AttemptEnded {
        at: String,
        #[serde(flatten)]
        job: JobRef,
        attempt: u32,
        cause: String,
        exit_status: Option<i32>,
        signal: Option<String>,
        instance: Option<String>,
        retry_count: u32,
        detail: Option<String>,
        started_at: Option<String>,
    },
    /// A line of output.
    Output {
        /// When the line began, as the machine's clock said.
        at: Option<String>,
        #[serde(flatten)]
        job: JobRef,
        attempt: u32,
        text: String,
        /// The line goes on in the next event.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        partial: bool,
    },
}

/// The job of an answer.
pub(super) fn job_ref(build: &BuildAnswer, job: &JobAnswer) -> JobRef {
    let same = |other: &&JobAnswer| other.key == job.key && (job.key.is_some() || other.label == job.label);
    let count = build.jobs.iter().filter(same).count();
    // Labels of parallel jobs often carry their number already.
    let alike = build.jobs.iter().filter(|other| other.label == job.label).count() > 1;
    let title = if count > 1 && alike { format!("{} {}/{count}", job.label, job.index + 1) } else { job.label.clone() };
    JobRef { job: job.id.clone(), key: job.key.clone(), label: job.label.clone(), index: job.index, title }
}

/// How the builds differ. Jobs of kind `wait` are no news.
pub(super) fn build_events(before: Option<&BuildAnswer>, now: &BuildAnswer, at: &str) -> (Vec<Event>, Vec<Event>) {
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    let line = &now.build;
    if before.is_none_or(|before| before.build.state != line.state) {
        let event = Event::Build {
            at: at.to_owned(),
            id: line.id.to_string(),
            number: line.number,
            pipeline: line.pipeline.clone(),
            state: line.state.name().to_owned(),
        };
        if line.state.is_final() { ends.push(event) } else { starts.push(event) }
    }
    for job in now.jobs.iter().filter(|job| job.kind != "wait") {
        let old = before.and_then(|before| before.jobs.iter().find(|old| old.id == job.id));
        for attempt in &job.attempts {
            let was = old.and_then(|old| old.attempts.iter().find(|a| a.number == attempt.number));
            if was.is_none_or(|was| was.cause.is_none())
                && let Some(ended) = attempt_ended(now, job, attempt, at)
            {
                ends.push(ended);
            }
        }
        let changed = old.is_none_or(|old| old.state != job.state || old.attempts.len() != job.attempts.len());
        // At first everything waits, which is no news either.
        if changed && !(old.is_none() && job.state == "waiting") {
            let event = Event::Job {
                at: at.to_owned(),
                job: job_ref(now, job),
                state: job.state.clone(),
                waiting: job.waiting.clone(),
                instance: job.attempts.last().and_then(|a| a.instance.clone()),
            };
            let live = matches!(job.state.as_str(), "assigned" | "running");
            if live { starts.push(event) } else { ends.push(event) }
        }
    }
    // The end of the build is the last thing that is said.
    ends.sort_by_key(|event| matches!(event, Event::Build { .. }));
    (starts, ends)
}

fn attempt_ended(build: &BuildAnswer, job: &JobAnswer, attempt: &AttemptAnswer, at: &str) -> Option<Event> {
    Some(Event::AttemptEnded {
        at: attempt.finished_at.clone().unwrap_or_else(|| at.to_owned()),
        job: job_ref(build, job),
        attempt: attempt.number,
        cause: attempt.cause.clone()?,
        exit_status: attempt.exit_status,
        signal: attempt.signal.clone(),
        instance: attempt.instance.clone(),
        retry_count: attempt.retry_count,
        detail: attempt.detail.clone(),
        started_at: attempt.started_at.clone(),
    })
}

/// How the machines differ.
pub(super) fn instance_events(before: &[InstanceAnswer], now: &[InstanceAnswer], at: &str) -> Vec<Event> {
    let event = |instance: &InstanceAnswer, state: &str| Event::Instance {
        at: at.to_owned(),
        id: instance.id.clone(),
        pool: instance.pool.clone(),
        state: state.to_owned(),
        pid: instance.pid,
    };
    let mut events = Vec::new();
    for instance in now {
        match before.iter().find(|old| old.id == instance.id) {
            None => events.push(event(instance, "launched")),
            // One that said that it leaves is not lost.
            Some(old) if old.state == "closing" && instance.state == "lost" => {}
            Some(old) if old.state != instance.state => events.push(event(instance, &instance.state)),
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|old| !now.iter().any(|instance| instance.id == old.id));
    events.extend(gone.map(|instance| event(instance, "gone")));
    events
}
