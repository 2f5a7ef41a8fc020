//! Generated pipeline texts, and what each of their jobs does when it runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::rng::Rng;
use crate::world::SECOND;

/// What a job does.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Exit status of each try; the last one stands for all further ones.
    pub(crate) exits: Vec<i32>,
    /// How often a failure is tried again by rule.
    pub(crate) limit: usize,
    pub(crate) soft: bool,
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
}

/// A text.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) yaml: String,
    /// It cannot be read: the build is red from the start.
    pub(crate) broken: bool,
    /// Keys of its jobs.
    pub(crate) jobs: Vec<String>,
}

/// All texts and jobs of a world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    pub(crate) texts: Vec<Text>,
    /// How many of them are files of commits; the others are uploaded.
    pub(crate) files: usize,
    pub(crate) jobs: BTreeMap<String, Job>,
}

const FILES: usize = 48;
const UPLOADS: usize = 16;

impl Book {
    pub(crate) fn new(rng: &mut Rng, small: bool) -> Self {
        let mut book = Self { files: if small { 6 } else { FILES }, ..Self::default() };
        for number in 0..book.files {
            let broken = !small && rng.chance(0.03);
            let size = if small { 1 + number % 3 } else { (rng.lognormal(5.0, 0.9) as usize).clamp(1, 50) };
            let text = book.text(rng, number, size, Some(book.files), small);
            book.texts.push(if broken {
                Text { yaml: "steps: [{comand: x}".to_owned(), broken, jobs: Vec::new() }
            } else {
                text
            });
        }
        for number in 0..UPLOADS {
            let size = if small { 1 } else { (rng.lognormal(2.0, 0.6) as usize).clamp(1, 8) };
            // Uploaded steps may upload the later texts: no circle.
            let number = book.files + number;
            let further = (number + 1 < book.files + UPLOADS && rng.chance(0.2)).then_some(number + 1);
            let text = book.text(rng, number, size, further, small);
            book.texts.push(text);
        }
        book
    }

    /// One text, whose jobs are not in the book: they succeed after a second.
    pub(crate) fn of(yaml: &str) -> Self {
        let text = Text { yaml: yaml.to_owned(), broken: false, jobs: Vec::new() };
        Self { texts: vec![text], files: 1, jobs: BTreeMap::new() }
    }

    fn text(&mut self, rng: &mut Rng, number: usize, size: usize, uploads_from: Option<usize>, small: bool) -> Text {
        let last = self.files + UPLOADS;
        let mut yaml = String::from("steps:\n");
        let mut keys: Vec<String> = Vec::new();
        let mut jobs = 0;
        while jobs < size {
            if !keys.is_empty() && rng.chance(0.12) {
                yaml.push_str("  - wait\n");
            }
            let key = format!("j{number}-{}", keys.len());
            let copies = if !small && size - jobs > 2 && rng.chance(0.06) { rng.range(2, 5) as usize } else { 1 };
            let copies = copies.min(size - jobs);
            jobs += copies;
            let upload =
                uploads_from.filter(|from| *from < last && copies == 1 && rng.chance(if small { 0.4 } else { 0.06 }));
            let upload = upload.map(|from| from + rng.index(last - from));
            let job = Job {
                exits: match rng.range(0, 100) {
                    0..4 => vec![1],
                    4..7 => vec![1, 0],
                    7..9 => vec![1, 2, 0],
                    _ => vec![0],
                },
                limit: if rng.chance(0.5) { rng.range(1, 3) as usize } else { 0 },
                soft: rng.chance(0.1),
                span: (rng.lognormal(8.0, 1.1).clamp(0.05, 900.0) * SECOND as f64) as u64,
                upload,
                copies,
            };
            let _ = writeln!(yaml, "  - command: sim {key}\n    key: {key}\n    label: {key}");
            if copies > 1 {
                let _ = writeln!(yaml, "    parallelism: {copies}");
            }
            if job.limit > 0 {
                let _ = writeln!(yaml, "    retry: {{automatic: [{{exit_status: '*', limit: {}}}]}}", job.limit);
            }
            if job.soft {
                yaml.push_str("    soft_fail: true\n");
            }
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
            if !keys.is_empty() && rng.chance(0.15) {
                let on = &keys[rng.index(keys.len())];
                let _ = writeln!(yaml, "    depends_on: {on}");
            }
            self.jobs.insert(key.clone(), job);
            keys.push(key);
        }
        Text { yaml, broken: false, jobs: keys }
    }
}
