//! Generated pipeline texts, and what each of their jobs does when it runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::rng::Rng;
use crate::world::SECOND;

/// A rule of `retry.automatic`.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// The exit status; none is every failure.
    exit: Option<i32>,
    limit: usize,
}

/// `soft_fail`.
#[derive(Clone, Debug)]
pub(crate) enum Soft {
    Never,
    Always,
    On(i32),
}

/// What a job does.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Exit status of each try; the last one stands for all further ones.
    pub(crate) exits: Vec<i32>,
    /// Which failures are tried again, how often.
    rules: Vec<Rule>,
    soft: Soft,
    /// How long it runs, in microseconds.
    pub(crate) span: u64,
    /// The text that it uploads.
    pub(crate) upload: Option<usize>,
    /// How many jobs the step makes.
    pub(crate) copies: usize,
}

impl Job {
    pub(crate) fn exit(&self, retry: usize) -> i32 {
        self.exits[retry.min(self.exits.len() - 1)]
    }

    /// Whether a failure with this exit status counts as passed; -1 is a machine that died.
    pub(crate) fn is_soft(&self, exit: i32) -> bool {
        match self.soft {
            Soft::Never => false,
            Soft::Always => true,
            Soft::On(status) => status == exit,
        }
    }

    /// How many of these failures, in the order in which they happened, no rule allowed to be tried again.
    pub(crate) fn refused(&self, failures: &[i32]) -> usize {
        let mut uses = vec![0; self.rules.len()];
        let refused = failures.iter().filter(|exit| {
            let rule = self.rules.iter().position(|r| r.exit.is_none_or(|status| status == **exit));
            let allowed = rule.is_some_and(|rule| uses[rule] < self.rules[rule].limit);
            if let Some(rule) = rule.filter(|_| allowed) {
                uses[rule] += 1;
            }
            !allowed
        });
        refused.count()
    }

    fn write(&self, yaml: &mut String, key: &str) {
        let _ = writeln!(yaml, "  - command: sim {key}\n    key: {key}\n    label: {key}");
        if self.copies > 1 {
            let _ = writeln!(yaml, "    parallelism: {}", self.copies);
        }
        if !self.rules.is_empty() {
            let rule = |r: &Rule| {
                let status = r.exit.map_or_else(|| "'*'".to_owned(), |exit| exit.to_string());
                format!("{{exit_status: {status}, limit: {}}}", r.limit)
            };
            let rules: Vec<String> = self.rules.iter().map(rule).collect();
            let _ = writeln!(yaml, "    retry: {{automatic: [{}]}}", rules.join(", "));
        }
        match self.soft {
            Soft::Never => {}
            Soft::Always => yaml.push_str("    soft_fail: true\n"),
            Soft::On(status) => {
                let _ = writeln!(yaml, "    soft_fail: [{{exit_status: {status}}}]");
            }
        }
    }
}

/// A step that waits for a person.
#[derive(Clone, Debug)]
pub(crate) struct Manual {
    pub(crate) key: String,
    /// An input step: nobody waits for it who does not say so.
    input: bool,
    /// The field that has to be filled in, if there is one.
    pub(crate) field: Option<String>,
    /// Keys of the jobs that wait for it.
    pub(crate) behind: Vec<String>,
}

/// A step that makes a build of another pipeline.
#[derive(Clone, Debug)]
pub(crate) struct Trigger {
    /// Its key; its build has it as message, and in its environment under `BY`.
    pub(crate) key: String,
    pub(crate) pipeline: String,
    pub(crate) branch: String,
    pub(crate) asynchronous: bool,
    pub(crate) soft: bool,
}

/// Who is told of the end of a build.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    /// The address of a webhook, or a channel of Slack's.
    pub(crate) target: String,
    /// The only end that it is told of.
    pub(crate) only: Option<&'static str>,
}

/// A text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    pub(crate) yaml: String,
    /// It cannot be read: the build is red from the start.
    pub(crate) broken: bool,
    /// Keys of its jobs.
    pub(crate) jobs: Vec<String>,
    pub(crate) manual: Option<Manual>,
    pub(crate) triggers: Vec<Trigger>,
    pub(crate) listeners: Vec<Listener>,
}

/// All texts and jobs of a world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    pub(crate) texts: Vec<Text>,
    /// How many of them are files of commits; the others are uploaded, or files of what triggers make.
    pub(crate) files: usize,
    /// Texts of the branches that triggers and schedules build.
    pub(crate) leaves: Vec<usize>,
    /// The text that triggers itself.
    pub(crate) chain: Option<usize>,
    pub(crate) jobs: BTreeMap<String, Job>,
}

const FILES: usize = 48;
const UPLOADS: usize = 16;
/// How many branches are there for triggers and schedules to build.
pub(crate) const LEAVES: usize = 3;

/// What a text may have in it.
#[derive(Clone, Copy, Debug, Default)]
struct Kit {
    small: bool,
    /// The first of the texts that its jobs may upload.
    uploads_from: Option<usize>,
    /// How many times fewer of its jobs fail.
    steadier: u64,
    /// Into how many pipelines its steps may trigger builds; with none, nobody is waited for or told either.
    pipelines: u64,
}

