//! Checks over all steps of a text: keys, dependencies, circles (`spec/pipeline.md` 1.7).

use std::collections::HashMap;

use crate::attributes::suggest;
use crate::codes::Code;
use crate::read::{Draft, GroupDraft, KindDraft, Spanned, StepDraft};
use crate::source::{Report, Span};

/// What a key stands for.
#[derive(Clone, Copy, Debug)]
enum Target {
    Step(usize),
    Group(usize),
}

/// Checks the keys and dependencies of a draft. Whether a job will upload the step that a dependency names cannot be seen
/// in a text, so that is a warning (docs/decisions/0107).
pub(crate) fn check(draft: &Draft, lint: bool, report: &mut Report<'_>) {
    let keys = keys(draft, report);
    if lint {
        ignored_waits(draft, report);
        dependencies(draft, &keys, report);
    }
    if !report.failed() {
        circles(draft, &keys, report);
    }
}

/// A wait next to a block is ignored, and with it what it says about failures (`spec/pipeline.md` 1.5).
fn ignored_waits(draft: &Draft, report: &mut Report<'_>) {
    let unfiltered = |step: &StepDraft| step.filters.condition.is_none() && step.filters.branches.is_none();
    for pair in draft.steps.windows(2) {
        let [first, second] = pair else { continue };
        let wait = match (&first.kind, &second.kind) {
            (KindDraft::Wait { continue_on_failure: true }, KindDraft::Block(_)) => first,
            (KindDraft::Block(_), KindDraft::Wait { continue_on_failure: true }) => second,
            _ => continue,
        };
        if first.group == second.group && unfiltered(first) && unfiltered(second) {
            report
                .warn(
                    Code::IgnoredWait,
                    wait.span,
                    "a wait next to a block is ignored, so `continue_on_failure` has no effect",
                )
                .help("drop the wait; the block does not open after a failure");
        }
    }
}

fn keys<'d>(draft: &'d Draft, report: &mut Report<'_>) -> HashMap<&'d str, Target> {
    let steps = draft.steps.iter().enumerate().map(|(at, step)| (&step.key, Target::Step(at)));
    let groups = draft.groups.iter().enumerate().map(|(at, group)| (&group.key, Target::Group(at)));
    let mut all: Vec<(&Spanned<String>, Target)> =
        steps.chain(groups).filter_map(|(key, target)| key.as_ref().map(|key| (key, target))).collect();
    all.sort_by_key(|(key, _)| key.span);
    let mut out = HashMap::with_capacity(all.len());
    for (key, target) in all {
        if out.insert(key.value.as_str(), target).is_some() && !key.unknown {
            report
                .error(Code::DuplicateStepKey, key.span, format!("the key `{}` is taken by another step", key.value))
                .help("give each step and each group a key of its own");
        }
    }
    out
}

fn dependencies(draft: &Draft, keys: &HashMap<&str, Target>, report: &mut Report<'_>) {
    let of_steps = draft.steps.iter().filter_map(|step| step.depends_on.as_ref());
    let of_groups = draft.groups.iter().filter_map(|group| group.depends_on.as_ref());
    // Without interpolation, or with keys that are not known here, any key may be there in the end.
    if draft.steps.iter().filter_map(|step| step.key.as_ref()).any(|key| key.unknown || key.value.contains('$')) {
        return;
    }
    let mut suggestions = 0;
    for dependency in of_steps.chain(of_groups).flatten() {
        let key = dependency.value.key.as_str();
        if dependency.unknown || key.contains('$') || keys.contains_key(key) {
            continue;
        }
        suggestions += 1;
        let near = if suggestions <= MOST_SUGGESTIONS { nearest(key, keys) } else { None };
        let by_label = || {
            let step = draft.steps.iter().find(|step| step.label == key)?;
            let Some(own) = &step.key else {
                return Some("a step is named by its `key`, not by its label: give it one".to_owned());
            };
            Some(format!("a step is named by its `key`: write `{}`", own.value))
        };
        let help = near
            .map(|near| format!("did you mean `{near}`?"))
            .or_else(by_label)
            .unwrap_or_else(|| "if no uploaded step brings it, the step never runs".to_owned());
        let message = format!("no step of this file has the key `{key}`");
        report.warn(Code::UnknownDependency, dependency.span, message).help(help);
    }
}

/// Comparing a key with every other costs; a file with this many unknown keys has another problem.
const MOST_SUGGESTIONS: usize = 20;

/// The key that a misspelt one probably stands for; of several, the first in the alphabet, so that the same file has
/// the same findings.
fn nearest<'k>(key: &str, keys: &HashMap<&'k str, Target>) -> Option<&'k str> {
    let mut known: Vec<&str> = keys.keys().copied().collect();
    known.sort_unstable();
    suggest(key, known)
}

/// What each step waits for, as places in the list of steps, followed by one place for each group.
struct Edges<'d> {
    draft: &'d Draft,
    keys: &'d HashMap<&'d str, Target>,
}

