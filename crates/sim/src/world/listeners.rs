//! Services that are told how builds ended: signed, and at least once of the end that counts.

use bytes::Bytes;
use secrecy::SecretString;
use serde_json::Value;
use tidegate_core::build::Build;
use tidegate_core::ids::BuildId;
use tidegate_github::webhook::sign;

use crate::exec::lock;
use crate::world::World;
use crate::world::ledger::Made;

/// What outgoing webhooks are signed with.
pub(crate) fn secret() -> SecretString {
    SecretString::from("a secret of the owner of the simulated world")
}

/// Slack's incoming webhook.
pub(crate) const SLACK: &str = "https://slack.sim.invalid/hook";

/// What a listener was told: the state, and when the build ended, where it is said.
pub(crate) type Told = (String, Option<String>);

impl World {
    /// Something arrives at an address.
    pub(crate) fn observe_post(&self, url: &str, headers: &[(String, String)], body: &Bytes) {
        let Ok(json) = serde_json::from_slice::<Value>(body) else {
            return self.violate("I17", format!("what came to {url} is no JSON"));
        };
        let heard = if url == SLACK { self.hear_slack(&json) } else { self.hear_webhook(url, headers, body, &json) };
        let (id, target, told) = match heard {
            Ok(heard) => heard,
            Err(why) => return self.violate("I17", format!("what came to {url} {why}: {json}")),
        };
        self.event(|| format!("notice {target} {id} {told:?}"));
        if told.0 == "passed"
            && let Some((invariant, what)) = self.why_not_green(&id)
        {
            self.violate(invariant, format!("{target} was told that build {id} passed: {what}"));
        }
        let only = self.listeners_of(&id).into_iter().find(|(name, _)| *name == target);
        match only {
            None => self.violate("I17", format!("{target} was told of build {id}, which does not name it")),
            Some((_, Some(only))) if only != told.0 => {
                self.violate("I17", format!("{target} was told that build {id} {}, and wants {only} alone", told.0));
            }
            Some(_) => {}
        }
        self.count("services: told");
        if let Some(made) = lock(&self.ledger).builds.get_mut(&id) {
            made.told.entry(target).or_default().insert(told);
        }
    }

    fn hear_webhook(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: &Bytes,
        json: &Value,
    ) -> Result<(BuildId, String, Told), &'static str> {
        let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        if header("x-tidegate-signature-256") != Some(sign(&secret(), body)) {
            return Err("is not signed");
        }
        let delivery = header("x-tidegate-delivery").ok_or("has no name")?;
        let old = lock(&self.ledger).posts.insert(delivery, body.clone());
        if old.is_some_and(|old| old != *body) {
            return Err("has the name of something else");
        }
        let text = |name: &str| json["build"][name].as_str().map(str::to_owned);
        let id = text("id").and_then(|id| BuildId::new(id).ok()).ok_or("names no build")?;
        let state = text("state").ok_or("names no state")?;
        Ok((id, url.to_owned(), (state, text("finished_at"))))
    }

    /// `pipeline-0#7 on main: passed - …`
    fn hear_slack(&self, json: &Value) -> Result<(BuildId, String, Told), &'static str> {
        let text = json["text"].as_str().ok_or("has no text")?;
        let channel = json["channel"].as_str().ok_or("names no channel")?;
        let (name, rest) = text.split_once(" on ").ok_or("says too little")?;
        let (_, rest) = rest.split_once(": ").ok_or("says too little")?;
        let state = rest.split(" - ").next().unwrap_or(rest).replace(' ', "_");
        let id = lock(&self.ledger).names.get(name).cloned().ok_or("names no build")?;
        Ok((id, channel.to_owned(), (state, None)))
    }

    fn listeners_of(&self, id: &BuildId) -> Vec<(String, Option<&'static str>)> {
        let commit = lock(&self.ledger).builds.get(id).map(|made| made.commit.clone()).unwrap_or_default();
        let text = lock(&self.texts_of_commits).get(&commit).copied().flatten();
        let listeners = text.map_or(&[][..], |text| &self.book.texts[text].listeners);
        listeners.iter().map(|l| (l.target.clone(), l.only)).collect()
    }

    /// Who was not told of the end of a build.
    pub(crate) fn check_told(&self, id: &BuildId, made: &Made, build: &Build) -> Option<String> {
        let (state, at) = (build.state.name(), build.finished_at.map(|at| at.to_string()));
        if !build.failure.is_empty() {
            return None;
        }
        self.listeners_of(id).into_iter().filter(|(_, only)| only.is_none_or(|only| only == state)).find_map(
            |(name, _)| {
                let fits = |told: &Told| told.0 == state && (told.1.is_none() || told.1 == at);
                let told = made.told.get(&name);
                (!told.is_some_and(|told| told.iter().any(fits)))
                    .then(|| format!("{name} was not told that build {id} {state} at {at:?}, but {told:?}"))
            },
        )
    }
}
