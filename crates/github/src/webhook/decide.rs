//! The whole answer to a delivery, as a pure function.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tidegate_core::event::Event;
use tidegate_core::ids::DeliveryId;
use tidegate_core::time::Timestamp;

use super::{Secrets, Unverified, parse};

/// The size limit where the platform has none below it: GitHub sends no larger payloads (`spec/github.md` 6.1). In bytes.
pub const LOCAL_LIMIT: usize = 25 * 1024 * 1024;

/// What we read of a delivery's headers. The signature does not cover them: whoever has a signed body can send it with
/// other headers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    /// `X-GitHub-Event`.
    pub event: Option<&'a str>,
    /// `X-GitHub-Delivery`.
    pub delivery: Option<&'a str>,
    /// `X-Hub-Signature-256`.
    pub signature: Option<&'a str>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
}

/// What to answer, and what to pass on before answering.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision {
    /// HTTP status.
    pub status: u16,
    /// JSON, or empty.
    pub body: String,
    /// A fixed word for logs and metrics: `too_large`, `signature_missing`, `signature_malformed`, `signature_mismatch`,
    /// `wrong_content_type`, `not_json`, `accepted` or `ignored`.
    pub code: &'static str,
    /// What the delivery says. Present exactly when the status is 202.
    pub event: Option<Event>,
}

#[derive(Serialize)]
struct Accepted<'a> {
    delivery: &'a DeliveryId,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignored: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

#[derive(Serialize)]
struct Refused<'a> {
    error: &'a str,
}

/// Decides on a delivery, in the order of `contract.md` (webhook answers): over the limit 413; not signed 401; not `application/json`
/// 415; not JSON 400; else 202. Nothing is parsed before the signature is checked.
///
/// A signed delivery whose `X-GitHub-Delivery` is missing or no identifier gets an id made of its body, `body-` and 32 hex digits of its
/// SHA-256: the same body is then the same delivery, and the answer says so.
pub fn decide(headers: Headers<'_>, body: &[u8], limit: usize, secrets: &Secrets, now: Timestamp) -> Decision {
    if body.len() > limit {
        return Decision::too_large(limit);
    }
    if let Err(why) = secrets.verify(body, headers.signature) {
        return Decision::unverified(why);
    }
    if !headers.content_type.is_some_and(is_json) {
        return refuse(
            415,
            "wrong_content_type",
            "the content type is not `application/json`: choose it in the settings of the webhook",
        );
    }
    let given = headers.delivery.and_then(|id| DeliveryId::new(id).ok());
    let note = given.is_none().then_some("no valid `X-GitHub-Delivery` header: the id is made of the body");
    let delivery = match given {
        Some(id) => id,
        None => match DeliveryId::new(format!("body-{}", &hex::encode(Sha256::digest(body))[..32])) {
            Ok(id) => id,
            Err(error) => return refuse(500, "bug", &error.to_string()),
        },
    };
    let event = match parse(headers.event.unwrap_or_default(), delivery, body, now) {
        Ok(event) => event,
        Err(why) => return refuse(400, "not_json", &why.to_string()),
    };
    let ignored = event.kind.ignored();
    Decision {
        status: 202,
        body: json(&Accepted { delivery: &event.delivery, ignored, note }),
        code: if ignored.is_some() { "ignored" } else { "accepted" },
        event: Some(event),
    }
}

impl Decision {
    /// The answer to a body over the limit, for shells that stop reading there.
    pub fn too_large(limit: usize) -> Self {
        let error = format!("the body is larger than {limit} bytes");
        refuse(413, "too_large", &error)
    }

    /// The answer to a delivery that is not signed: nothing to learn from it.
    fn unverified(why: Unverified) -> Self {
        Self { status: 401, body: String::new(), code: why.code(), event: None }
    }
}

fn refuse(status: u16, code: &'static str, error: &str) -> Decision {
    Decision { status, body: json(&Refused { error }), code, event: None }
}

fn json<T: Serialize>(body: &T) -> String {
    // Structs of texts are always JSON.
    serde_json::to_string(body).unwrap_or_default()
}

/// `application/json` with any parameters.
fn is_json(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}
