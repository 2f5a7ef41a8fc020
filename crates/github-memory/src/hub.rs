//! What there is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use crate::auth::Grant;
use crate::deliveries::Delivery;
use crate::limits::{Limits, Usage};
use crate::rest::Seen;

/// A GitHub. Every call that depends on time takes it, in milliseconds since 1970.
#[derive(Debug, Default)]
pub struct Hub {
    /// How far GitHub's clock is ahead of the time that calls are given, in seconds.
    pub skew: i64,
    /// Limits that answers are refused by.
    pub limits: Limits,
    /// What happens to the next requests, one each, before they are looked at.
    pub faults: VecDeque<Fault>,
    /// What happens to the next request whose path has this in it.
    pub fault_at: Option<(&'static str, Fault)>,
    /// Where it is reached, for links: `https://github.example.com`.
    pub web: String,
    /// Where its API is reached.
    pub api: String,
    /// Every request, as it was answered.
    pub seen: Vec<Seen>,
    pub(crate) serial: u64,
    pub(crate) people: BTreeMap<String, u64>,
    pub(crate) apps: BTreeMap<u64, App>,
    pub(crate) manifests: BTreeMap<String, Value>,
    pub(crate) installations: BTreeMap<u64, Installation>,
    pub(crate) tokens: BTreeMap<String, Grant>,
    pub(crate) repositories: BTreeMap<u64, Repository>,
    pub(crate) old_names: BTreeMap<String, u64>,
    pub(crate) checks: BTreeMap<u64, CheckRun>,
    pub(crate) statuses: Vec<Status>,
    pub(crate) hooks: BTreeMap<u64, Hook>,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) outbox: VecDeque<usize>,
    pub(crate) usage: BTreeMap<String, Usage>,
}

/// What happens to a request instead of its answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// It is answered with this status and not done.
    Refused(u16),
    /// It is done, and the answer is lost: 502.
    AnswerLost,
    /// The secondary limit, with `retry-after` seconds.
    Limited(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) id: u64,
    pub(crate) slug: String,
    pub(crate) name: String,
    pub(crate) client_id: String,
    pub(crate) owner: String,
    /// SubjectPublicKeyInfo's inner key, PKCS#1.
    pub(crate) public_key: Vec<u8>,
    pub(crate) permissions: BTreeMap<String, String>,
    pub(crate) events: Vec<String>,
    pub(crate) hook: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Installation {
    pub(crate) id: u64,
    pub(crate) app: u64,
    pub(crate) account: String,
    /// Those that the App may see; `None` is all of the account.
    pub(crate) repositories: Option<BTreeSet<u64>>,
    pub(crate) permissions: BTreeMap<String, String>,
    pub(crate) suspended: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Hook {
    pub(crate) id: u64,
    pub(crate) app: Option<u64>,
    pub(crate) repository: Option<u64>,
    pub(crate) url: String,
    pub(crate) secret: String,
    pub(crate) content_type: String,
    pub(crate) events: Vec<String>,
}

/// A repository.
#[derive(Clone, Debug, Default)]
pub struct Repository {
    /// Its id.
    pub id: u64,
    /// `owner/name`.
    pub full_name: String,
    /// Not everybody may read it.
    pub private: bool,
    /// Its default branch.
    pub default_branch: String,
    /// The repository that it is a fork of.
    pub fork_of: Option<u64>,
    /// Full refs, and what they point to.
    pub refs: BTreeMap<String, String>,
    /// Commits, by id: their messages.
    pub commits: BTreeMap<String, String>,
    /// Annotated tags, by id: their commits.
    pub tags: BTreeMap<String, String>,
    /// Roles of people, by login.
    pub roles: BTreeMap<String, String>,
    /// Pull requests into it.
    pub pulls: BTreeMap<u64, Pull>,
}

/// A pull request.
#[derive(Clone, Debug)]
pub struct Pull {
    /// Its number.
    pub number: u64,
    /// Who opened it.
    pub author: String,
    /// What it is called.
    pub title: String,
    /// `open` or `closed`.
    pub state: String,
    /// It was merged.
    pub merged: bool,
    /// It is a draft.
    pub draft: bool,
    /// Repository of the head; `None` when the fork was deleted.
    pub head_repository: Option<u64>,
    /// Branch of the head.
    pub head_branch: String,
    /// Commit of the head.
    pub head: String,
    /// Branch that it is to be merged into.
    pub base_branch: String,
    /// Commit of the base.
    pub base: String,
    /// Labels.
    pub labels: Vec<String>,
}

/// What a comment is written under.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Issue {
    /// Its repository.
    pub repository: u64,
    /// Its number: that of a pull request, or of an issue.
    pub number: u64,
}

