//! A plan as `pipeline plan` shows it.

mod mermaid;
mod text;

use std::collections::HashMap;

use serde::Serialize;
use tidegate_core::plan::{DependsOn, Segment, Step, StepKind};

pub use mermaid::mermaid;
pub use text::text;

/// The jobs that a plan makes and what was left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PlanView {
    /// The jobs in order.
    pub jobs: Vec<JobView>,
    /// What makes no job, and why.
    pub left_out: Vec<LeftOutView>,
    /// The `wait` steps, which jobs name in their `depends_on`.
    pub gates: Vec<GateView>,
}

/// A job.
#[derive(Clone, Debug, Serialize)]
pub struct JobView {
    /// The name by which `depends_on` of this view refers to the job's step: its key, or `step-N`.
    pub step: String,
    /// `command`, `block`, `input` or `trigger`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The step's key.
    pub key: Option<String>,
    /// What people see.
    pub label: String,
    /// Place among the jobs of its step, from 0.
    pub index: usize,
    /// The queue; `None` for what runs on no machine.
    pub queue: Option<String>,
    /// Other tags that a machine must have.
    pub agents: serde_json::Map<String, serde_json::Value>,
    /// Names of the steps and gates that it waits for.
    pub depends_on: Vec<String>,
    /// The variables of the file's top level and of the step, the step's own winning.
    pub env: serde_json::Map<String, serde_json::Value>,
    /// Dimension and value; the dimension of an anonymous matrix is empty.
    pub matrix: serde_json::Map<String, serde_json::Value>,
    /// Place and number of copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel: Option<(u32, u32)>,
    /// Larger first.
    pub priority: i64,
    /// The label of its group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The command, empty where a plugin supplies it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command: String,
}

/// A step or a job that is not run.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOutView {
    /// The step's key.
    pub key: Option<String>,
    /// What people see.
    pub label: String,
    /// Which condition, with which values.
    pub why: String,
}

/// A `wait` step.
#[derive(Clone, Debug, Serialize)]
pub struct GateView {
    /// The name by which `depends_on` of this view refers to it.
    pub step: String,
    /// Opens also when something before it failed.
    pub continue_on_failure: bool,
    /// Names of the steps and gates that it waits for.
    pub depends_on: Vec<String>,
}

/// The view of a plan.
pub fn plan_view(segment: &Segment) -> PlanView {
    let names = Names::new(segment);
    let mut view = PlanView::default();
    for (at, step) in segment.steps.iter().enumerate() {
        if let Some(left_out) = &step.left_out {
            view.left_out.push(LeftOutView {
                key: step.key.clone(),
                label: step.label.clone(),
                why: left_out.why.clone(),
            });
            continue;
        }
        let depends_on = names.waits_for(at);
        if let StepKind::Wait { continue_on_failure } = &step.kind {
            view.gates.push(GateView { step: names.of(at), continue_on_failure: *continue_on_failure, depends_on });
            continue;
        }
        jobs(segment, step, &names.of(at), &depends_on, &mut view);
    }
    view
}

fn jobs(segment: &Segment, step: &Step, name: &str, depends_on: &[String], view: &mut PlanView) {
    let group = step.group.and_then(|group| segment.groups.get(group as usize)).map(|group| group.label.clone());
    let blank = |kind: &'static str, index: usize| JobView {
        step: name.to_owned(),
        kind,
        key: step.key.clone(),
        label: step.label.clone(),
        index,
        queue: None,
        agents: serde_json::Map::new(),
        depends_on: depends_on.to_vec(),
        env: serde_json::Map::new(),
        matrix: serde_json::Map::new(),
        parallel: None,
        priority: 0,
        group: group.clone(),
        command: String::new(),
    };
    match &step.kind {
        StepKind::Command(command) => {
            for (index, job) in command.jobs.iter().enumerate() {
                let label = job.label.as_ref().unwrap_or(&step.label);
                if let Some(left_out) = &job.left_out {
                    view.left_out.push(LeftOutView {
                        key: step.key.clone(),
                        label: label.clone(),
                        why: left_out.why.clone(),
                    });
                    continue;
                }
                let spec = command.spec_of(index);
                let text = |pairs: &[(String, String)]| {
                    pairs.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect::<Vec<_>>()
                };
                let mut env: serde_json::Map<String, serde_json::Value> = text(&segment.env).into_iter().collect();
                env.extend(text(&spec.env));
                view.jobs.push(JobView {
                    label: label.clone(),
                    queue: spec.agents.iter().find(|(tag, _)| tag == "queue").map(|(_, value)| value.clone()),
                    agents: text(&spec.agents).into_iter().filter(|(tag, _)| tag != "queue").collect(),
                    env,
                    matrix: text(&job.matrix).into_iter().collect(),
                    parallel: job.parallel,
                    priority: command.priority,
                    command: spec.command.clone(),
                    ..blank("command", index)
                });
            }
        }
        StepKind::Trigger(trigger) => {
            for index in 0..step.job_count() {
                let env = trigger.env.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
                view.jobs.push(JobView { env, ..blank("trigger", index) });
            }
        }
        StepKind::Block(_) => view.jobs.push(blank("block", 0)),
        StepKind::Input(_) => view.jobs.push(blank("input", 0)),
        StepKind::Wait { .. } => {}
    }
}

