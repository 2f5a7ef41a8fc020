//! Opening block and input steps (`spec/pipeline.md` 1.5).

use serde::{Deserialize, Serialize};
use tidegate_core::build::{Build, Graph, Input, JobState};
use tidegate_core::ids::{BuildId, JobIndex};
use tidegate_core::plan::{ManualStep, StepKind};
use tidegate_core::time::Timestamp;
use tidegate_pipeline::matches_format;

use super::ApiError;
use super::find::{BuildName, JobName, NotFound, find_job};
use crate::actors::Actor;
use crate::engine::{Engine, Loaded};
use crate::error::Error;
use crate::gate::MetaDataRecord;
use crate::keys;
use crate::ports::{Expect, PortError, Write};

/// A wish to open a block or input step.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Unblock {
    /// The step: a key, a label or an id.
    pub step: String,
    /// What was filled in: key and value of each field. A key may come more than once where several may be chosen.
    #[serde(default)]
    pub fields: Vec<(String, String)>,
    /// Who asks.
    #[serde(default)]
    pub by: String,
}

/// A form as a person filled it in. Stored before the build is told; the build decides which one counts.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct FormRecord {
    /// The step.
    pub(crate) job: JobIndex,
    /// Who filled it in.
    pub(crate) by: String,
    /// When.
    pub(crate) at: Timestamp,
    /// Key and value of each field.
    pub(crate) values: Vec<(String, String)>,
    /// The values are in the meta-data.
    #[serde(default)]
    pub(crate) written: bool,
}

fn manual(graph: &Graph, job: JobIndex) -> Option<&ManualStep> {
    match &graph.job(job)?.step.kind {
        StepKind::Block(manual) | StepKind::Input(manual) => Some(manual),
        StepKind::Command(_) | StepKind::Wait { .. } | StepKind::Trigger(_) => None,
    }
}

/// Why a step cannot be opened now; `None` if it can.
fn refused(build: &Build, graph: &Graph, job: JobIndex) -> Option<String> {
    let label = graph.job(job).map_or("", |j| j.label());
    if manual(graph, job).is_none() {
        return Some(format!("`{label}` is no block or input step"));
    }
    let state = build.cells.get(job.0 as usize).map_or(JobState::Waiting, |cell| cell.state);
    match state {
        JobState::Blocked if build.cancel.is_none() => None,
        JobState::Waiting => Some(format!("`{label}` is not reached yet: it waits for steps before it")),
        JobState::Unblocked => Some(match build.unblocked(job) {
            Some(act) => format!("`{label}` was unblocked by {} at {}", act.by, act.at),
            None => format!("`{label}` is unblocked"),
        }),
        JobState::WaitingFailed => Some(format!("`{label}` is never reached: a step before it failed")),
        state => Some(format!("`{label}` is {}", state.name())),
    }
}

impl Engine {
    /// Opens a block or input step. When this returns, the values of its fields are in the meta-data and what waited for
    /// the step alone is on its way.
    ///
    /// # Errors
    /// Not found; refused where the step is not blocked, with who was faster, or where fields are wrong, with all that is
    /// wrong.
    pub async fn unblock(&self, name: &BuildName, wish: &Unblock) -> Result<BuildId, ApiError> {
        let id = self.find_build(name).await?;
        let gone = || NotFound(format!("there is no build `{id}`"));
        let (build, graph) = self.load_build(&id).await?.ok_or_else(gone)?;
        let job = find_job(&build, &graph, &JobName(wish.step.clone()))?;
        if let Some(why) = refused(&build, &graph, job) {
            return Err(ApiError::Refused(why));
        }
        let Some(step) = manual(&graph, job) else { return Err(gone().into()) };
        let values = step.fill_in(&wish.fields, matches_format).map_err(|all| ApiError::Refused(all.join("\n")))?;
        let form = match values.is_empty() {
            true => None,
            false => {
                let form = self.ordered_id();
                let record = FormRecord { job, by: wish.by.clone(), at: self.now(), values, written: false };
                self.save(keys::form(&id, &form), &record, Expect::Absent).await?;
                Some(form)
            }
        };
        let actor = Actor::Build(id.clone());
        self.tell(&actor, &Input::Unblock { job, by: wish.by.clone(), form: form.clone() }).await?;
        self.step(&actor).await?;
        let (build, graph) = self.load_build(&id).await?.ok_or_else(gone)?;
        // With a form it is known whose wish was granted: that of who was first.
        let ours = form.is_none_or(|form| build.acts.iter().any(|act| act.did.form() == Some(&form)));
        match refused(&build, &graph, job) {
            Some(why) if !ours => Err(ApiError::Refused(why)),
            Some(_) | None => Ok(id),
        }
    }

    /// Writes what a person filled in to the meta-data, once: what a job writes to the same name later stays, however
    /// often this is done.
    pub(crate) async fn write_form(&self, build: &BuildId, id: &str) -> Result<(), Error> {
        let key = keys::form(build, id);
        let Some(Loaded { body: form, version }) = self.load::<FormRecord>(&key).await? else { return Ok(()) };
        if form.written {
            return Ok(());
        }
        let mut writes = Vec::with_capacity(form.values.len() + 1);
        for (name, value) in &form.values {
            let record = MetaDataRecord { value: value.clone(), by: None };
            writes.push(Write::Put(self.put(keys::meta_data(build, name), &record, Expect::Any)?));
        }
        let written = FormRecord { written: true, ..form };
        writes.push(Write::Put(self.put(key, &written, Expect::Version(version))?));
        match self.ports.store.transact(writes).await {
            // Somebody else has just written it.
            Ok(()) | Err(PortError::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
