//! The queue adapter against an SQS of this process: what is asked of it, and what its answers come to.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_sqs::config::Credentials;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use serde_json::{Value, json};
use tidegate_aws_adapters::sqs::{QueueUrls, Sqs};
use tidegate_engine::ports::{Ids, Outgoing, PortError, Queue as _, Received};

#[derive(Debug)]
struct Counter(Mutex<u128>);

impl Ids for Counter {
    fn random(&self) -> u128 {
        let mut next = self.0.lock().unwrap();
        *next += 1;
        *next
    }
}

/// An endpoint that answers every call alike, and what it was asked.
async fn sqs(status: u16, answer: Value) -> (Sqs, Arc<Mutex<Vec<Value>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let calls = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&calls);
    let app = axum::Router::new().fallback(move |headers: HeaderMap, body: Bytes| async move {
        let mut request: Value = serde_json::from_slice(&body).unwrap();
        request["call"] = headers["x-amz-target"].to_str().unwrap().into();
        record.lock().unwrap().push(request);
        (StatusCode::from_u16(status).unwrap(), answer.to_string()).into_response()
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("eu-west-1"))
        .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
        .endpoint_url(&base)
        .retry_config(RetryConfig::disabled())
        .load()
        .await;
    let urls = QueueUrls { base: "https://sqs.example/1/tg-".into(), fifo: BTreeSet::from(["doorbell".to_owned()]) };
    (Sqs::new(&config, urls, Arc::new(Counter(Mutex::new(0)))), calls)
}

fn message(body: &str) -> Outgoing {
    Outgoing { body: body.into(), ..Outgoing::default() }
}