/// A check run.
#[derive(Clone, Debug)]
pub struct CheckRun {
    /// Its id.
    pub id: u64,
    /// The App that made it.
    pub app: u64,
    /// Its repository.
    pub repository: u64,
    /// Its commit.
    pub head_sha: String,
    /// What people call it.
    pub name: String,
    /// What its App calls it.
    pub external_id: String,
    /// Where people are sent.
    pub details_url: Option<String>,
    /// `queued`, `in_progress` or `completed`.
    pub status: String,
    /// How it ended.
    pub conclusion: Option<String>,
    /// Headline.
    pub title: Option<String>,
    /// Markdown.
    pub summary: Option<String>,
    /// More Markdown.
    pub text: Option<String>,
    /// Marks in files.
    pub annotations: Vec<Annotation>,
    /// When it began, as told.
    pub started_at: Option<String>,
    /// When it ended, as told.
    pub completed_at: Option<String>,
    /// How often it was written.
    pub writes: u32,
}

/// A mark in a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Annotation {
    /// The file.
    pub path: String,
    /// First line.
    pub start_line: u64,
    /// Last line.
    pub end_line: u64,
    /// `notice`, `warning` or `failure`.
    pub level: String,
    /// What it says.
    pub message: String,
}

/// A commit status.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its repository.
    pub repository: u64,
    /// Its commit.
    pub sha: String,
    /// Its name.
    pub context: String,
    /// `pending`, `success`, `failure` or `error`.
    pub state: String,
    /// Words.
    pub description: String,
    /// Where people are sent.
    pub target_url: Option<String>,
}

impl Hub {
    /// A fresh number, never given before.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.serial += 1;
        1_000 + self.serial
    }

    /// GitHub's clock, in seconds.
    pub(crate) fn clock(&self, now: u64) -> i64 {
        i64::try_from(now / 1_000).unwrap_or(i64::MAX) + self.skew
    }

    /// A repository by its id.
    pub fn repository(&self, id: u64) -> Option<&Repository> {
        self.repositories.get(&id)
    }

    /// A check run by its id.
    pub fn check(&self, id: u64) -> Option<&CheckRun> {
        self.checks.get(&id)
    }

    /// Every check run, oldest first.
    pub fn checks(&self) -> impl Iterator<Item = &CheckRun> {
        self.checks.values()
    }

    /// Every status, oldest first.
    pub fn statuses(&self) -> &[Status] {
        &self.statuses
    }

    /// The id of a login.
    pub(crate) fn person(&mut self, login: &str) -> u64 {
        if let Some(id) = self.people.get(login) {
            return *id;
        }
        let id = self.fresh();
        self.people.insert(login.to_owned(), id);
        id
    }

    pub(crate) fn named(&self, full_name: &str) -> Option<&Repository> {
        self.repositories.values().find(|r| r.full_name.eq_ignore_ascii_case(full_name))
    }

    /// The installation of an App that sees a repository.
    pub(crate) fn installed(&self, app: u64, repository: u64) -> Option<&Installation> {
        let owner = self.repositories.get(&repository)?.full_name.split('/').next()?;
        self.installations.values().find(|i| {
            i.app == app && i.account == owner && i.repositories.as_ref().is_none_or(|all| all.contains(&repository))
        })
    }

    /// What a person may do in a repository: their role, or what everybody may.
    pub(crate) fn role<'a>(&self, repository: &'a Repository, login: &str) -> &'a str {
        match repository.roles.get(login) {
            Some(role) => role,
            None if repository.private => "none",
            None => "read",
        }
    }
}
