//! The real binary, between a Lambda Runtime API and an AWS of this process.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod world;

use serde_json::{Value, json};
use tidegate_core::event::{Event, EventKind};
use tidegate_github::webhook::sign;
use world::{Fault, World};

const PUSH: &str = include_str!("../../../events/push.json");
/// The secret in SSM.
const CURRENT: &str = "current-5ec3e7";
const GUID: &str = "72d3162e-cc78-11e3-81ab-4c9367dc0958";

/// The event of a function URL for a delivery signed with `secret`.
fn delivery(secret: &str, body: &str) -> Value {
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/webhook",
        "rawQueryString": "",
        "headers": {
            "content-type": "application/json",
            "content-length": body.len().to_string(),
            "x-github-event": "push",
            "x-github-delivery": GUID,
            "x-hub-signature-256": sign(&secret.into(), body.as_bytes()),
            "user-agent": "GitHub-Hookshot/4f1a2b3",
            "x-forwarded-for": "192.0.2.7",
            "x-odd": "é\u{a0}",
        },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abcdefghij",
            "domainName": "abcdefghij.lambda-url.eu-west-1.on.aws",
            "domainPrefix": "abcdefghij",
            "http": {
                "method": "POST", "path": "/webhook", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.7",
                "userAgent": "GitHub-Hookshot/4f1a2b3",
            },
            "requestId": "5f1f8a8e-5c6b-4a43-9d3c-2b0f7f1f0a11",
            "routeKey": "$default",
            "stage": "$default",
            "time": "23/Nov/2026:02:00:00 +0000",
            "timeEpoch": 1_795_398_000_123_u64,
        },
        "body": body,
        "isBase64Encoded": false,
    })
}

fn with(mut event: Value, pointer: &str, value: Value) -> Value {
    *event.pointer_mut(pointer).unwrap() = value;
    event
}

fn status(answer: &Value) -> u64 {
    answer["statusCode"].as_u64().unwrap()
}

