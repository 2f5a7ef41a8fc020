//! What people do, and what they see.

use serde_json::{Value, json};

use crate::hub::{CheckRun, Hook, Hub, Issue, Pull, Repository};
use crate::rest::{check_json, pull_json, repository_json};

/// No commit.
const ZEROS: &str = "0000000000000000000000000000000000000000";

/// What people see at the end of a commit's line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shown {
    /// The name of the check or status.
    pub name: String,
    /// The conclusion of a check, or its status while it has none; the state of a status.
    pub state: String,
    /// Headline or description.
    pub words: String,
}

/// Where the head of a pull request is.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The repository.
    pub repository: u64,
    /// The branch.
    pub branch: &'a str,
}

impl Hub {
    /// Somebody makes a repository, of this id, with an empty default branch `main`.
    pub fn make_repository(&mut self, id: u64, full_name: &str) {
        let owner = full_name.split('/').next().unwrap_or_default().to_owned();
        self.person(&owner);
        let repository = Repository {
            id,
            full_name: full_name.to_owned(),
            default_branch: "main".to_owned(),
            roles: [(owner, "admin".to_owned())].into(),
            ..Repository::default()
        };
        self.repositories.insert(id, repository);
    }

    /// Somebody forks a repository.
    pub fn fork(&mut self, of: u64, id: u64, full_name: &str) {
        self.make_repository(id, full_name);
        let Some(parent) = self.repositories.get(&of).cloned() else { return };
        if let Some(fork) = self.repositories.get_mut(&id) {
            (fork.fork_of, fork.refs, fork.commits) = (Some(of), parent.refs, parent.commits);
        }
    }

    /// A repository is hidden from those who have no role in it, or shown.
    pub fn set_private(&mut self, repository: u64, private: bool) {
        if let Some(known) = self.repositories.get_mut(&repository) {
            known.private = private;
        }
    }

    /// Somebody is given a role: `admin`, `maintain`, `write`, `triage`, `read`; or `none`.
    pub fn set_role(&mut self, repository: u64, login: &str, role: &str) {
        self.person(login);
        if let Some(known) = self.repositories.get_mut(&repository) {
            known.roles.insert(login.to_owned(), role.to_owned());
        }
    }

    /// Somebody adds a webhook to a repository. Returns its id.
    pub fn add_hook(&mut self, now: u64, repository: u64, url: &str, secret: &str, events: &[&str]) -> u64 {
        let id = self.fresh();
        let hook = Hook {
            id,
            app: None,
            repository: Some(repository),
            url: url.to_owned(),
            secret: secret.to_owned(),
            content_type: "json".to_owned(),
            events: events.iter().map(|event| (*event).to_owned()).collect(),
        };
        self.hooks.insert(id, hook.clone());
        let ping = json!({ "zen": "Keep it logically awesome.", "hook_id": id, "hook": { "events": events } });
        self.send(now, &hook, "ping", Some(repository), None, &ping);
        id
    }

    /// Somebody changes where the deliveries of an App go, and what they are signed with.
    pub fn set_hook(&mut self, app: u64, url: &str, secret: &str) {
        if let Some(hook) = self.hooks.values_mut().find(|hook| hook.app == Some(app)) {
            url.clone_into(&mut hook.url);
            secret.clone_into(&mut hook.secret);
        }
    }

    /// Somebody pushes: the ref points to `sha` now, a commit with this message. `sha` of zeros deletes it. Pull requests whose
    /// head it is follow. A ref that does not move makes no event.
    pub fn push(&mut self, now: u64, by: &str, repository: u64, git_ref: &str, sha: &str, message: &str) {
        let before = self.move_ref(repository, git_ref, sha, message);
        if before == sha {
            return;
        }
        let sender = self.sender(by);
        let Some(known) = self.repositories.get(&repository) else { return };
        let (created, deleted) = (before == ZEROS, sha == ZEROS);
        let commit = known.tags.get(sha).map_or(sha, String::as_str);
        let head = (!deleted).then(|| {
            json!({
                "id": commit, "tree_id": commit, "message": known.commits.get(commit).cloned().unwrap_or_default(),
                "timestamp": crate::rest::time(self.clock(now)), "author": { "name": by, "email": format!("{by}@example.com") },
                "committer": { "name": by, "email": format!("{by}@example.com") },
                "added": [], "removed": [], "modified": [],
            })
        });
        let payload = json!({
            "ref": git_ref, "before": before, "after": sha, "created": created, "deleted": deleted, "forced": false,
            "base_ref": null, "compare": format!("{}/{}/compare", self.web, known.full_name),
            "commits": head.iter().collect::<Vec<_>>(), "head_commit": head,
            "repository": repository_json(self, known), "pusher": { "name": by, "email": null }, "sender": sender,
        });
        self.emit(now, "push", Some(repository), &payload);
        if !deleted && let Some(branch) = git_ref.strip_prefix("refs/heads/") {
            self.follow(now, by, repository, branch, sha);
        }
    }