#[tokio::test]
async fn messages_are_sent_as_their_queue_wants_them() {
    let (sqs, calls) = sqs(200, json!({ "MessageId": "m" })).await;
    let group = Some("build-1".to_owned());
    sqs.send("ingest", message("{}")).await.unwrap();
    sqs.send("ingest", Outgoing { delay: Duration::from_millis(1500), ..message("{}") }).await.unwrap();
    sqs.send("ingest", Outgoing { group: group.clone(), ..message("{}") }).await.unwrap();
    sqs.send("doorbell", Outgoing { group: group.clone(), ..message("{}") }).await.unwrap();
    sqs.send("doorbell", Outgoing { group, ..message("{}") }).await.unwrap();
    sqs.send("doorbell-dead", message("{}")).await.unwrap();
    let lines: Vec<String> = calls.lock().unwrap().iter().map(Value::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
{"QueueUrl":"https://sqs.example/1/tg-ingest","MessageBody":"{}","call":"AmazonSQS.SendMessage"}
{"QueueUrl":"https://sqs.example/1/tg-ingest","MessageBody":"{}","DelaySeconds":2,"call":"AmazonSQS.SendMessage"}
{"QueueUrl":"https://sqs.example/1/tg-ingest","MessageBody":"{}","MessageGroupId":"build-1","call":"AmazonSQS.SendMessage"}
{"QueueUrl":"https://sqs.example/1/tg-doorbell.fifo","MessageBody":"{}","MessageDeduplicationId":"00000000000000000000000000000001","MessageGroupId":"build-1","call":"AmazonSQS.SendMessage"}
{"QueueUrl":"https://sqs.example/1/tg-doorbell.fifo","MessageBody":"{}","MessageDeduplicationId":"00000000000000000000000000000002","MessageGroupId":"build-1","call":"AmazonSQS.SendMessage"}
{"QueueUrl":"https://sqs.example/1/tg-doorbell-dead.fifo","MessageBody":"{}","MessageDeduplicationId":"00000000000000000000000000000003","MessageGroupId":"00000000000000000000000000000003","call":"AmazonSQS.SendMessage"}
"#);
}

#[tokio::test]
async fn what_sqs_would_refuse_is_not_sent() {
    let (sqs, calls) = sqs(200, json!({})).await;
    let long = Outgoing { delay: Duration::from_secs(901), ..message("x") };
    let both = Outgoing { delay: Duration::from_secs(1), group: Some("g".into()), ..message("x") };
    let fifo = Outgoing { delay: Duration::from_secs(1), ..message("x") };
    let mut refusals = Vec::new();
    for (queue, message) in [
        ("ingest", message("")),
        ("ingest", message("a\u{ffff}")),
        ("ingest", message("a\u{0}")),
        ("ingest", message(&"x".repeat(256 * 1024 + 1))),
        ("ingest", long),
        ("ingest", both),
        ("doorbell", fifo),
    ] {
        let refusal = sqs.send(queue, message).await.unwrap_err();
        assert!(matches!(refusal, PortError::Reject { .. }), "{refusal:?}");
        refusals.push(refusal.to_string());
    }
    assert_eq!(calls.lock().unwrap().len(), 0);
    insta::assert_snapshot!(refusals.join("\n"), @r#"
sending to the queue `ingest`: the body is empty
sending to the queue `ingest`: the body holds U+FFFF, which SQS does not take
sending to the queue `ingest`: the body holds U+0000, which SQS does not take
sending to the queue `ingest`: the body has 262145 bytes, at most 262144 are allowed
sending to the queue `ingest`: a delay of 901 s, at most 900 s are allowed
sending to the queue `ingest`: a delay together with a group
sending to the queue `doorbell`: a delay together with a group
"#);
    sqs.send("ingest", message(&"x".repeat(256 * 1024))).await.unwrap();
    sqs.send("ingest", message("\t\n\r \u{7f}é\u{d7ff}\u{e000}\u{fffd}\u{10000}\u{10ffff}")).await.unwrap();
}

#[tokio::test]
async fn messages_are_received_with_their_count() {
    let answer = json!({ "Messages": [
        { "MessageId": "m", "ReceiptHandle": "r1", "Body": "one", "Attributes": { "ApproximateReceiveCount": "3" } },
        { "MessageId": "n", "ReceiptHandle": "r2", "Body": "two" },
    ] });
    let (sqs, calls) = sqs(200, answer).await;
    let received = sqs.receive("tickets-default", 50, Duration::from_millis(1)).await.unwrap();
    let expected = |body: &str, receipt: &str, receive_count| Received {
        body: body.into(),
        receipt: receipt.into(),
        receive_count,
    };
    assert_eq!(received, [expected("one", "r1", 3), expected("two", "r2", 1)]);
    let call = calls.lock().unwrap()[0].to_string();
    insta::assert_snapshot!(call, @r#"{"QueueUrl":"https://sqs.example/1/tg-tickets-default","MessageSystemAttributeNames":["ApproximateReceiveCount"],"MaxNumberOfMessages":10,"VisibilityTimeout":30,"WaitTimeSeconds":1,"call":"AmazonSQS.ReceiveMessage"}"#);
}

#[tokio::test]
async fn an_empty_queue_gives_nothing() {
    let (sqs, _) = sqs(200, json!({})).await;
    assert_eq!(sqs.receive("ingest", 1, Duration::ZERO).await.unwrap(), []);
    assert_eq!(sqs.depth("ingest").await.unwrap(), 0);
}

#[tokio::test]
async fn depth_counts_hidden_and_delayed_messages() {
    let attributes = json!({
        "ApproximateNumberOfMessages": "5",
        "ApproximateNumberOfMessagesNotVisible": "2",
        "ApproximateNumberOfMessagesDelayed": "1",
    });
    let (sqs, _) = sqs(200, json!({ "Attributes": attributes })).await;
    assert_eq!(sqs.depth("ingest").await.unwrap(), 8);
}

#[tokio::test]
async fn stale_receipts_are_no_errors() {
    for (kind, words) in [
        ("com.amazonaws.sqs#ReceiptHandleIsInvalid", "The receipt handle is not valid."),
        ("com.amazonaws.sqs#MessageNotInflight", "Not in flight."),
        ("com.amazon.coral.service#InvalidParameterValueException", "x"),
        (
            "InvalidParameterValue",
            "Value r for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.",
        ),
    ] {
        let (sqs, _) = sqs(400, json!({ "__type": kind, "message": words })).await;
        let stale = words != "x";
        assert_eq!(sqs.delete("ingest", "r").await.is_ok(), stale, "{kind}");
        assert_eq!(sqs.extend("ingest", "r", Duration::from_secs(30)).await.is_ok(), stale, "{kind}");
    }
}

#[tokio::test]
async fn failures_are_classified() {
    let mut said = Vec::new();
    for (status, kind) in [
        (500, "InternalFailure"),
        (503, "ServiceUnavailable"),
        (400, "com.amazonaws.sqs#RequestThrottled"),
        (400, "ThrottlingException"),
        (403, "AccessDenied"),
        (403, "ExpiredTokenException"),
        (400, "com.amazonaws.sqs#QueueDoesNotExist"),
        (400, "AWS.SimpleQueueService.NonExistentQueue"),
        (400, "com.amazonaws.sqs#InvalidMessageContents"),
        (400, "InvalidParameterValue"),
    ] {
        let (sqs, _) = sqs(status, json!({ "__type": kind, "message": "words" })).await;
        let error = sqs.send("ingest", message("x")).await.unwrap_err();
        let class = match error {
            PortError::Retry { .. } => "retry",
            PortError::Reject { .. } => "reject",
            PortError::Conflict => "conflict",
            PortError::Fatal { .. } => "fatal",
        };
        said.push(format!("{class}: {error}"));
    }
    insta::assert_snapshot!(said.join("\n"), @r#"
retry: sending to the queue `ingest`: InternalFailure: words
retry: sending to the queue `ingest`: ServiceUnavailable: words
retry: sending to the queue `ingest`: RequestThrottled: words
retry: sending to the queue `ingest`: ThrottlingException: words
fatal: sending to the queue `ingest`: AccessDenied: words
retry: sending to the queue `ingest`: ExpiredTokenException: words
fatal: sending to the queue `ingest`: QueueDoesNotExist: words
fatal: sending to the queue `ingest`: AWS.SimpleQueueService.NonExistentQueue: words
reject: sending to the queue `ingest`: InvalidMessageContents: words
reject: sending to the queue `ingest`: InvalidParameterValue: words
"#);
}
