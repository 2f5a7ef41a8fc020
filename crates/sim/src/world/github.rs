//! GitHub: refs move, and deliveries say so, more or less.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use secrecy::SecretString;
use tidegate_core::ids::RepositoryId;
use tidegate_edge::webhook::{Deps, handle};
use tidegate_github::webhook::{Headers, LOCAL_LIMIT, Secrets, sign};

use crate::exec::lock;
use crate::faults::Fault;
use crate::sabotage::Sabotage;
use crate::world::ledger::{Delivery, FORGED};
use crate::world::pipelines::LEAVES;
use crate::world::{MINUTE, SECOND, World};

const ZEROS: &str = "0000000000000000000000000000000000000000";

struct Outbox {
    guid: String,
    body: Arc<String>,
    signature: Option<String>,
}

fn secret() -> SecretString {
    SecretString::from("a secret of the simulated world")
}

impl World {
    fn webhook(&self) -> Arc<Deps> {
        let secrets = Secrets::new(secret(), None).unwrap_or_else(|e| panic!("{e}"));
        Arc::new(Deps { secrets, limit: LOCAL_LIMIT, queue: Arc::new(self.clone()), clock: Arc::new(self.clone()) })
    }

    /// Pushes one new branch.
    pub(crate) fn push_one(&self) {
        let after = self.commit(100);
        self.point(100, "refs/heads/main", &after);
        self.deliver(&self.webhook(), 100, "refs/heads/main", ZEROS, &after, false);
    }

    /// Pushes each text once, on a branch of its own.
    async fn push_each(&self, deps: &Arc<Deps>) {
        for text in 0..self.plan.builds {
            let gap = self.draw(|r| r.range(0, 20 * SECOND));
            self.sleep(gap).await;
            let name = format!("refs/heads/n{text}");
            let after = self.commit_of(100, Some(text));
            self.point(100, &name, &after);
            self.deliver(deps, 100, &name, ZEROS, &after, false);
        }
    }

    /// Pushes so many moves; returns when the last one has happened.
    pub(crate) async fn push_all(&self, moves: usize) {
        let deps = self.webhook();
        if self.plan.even.is_some() {
            return self.push_each(&deps).await;
        }
        // Of each ref: where it points, and where it pointed before.
        let mut heads: BTreeMap<(u64, String), (String, String)> = BTreeMap::new();
        let repositories: u64 = if self.plan.small { 1 } else { 3 };
        let pace = if self.plan.small { 8.0 } else { 14.0 };
        for number in 0..moves {
            let gap = self.draw(|r| (r.lognormal(pace * 0.6, 1.0).clamp(0.0, 600.0) * SECOND as f64) as u64);
            self.sleep(gap).await;
            let odd = !self.plan.small && self.draw(|r| r.chance(0.03));
            let repository = if odd { 999 } else { 100 + self.draw(|r| r.range(0, repositories)) };
            let leaf = format!("refs/heads/leaf-{}", self.draw(|r| r.index(LEAVES)));
            let name = match self.draw(|r| r.range(0, 12)) {
                _ if repository != 999 && self.draw(|r| r.chance(0.03)) => leaf.clone(),
                0..4 => "refs/heads/main".to_owned(),
                4..9 => format!("refs/heads/b{}", self.draw(|r| r.range(0, 6))),
                9 => "refs/heads/wip-x".to_owned(),
                10 => format!("refs/tags/v{}", self.draw(|r| r.range(0, 4))),
                _ => format!("refs/heads/n{number}"),
            };
            let head = heads.get(&(repository, name.clone())).cloned();
            let before = head.as_ref().map_or_else(|| ZEROS.to_owned(), |(now, _)| now.clone());
            let kind = self.draw(|r| r.range(0, 100));
            let after = match &head {
                // Where triggers and schedules look: never deleted, and a small text.
                _ if name == leaf => self.commit_of(repository, Some(self.book.leaves[self.draw(|r| r.index(LEAVES))])),
                // Back to where it was.
                Some((_, old)) if kind < 12 && old != ZEROS => old.clone(),
                Some((now, _)) if (12..18).contains(&kind) && now != ZEROS => ZEROS.to_owned(),
                // Made again where it was.
                Some((now, old)) if now == ZEROS && kind < 60 => old.clone(),
                _ => self.commit(repository),
            };
            if after == before {
                continue;
            }
            heads.insert((repository, name.clone()), (after.clone(), before.clone()));
            self.point(repository, &name, &after);
            let skip = self.draw(|r| r.chance(0.03));
            self.deliver(&deps, repository, &name, &before, &after, skip);
            if self.fault(Fault::Forged, 0.1) {
                self.forge_delivery(&deps, repository, &name);
            }
        }
    }

