//! Webhook deliveries: what the forge says of them, and what became of them here.

use serde::{Deserialize, Serialize};
use tidegate_core::ids::DeliveryId;

use super::ApiError;
use super::find::{BuildName, NotFound};
use crate::engine::Engine;
use crate::ingest::DeliveryRecord;
use crate::ports::ListedDelivery;

/// Deliveries, newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Deliveries {
    /// They.
    pub deliveries: Vec<DeliveryAnswer>,
}

/// A delivery.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeliveryAnswer {
    /// `X-GitHub-Delivery`.
    pub guid: String,
    /// When it was tried last; as RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// `X-GitHub-Event`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// What happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Whether it arrived, by the forge's account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrived: Option<bool>,
    /// What was answered; 0 when nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The forge's id of the last try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// What it led to; `None` when it is not decided, or never came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<DeliveryOutcome>,
}

/// What a delivery led to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeliveryOutcome {
    /// When it was decided; as RFC 3339.
    pub at: String,
    /// The builds, `pipeline#N`.
    pub builds: Vec<String>,
    /// Why it led to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl DeliveryAnswer {
    fn new(guid: String, listed: Option<ListedDelivery>, outcome: Option<DeliveryOutcome>) -> Self {
        let of = listed.as_ref();
        Self {
            at: of.map(|d| d.at.to_string()),
            event: of.map(|d| d.event.clone()),
            action: of.and_then(|d| d.action.clone()),
            arrived: of.map(|d| d.arrived),
            status: of.map(|d| d.status),
            id: of.map(|d| d.id),
            guid,
            outcome,
        }
    }
}

impl Engine {
    /// Deliveries of the last three days, as the forge lists them.
    ///
    /// # Errors
    /// The forge, or another port, failed.
    pub async fn list_deliveries(&self, limit: usize) -> Result<Deliveries, ApiError> {
        let mut deliveries = Vec::new();
        for listed in self.latest_deliveries(limit).await? {
            let outcome = self.told_outcome(&listed.guid).await?;
            deliveries.push(DeliveryAnswer::new(listed.guid.clone(), Some(listed), outcome));
        }
        Ok(Deliveries { deliveries })
    }

    /// One of them, or one that only this server remembers.
    ///
    /// # Errors
    /// Not found: nobody knows it.
    pub async fn find_delivery(&self, guid: &DeliveryId) -> Result<DeliveryAnswer, ApiError> {
        let guid = guid.as_str();
        let outcome = self.told_outcome(guid).await?;
        let listed = self.latest_deliveries(usize::MAX).await?.into_iter().find(|d| d.guid == guid);
        if outcome.is_none() && listed.is_none() {
            return Err(
                NotFound(format!("nobody knows the delivery `{guid}`: GitHub lists those of three days")).into()
            );
        }
        Ok(DeliveryAnswer::new(guid.to_owned(), listed, outcome))
    }

    /// Asks the forge for a delivery once more.
    ///
    /// # Errors
    /// Refused where it was decided already: the same delivery leads to the same builds.
    pub async fn replay_delivery(&self, guid: &DeliveryId) -> Result<DeliveryAnswer, ApiError> {
        let answer = self.find_delivery(guid).await?;
        if let Some(outcome) = &answer.outcome {
            let why = match (outcome.builds.as_slice(), &outcome.why) {
                ([first, ..], _) => format!(
                    "it led to {} already, and would lead nowhere else: `tidegate rebuild {first}` builds it again",
                    outcome.builds.join(", ")
                ),
                ([], Some(why)) => format!("it came and was decided: {why}"),
                ([], None) => "it came and was decided: there is no build".to_owned(),
            };
            return Err(ApiError::Refused(why));
        }
        let (Some(forge), Some(id)) = (&self.ports.forge, answer.id) else {
            return Err(ApiError::Refused("GitHub does not list it, so it cannot be asked for".to_owned()));
        };
        forge.redeliver(id).await?;
        Ok(answer)
    }

    async fn told_outcome(&self, guid: &str) -> Result<Option<DeliveryOutcome>, ApiError> {
        let Some(DeliveryRecord { at, builds, why }) = self.outcome_of(guid).await? else { return Ok(None) };
        let mut names = Vec::new();
        for id in builds {
            // A build that was deleted since is told by its id.
            let name = match self.show_build(&BuildName::Id(id.clone())).await {
                Ok(build) => format!("{}#{}", build.build.pipeline, build.build.number),
                Err(_) => id.to_string(),
            };
            names.push(name);
        }
        Ok(Some(DeliveryOutcome { at: at.to_string(), builds: names, why }))
    }
}
