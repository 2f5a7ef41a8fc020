//! What is sent to webhooks, and what became of it (`spec/github.md` 6.1).

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::hub::{Hook, Hub};
use crate::rest::time;

/// How long deliveries are kept and can be asked for again, in seconds.
const KEPT: i64 = 3 * 24 * 3_600;

/// One try to deliver an event.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its id; a redelivery has another one.
    pub id: u64,
    /// `X-GitHub-Delivery`; a redelivery has the same.
    pub guid: String,
    pub(crate) hook: u64,
    /// `X-GitHub-Event`.
    pub event: String,
    /// What happened, if the event says so.
    pub action: Option<String>,
    /// The payload.
    pub body: String,
    /// When, by GitHub's clock in seconds.
    pub at: i64,
    /// It was asked for.
    pub redelivery: bool,
    /// The HTTP status of the answer; 0 when there was none; `None` while it is on its way.
    pub answer: Option<u16>,
    pub(crate) repository: Option<u64>,
    pub(crate) installation: Option<u64>,
}

/// A delivery on its way.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its id, for [`Hub::answered`].
    pub id: u64,
    /// Where to.
    pub url: String,
    /// `X-GitHub-Event`.
    pub event: String,
    /// `X-GitHub-Delivery`.
    pub guid: String,
    /// `X-Hub-Signature-256`; none where the hook has no secret.
    pub signature: Option<String>,
    /// The payload.
    pub body: String,
}

fn signature(secret: &str, body: &str) -> Option<String> {
    if secret.is_empty() {
        return None;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(body.as_bytes());
    Some(format!("sha256={}", hex::encode(mac.finalize().into_bytes())))
}

impl Hub {
    /// Sends an event to every hook that asked for it.
    pub(crate) fn emit(&mut self, now: u64, event: &str, repository: Option<u64>, payload: &Value) {
        let hooks: Vec<Hook> = self.hooks.values().cloned().collect();
        for hook in hooks {
            let subscribed = matches!(event, "installation" | "installation_repositories" | "ping" | "meta")
                && hook.app.is_some()
                || hook.events.iter().any(|e| e == event || e == "*");
            let installation = hook
                .app
                .zip(repository)
                .and_then(|(app, repository)| self.installed(app, repository).filter(|i| !i.suspended).map(|i| i.id));
            let sees = match (hook.app, repository) {
                (Some(_), Some(_)) => installation.is_some(),
                (Some(app), None) => payload["installation"]["app_id"].as_u64() == Some(app),
                (None, _) => hook.repository == repository,
            };
            if !subscribed || !sees {
                continue;
            }
            let mut payload = payload.clone();
            if let Some(installation) = installation {
                payload["installation"] = json!({ "id": installation });
            }
            self.send(now, &hook, event, repository, installation, &payload);
        }
    }

    pub(crate) fn send(
        &mut self,
        now: u64,
        hook: &Hook,
        event: &str,
        repository: Option<u64>,
        installation: Option<u64>,
        payload: &Value,
    ) {
        let id = self.fresh();
        let delivery = Delivery {
            id,
            guid: format!("{id:08x}-0000-4000-8000-{:012x}", hook.id),
            hook: hook.id,
            event: event.to_owned(),
            action: payload["action"].as_str().map(str::to_owned),
            body: payload.to_string(),
            at: self.clock(now),
            redelivery: false,
            answer: None,
            repository,
            installation,
        };
        self.outbox.push_back(self.deliveries.len());
        self.deliveries.push(delivery);
    }

    /// What is to be posted now; each once. The answer is told with [`Hub::answered`]. The payload is signed with the secret that
    /// the hook has at this moment, as GitHub does for redeliveries.
    pub fn take_outgoing(&mut self) -> Option<Outgoing> {
        let delivery = self.deliveries.get(self.outbox.pop_front()?)?;
        let hook = self.hooks.get(&delivery.hook)?;
        Some(Outgoing {
            id: delivery.id,
            url: hook.url.clone(),
            event: delivery.event.clone(),
            guid: delivery.guid.clone(),
            signature: signature(&hook.secret, &delivery.body),
            body: delivery.body.clone(),
        })
    }

    /// What a hook answered: the HTTP status, or `None` when there was no answer in time.
    pub fn answered(&mut self, delivery: u64, status: Option<u16>) {
        if let Some(known) = self.deliveries.iter_mut().find(|d| d.id == delivery) {
            known.answer = Some(status.unwrap_or(0));
        }
    }

    /// Every delivery, oldest first.
    pub fn deliveries(&self) -> &[Delivery] {
        &self.deliveries
    }

    /// A person presses "Redeliver".
    pub fn redeliver(&mut self, now: u64, delivery: u64) -> bool {
        let clock = self.clock(now);
        let Some(known) = self.deliveries.iter().find(|d| d.id == delivery && d.at + KEPT > clock) else {
            return false;
        };
        let again = Delivery { at: clock, redelivery: true, answer: None, ..known.clone() };
        let id = self.fresh();
        self.outbox.push_back(self.deliveries.len());
        self.deliveries.push(Delivery { id, ..again });
        true
    }

    /// What the API tells of the deliveries of a hook, newest first.
    pub(crate) fn listed(&self, now: u64, hook: u64) -> Vec<Value> {
        let clock = self.clock(now);
        let kept = self.deliveries.iter().rev().filter(|d| d.hook == hook && d.at + KEPT > clock);
        kept.filter(|d| d.answer.is_some()).map(Delivery::line).collect()
    }
}

impl Delivery {
    /// Whether it was answered with a success.
    pub fn succeeded(&self) -> bool {
        self.answer.is_some_and(|status| (200..300).contains(&status))
    }

    pub(crate) fn line(&self) -> Value {
        let code = self.answer.unwrap_or(0);
        let status = match code {
            0 => "failed to connect to host".to_owned(),
            200..300 => "OK".to_owned(),
            code => format!("Invalid HTTP Response: {code}"),
        };
        json!({
            "id": self.id, "guid": self.guid, "delivered_at": time(self.at), "redelivery": self.redelivery, "duration": 0.1,
            "status": status, "status_code": code, "event": self.event, "action": self.action,
            "installation_id": self.installation, "repository_id": self.repository, "throttled_at": null,
        })
    }
}