/// What each step is called for people: its label, or its key where its jobs have labels of their own.
fn step_labels(view: &PlanView) -> HashMap<&str, &str> {
    let mut out: HashMap<&str, &str> = HashMap::new();
    for job in &view.jobs {
        let label = out.entry(&job.step).or_insert(&job.label);
        if *label != job.label {
            *label = &job.step;
        }
    }
    out
}

/// Names of steps, and what each waits for.
struct Names<'s> {
    segment: &'s Segment,
    keys: HashMap<&'s str, usize>,
    /// The key of each group, and the places of its children.
    groups: HashMap<&'s str, Vec<usize>>,
}

impl<'s> Names<'s> {
    fn new(segment: &'s Segment) -> Self {
        let steps = segment.steps.iter().enumerate();
        let keys = steps.filter_map(|(at, step)| step.key.as_deref().map(|key| (key, at))).collect();
        let mut groups: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, step) in segment.steps.iter().enumerate() {
            let group = step.group.and_then(|group| segment.groups.get(group as usize));
            if let Some(key) = group.and_then(|group| group.key.as_deref()) {
                groups.entry(key).or_default().push(at);
            }
        }
        Self { segment, keys, groups }
    }

    fn of(&self, at: usize) -> String {
        match self.segment.steps.get(at).and_then(|step| step.key.clone()) {
            Some(key) => key,
            None => format!("step-{}", at + 1),
        }
    }

    fn waits_for(&self, at: usize) -> Vec<String> {
        let Some(step) = self.segment.steps.get(at) else { return Vec::new() };
        match &step.depends_on {
            DependsOn::Explicit(list) => {
                // What is left out counts as passed, so nothing waits for it (`spec/pipeline.md` 1.7, rule 7).
                let planned = |at: usize| self.segment.steps.get(at).is_some_and(|step| step.left_out.is_none());
                let mut out: Vec<String> = Vec::new();
                for dependency in list {
                    let key = dependency.key.as_str();
                    match (self.keys.get(key), self.groups.get(key)) {
                        (Some(at), _) if !planned(*at) => {}
                        (None, Some(children)) => {
                            out.extend(children.iter().filter(|child| planned(**child)).map(|child| self.of(*child)));
                        }
                        _ => out.push(dependency.key.clone()),
                    }
                }
                out
            }
            // An input has no implicit dependencies (`spec/pipeline.md` 1.5).
            DependsOn::Implicit if matches!(step.kind, StepKind::Input(_)) => Vec::new(),
            DependsOn::Implicit => self.implicit(at, step),
        }
    }

    /// The nearest gate before a step; for a gate, everything before it back to the gate before that
    /// (`spec/pipeline.md` 1.7, rule 2).
    fn implicit(&self, at: usize, step: &Step) -> Vec<String> {
        let is_gate =
            |step: &Step| step.left_out.is_none() && matches!(step.kind, StepKind::Wait { .. } | StepKind::Block(_));
        let mut out = Vec::new();
        for (place, other) in self.segment.steps.iter().enumerate().take(at).rev() {
            let own_scope = other.group == step.group;
            // A child without a gate before it in its group waits like the group itself.
            let outer_scope = step.group.is_some() && other.group.is_none();
            if is_gate(other) && (own_scope || outer_scope) {
                out.push(self.of(place));
                break;
            }
            if is_gate(step) && other.left_out.is_none() && (own_scope || step.group.is_none()) {
                out.push(self.of(place));
            }
        }
        out.reverse();
        out
    }
}
