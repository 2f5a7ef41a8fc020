//! From a text to the stored plan: read, interpolate, check, filter, expand.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use tidegate_core::diagnostic::Diagnostic;
use tidegate_core::plan::{
    CommandStep, Dependency, DependsOn, Group, Job, JobSpec, LeftOut, LeftOutKind, Segment, Step, StepKind,
};

use crate::codes::Code;
use crate::context::Context;
use crate::filter::Decider;
use crate::graph;
use crate::interpolate::interpolate_tree;
use crate::limits::Limits;
use crate::matrix::{Matrix, Substitution};
use crate::read::{CommandDraft, Defaults, Draft, Filters, GroupDraft, KindDraft, Reader, StepDraft};
use crate::source::{Report, Source, Span, Text};
use crate::traps;
use crate::yaml::{self, Node};

/// What became of a text.
#[derive(Clone, Debug)]
pub struct Expansion {
    /// The plan; `None` exactly when one of the diagnostics is an error.
    pub segment: Option<Segment>,
    /// Everything found, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

/// Expands a text to the jobs it makes. All that is wrong is found at once.
///
/// Warnings that a build should show, such as attributes that are accepted but not yet acted on, are in the segment
/// too; traps are left to [`lint`].
pub fn expand(source: Source<'_>, context: &Context) -> Expansion {
    run(source, context, false)
}

/// Everything that can be said about a text without running it: errors, traps, attributes without effect.
pub fn lint(source: Source<'_>, context: &Context) -> Vec<Diagnostic> {
    run(source, context, true).diagnostics
}

fn run(source: Source<'_>, context: &Context, lint: bool) -> Expansion {
    let text = match decode(source, &context.limits) {
        Ok(text) => text,
        Err(report) => return Expansion { segment: None, diagnostics: report.finish() },
    };
    let mut report = Report::new(Text::new(source.name, text));
    let segment = read_tree(&mut report, context, lint).and_then(|tree| {
        let draft = read_draft(&tree, &mut report, context, lint);
        drop(tree);
        let segment = make(draft, &mut report, context);
        (!report.failed()).then_some(segment)
    });
    let diagnostics = report.finish();
    let segment = segment.map(|segment| Segment { diagnostics: diagnostics.clone(), ..segment });
    Expansion { segment, diagnostics }
}

/// The text of the bytes, or a report that says why they are none.
pub(crate) fn decode<'s>(source: Source<'s>, limits: &Limits) -> Result<Cow<'s, str>, Box<Report<'s>>> {
    let fail = |valid: &'s str, tell: &dyn Fn(&mut Report<'s>)| {
        let mut report = Report::new(Text::new(source.name, Cow::Borrowed(valid)));
        tell(&mut report);
        Err(Box::new(report))
    };
    let bytes = source.text;
    if bytes.len() > limits.bytes {
        return fail("", &|report| {
            report
                .error_anywhere(Code::TooLarge, format!("the file has more than {} bytes", limits.bytes))
                .help(Limits::raise("bytes"));
        });
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            let valid = bytes.get(..at).and_then(|valid| std::str::from_utf8(valid).ok()).unwrap_or("");
            let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
            return fail(valid, &|report| {
                let what = if utf16 { "the file is UTF-16, not UTF-8" } else { "this is not UTF-8" };
                report.error(Code::NotUtf8, Span::new(at, at + 1), what).help("save the file as UTF-8");
            });
        }
    };
    // A byte order mark is no part of the text, nor of its columns.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(at) = text.find('\0') {
        return fail(text, &|report| {
            report
                .error(Code::ControlCharacter, Span::new(at, at + 1), "the file holds a NUL")
                .help("a pipeline file is a text file");
        });
    }
    Ok(Cow::Borrowed(text))
}

/// The tree of the text, interpolated where the context says so.
pub(crate) fn read_tree(report: &mut Report<'_>, context: &Context, lint: bool) -> Option<Node> {
    let mut tree = yaml::parse(report, &context.limits)?;
    if lint {
        traps::written(&tree, context, report);
    }
    if context.interpolate {
        interpolate_tree(&mut tree, context, report);
    }
    Some(tree)
}