impl Book {
    pub(crate) fn new(rng: &mut Rng, small: bool) -> Self {
        let mut book = Self { files: if small { 6 } else { FILES }, ..Self::default() };
        for number in 0..book.files {
            let broken = !small && rng.chance(0.03);
            let size = if small { 1 + number % 3 } else { (rng.lognormal(5.0, 0.9) as usize).clamp(1, 50) };
            let kit = Kit { small, uploads_from: Some(book.files), steadier: 1, pipelines: if small { 1 } else { 3 } };
            let text = book.text(rng, number, size, kit);
            book.texts.push(if broken {
                Text { yaml: "steps: [{comand: x}".to_owned(), broken, ..Text::default() }
            } else {
                text
            });
        }
        let kit = Kit { small, steadier: 1, ..Kit::default() };
        for number in 0..UPLOADS {
            let size = if small { 1 } else { (rng.lognormal(2.0, 0.6) as usize).clamp(1, 8) };
            // Uploaded steps may upload the later texts: no circle.
            let number = book.files + number;
            let further = (number + 1 < book.files + UPLOADS && rng.chance(0.2)).then_some(number + 1);
            let text = book.text(rng, number, size, Kit { small, uploads_from: further, ..kit });
            book.texts.push(text);
        }
        for _ in 0..LEAVES + 1 {
            let number = book.texts.len();
            let text = book.text(rng, number, 1 + number % 2, kit);
            book.leaves.push(number);
            book.texts.push(text);
        }
        let number = book.texts.len();
        let mut chain = book.text(rng, number, 1, kit);
        let next = Trigger {
            key: format!("t{number}"),
            pipeline: "pipeline-0".to_owned(),
            branch: "chain".to_owned(),
            asynchronous: false,
            soft: false,
        };
        next.write(&mut chain.yaml);
        chain.triggers.push(next);
        book.chain = Some(number);
        book.texts.push(chain);
        book
    }

    /// Texts of so many jobs each, whose outcomes depend on nothing but the jobs and how often their user tried them.
    pub(crate) fn even(rng: &mut Rng, texts: usize, jobs: usize) -> Self {
        let mut book = Self { files: texts, ..Self::default() };
        for number in 0..texts {
            let text = book.text(rng, number, jobs, Kit { steadier: 5, ..Kit::default() });
            book.texts.push(text);
        }
        book
    }

    /// One text, whose jobs are not in the book: they succeed after a second.
    pub(crate) fn of(yaml: &str) -> Self {
        let text = Text { yaml: yaml.to_owned(), ..Text::default() };
        Self { texts: vec![text], files: 1, ..Self::default() }
    }

    /// The step that waits for a person before this job may begin.
    pub(crate) fn waits_for(&self, key: &str) -> Option<&Manual> {
        let text = key.strip_prefix('j')?.split('-').next()?.parse::<usize>().ok()?;
        self.texts.get(text)?.manual.as_ref().filter(|manual| manual.behind.iter().any(|k| k == key))
    }

    fn text(&mut self, rng: &mut Rng, number: usize, size: usize, kit: Kit) -> Text {
        let last = self.files + UPLOADS;
        let mut text = Text::default();
        if kit.pipelines > 0 && rng.chance(0.12) {
            text.listen(rng, number);
        }
        text.yaml.push_str("steps:\n");
        let often = if kit.small { 0.3 } else { 0.08 };
        let mut asks_at = (kit.pipelines > 0 && rng.chance(often)).then(|| rng.index(size));
        let mut triggers_at = (kit.pipelines > 0 && rng.chance(often)).then(|| rng.index(size));
        let mut jobs = 0;
        while jobs < size {
            if !text.jobs.is_empty() && rng.chance(0.12) {
                text.yaml.push_str("  - wait\n");
            }
            let mut on =
                (!text.jobs.is_empty() && rng.chance(0.15)).then(|| text.jobs[rng.index(text.jobs.len())].clone());
            if asks_at.take_if(|at| *at <= jobs).is_some() {
                let manual = Manual::new(rng, number);
                manual.write(&mut text.yaml);
                if manual.input {
                    on = Some(manual.key.clone());
                }
                text.manual = Some(manual);
            }
            if triggers_at.take_if(|at| *at <= jobs).is_some() {
                let trigger = Trigger::new(rng, number, kit.pipelines);
                trigger.write(&mut text.yaml);
                text.triggers.push(trigger);
            }
            let key = format!("j{number}-{}", text.jobs.len());
            let copies = if !kit.small && size - jobs > 2 && rng.chance(0.06) { rng.range(2, 5) as usize } else { 1 };
            let copies = copies.min(size - jobs);
            jobs += copies;
            let uploads = if kit.small { 0.4 } else { 0.06 };
            let upload = kit.uploads_from.filter(|from| *from < last && copies == 1 && rng.chance(uploads));
            let upload = upload.map(|from| from + rng.index(last - from));
            let job = job(rng, upload, copies, kit.steadier);
            job.write(&mut text.yaml, &key);
            decorate(rng, &mut text.yaml, kit.small);
            if let Some(on) = &on {
                let _ = writeln!(text.yaml, "    depends_on: {on}");
            }
            if let Some(manual) = text.manual.as_mut().filter(|m| m.holds_back(on.as_ref())) {
                manual.behind.push(key.clone());
            }
            self.jobs.insert(key.clone(), job);
            text.jobs.push(key);
        }
        text
    }
}

