//! Tells services of a build (`spec/pipeline.md` 1.18), as the report actor does with the forge: before, that they are
//! about to be told; after, that they were. A service that is down is tried again with growing pauses and given up after
//! some hours; a build never waits for one.

use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::Sha256;
use tidegate_core::build::{Build, Graph};
use tidegate_core::ids::derived_uuid;
use tidegate_core::notify::{Message, Notice, StepView, notices};
use tidegate_core::time::Timestamp;
use tidegate_core::trust::Trust;
use tidegate_pipeline::condition::{self, EntryPoint};

use crate::engine::Engine;
use crate::environment::{build_url, pipeline_facts};
use crate::error::Error;
use crate::keys;
use crate::ports::{CommitStatus, Expect, PortError};

/// How often a service is tried.
const TRIES: u32 = 12;

/// What a service was told last.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct NoticeRecord {
    /// What should be told: [`Notice::digest`].
    pub(crate) digest: String,
    /// `github_commit_status`, `webhook` or `slack`.
    pub(crate) service: String,
    /// It was told.
    pub(crate) told: bool,
    /// How often it was tried.
    pub(crate) tries: u32,
    /// No try before this.
    pub(crate) not_before: Timestamp,
    /// Why it was not told, or will not be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
    /// It is not tried any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) given_up: bool,
}

fn service(message: &Message) -> &'static str {
    match message {
        Message::CommitStatus(_) => "github_commit_status",
        Message::Webhook { .. } | Message::Wrong { .. } => "webhook",
        Message::Slack { .. } => "slack",
    }
}

/// The pause after so many tries: 1, 4, 16 … seconds, at most half an hour.
fn pause(tries: u32) -> Duration {
    Duration::from_secs(4u64.saturating_pow(tries.saturating_sub(1).min(8)).min(1_800))
}

