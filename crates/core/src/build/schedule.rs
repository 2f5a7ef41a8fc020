//! What steps wait for, as a list of conditions, each after all those that it is made of.
//!
//! Positions, keys, uploads and concurrency groups (`spec/pipeline.md` 1.7) become conditions over conditions: a step, a
//! step with what it uploaded, all steps up to a place, the nearest gate. Sharing them keeps the list linear in the
//! length of the plan where naming every pair would be quadratic, and one pass over the list sees every change.

use super::graph::{Graph, Needs, StepRef};
use crate::plan::StepKind;

/// A condition by its place in [`Schedule::conditions`].
pub(super) type ConditionRef = u32;

/// One thing that a condition is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) of: ConditionRef,
    pub(super) how: How,
}

/// How a part counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum How {
    /// It must have passed.
    Passed,
    /// It must be over.
    Over,
    /// Not here: the step looks at the uploading job by itself. But it is to be looked at before.
    After,
}

/// What a condition says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum What {
    /// This step is done; its parts are what it waits for.
    Step(StepRef),
    /// All parts.
    All,
    /// This gate is open, or where it was dropped, the gate before it: its parts are the gate and the one before.
    Gate(StepRef),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Condition {
    pub(super) what: What,
    begin: u32,
    end: u32,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    /// A condition a step, at the step's place, then all others.
    conditions: Vec<Condition>,
    parts: Vec<Part>,
    /// Every condition, each after its parts.
    pub(super) order: Vec<ConditionRef>,
    /// Steps that wait for each other. Their conditions stand in some order all the same.
    pub(super) circle: Option<Vec<StepRef>>,
}

fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The conditions while they are collected: parts are added in any order.
struct Draft {
    conditions: Vec<(What, Vec<Part>)>,
}

impl Draft {
    fn add(&mut self, what: What, parts: Vec<Part>) -> ConditionRef {
        self.conditions.push((what, parts));
        small(self.conditions.len() - 1)
    }

    fn all(&mut self, parts: impl IntoIterator<Item = ConditionRef>) -> ConditionRef {
        self.add(What::All, parts.into_iter().map(part).collect())
    }
}

fn part(of: ConditionRef) -> Part {
    Part { of, how: How::Passed }
}

fn how(allow_failure: bool) -> How {
    if allow_failure { How::Over } else { How::Passed }
}

/// Position in one scope: everything so far, and the nearest gate.
#[derive(Clone, Copy, Default)]
struct Before {
    all: Option<ConditionRef>,
    gate: Option<ConditionRef>,
}

impl Schedule {
    /// `past`: steps that wait for nothing any more.
    pub(super) fn new(graph: &Graph, past: impl Fn(StepRef) -> bool) -> Self {
        let mut draft = Draft { conditions: (0..graph.steps.len()).map(|s| (What::Step(s), Vec::new())).collect() };
        draft.uploads(graph);
        draft.positions(graph);
        for step in (0..graph.steps.len()).filter(|&s| past(s)) {
            draft.conditions[step].1.clear();
        }
        let base = draft.finish(graph);
        // The rest of concurrency groups, by the order that there is without them, so that they cannot make a circle.
        if draft.rest_of_groups(graph, &base) { draft.finish(graph) } else { base }
    }

    pub(super) fn len(&self) -> usize {
        self.conditions.len()
    }

    pub(super) fn what(&self, condition: ConditionRef) -> What {
        self.conditions[condition as usize].what
    }

    pub(super) fn parts(&self, condition: ConditionRef) -> &[Part] {
        let Condition { begin, end, .. } = self.conditions[condition as usize];
        &self.parts[begin as usize..end as usize]
    }
}

fn concurrency_group(graph: &Graph, step: StepRef) -> Option<&str> {
    match &graph.step(step).kind {
        StepKind::Command(command) => command.concurrency.as_ref().map(|c| c.group.as_str()),
        StepKind::Wait { .. } | StepKind::Block(_) | StepKind::Input(_) | StepKind::Trigger(_) => None,
    }
}

impl Draft {
    /// Dependencies by key. Who depends on a step that uploads waits for what it uploaded too (rule 5), to any depth;
    /// what the step itself uploaded waits for the step alone, or it would wait for itself. Uploaded steps wait for
    /// their uploader (rule 4).
    fn uploads(&mut self, graph: &Graph) {
        let mut deep: Vec<ConditionRef> = (0..graph.steps.len()).map(small).collect();
        // Uploaded steps come after their uploader: backwards, everything that a step uploaded is known before it.
        for step in (0..graph.steps.len()).rev() {
            let uploaded = &graph.steps[step].uploaded;
            if !uploaded.is_empty() {
                let children: Vec<_> = uploaded.iter().map(|&s| deep[s]).collect();
                deep[step] = self.all(std::iter::once(small(step)).chain(children));
            }
        }
        for this in 0..graph.steps.len() {
            let mut parts = Vec::new();
            if let Needs::Steps { deps, .. } = &graph.steps[this].needs {
                for dep in deps {
                    let own = small(dep.step);
                    let below = deep[dep.step] != own
                        && std::iter::successors(graph.uploader(this), |&s| graph.uploader(s)).any(|s| s == dep.step);
                    let of = if below { own } else { deep[dep.step] };
                    parts.push(Part { of, how: how(dep.allow_failure) });
                }
            }
            parts.extend(graph.uploader(this).map(|s| Part { of: small(s), how: How::After }));
            self.conditions[this].1 = parts;
        }
    }