/// What does not change how a job ends.
fn decorate(rng: &mut Rng, yaml: &mut String, small: bool) {
    if !small && rng.chance(0.1) {
        yaml.push_str("    agents: {queue: big}\n");
    }
    if rng.chance(0.05) {
        let _ = writeln!(yaml, "    priority: {}", rng.range(0, 5));
    }
    if rng.chance(if small { 0.3 } else { 0.04 }) {
        let (group, limit) = (rng.range(0, 3), rng.range(1, 3));
        let _ = writeln!(yaml, "    concurrency: {limit}\n    concurrency_group: g{group}");
    }
}

impl Manual {
    fn new(rng: &mut Rng, number: usize) -> Self {
        let field = rng.chance(0.6).then(|| format!("v{number}"));
        Self { key: format!("b{number}"), input: rng.chance(0.3), field, behind: Vec::new() }
    }

    fn write(&self, yaml: &mut String) {
        let Self { key, input, field, .. } = self;
        let kind = if *input { "input" } else { "block" };
        // What is blocked is not shown as passed: the world knows no difference.
        let _ = writeln!(yaml, "  - {kind}: Go on?\n    key: {key}\n    blocked_state: running");
        if let Some(field) = field {
            let options = "options: [{label: One, value: one}, {label: Two, value: two}], default: two";
            let _ = writeln!(yaml, "    fields:\n      - {{text: Why, key: {field}, format: 'w[0-9a-f]+'}}");
            let _ = writeln!(yaml, "      - {{select: Which, key: {field}-which, {options}}}");
        }
    }

    /// Whether a job that stands behind it waits for it: what is written is all that is waited for, and where nothing is
    /// written, everything before a block is.
    fn holds_back(&self, depends_on: Option<&String>) -> bool {
        match depends_on {
            Some(on) => *on == self.key || self.behind.contains(on),
            None => !self.input,
        }
    }
}

impl Trigger {
    fn new(rng: &mut Rng, number: usize, pipelines: u64) -> Self {
        Self {
            key: format!("t{number}"),
            pipeline: format!("pipeline-{}", rng.range(0, pipelines)),
            branch: format!("leaf-{}", rng.index(LEAVES)),
            asynchronous: rng.chance(0.3),
            soft: rng.chance(0.2),
        }
    }

    fn write(&self, yaml: &mut String) {
        let Self { key, pipeline, branch, asynchronous, soft } = self;
        let _ =
            writeln!(yaml, "  - trigger: {pipeline}\n    key: {key}\n    async: {asynchronous}\n    soft_fail: {soft}");
        let _ = writeln!(yaml, "    build: {{branch: {branch}, message: {key}, env: {{BY: {key}}}}}");
    }
}

impl Text {
    fn listen(&mut self, rng: &mut Rng, number: usize) {
        let only = |rng: &mut Rng| match rng.range(0, 4) {
            0 => Some("failed"),
            1 => Some("passed"),
            _ => None,
        };
        let hook = Listener { target: format!("https://sim.invalid/{number}"), only: only(rng) };
        let slack = Listener { target: format!("#c{number}"), only: only(rng) };
        self.yaml.push_str("notify:\n");
        for (service, listener) in [("webhook", hook), ("slack", slack)] {
            let _ = writeln!(self.yaml, "  - {service}: '{}'", listener.target);
            if let Some(only) = listener.only {
                let _ = writeln!(self.yaml, "    if: build.state == \"{only}\"");
            }
            self.listeners.push(listener);
        }
    }
}

fn job(rng: &mut Rng, upload: Option<usize>, copies: usize, steadier: u64) -> Job {
    let exits = match rng.range(0, 100 * steadier) {
        0..4 => vec![1],
        4..7 => vec![1, 0],
        7..9 => vec![1, 2, 0],
        9 => vec![2, 0],
        _ if steadier > 1 && rng.chance(0.08) => vec![1, 0],
        _ => vec![0],
    };
    let mut rules = Vec::new();
    // Where outcomes are compared, most of what fails comes right when it is tried again.
    if rng.chance(0.5) || (steadier > 1 && exits.len() > 1) {
        if rng.chance(0.3) {
            rules.push(Rule { exit: Some(2), limit: rng.index(2) });
        }
        rules.push(Rule { exit: None, limit: 1 + rng.index(2) });
    }
    let soft = match rng.range(0, 100) {
        0..8 => Soft::Always,
        8..12 => Soft::On(2),
        _ => Soft::Never,
    };
    let span = (rng.lognormal(8.0, 1.1).clamp(0.05, 900.0) * SECOND as f64) as u64;
    Job { exits, rules, soft, span, upload, copies }
}