#[tokio::test]
async fn a_signed_push_is_in_the_queue_before_it_is_accepted() {
    let mut world = World::start(&[]).await;
    assert_eq!(world.aws.calls(), Vec::<String>::new(), "nothing is called before it is needed");
    let plain = delivery(CURRENT, PUSH);
    let encoded = with(plain.clone(), "/body", base64(PUSH.as_bytes()).into());
    let encoded = with(encoded, "/isBase64Encoded", true.into());
    for event in [plain, encoded] {
        let answer = world.invoke(&event).await;
        assert_eq!(status(&answer), 202, "{answer}");
        assert_eq!(answer["body"], format!(r#"{{"delivery":"{GUID}"}}"#));
        assert_eq!(answer["headers"]["content-type"], "application/json");
    }
    let sent = world.aws.sent();
    assert_eq!(sent.len(), 2);
    for message in &sent {
        assert_eq!(message["QueueUrl"], format!("{}/1/tidegate-ingest", world.aws.base));
        let body = message["MessageBody"].as_str().unwrap();
        let event: Event = serde_json::from_str(body).unwrap();
        assert!(body.is_ascii() && matches!(event.kind, EventKind::Push(_)), "{body}");
    }
    assert_eq!(
        world.aws.calls(),
        ["AmazonSSM.GetParameters", "AmazonSQS.SendMessage", "AmazonSQS.SendMessage"],
        "secrets are kept"
    );
}

#[tokio::test]
async fn what_is_not_a_signed_delivery_is_answered_and_leaves_nothing() {
    let mut world = World::start(&[]).await;
    let good = delivery(CURRENT, PUSH);
    let http = "/requestContext/http/method";
    let encoded = with(good.clone(), "/isBase64Encoded", true.into());
    for (event, expected) in [
        (delivery("wrong", PUSH), 401),
        (with(good.clone(), "/headers", json!({})), 401),
        (with(good.clone(), "/body", "{}".into()), 401),
        (with(good.clone(), "/body", Value::Null), 401),
        (encoded, 400),
        (with(good.clone(), "/headers/content-type", "text/plain".into()), 415),
        (delivery(CURRENT, "{"), 400),
        (delivery(CURRENT, "{\"ref\":1}"), 202),
        (with(good.clone(), http, "GET".into()), 405),
        (with(good.clone(), "/rawPath", "/other".into()), 404),
        (with(with(good, "/rawPath", "/healthz".into()), http, "GET".into()), 200),
    ] {
        let answer = world.invoke(&event).await;
        assert_eq!(status(&answer), expected, "{answer}");
        if expected == 401 {
            assert_eq!(answer["body"], "");
        }
    }
    assert_eq!(world.aws.sent(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_dependency_that_fails_at_first_is_used_by_the_next_invocation() {
    for (target, fault) in [
        ("AmazonSSM", Fault::BreaksOff),
        ("AmazonSSM", Fault::Answer(500, "InternalServerError")),
        ("AmazonSSM", Fault::Answer(400, "AccessDeniedException")),
        ("AmazonSSM", Fault::Answer(400, "ThrottlingException")),
        ("AmazonSSM", Fault::NoParameter),
        ("AmazonSSM", Fault::Hang),
        ("AmazonSQS", Fault::BreaksOff),
        ("AmazonSQS", Fault::Answer(500, "InternalFailure")),
        ("AmazonSQS", Fault::Answer(403, "AccessDenied")),
        ("AmazonSQS", Fault::Answer(400, "com.amazonaws.sqs#QueueDoesNotExist")),
    ] {
        let mut world = World::start(&[]).await;
        world.aws.fail(Some((target, fault)));
        let failed = world.invoke(&delivery(CURRENT, PUSH)).await;
        assert_eq!(status(&failed), 503, "{target} {fault:?}: {failed}");
        let words = failed["body"].as_str().unwrap();
        assert!(words.contains("redeliver") && !words.contains("Amazon"), "{words}");
        assert_eq!(world.aws.sent(), Vec::<Value>::new());

        world.aws.fail(None);
        let repeated = world.invoke(&delivery(CURRENT, PUSH)).await;
        assert_eq!(status(&repeated), 202, "{target} {fault:?}: {repeated}");
        assert_eq!(world.aws.sent().len(), 1);
        assert!(world.is_the_first_process());
    }
}

#[tokio::test]
async fn secrets_change_under_a_running_function() {
    let previous = ("TIDEGATE_WEBHOOK_PREVIOUS_SECRET_PARAMETER", "/tidegate/previous");
    let mut world = World::start(&[("TIDEGATE_WEBHOOK_SECRET_SECONDS", "0"), previous]).await;
    let mut expect = async |secret: &str, expected: u64| {
        let answer = world.invoke(&delivery(secret, PUSH)).await;
        assert_eq!(status(&answer), expected, "{secret}: {answer}");
        world.aws.clone()
    };
    // The previous one may be missing.
    let aws = expect(CURRENT, 202).await;
    expect("next", 401).await;
    aws.put("/tidegate/previous", CURRENT);
    aws.put("/tidegate/secret", "next");
    expect("next", 202).await;
    expect(CURRENT, 202).await;
    aws.put("/tidegate/previous", "");
    expect(CURRENT, 503).await;
    aws.remove("/tidegate/previous");
    expect(CURRENT, 401).await;
    // SSM away: what was read before is used on.
    aws.fail(Some(("AmazonSSM", Fault::BreaksOff)));
    expect("next", 202).await;
    expect(CURRENT, 401).await;
}

#[tokio::test]
async fn logs_are_lines_of_json_without_secrets() {
    let mut world = World::start(&[("TIDEGATE_LOG", "trace")]).await;
    let (good, bad) = (delivery(CURRENT, PUSH), delivery("wrong", PUSH));
    assert_eq!(status(&world.invoke(&good).await), 202);
    assert_eq!(status(&world.invoke(&bad).await), 401);
    world.aws.fail(Some(("AmazonSQS", Fault::Answer(403, "AccessDenied"))));
    assert_eq!(status(&world.invoke(&good).await), 503);
    let log = world.stop();
    for line in log.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    for seen in ["webhook delivery accepted", "signature_mismatch", "AccessDenied", GUID] {
        assert!(log.contains(seen), "{seen} was not logged:\n{log}");
    }
    let signature = sign(&CURRENT.into(), PUSH.as_bytes());
    for part in [&signature[7..23], &signature[40..56], "aws-secret-key", "Test the greeting", "5ec3e7"] {
        assert!(!log.contains(part), "{part} is logged:\n{log}");
    }
}

#[tokio::test]
async fn a_function_that_is_set_up_wrongly_says_what_is_missing() {
    let log = World::start_and_fail(&[("TIDEGATE_QUEUE_BASE", "")]).await;
    assert!(log.contains("the environment variable `TIDEGATE_QUEUE_BASE` is not set"), "{log}");
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