    /// Dependencies by position (rules 1 and 2).
    fn positions(&mut self, graph: &Graph) {
        let mut top = Before::default();
        let mut groups: std::collections::HashMap<_, Before> = std::collections::HashMap::new();
        for &this in &graph.order {
            let node = &graph.steps[this];
            let step = graph.step(this);
            let own = match node.scope {
                Some(group) => groups.entry(group).or_default(),
                None => &mut top,
            };
            let before = *own;
            let is_gate = matches!(step.kind, StepKind::Wait { .. } | StepKind::Block(_));
            let counts = !matches!(step.kind, StepKind::Input(_)) && !node.ignored_wait;
            let own_condition = small(this);
            if counts {
                own.all = Some(match own.all {
                    Some(all) => self.all([all, own_condition]),
                    None => own_condition,
                });
            }
            if is_gate && step.left_out.is_none() && !node.ignored_wait {
                let parts = std::iter::once(own_condition).chain(own.gate).map(part).collect();
                own.gate = Some(self.add(What::Gate(this), parts));
            }
            // What is in a group counts on the top level too; its gates do not.
            let top_gate = if node.scope.is_some() {
                let gate = top.gate;
                if counts {
                    top.all = Some(match top.all {
                        Some(all) => self.all([all, own_condition]),
                        None => own_condition,
                    });
                }
                gate
            } else {
                None
            };
            if matches!(node.needs, Needs::Position) {
                let needs = if is_gate { before.all } else { before.gate };
                self.conditions[this].1.extend(needs.into_iter().chain(top_gate).map(part));
            }
        }
    }

    /// Depending on a step of a concurrency group means depending on the group's other steps in this build too (rule
    /// 13): on those that come before the dependent in the order in which steps can run, or the steps between two gates
    /// would wait for the second. Returns whether there is any.
    fn rest_of_groups(&mut self, graph: &Graph, base: &Schedule) -> bool {
        let mut rank = vec![0; graph.steps.len()];
        for (at, &condition) in base.order.iter().enumerate() {
            if let What::Step(step) = base.what(condition) {
                rank[step] = at;
            }
        }
        let mut members: std::collections::HashMap<&str, Vec<StepRef>> = std::collections::HashMap::new();
        for step in 0..graph.steps.len() {
            if let Some(group) = concurrency_group(graph, step) {
                members.entry(group).or_default().push(step);
            }
        }
        members.retain(|_, steps| steps.len() > 1);
        // For each group: the ranks of its steps, and that all up to that one are done.
        let mut upto: std::collections::HashMap<&str, Vec<(usize, ConditionRef)>> = std::collections::HashMap::new();
        let mut any = false;
        for this in 0..graph.steps.len() {
            let Needs::Steps { deps, .. } = &graph.steps[this].needs else { continue };
            for dep in deps {
                let Some(group) = concurrency_group(graph, dep.step) else { continue };
                let Some(steps) = members.get_mut(group) else { continue };
                let line = upto.entry(group).or_insert_with(|| {
                    steps.sort_by_key(|&s| rank[s]);
                    let mut all: Option<ConditionRef> = None;
                    let mut line = Vec::with_capacity(steps.len());
                    for &step in steps.iter() {
                        let next = match all {
                            Some(all) => self.all([all, small(step)]),
                            None => small(step),
                        };
                        line.push((rank[step], next));
                        all = Some(next);
                    }
                    line
                });
                let before = line.partition_point(|&(r, _)| r < rank[this]);
                if let Some(&(_, of)) = before.checked_sub(1).and_then(|at| line.get(at)) {
                    self.conditions[this].1.push(Part { of, how: how(dep.allow_failure) });
                    any = true;
                }
            }
        }
        any
    }

    /// Puts every condition after its parts: depth first, in the order of steps, so that the order of steps is kept where
    /// nothing speaks against it. A part that closes a circle is passed over.
    fn finish(&self, graph: &Graph) -> Schedule {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.conditions.len()];
        let mut schedule = Schedule { order: Vec::with_capacity(self.conditions.len()), ..Schedule::default() };
        let rest = small(graph.steps.len())..small(self.conditions.len());
        // Not by recursion: a chain is as long as the plan.
        let mut open: Vec<(ConditionRef, usize)> = Vec::new();
        for start in graph.order.iter().map(|&s| small(s)).chain(rest) {
            if marks[start as usize] != Mark::New {
                continue;
            }
            marks[start as usize] = Mark::Open;
            open.push((start, 0));
            while let Some((condition, next)) = open.last_mut() {
                let Some(part) = self.conditions[*condition as usize].1.get(*next) else {
                    marks[*condition as usize] = Mark::Done;
                    schedule.order.push(*condition);
                    open.pop();
                    continue;
                };
                *next += 1;
                match marks[part.of as usize] {
                    Mark::Done => {}
                    Mark::New => {
                        marks[part.of as usize] = Mark::Open;
                        open.push((part.of, 0));
                    }
                    Mark::Open if schedule.circle.is_none() => {
                        let around = open.iter().skip_while(|(c, _)| *c != part.of);
                        let steps = around.filter_map(|&(c, _)| match self.conditions[c as usize].0 {
                            What::Step(step) => Some(step),
                            What::All | What::Gate(_) => None,
                        });
                        schedule.circle = Some(steps.collect());
                    }
                    Mark::Open => {}
                }
            }
        }
        for (what, parts) in &self.conditions {
            let begin = small(schedule.parts.len());
            schedule.parts.extend(parts);
            schedule.conditions.push(Condition { what: *what, begin, end: small(schedule.parts.len()) });
        }
        schedule
    }
}