impl Engine {
    /// Tells who should be told and was not. Returns until when the rest waits, if there is one.
    pub(super) async fn notify(&self, build: &Build, graph: &Graph) -> Result<Option<Timestamp>, Error> {
        let link = build_url(&self.settings, build);
        // What is written by people who are not trusted tells nobody anything: it could speak for other pipelines, or be sent
        // anywhere, with our signature.
        if build.facts.trust < Trust::Trusted {
            return Ok(None);
        }
        let url = self.repository(build.facts.repository).await?.map_or_else(String::new, |r| r.clone_url);
        let mut facts = pipeline_facts(&self.settings, &build.facts, &url);
        facts.build.state = Some(build.state.name().to_owned());
        let holds = |text: &str, step: Option<StepView<'_>>| {
            let mut facts = facts.clone();
            facts.entry_point =
                if step.is_some() { EntryPoint::StepNotification } else { EntryPoint::BuildNotification };
            facts.step = step.map(|step| condition::Step {
                id: Some(step.id.to_owned()),
                key: step.key.map(str::to_owned),
                kind: Some(step.kind.to_owned()),
                label: Some(step.label.to_owned()),
                state: Some(step.state.to_owned()),
                outcome: Some(step.outcome.to_owned()),
            });
            condition::evaluate(text, &facts, &self.settings.pipeline).unwrap_or(false)
        };
        let mut next: Option<Timestamp> = None;
        for notice in notices(build, graph, &link, holds) {
            let later = self.tell_service(build, &notice).await?;
            next = next.into_iter().chain(later).min();
        }
        Ok(next)
    }

    async fn tell_service(&self, build: &Build, notice: &Notice) -> Result<Option<Timestamp>, Error> {
        let key = keys::notice(&build.facts.id, &notice.id);
        let now = self.now();
        let known = self.load::<NoticeRecord>(&key).await?;
        let same = known.as_ref().map(|k| &k.body).filter(|record| record.digest == notice.digest);
        if same.is_some_and(|record| record.told || record.given_up) {
            return Ok(None);
        }
        if let Some(record) = same.filter(|record| record.not_before > now) {
            return Ok(Some(record.not_before));
        }
        let tries = same.map_or(0, |record| record.tries) + 1;
        let intent = NoticeRecord {
            digest: notice.digest.clone(),
            service: service(&notice.message).to_owned(),
            told: false,
            tries,
            not_before: now + pause(tries),
            why: same.and_then(|record| record.why.clone()),
            given_up: false,
        };
        let expect = known.as_ref().map_or(Expect::Absent, |k| Expect::Version(k.version));
        let version = match self.save(key.clone(), &intent, expect).await {
            Ok(version) => version,
            // Somebody else is about to tell it; whether it did is seen by the next look.
            Err(Error::Port(PortError::Conflict)) => return Ok(Some(now + pause(1))),
            Err(error) => return Err(error),
        };
        let record = match self.deliver(build, notice).await {
            Ok(()) => NoticeRecord { told: true, why: None, ..intent },
            Err(PortError::Reject { why } | PortError::Fatal { why }) => {
                NoticeRecord { given_up: true, why: Some(why), ..intent }
            }
            Err(PortError::Retry { why, after }) => NoticeRecord {
                given_up: tries >= TRIES,
                why: Some(why),
                not_before: intent.not_before.max(now + after.unwrap_or_default()),
                ..intent
            },
            Err(PortError::Conflict) => intent,
        };
        if let (false, Some(why)) = (record.told, &record.why) {
            tracing::warn!(build.id = %build.facts.id, service = record.service, tries, why, "a service could not be told");
        }
        let later = (!record.told && !record.given_up).then_some(record.not_before);
        match self.save(key, &record, Expect::Version(version)).await {
            Ok(_) => Ok(later),
            Err(Error::Port(PortError::Conflict)) => Ok(Some(now + pause(1))),
            Err(error) => Err(error),
        }
    }

    async fn deliver(&self, build: &Build, notice: &Notice) -> Result<(), PortError> {
        let settings = &self.settings.notify;
        let outbound = || self.ports.outbound.as_ref().ok_or_else(|| PortError::reject("nothing is sent from here"));
        let json_type = || ("content-type".to_owned(), "application/json".to_owned());
        match &notice.message {
            Message::Wrong { why } => Err(PortError::reject(why.clone())),
            Message::CommitStatus(status) => {
                let Some(forge) = &self.ports.forge else {
                    return Err(PortError::reject("no GitHub token is configured"));
                };
                let repository = self.repository(build.facts.repository).await;
                let Some(repository) = repository.map_err(|error| PortError::retry(error.to_string()))? else {
                    return Err(PortError::reject("the repository is not configured any more"));
                };
                let target_url = Some(build_url(&self.settings, build)).filter(|url| !url.is_empty());
                let (context, description) = (status.context.clone(), status.description.clone());
                let status = CommitStatus { context, state: status.state, description, target_url };
                forge.set_status(&repository, &build.facts.commit, &status).await
            }
            Message::Webhook { url, event, body } => {
                let Some(secret) = &settings.webhook_secret else {
                    return Err(PortError::reject(
                        "no secret to sign with is configured: `[notify] webhook_secret_file`",
                    ));
                };
                let body = serde_json::to_vec(body).map_err(|error| PortError::fatal(error.to_string()))?;
                let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
                    .map_err(|_| PortError::fatal("the secret cannot be used"))?;
                mac.update(&body);
                let signature: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
                // The same for every try: a receiver can tell a repetition.
                let name = format!("{}/{}/{}", build.facts.id, notice.id, notice.digest);
                let headers = vec![
                    json_type(),
                    ("x-tidegate-event".to_owned(), (*event).to_owned()),
                    ("x-tidegate-delivery".to_owned(), derived_uuid("notice", &name).to_string()),
                    ("x-tidegate-signature-256".to_owned(), format!("sha256={signature}")),
                ];
                outbound()?.post(url, headers, Bytes::from(body)).await
            }
            Message::Slack { text, channels } => {
                let Some(url) = &settings.slack_url else {
                    return Err(PortError::reject("no address of Slack is configured: `[notify] slack_url_file`"));
                };
                let targets = if channels.is_empty() { vec![None] } else { channels.iter().map(Some).collect() };
                for channel in targets {
                    let mut body = json!({ "text": text });
                    if let Some(channel) = channel {
                        body["channel"] = json!(channel);
                    }
                    outbound()?.post(url.expose_secret(), vec![json_type()], Bytes::from(body.to_string())).await?;
                }
                Ok(())
            }
        }
    }
}