    /// Branches that are there from the beginning, of which nobody is told.
    pub(crate) fn plant(&self) {
        let repositories: u64 = if self.plan.small { 1 } else { 3 };
        for repository in 100..100 + repositories {
            for (leaf, text) in self.book.leaves.iter().take(LEAVES).enumerate() {
                let commit = self.commit_of(repository, Some(*text));
                self.point(repository, &format!("refs/heads/leaf-{leaf}"), &commit);
            }
        }
        if let Some(chain) = self.book.chain {
            let commit = self.commit_of(100, Some(chain));
            self.point(100, "refs/heads/chain", &commit);
        }
    }

    fn point(&self, repository: u64, name: &str, commit: &str) {
        if let Some(repo) = lock(&self.git).repos.get_mut(&RepositoryId(repository)) {
            repo.refs.insert(name.to_owned(), commit.to_owned());
        }
        lock(&self.pointed).entry((repository, name.to_owned())).or_default().push(commit.to_owned());
    }

    /// A new commit with a pipeline file.
    fn commit(&self, repository: u64) -> String {
        let text = self.draw(|r| r.index(self.book.files));
        let missing = !self.plan.small && self.draw(|r| r.chance(0.01));
        self.commit_of(repository, (!missing).then_some(text))
    }

    /// A new commit with this text as its pipeline file; none: the server does not have it.
    fn commit_of(&self, repository: u64, text: Option<usize>) -> String {
        let sha = self.draw(|r| r.hex(40));
        let sha = if sha.starts_with(FORGED) { sha.replacen('b', "c", 1) } else { sha };
        let mut git = lock(&self.git);
        let repo = git.repos.entry(RepositoryId(repository)).or_default();
        if let Some(text) = text {
            let content = Bytes::from(self.book.texts[text].yaml.clone());
            repo.commits.insert(sha.clone(), BTreeMap::from([("pipeline.yml".to_owned(), content)]));
        }
        drop(git);
        lock(&self.texts_of_commits).insert(sha.clone(), text);
        sha
    }

    fn deliver(&self, deps: &Arc<Deps>, repository: u64, name: &str, before: &str, after: &str, skip: bool) {
        let guid = self.draw(|r| r.hex(32));
        let body = payload(repository, name, before, after, skip);
        let signature = sign(&secret(), body.as_bytes());
        let wip = repository == 101 && name.ends_with("/wip-x");
        let delivery = Delivery {
            repository,
            git_ref: name.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
            buildable: repository != 999 && after != ZEROS && !skip && !wip,
            accepted: false,
            sent: false,
            taken_at: None,
            done_at: None,
        };
        lock(&self.ledger).deliveries.insert(guid.clone(), delivery);
        let outbox = Arc::new(Outbox { guid, body: Arc::new(body), signature: Some(signature) });
        let delay = if self.fault(Fault::Deliveries, 0.15) {
            self.count("github: a delivery is late");
            self.draw(|r| if r.chance(0.2) { r.range(0, 30 * MINUTE) } else { r.range(0, 20 * SECOND) })
        } else {
            self.draw(|r| r.range(10_000, 900_000))
        };
        self.post(deps, &outbox, delay);
        if self.fault(Fault::Deliveries, 0.08) {
            self.count("github: a delivery comes twice");
            let gap = self.draw(|r| if r.chance(0.5) { r.range(0, 5 * SECOND) } else { r.range(0, 60 * MINUTE) });
            self.post(deps, &outbox, delay + gap);
        }
    }