impl Edges<'_> {
    fn size(&self) -> usize {
        self.draft.steps.len() + self.draft.groups.len()
    }

    /// What the node at `at` waits for, with the place of the `depends_on` that says so, if one does.
    fn from(&self, at: usize) -> Vec<(usize, Option<Span>)> {
        let steps = self.draft.steps.len();
        if let Some(group) = at.checked_sub(steps) {
            // A group is done when its children are.
            let children = self.draft.steps.iter().enumerate();
            return children
                .filter(|(_, step)| step.group.is_some_and(|own| own as usize == group))
                .map(|(at, _)| (at, None))
                .collect();
        }
        let Some(step) = self.draft.steps.get(at) else { return Vec::new() };
        let group = step.group.and_then(|group| self.draft.groups.get(group as usize));
        let listed = |list: &Option<Vec<Spanned<tidegate_core::plan::Dependency>>>| {
            let entries = list.iter().flatten();
            entries
                .filter_map(|dependency| {
                    let target = match self.keys.get(dependency.value.key.as_str())? {
                        Target::Step(at) => *at,
                        Target::Group(at) => steps + at,
                    };
                    Some((target, Some(dependency.span)))
                })
                .collect::<Vec<_>>()
        };
        let mut out = listed(&step.depends_on);
        if let Some(group) = group {
            out.extend(listed(&group.depends_on));
        }
        if step.depends_on.is_none() && !matches!(step.kind, KindDraft::Input(_)) {
            out.extend(self.implicit(at, step, group));
        }
        out
    }

    /// The gate before a step, or everything before a gate.
    fn implicit(&self, at: usize, step: &StepDraft, group: Option<&GroupDraft>) -> Vec<(usize, Option<Span>)> {
        let is_gate = |step: &StepDraft| matches!(step.kind, KindDraft::Wait { .. } | KindDraft::Block(_));
        let before = self.draft.steps.iter().enumerate().take(at).rev();
        let mut out = Vec::new();
        let inside = group.is_some();
        for (place, other) in before {
            let own_scope = other.group == step.group;
            let outer_scope = inside && other.group.is_none() && group.is_some_and(|g| g.depends_on.is_none());
            if is_gate(other) && (own_scope || outer_scope) {
                out.push((place, None));
                break;
            }
            // A gate waits for what stands before it in its own scope; at the top that includes children of groups.
            if is_gate(step) && (own_scope || step.group.is_none()) {
                out.push((place, None));
            }
        }
        out
    }
}

fn circles(draft: &Draft, keys: &HashMap<&str, Target>, report: &mut Report<'_>) {
    // Only `depends_on` can lead forwards in the file, so without it there is no circle.
    if draft.steps.iter().all(|step| step.depends_on.is_none())
        && draft.groups.iter().all(|group| group.depends_on.is_none())
    {
        return;
    }
    let edges = Edges { draft, keys };
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; edges.size()];
    for start in 0..edges.size() {
        if marks[start] != Mark::New {
            continue;
        }
        // By hand, since a chain may be as long as the file.
        let mut path = vec![Visit { at: start, via: None, left: edges.from(start) }];
        marks[start] = Mark::Open;
        while let Some(visit) = path.last_mut() {
            let Some((next, span)) = visit.left.pop() else {
                marks[visit.at] = Mark::Done;
                path.pop();
                continue;
            };
            match marks.get(next).copied().unwrap_or(Mark::Done) {
                Mark::Done => {}
                Mark::Open => return report_circle(draft, &path, next, span, report),
                Mark::New => {
                    marks[next] = Mark::Open;
                    path.push(Visit { at: next, via: span, left: edges.from(next) });
                }
            }
        }
    }
}

/// A node on the way, the `depends_on` that led to it, and what it waits for that is not looked at yet.
struct Visit {
    at: usize,
    via: Option<Span>,
    left: Vec<(usize, Option<Span>)>,
}

/// Reports the circle that an edge to `next` closes, at a `depends_on` in it: at least one leads forwards in the file.
fn report_circle(draft: &Draft, path: &[Visit], next: usize, span: Option<Span>, report: &mut Report<'_>) {
    let begin = path.iter().position(|visit| visit.at == next).unwrap_or(0);
    let circle = &path[begin..];
    let names: Vec<String> = circle.iter().map(|visit| name(draft, visit.at)).chain([name(draft, next)]).collect();
    let place = span.or_else(|| circle.iter().skip(1).rev().find_map(|visit| visit.via)).unwrap_or_default();
    report
        .error(Code::DependencyCycle, place, format!("steps wait for each other in a circle: {}", names.join(" → ")))
        .help("take one of these dependencies out");
}

fn name(draft: &Draft, at: usize) -> String {
    let (key, label) = match draft.steps.get(at) {
        Some(step) => (&step.key, &step.label),
        None => match draft.groups.get(at - draft.steps.len()) {
            Some(group) => (&group.key, &group.label),
            None => return String::new(),
        },
    };
    let text = key.as_ref().map_or(label, |key| &key.value);
    format!("`{}`", crate::yaml::shorten(text))
}