fn read_draft(tree: &Node, report: &mut Report<'_>, context: &Context, lint: bool) -> Draft {
    let mut reader = Reader { report, context, lint, draft: Draft::default(), items: 0 };
    reader.pipeline(tree);
    let draft = reader.draft;
    graph::check(&draft, lint, report);
    draft
}

fn make(draft: Draft, report: &mut Report<'_>, context: &Context) -> Segment {
    let Draft { steps, groups, env, notify, defaults } = draft;
    let mut maker = Maker {
        report,
        context,
        groups: &groups,
        defaults: &defaults,
        decider: Decider::new(context),
        begun: HashSet::new(),
        gated: HashSet::new(),
        jobs: 0,
        bytes: 0,
    };
    let mut steps: Vec<Step> = steps.into_iter().map(|step| maker.step(step)).collect();
    ignore_waits(&mut steps);
    let groups = groups.into_iter().map(|group| Group {
        key: group.key.map(|key| key.value),
        label: group.label,
        notify: group.notify,
    });
    Segment { steps, groups: groups.collect(), env, notify, diagnostics: Vec::new() }
}

/// A wait directly before or after a block is ignored, which is decided after conditions are
/// (`spec/pipeline.md` 1.5).
fn ignore_waits(steps: &mut [Step]) {
    let kept: Vec<usize> = (0..steps.len()).filter(|at| steps[*at].left_out.is_none()).collect();
    for pair in kept.windows(2) {
        let &[before, after] = pair else { continue };
        if steps[before].group != steps[after].group {
            continue;
        }
        let wait = match (&steps[before].kind, &steps[after].kind) {
            (StepKind::Wait { .. }, StepKind::Block(_)) => before,
            (StepKind::Block(_), StepKind::Wait { .. }) => after,
            _ => continue,
        };
        let why = "a wait next to a block is ignored".to_owned();
        steps[wait].left_out = Some(LeftOut { kind: LeftOutKind::Skipped, why });
    }
}

/// Makes the stored form of steps, and their jobs.
struct Maker<'m, 'a> {
    report: &'m mut Report<'a>,
    context: &'m Context,
    groups: &'m [GroupDraft],
    defaults: &'m Defaults,
    decider: Decider<'m>,
    /// Groups of which a step was made that is not left out.
    begun: HashSet<u32>,
    /// Groups in which a gate was made that is not left out.
    gated: HashSet<u32>,
    jobs: usize,
    /// Text in the jobs of matrices.
    bytes: usize,
}

impl Maker<'_, '_> {
    fn step(&mut self, step: StepDraft) -> Step {
        let group = step.group.and_then(|group| self.groups.get(group as usize));
        let left_out = match group.and_then(|group| self.left_out(&group.filters)) {
            Some(left_out) => Some(left_out),
            None => self.left_out(&step.filters),
        };
        let own = step.depends_on.map(|list| list.into_iter().map(|dependency| dependency.value).collect());
        let is_gate = matches!(step.kind, KindDraft::Wait { .. } | KindDraft::Block(_));
        let depends_on = self.depends_on(own, step.group, is_gate);
        if let Some(group) = step.group.filter(|_| left_out.is_none()) {
            self.begun.insert(group);
            if is_gate {
                self.gated.insert(group);
            }
        }
        if matches!(step.kind, KindDraft::Wait { .. } | KindDraft::Block(_) | KindDraft::Input(_)) {
            self.count_jobs(1, step.span);
        }
        let kind = match step.kind {
            KindDraft::Command(command) => StepKind::Command(Box::new(self.command(*command, step.span, &step.label))),
            KindDraft::Wait { continue_on_failure } => StepKind::Wait { continue_on_failure },
            KindDraft::Block(manual) => StepKind::Block(manual),
            KindDraft::Input(manual) => StepKind::Input(manual),
            KindDraft::Trigger(trigger) => {
                self.count_jobs(trigger.parallelism as usize, step.span);
                StepKind::Trigger(trigger)
            }
        };
        Step {
            key: step.key.map(|key| key.value),
            label: step.label,
            group: step.group,
            depends_on,
            allow_dependency_failure: step.allow_dependency_failure
                || group.is_some_and(|group| group.allow_dependency_failure),
            left_out,
            kind,
        }
    }

