//! Endpoints of Apps, installations and their deliveries.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Answer, Asked, answer, invalid, not_found, refuse, repository_json, time};
use crate::auth::{By, Grant};
use crate::hub::{Hub, Installation};

/// How long an installation token lives, in seconds.
const TOKEN_LIFE: i64 = 3_600;

fn installation_json(installation: &Installation) -> Value {
    json!({
        "id": installation.id, "app_id": installation.app, "account": { "login": installation.account },
        "permissions": installation.permissions, "events": [],
        "repository_selection": if installation.repositories.is_some() { "selected" } else { "all" },
        "suspended_at": installation.suspended.then(|| time(0)),
    })
}

impl Hub {
    /// A person fills in the form that an App manifest leads to. Returns where their browser is sent: with a code that can be
    /// exchanged once.
    pub fn submit_manifest(&mut self, owner: &str, manifest: &Value, state: &str) -> Option<String> {
        let redirect = manifest["redirect_url"].as_str()?;
        let code = format!("code{:x}", self.fresh());
        let mut manifest = manifest.clone();
        manifest["_owner"] = owner.into();
        self.manifests.insert(code.clone(), manifest);
        let join = if redirect.contains('?') { '&' } else { '?' };
        Some(format!("{redirect}{join}code={code}&state={state}"))
    }

    pub(super) fn convert_manifest(&mut self, code: &str) -> Answer {
        let Some(manifest) = self.manifests.remove(code) else { return not_found() };
        let (owner, name) =
            (manifest["_owner"].as_str().unwrap_or_default(), manifest["name"].as_str().unwrap_or("app"));
        let hook = manifest["hook_attributes"]["url"].as_str().unwrap_or_default();
        let made = self.make_app(owner, name, hook, &manifest);
        let Some(app) = self.apps.get(&made.id) else { return not_found() };
        answer(
            201,
            json!({
                "id": app.id, "slug": app.slug, "name": app.name, "client_id": app.client_id, "owner": { "login": owner },
                "html_url": format!("{}/apps/{}", self.web, app.slug), "external_url": manifest["url"],
                "permissions": app.permissions, "events": app.events, "client_secret": "not used",
                "webhook_secret": made.webhook_secret, "pem": made.private_key,
            }),
        )
    }

    pub(super) fn rate_limit(&self, lane: &str, _asked: &Asked<'_>) -> Answer {
        let usage = self.usage.get(lane).cloned().unwrap_or_default();
        let core = json!({
            "limit": self.limits.hour, "used": usage.in_hour,
            "remaining": self.limits.hour.saturating_sub(usage.in_hour), "reset": usage.hour_began + 3_600,
        });
        answer(200, json!({ "resources": { "core": core }, "rate": core }))
    }

    pub(super) fn of_app(&mut self, app: u64, method: &str, path: &[&str], asked: &Asked<'_>) -> Answer {
        let Some(known) = self.apps.get(&app).cloned() else { return not_found() };
        match (method, path) {
            ("GET", []) => answer(
                200,
                json!({
                    "id": known.id, "slug": known.slug, "name": known.name, "client_id": known.client_id,
                    "owner": { "login": known.owner }, "html_url": format!("{}/apps/{}", self.web, known.slug),
                    "permissions": known.permissions, "events": known.events,
                }),
            ),
            ("GET", ["installations"]) => {
                let all = self.installations.values().filter(|i| i.app == app).map(installation_json).collect();
                let (part, headers) = asked.page(all);
                Answer { status: 200, headers, body: part.into() }
            }
            ("POST", ["installations", id, "access_tokens"]) => self.make_token(app, id, asked),
            ("GET", ["hook", "config"]) => match self.hooks.get(&known.hook) {
                Some(hook) => answer(
                    200,
                    json!({ "url": hook.url, "content_type": hook.content_type, "insecure_ssl": "0", "secret": "********" }),
                ),
                None => not_found(),
            },
            ("PATCH", ["hook", "config"]) => {
                let Some(hook) = self.hooks.get_mut(&known.hook) else { return not_found() };
                for (name, to) in
                    [("url", &mut hook.url), ("secret", &mut hook.secret), ("content_type", &mut hook.content_type)]
                {
                    if let Some(value) = asked.body[name].as_str() {
                        value.clone_into(to);
                    }
                }
                answer(
                    200,
                    json!({ "url": hook.url, "content_type": hook.content_type, "insecure_ssl": "0", "secret": "********" }),
                )
            }
            ("GET", ["hook", "deliveries"]) => self.list_deliveries(known.hook, asked),
            ("GET", ["hook", "deliveries", id]) => {
                let found = self.deliveries.iter().find(|d| d.hook == known.hook && d.id.to_string() == *id);
                let Some(delivery) = found else { return not_found() };
                let mut body = delivery.line();
                let payload: Value = serde_json::from_str(&delivery.body).unwrap_or_default();
                body["request"] = json!({ "headers": {}, "payload": payload });
                body["response"] = json!({ "headers": {}, "payload": "" });
                answer(200, body)
            }
            ("POST", ["hook", "deliveries", id, "attempts"]) => {
                let ours = self.deliveries.iter().any(|d| d.hook == known.hook && d.id.to_string() == *id);
                match id.parse() {
                    Ok(id) if ours && self.redeliver(asked.now, id) => answer(202, json!({})),
                    _ => not_found(),
                }
            }
            _ => not_found(),
        }
    }

