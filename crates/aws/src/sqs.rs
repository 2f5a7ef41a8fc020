//! The `Queue` port over SQS.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use tidegate_engine::ports::{Ids, Outgoing, PortError, Queue, Received};

use crate::config::patient;
use crate::errors::classify;

/// Largest body that the port allows, in bytes.
const BODY_LIMIT: usize = 256 * 1024;
/// Longest delay of SQS, in seconds.
const DELAY_LIMIT: i32 = 900;
/// How long a received message stays hidden, in seconds.
const VISIBILITY: i32 = 30;

/// Where queues are: `<base><name>`, and `.fifo` after the names of FIFO queues.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QueueUrls {
    /// Such as `https://sqs.eu-west-1.amazonaws.com/123456789012/tidegate-`.
    pub base: String,
    /// Names of FIFO queues.
    pub fifo: BTreeSet<String>,
}

impl QueueUrls {
    fn url(&self, queue: &str) -> String {
        let suffix = if self.is_fifo(queue) { ".fifo" } else { "" };
        format!("{}{queue}{suffix}", self.base)
    }

    /// The dead-letter queue of a FIFO queue is one, too.
    fn is_fifo(&self, queue: &str) -> bool {
        self.fifo.contains(queue) || queue.strip_suffix("-dead").is_some_and(|alive| self.fifo.contains(alive))
    }
}

/// SQS.
#[derive(Clone)]
pub struct Sqs {
    client: aws_sdk_sqs::Client,
    urls: QueueUrls,
    ids: Arc<dyn Ids>,
}

impl fmt::Debug for Sqs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqs").field("urls", &self.urls).finish_non_exhaustive()
    }
}

impl Sqs {
    /// A client. Connects to nothing yet.
    pub fn new(config: &SdkConfig, urls: QueueUrls, ids: Arc<dyn Ids>) -> Self {
        Self { client: aws_sdk_sqs::Client::new(config), urls, ids }
    }
}

#[async_trait]
impl Queue for Sqs {
    async fn send(&self, queue: &str, message: Outgoing) -> Result<(), PortError> {
        let what = format!("sending to the queue `{queue}`");
        let Outgoing { body, group, delay } = message;
        let fifo = self.urls.is_fifo(queue);
        let delay = i32::try_from(delay.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
        if let Some(why) = refusal(&body, delay, fifo || group.is_some()) {
            return Err(PortError::reject(format!("{what}: {why}")));
        }
        let mut call = self.client.send_message().queue_url(self.urls.url(queue)).message_body(body);
        if delay > 0 {
            call = call.delay_seconds(delay);
        }
        if fifo {
            // Unique for each send, never derived from the content: SQS would drop a second doorbell for five minutes
            // (`spec/hazards.md` H4). The SDK's own retries carry the same one.
            let unique = format!("{:032x}", self.ids.random());
            let group = group.unwrap_or_else(|| unique.clone());
            call = call.message_deduplication_id(unique).message_group_id(group);
        } else if let Some(group) = group {
            // Fair queues: no order, but one group does not hold up the others.
            call = call.message_group_id(group);
        }
        call.send().await.map(drop).map_err(|error| classify(&what, &error))
    }

    async fn receive(&self, queue: &str, max: usize, wait: Duration) -> Result<Vec<Received>, PortError> {
        let what = format!("receiving from the queue `{queue}`");
        let wait = wait.min(Duration::from_secs(20));
        let seconds = i32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(20);
        let answer = self
            .client
            .receive_message()
            .queue_url(self.urls.url(queue))
            .max_number_of_messages(i32::try_from(max.clamp(1, 10)).unwrap_or(10))
            .wait_time_seconds(seconds)
            .visibility_timeout(VISIBILITY)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .customize()
            .config_override(aws_sdk_sqs::Config::builder().timeout_config(patient(wait)))
            .send()
            .await
            .map_err(|error| classify(&what, &error))?;
        let received = answer.messages.unwrap_or_default().into_iter().filter_map(|message| {
            let count = message
                .attributes()
                .and_then(|all| all.get(&MessageSystemAttributeName::ApproximateReceiveCount)?.parse().ok());
            Some(Received {
                body: message.body.unwrap_or_default(),
                receipt: message.receipt_handle?,
                receive_count: count.unwrap_or(1),
            })
        });
        Ok(received.collect())
    }

    async fn delete(&self, queue: &str, receipt: &str) -> Result<(), PortError> {
        let what = format!("deleting from the queue `{queue}`");
        let url = self.urls.url(queue);
        let deleted = self.client.delete_message().queue_url(url).receipt_handle(receipt).send().await;
        unless_stale(deleted.map(drop), &what)
    }

    async fn extend(&self, queue: &str, receipt: &str, visibility: Duration) -> Result<(), PortError> {
        let what = format!("extending a message of the queue `{queue}`");
        let extended = self
            .client
            .change_message_visibility()
            .queue_url(self.urls.url(queue))
            .receipt_handle(receipt)
            .visibility_timeout(i32::try_from(visibility.as_millis().div_ceil(1000)).unwrap_or(i32::MAX))
            .send()
            .await;
        unless_stale(extended.map(drop), &what)
    }

    async fn depth(&self, queue: &str) -> Result<u64, PortError> {
        let what = format!("counting the queue `{queue}`");
        let mut call = self.client.get_queue_attributes().queue_url(self.urls.url(queue));
        for name in COUNTS {
            call = call.attribute_names(name);
        }
        let answer = call.send().await.map_err(|error| classify(&what, &error))?;
        let all = answer.attributes.unwrap_or_default();
        let counts = COUNTS.iter().filter_map(|name| all.get(name)?.parse::<u64>().ok());
        Ok(counts.fold(0, u64::saturating_add))
    }
}

const COUNTS: [QueueAttributeName; 3] = [
    QueueAttributeName::ApproximateNumberOfMessages,
    QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
    QueueAttributeName::ApproximateNumberOfMessagesDelayed,
];

/// What SQS would refuse, or the port forbids.
fn refusal(body: &str, delay: i32, grouped: bool) -> Option<String> {
    // `spec/aws-limits.md` 4.3. Everything from U+10000 on is allowed.
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..);
    if body.is_empty() {
        return Some("the body is empty".to_owned());
    }
    if body.len() > BODY_LIMIT {
        return Some(format!("the body has {} bytes, at most {BODY_LIMIT} are allowed", body.len()));
    }
    if let Some(c) = body.chars().find(|c| !allowed(*c)) {
        return Some(format!("the body holds U+{:04X}, which SQS does not take", u32::from(c)));
    }
    if delay > DELAY_LIMIT {
        return Some(format!("a delay of {delay} s, at most {DELAY_LIMIT} s are allowed"));
    }
    (grouped && delay > 0).then(|| "a delay together with a group".to_owned())
}

/// A receipt whose message is gone, visible again or somebody else's by now is no error: the message may come again.
fn unless_stale<E: ProvideErrorMetadata>(
    result: Result<(), SdkError<E, HttpResponse>>,
    what: &str,
) -> Result<(), PortError> {
    let Err(error) = result else { return Ok(()) };
    let code = error.as_service_error().and_then(|answer| answer.code()).unwrap_or_default();
    let message = error.as_service_error().and_then(|answer| answer.message()).unwrap_or_default();
    let stale = code.ends_with("ReceiptHandleIsInvalid")
        || code.ends_with("MessageNotInflight")
        || code.ends_with("InvalidParameterValue") && message.to_ascii_lowercase().contains("receipt handle");
    if stale { Ok(()) } else { Err(classify(what, &error)) }
}