    /// What a group waits for is pushed down to its children (`spec/pipeline.md` 1.5). A child behind a gate of the
    /// group waits for that gate, and with it for what the group waits for.
    fn depends_on(&self, own: Option<Vec<Dependency>>, group: Option<u32>, is_gate: bool) -> DependsOn {
        let Some(at) = group else { return own.map_or(DependsOn::Implicit, DependsOn::Explicit) };
        let pushed = self.groups.get(at as usize).and_then(|group| group.depends_on.as_deref());
        match (own, pushed) {
            (None, None) => DependsOn::Implicit,
            (Some(own), None) => DependsOn::Explicit(own),
            (None, Some(_)) if self.gated.contains(&at) || (is_gate && self.begun.contains(&at)) => DependsOn::Implicit,
            (own, Some(pushed)) => {
                let mut list = own.unwrap_or_default();
                let named: HashSet<String> = list.iter().map(|dependency| dependency.key.clone()).collect();
                let new = pushed.iter().filter(|dependency| !named.contains(&dependency.value.key));
                list.extend(new.map(|dependency| dependency.value.clone()));
                DependsOn::Explicit(list)
            }
        }
    }

    fn command(&mut self, command: CommandDraft, span: Span, label: &str) -> CommandStep {
        let CommandDraft { step: mut out, parallelism, matrix, own_agents, own_priority } = command;
        inherit(&mut out, own_agents, own_priority, self.defaults, self.context);
        if let Some(matrix) = &matrix {
            self.matrix_jobs(span, label, matrix, &mut out);
            return out;
        }
        // More copies than a file may make jobs were reported when the step was read.
        let limit = self.context.limits.jobs;
        let copies = parallelism.map(|copies| copies.value).filter(|copies| *copies as usize <= limit);
        self.count_jobs(copies.unwrap_or(1).max(1) as usize, span);
        out.jobs = match copies {
            // 0 and 1 are a single job; with 1 the variables are set nonetheless (`spec/pipeline.md` 1.4).
            None | Some(0) => vec![Job::default()],
            Some(count) => (0..count).map(|index| Job { parallel: Some((index, count)), ..Job::default() }).collect(),
        };
        out
    }

    fn matrix_jobs(&mut self, span: Span, label: &str, matrix: &Matrix, out: &mut CommandStep) {
        let combinations = matrix.combinations();
        self.count_jobs(combinations.len(), span);
        for combination in combinations {
            let names = matrix.dimensions.iter().map(|(name, _)| name.clone());
            let values: Vec<(String, String)> = names.zip(combination.values).collect();
            let substitution = Substitution { values: &values };
            let mut spec = substitution.spec(&out.spec);
            if let Some(soft_fail) = combination.soft_fail {
                spec.get_or_insert_with(|| out.spec.clone()).soft_fail = soft_fail;
            }
            let label = substitution.text(label);
            self.bytes = self.bytes.saturating_add(spec.as_ref().map_or(0, size));
            let limit = self.context.limits.expanded_bytes;
            if self.bytes > limit {
                self.report
                    .error(Code::TooLarge, span, format!("more than {limit} bytes of text in the jobs of matrices"))
                    .help(Limits::raise("expanded_bytes"));
                return;
            }
            let left_out = combination.skip.map(|reason| LeftOut {
                kind: LeftOutKind::Skipped,
                why: if reason.is_empty() { "an adjustment of the matrix skips it".to_owned() } else { reason },
            });
            out.jobs.push(Job { parallel: None, matrix: values, left_out, label, spec: spec.map(Box::new) });
        }
    }