    /// The ref moves and nobody is told, as with more than three tags in one push.
    pub fn move_quietly(&mut self, repository: u64, git_ref: &str, sha: &str, message: &str) {
        self.move_ref(repository, git_ref, sha, message);
    }

    fn move_ref(&mut self, repository: u64, git_ref: &str, sha: &str, message: &str) -> String {
        let Some(known) = self.repositories.get_mut(&repository) else { return sha.to_owned() };
        if sha == ZEROS {
            return known.refs.remove(git_ref).unwrap_or_else(|| ZEROS.to_owned());
        }
        known.commits.entry(sha.to_owned()).or_insert_with(|| message.to_owned());
        known.refs.insert(git_ref.to_owned(), sha.to_owned()).unwrap_or_else(|| ZEROS.to_owned())
    }

    /// Pull requests whose head is a branch that moved.
    fn follow(&mut self, now: u64, by: &str, repository: u64, branch: &str, sha: &str) {
        let mut moved = Vec::new();
        for (base, known) in &mut self.repositories {
            for pull in known.pulls.values_mut() {
                if pull.state == "open" && pull.head_repository == Some(repository) && pull.head_branch == branch {
                    let before = std::mem::replace(&mut pull.head, sha.to_owned());
                    moved.push((*base, pull.number, before));
                }
            }
        }
        for (base, number, before) in moved {
            self.tell_of_pull(now, by, base, number, "synchronize", &json!({ "before": before, "after": sha }));
        }
    }

    /// Somebody opens a pull request. Returns its number.
    pub fn open_pull(&mut self, now: u64, by: &str, base: u64, base_branch: &str, head: Head<'_>, title: &str) -> u64 {
        let at = |repository: u64, branch: &str| {
            let known = self.repositories.get(&repository)?;
            known.refs.get(&format!("refs/heads/{branch}")).cloned()
        };
        let (from, to) = (at(head.repository, head.branch), at(base, base_branch));
        let number = self.fresh();
        let pull = Pull {
            number,
            author: by.to_owned(),
            title: title.to_owned(),
            state: "open".to_owned(),
            merged: false,
            draft: false,
            head_repository: Some(head.repository),
            head_branch: head.branch.to_owned(),
            head: from.unwrap_or_else(|| ZEROS.to_owned()),
            base_branch: base_branch.to_owned(),
            base: to.unwrap_or_else(|| ZEROS.to_owned()),
            labels: Vec::new(),
        };
        if let Some(known) = self.repositories.get_mut(&base) {
            // The commits of a pull request can be had from the repository that it goes to.
            known.commits.entry(pull.head.clone()).or_insert_with(|| title.to_owned());
            known.pulls.insert(number, pull);
        }
        self.tell_of_pull(now, by, base, number, "opened", &json!({}));
        number
    }

    /// Somebody changes a pull request; `action` is what GitHub calls it.
    pub fn change_pull(
        &mut self,
        now: u64,
        by: &str,
        base: u64,
        number: u64,
        action: &str,
        change: impl FnOnce(&mut Pull),
    ) {
        if let Some(pull) = self.repositories.get_mut(&base).and_then(|r| r.pulls.get_mut(&number)) {
            change(pull);
        }
        self.tell_of_pull(now, by, base, number, action, &json!({}));
    }