    fn list_deliveries(&self, hook: u64, asked: &Asked<'_>) -> Answer {
        let all = self.listed(asked.now, hook);
        let size = asked.query("per_page").and_then(|n| n.parse::<usize>().ok()).unwrap_or(30).clamp(1, 100);
        let after: Option<u64> = asked.query("cursor").and_then(|c| c.strip_prefix("v1_")?.parse().ok());
        let rest: Vec<Value> =
            all.into_iter().skip_while(|d| after.is_some_and(|at| d["id"].as_u64() != Some(at))).collect();
        let next = rest.get(size).and_then(|d| d["id"].as_u64());
        let part: Vec<Value> = rest.into_iter().take(size).collect();
        let link = next.map(|id| format!("<{}?per_page={size}&cursor=v1_{id}>; rel=\"next\"", asked.here));
        Answer { status: 200, headers: link.map(|link| ("link", link)).into_iter().collect(), body: part.into() }
    }

    fn make_token(&mut self, app: u64, id: &str, asked: &Asked<'_>) -> Answer {
        let Some(installation) = self.installations.values().find(|i| i.app == app && i.id.to_string() == id).cloned()
        else {
            return not_found();
        };
        if installation.suspended {
            return refuse(403, "This installation has been suspended");
        }
        let visible: BTreeSet<u64> = self
            .repositories
            .keys()
            .copied()
            .filter(|r| self.installed(app, *r).is_some_and(|i| i.id == installation.id))
            .collect();
        let repositories: BTreeSet<u64> = match asked.body["repository_ids"].as_array() {
            Some(ids) => ids.iter().filter_map(Value::as_u64).collect(),
            None => visible.clone(),
        };
        if !repositories.is_subset(&visible) {
            return refuse(
                422,
                "There is at least one repository that does not exist or is not accessible to the parent installation.",
            );
        }
        let permissions: BTreeMap<String, String> = match asked.body["permissions"].as_object() {
            Some(wanted) => wanted
                .iter()
                .map(|(name, level)| (name.clone(), level.as_str().unwrap_or_default().to_owned()))
                .collect(),
            None => installation.permissions.clone(),
        };
        let granted = |(name, level): (&String, &String)| {
            installation.permissions.get(name).is_some_and(|have| have == level || have == "write")
        };
        if !permissions.iter().all(granted) {
            return refuse(422, "The permissions requested are not granted to this installation.");
        }
        let expires = self.clock(asked.now) + TOKEN_LIFE;
        let token = format!("ghs_{:036}", self.fresh());
        let by =
            By::Installation { app, installation: installation.id, repositories, permissions: permissions.clone() };
        self.tokens.insert(token.clone(), Grant { lane: format!("installation/{}", installation.id), by, expires });
        answer(201, json!({ "token": token, "expires_at": time(expires), "permissions": permissions }))
    }

    pub(super) fn of_installation(&mut self, method: &str, path: &[&str], asked: &Asked<'_>) -> Answer {
        let By::Installation { repositories, .. } = asked.by else {
            return refuse(403, "Resource not accessible by personal access token");
        };
        match (method, path) {
            ("GET", ["repositories"]) => {
                let known = repositories.iter().filter_map(|id| self.repositories.get(id));
                let all: Vec<Value> = known.map(|r| repository_json(self, r)).collect();
                let total = all.len();
                let (part, headers) = asked.page(all);
                Answer { status: 200, headers, body: json!({ "total_count": total, "repositories": part }) }
            }
            _ => invalid("no such endpoint"),
        }
    }

    /// The App asks where it is installed.
    pub(super) fn installation_of(&self, repository: u64, app: u64) -> Answer {
        match self.installed(app, repository) {
            Some(installation) => answer(200, installation_json(installation)),
            None => not_found(),
        }
    }
}