    fn left_out(&mut self, filters: &Filters) -> Option<LeftOut> {
        match self.decider.left_out(filters) {
            Ok(left_out) => left_out,
            Err(failed) => {
                let span = filters.condition.as_ref().map_or_else(Span::default, |condition| condition.span);
                self.report
                    .error(Code::ConditionFailed, span, format!("this condition failed: {}", failed.message))
                    .help_if(failed.help);
                None
            }
        }
    }

    fn count_jobs(&mut self, count: usize, span: Span) {
        let limit = self.context.limits.jobs;
        let before = self.jobs;
        self.jobs = self.jobs.saturating_add(count);
        if self.jobs > limit && before <= limit {
            self.report
                .error(Code::TooManyJobs, span, format!("the file makes more than {limit} jobs, here at the latest"))
                .help(Limits::raise("jobs"));
        }
    }
}

/// Top-level defaults of a command step.
fn inherit(step: &mut CommandStep, own_agents: bool, own_priority: bool, defaults: &Defaults, context: &Context) {
    let spec = &mut step.spec;
    let own = own_agents.then(|| std::mem::take(&mut spec.agents));
    spec.agents = agents(own, &defaults.agents, context);
    if !own_priority {
        step.priority = defaults.priority;
    }
    if spec.image.is_none() {
        spec.image.clone_from(&defaults.image);
    }
    if spec.cache.is_none() {
        spec.cache.clone_from(&defaults.cache);
    }
    // A step's secret wins by the name of its variable.
    let own: HashSet<String> = spec.secrets.iter().map(|(variable, _)| variable.clone()).collect();
    spec.secrets.extend(defaults.secrets.iter().filter(|(variable, _)| !own.contains(variable)).cloned());
    spec.checkout = merge_checkout(spec.checkout.take(), defaults.checkout.as_ref());
}

/// The tags of a step: its own `agents` replace the whole default block (docs/decisions/0101). A tag that is given twice
/// counts as given last.
fn agents(
    own: Option<Vec<(String, String)>>,
    defaults: &[(String, String)],
    context: &Context,
) -> Vec<(String, String)> {
    let queue = ("queue".to_owned(), context.default_queue.clone());
    let mut tags = BTreeMap::from([queue]);
    tags.extend(own.unwrap_or_else(|| defaults.to_vec()));
    tags.into_iter().collect()
}

/// A step's `checkout` wins leaf by leaf.
fn merge_checkout(own: Option<serde_json::Value>, defaults: Option<&serde_json::Value>) -> Option<serde_json::Value> {
    let Some(defaults) = defaults else { return own };
    let Some(serde_json::Value::Object(mut own)) = own else { return Some(defaults.clone()) };
    if let serde_json::Value::Object(defaults) = defaults {
        for (name, value) in defaults {
            if !own.contains_key(name) {
                own.insert(name.clone(), value.clone());
            }
        }
    }
    Some(serde_json::Value::Object(own))
}

/// The bytes of text in what a job runs, near enough for a budget.
fn size(spec: &JobSpec) -> usize {
    let pairs = [&spec.env, &spec.agents, &spec.secrets];
    let pairs = pairs.into_iter().flatten().map(|(key, value)| key.len() + value.len());
    let plugins = spec.plugins.iter().map(|plugin| plugin.source.len() + json_size(&plugin.config));
    let rest = spec.cache.iter().chain(&spec.checkout).map(json_size);
    let paths = spec.artifact_paths.iter().map(String::len);
    spec.command.len() + pairs.chain(plugins).chain(rest).chain(paths).sum::<usize>()
}

fn json_size(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::String(text) => text.len(),
        serde_json::Value::Array(items) => items.iter().map(json_size).sum(),
        serde_json::Value::Object(map) => map.iter().map(|(key, value)| key.len() + json_size(value)).sum(),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => 8,
    }
}