    fn tell_of_pull(&mut self, now: u64, by: &str, base: u64, number: u64, action: &str, more: &Value) {
        let sender = self.sender(by);
        let Some((known, pull)) = self.repositories.get(&base).and_then(|r| Some((r, r.pulls.get(&number)?))) else {
            return;
        };
        let mut payload = json!({
            "action": action, "number": number, "pull_request": pull_json(self, known, pull),
            "repository": repository_json(self, known), "sender": sender,
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            payload[name.as_str()] = value.clone();
        }
        self.emit(now, "pull_request", Some(base), &payload);
    }

    /// Somebody comments.
    pub fn comment(&mut self, now: u64, by: &str, on: Issue, text: &str) {
        let sender = self.sender(by);
        let id = self.fresh();
        let Some(known) = self.repositories.get(&on.repository) else { return };
        let mut issue = json!({ "number": on.number, "state": "open" });
        if known.pulls.contains_key(&on.number) {
            issue["pull_request"] =
                json!({ "url": format!("{}/repos/{}/pulls/{}", self.api, known.full_name, on.number) });
        }
        let payload = json!({
            "action": "created", "issue": issue,
            "comment": { "id": id, "body": text, "user": sender, "author_association": "NONE" },
            "repository": repository_json(self, known), "sender": sender,
        });
        self.emit(now, "issue_comment", Some(on.repository), &payload);
    }

    /// Somebody presses "Re-run" beside a check.
    pub fn press_rerun(&mut self, now: u64, by: &str, check: u64) {
        let sender = self.sender(by);
        let Some(run) = self.checks.get(&check) else { return };
        let Some(known) = self.repositories.get(&run.repository) else { return };
        let repository = run.repository;
        let payload = json!({
            "action": "rerequested", "check_run": check_json(self, run), "repository": repository_json(self, known),
            "sender": sender,
        });
        self.emit(now, "check_run", Some(repository), &payload);
    }

    /// Somebody presses "Re-run all" for an App's checks of a commit.
    pub fn press_rerun_all(&mut self, now: u64, by: &str, app: u64, repository: u64, sha: &str) {
        let sender = self.sender(by);
        let Some(known) = self.repositories.get(&repository) else { return };
        let branch =
            known.refs.iter().find(|(_, at)| *at == sha).and_then(|(name, _)| name.strip_prefix("refs/heads/"));
        let payload = json!({
            "action": "rerequested",
            "check_suite": {
                "id": 1, "head_sha": sha, "head_branch": branch, "before": ZEROS, "after": sha, "pull_requests": [],
                "app": { "id": app }, "status": "completed", "conclusion": "failure",
            },
            "repository": repository_json(self, known), "sender": sender,
        });
        self.emit(now, "check_suite", Some(repository), &payload);
    }

    /// Somebody renames a repository, or gives it to somebody else. The old name leads to it.
    pub fn rename(&mut self, now: u64, by: &str, repository: u64, full_name: &str) {
        let sender = self.sender(by);
        let Some(known) = self.repositories.get_mut(&repository) else { return };
        let old = std::mem::replace(&mut known.full_name, full_name.to_owned());
        let known = known.clone();
        self.old_names.insert(old.clone(), repository);
        let name = old.split('/').next_back().unwrap_or_default();
        let payload = json!({
            "action": "renamed", "changes": { "repository": { "name": { "from": name } } },
            "repository": repository_json(self, &known), "sender": sender,
        });
        self.emit(now, "repository", Some(repository), &payload);
    }

    /// What people see of a commit, by name: of each App's checks of one name the newest, and of each status the last.
    pub fn shown(&self, repository: u64, sha: &str) -> Vec<Shown> {
        let mut shown = std::collections::BTreeMap::new();
        for run in self.checks.values().filter(|run| run.repository == repository && run.head_sha == sha) {
            let state = run.conclusion.clone().unwrap_or_else(|| run.status.clone());
            let words = run.title.clone().unwrap_or_default();
            shown.insert((run.app, run.name.clone()), Shown { name: run.name.clone(), state, words });
        }
        for status in self.statuses.iter().filter(|s| s.repository == repository && s.sha == sha) {
            let (name, words) = (status.context.clone(), status.description.clone());
            shown.insert((0, name.clone()), Shown { name, state: status.state.clone(), words });
        }
        shown.into_values().collect()
    }

    /// The newest check of a name on a commit.
    pub fn newest_check(&self, repository: u64, sha: &str, name: &str) -> Option<&CheckRun> {
        self.checks.values().rev().find(|run| run.repository == repository && run.head_sha == sha && run.name == name)
    }

    pub(crate) fn tell_of_installation(&mut self, now: u64, installation: u64, action: &str) {
        let Some(known) = self.installations.get(&installation).cloned() else { return };
        let seen = self.repositories.values().filter(|r| self.installed(known.app, r.id).is_some());
        let repositories: Vec<Value> = seen.map(|r| json!({ "id": r.id, "full_name": r.full_name })).collect();
        let sender = self.sender(&known.account);
        let payload = json!({
            "action": action,
            "installation": { "id": known.id, "app_id": known.app, "account": { "login": known.account } },
            "repositories": repositories, "sender": sender,
        });
        self.emit(now, "installation", None, &payload);
    }

    fn sender(&mut self, login: &str) -> Value {
        json!({ "login": login, "id": self.person(login), "type": "User" })
    }
}