    fn post(&self, deps: &Arc<Deps>, outbox: &Arc<Outbox>, delay: u64) {
        let (world, deps, outbox) = (self.clone(), Arc::clone(deps), Arc::clone(outbox));
        self.spawn(async move {
            world.sleep(delay).await;
            for round in 0.. {
                lock(&world.ledger).deliveries_sent += 1;
                let answer = {
                    let (deps, outbox) = (Arc::clone(&deps), Arc::clone(&outbox));
                    world.call(|_| async move {
                        let headers = Headers {
                            event: Some("push"),
                            delivery: Some(&outbox.guid),
                            signature: outbox.signature.as_deref(),
                            content_type: Some("application/json"),
                        };
                        handle(&deps, headers, outbox.body.as_bytes()).await.status
                    })
                };
                let status = answer.await;
                let taken = status == Some(202);
                if let Some(delivery) = lock(&world.ledger).deliveries.get_mut(&outbox.guid) {
                    delivery.accepted |= taken;
                }
                world.event(|| format!("delivery {} answered {status:?}", outbox.guid));
                if taken {
                    return;
                }
                world.count("github: a delivery failed");
                // GitHub does not try again; people do, sometimes.
                if round > 5 || world.draw(|r| r.chance(0.2)) {
                    return;
                }
                let pause = world.draw(|r| r.range(MINUTE, 20 * MINUTE));
                world.sleep(pause).await;
            }
        });
    }

    /// A stranger's delivery.
    fn forge_delivery(&self, deps: &Arc<Deps>, repository: u64, name: &str) {
        let sha = format!("{FORGED}{}", self.draw(|r| r.hex(40 - FORGED.len())));
        let body = payload(repository, name, ZEROS, &sha, false);
        let kind = self.draw(|r| r.range(0, 4));
        let wrong = SecretString::from("not the secret");
        let signature = match kind {
            _ if self.sabotaged(Sabotage::SignatureNotChecked) => Some(sign(&secret(), body.as_bytes())),
            0 => None,
            1 => Some(sign(&wrong, body.as_bytes())),
            2 => Some(sign(&secret(), b"another body")),
            _ => Some("sha256=nonsense".to_owned()),
        };
        let (world, deps, guid) = (self.clone(), Arc::clone(deps), self.draw(|r| r.hex(32)));
        self.count("github: a forged delivery");
        self.spawn(async move {
            let answer = world.call(|_| async move {
                let headers = Headers {
                    event: Some("push"),
                    delivery: Some(&guid),
                    signature: signature.as_deref(),
                    content_type: Some("application/json"),
                };
                handle(&deps, headers, body.as_bytes()).await.status
            });
            if let Some(status) = answer.await
                && status != 401
            {
                world.violate("I2", format!("a forged delivery was answered {status}"));
            }
        });
    }
}

fn payload(repository: u64, name: &str, before: &str, after: &str, skip: bool) -> String {
    let (created, deleted) = (before == ZEROS, after == ZEROS);
    let message = if skip { "docs [skip ci]" } else { "a change" };
    let full = if repository == 999 { "sim/stranger".to_owned() } else { format!("sim/repo-{}", repository - 100) };
    let head = if deleted {
        "null".to_owned()
    } else {
        format!(
            r#"{{"id":"{after}","tree_id":"{after}","message":"{message}","timestamp":"2026-01-01T00:00:00Z","author":{{"name":"Ann","email":"ann@example.com"}},"committer":{{"name":"Ann","email":"ann@example.com"}},"added":[],"removed":[],"modified":[]}}"#
        )
    };
    format!(
        r#"{{"ref":"{name}","before":"{before}","after":"{after}","created":{created},"deleted":{deleted},"forced":false,"repository":{{"id":{repository},"full_name":"{full}","name":"x","default_branch":"main"}},"pusher":{{"name":"ann"}},"sender":{{"id":7,"login":"ann"}},"commits":[],"head_commit":{head}}}"#
    )
}
