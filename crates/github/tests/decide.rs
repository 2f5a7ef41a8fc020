//! The webhook's answers, decided in the order of `contract.md`.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use tidegate_core::event::{EventKind, MESSAGE_LIMIT};
use tidegate_core::time::Timestamp;
use tidegate_core::wire::envelope::to_ascii_json;
use tidegate_github::webhook::{Decision, Headers, Secrets, decide, sign};

const NOW: Timestamp = Timestamp(1_795_398_000_123);
const LIMIT: usize = 25 * 1024 * 1024;
const GUID: &str = "72d3162e-cc78-11e3-81ab-4c9367dc0958";

fn secrets() -> Secrets {
    Secrets::new("current".into(), Some("previous".into())).unwrap()
}

/// The decision on a signed delivery of JSON.
fn signed(event: &str, body: &[u8]) -> Decision {
    let signature = sign(&"current".into(), body);
    let headers = Headers {
        event: Some(event),
        delivery: Some(GUID),
        signature: Some(&signature),
        content_type: Some("application/json"),
    };
    decide(headers, body, LIMIT, &secrets(), NOW)
}

fn ignored(decision: &Decision) -> &str {
    match &decision.event.as_ref().unwrap().kind {
        EventKind::Ignored { why, .. } => why,
        other => panic!("not ignored: {other:?}"),
    }
}

#[test]
fn the_first_thing_wrong_decides() {
    // Each row is right in what the rows before it were wrong in.
    let body = b"not json";
    let signature = sign(&"previous".into(), body);
    let mut headers = Headers::default();
    let mut answers = Vec::new();
    let mut answer = |headers: Headers<'_>, limit| {
        let Decision { status, body: answer, code, event } = decide(headers, body, limit, &secrets(), NOW);
        assert!(event.is_none());
        answers.push(format!("{status} {code} {answer}").trim_end().to_owned());
    };
    answer(headers, 7);
    answer(headers, 8);
    headers.signature = Some("sha256=12");
    answer(headers, LIMIT);
    let wrong = sign(&"wrong".into(), body);
    headers.signature = Some(&wrong);
    answer(headers, LIMIT);
    headers.signature = Some(&signature);
    answer(headers, LIMIT);
    headers.content_type = Some("application/x-www-form-urlencoded");
    answer(headers, LIMIT);
    headers.content_type = Some("Application/JSON ; charset=utf-8");
    answer(headers, LIMIT);
    insta::assert_snapshot!(answers.join("\n"), @r#"
413 too_large {"error":"the body is larger than 7 bytes"}
401 signature_missing
401 signature_malformed
401 signature_mismatch
415 wrong_content_type {"error":"the content type is not `application/json`: choose it in the settings of the webhook"}
415 wrong_content_type {"error":"the content type is not `application/json`: choose it in the settings of the webhook"}
400 not_json {"error":"the body is not JSON: expected ident at line 1 column 2"}
"#);
}

#[test]
fn everything_else_that_is_signed_is_accepted() {
    let push = include_bytes!("../../../events/push.json");
    let decision = signed("push", push);
    assert_eq!((decision.status, decision.code), (202, "accepted"));
    assert_eq!(decision.body, format!(r#"{{"delivery":"{GUID}"}}"#));
    let event = decision.event.unwrap();
    assert_eq!((event.delivery.as_str(), event.received_at), (GUID, NOW));

    let mut answers = Vec::new();
    for (event, body) in [
        ("star", r#"{"action":"created"}"#),
        ("something_new", "{}"),
        ("something_new", r#"{"action":{"a":1}}"#),
        ("push", "[1, 2]"),
        ("push", "null"),
        ("push", "{}"),
        ("ping", "{}"),
        ("ping", "7"),
        ("", "{}"),
        ("\u{1b}[31m\npush", r#"{"action":"\u001b\n"}"#),
    ] {
        let decision = signed(event, body.as_bytes());
        assert_eq!((decision.status, decision.code), (202, "ignored"), "{body}");
        assert!(decision.body.starts_with(&format!(r#"{{"delivery":"{GUID}","ignored":"#)));
        answers.push(format!("{event:?} {body}: {}", ignored(&decision)));
    }
    insta::assert_snapshot!(answers.join("\n"), @r#"
"star" {"action":"created"}: no use for the action `created` of this event
"something_new" {}: no use for this event
"something_new" {"action":{"a":1}}: no use for this event
"push" [1, 2]: the payload is not an object
"push" null: the payload is not an object
"push" {}: `repository` is missing
"ping" {}: `hook_id` is missing
"ping" 7: the payload is not an object
"" {}: there is no `X-GitHub-Event` header
"\u{1b}[31m\npush" {"action":"\u001b\n"}: no use for the action `\u{1b}\n` of this event
"#);
}

#[test]
fn a_delivery_without_an_id_is_named_by_its_body() {
    let body = include_bytes!("../../../events/push.json");
    let signature = sign(&"current".into(), body);
    let mut answers = Vec::new();
    for delivery in [None, Some(""), Some("../../etc"), Some("a b")] {
        let headers = Headers {
            event: Some("push"),
            delivery,
            signature: Some(&signature),
            content_type: Some("application/json"),
        };
        let decision = decide(headers, body, LIMIT, &secrets(), NOW);
        assert_eq!(decision.status, 202);
        answers.push((decision.body, decision.event.unwrap().delivery));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "the same body is the same delivery");
    assert!(answers[0].1.as_str().starts_with("body-"));
    assert!(answers[0].0.contains("the id is made of the body"), "{}", answers[0].0);
}

/// A push with one member replaced by other JSON, or taken away.
fn push_with(path: &[&str], value: Option<&str>) -> String {
    let mut payload: serde_json::Value = serde_json::from_slice(include_bytes!("../../../events/push.json")).unwrap();
    let (last, parents) = path.split_last().unwrap();
    let mut object = &mut payload;
    for parent in parents {
        object = &mut object[*parent];
    }
    match value {
        Some(_) => object[*last] = "<replaced>".into(),
        None => {
            object.as_object_mut().unwrap().shift_remove(*last);
        }
    }
    payload.to_string().replace("\"<replaced>\"", value.unwrap_or_default())
}

#[test]
fn a_push_that_lacks_what_we_need_is_ignored_and_says_what() {
    let mut reasons = Vec::new();
    for (path, value) in [
        (&["ref"][..], None),
        (&["ref"], Some("5")),
        (&["ref"], Some("\"refs/pull/3/head\"")),
        (&["ref"], Some("\"refs/heads/a..b\"")),
        (&["ref"], Some("\"refs/heads/\\u001b[2J\\n\"")),
        (&["before"], None),
        (&["before"], Some("null")),
        (&["after"], Some("\"0\"")),
        (&["after"], Some("\"HEAD\"")),
        (&["repository"], None),
        (&["repository"], Some("[]")),
        (&["repository", "id"], Some("-1")),
        (&["repository", "id"], Some("\"7\"")),
        (&["repository", "id"], Some("1.5")),
        (&["repository", "full_name"], None),
        (&["repository", "full_name"], Some("\"a/../b\"")),
    ] {
        let decision = signed("push", push_with(path, value).as_bytes());
        assert_eq!(decision.status, 202);
        let row = format!("{} = {value:?}: {}", path.join("."), ignored(&decision));
        reasons.push(row);
    }
    insta::assert_snapshot!(reasons.join("\n"), @r#"
ref = None: `ref` is missing
ref = Some("5"): `ref` is a number, not a text
ref = Some("\"refs/pull/3/head\""): `ref` is `refs/pull/3/head`, no branch and no tag
ref = Some("\"refs/heads/a..b\""): `ref` is `refs/heads/a..b`, no branch and no tag
ref = Some("\"refs/heads/\\u001b[2J\\n\""): `ref` is `refs/heads/\u{1b}[2J\n`, no branch and no tag
before = None: `before` is missing
before = Some("null"): `before` is null, not a text
after = Some("\"0\""): `after` is `0`, not a commit id
after = Some("\"HEAD\""): `after` is `HEAD`, not a commit id
repository = None: `repository` is missing
repository = Some("[]"): `repository` is an array, not an object
repository.id = Some("-1"): `repository.id` is a number, not a whole number
repository.id = Some("\"7\""): `repository.id` is a text, not a whole number
repository.id = Some("1.5"): `repository.id` is a number, not a whole number
repository.full_name = None: `repository.full_name` is missing
repository.full_name = Some("\"a/../b\""): `repository.full_name` is `a/../b`, not `owner/name`
"#);
}

#[test]
fn what_a_push_can_do_without_is_left_out() {
    for (path, value) in [
        (&["head_commit"][..], None),
        (&["head_commit"], Some("null")),
        (&["head_commit"], Some("7")),
        (&["head_commit", "id"], Some("null")),
        (&["head_commit", "message"], None),
        (&["head_commit", "author"], Some("null")),
        (&["head_commit", "author", "email"], Some("null")),
        (&["pusher"], None),
        (&["pusher", "email"], Some("null")),
        (&["pusher", "name"], Some("[[]]")),
        (&["sender"], Some("null")),
        (&["sender", "id"], Some("null")),
        (&["installation"], None),
        (&["created"], None),
        (&["deleted"], Some("\"no\"")),
        (&["forced"], Some("null")),
        (&["commits"], None),
        (&["commits"], Some("null")),
        (&["repository", "default_branch"], Some("null")),
        (&["organization"], Some("{\"\\ud800\":\"\\udfff\"}")),
    ] {
        let decision = signed("push", push_with(path, value).as_bytes());
        let event = decision.event.unwrap();
        assert!(matches!(event.kind, EventKind::Push(_)), "{path:?} {value:?} {event:?}");
    }
}

fn pushed(body: &str) -> tidegate_core::event::Push {
    match signed("push", body.as_bytes()).event.unwrap().kind {
        EventKind::Push(push) => *push,
        other => panic!("{other:?}"),
    }
}

#[test]
fn zeros_say_created_and_deleted_whatever_the_flags_say() {
    let zeros = format!("\"{}\"", "0".repeat(40));
    assert!(pushed(&push_with(&["before"], Some(&zeros))).created);
    let deleted = pushed(&push_with(&["after"], Some(&zeros)));
    assert!(deleted.deleted);
    assert_eq!(deleted.head, None, "a deleted branch has no head");
}

#[test]
fn long_ids_of_sha_256_repositories_are_ids() {
    let id = format!("\"{}\"", "ab".repeat(32));
    let push = pushed(&push_with(&["after"], Some(&id)));
    assert_eq!(push.after.as_str().len(), 64);
}

#[test]
fn of_two_members_the_last_counts() {
    let body = push_with(&["ref"], Some("\"refs/heads/first\", \"ref\": \"refs/heads/last\""));
    assert_eq!(pushed(&body).git_ref.name(), "last");
}

#[test]
fn the_event_is_small_ascii_whatever_people_write() {
    for text in ["\\u0001", "\\uffff", "\\ud800", "\u{ffff}", "\u{1f600}", "\u{7f}"] {
        let long = format!("\"{}\"", text.repeat(20_000));
        let mut body = push_with(&["head_commit", "message"], Some(&long));
        for (member, quoted) in [("\"name\":\"Mira Lund\"", "name"), ("\"name\":\"mira-lund\"", "name")] {
            body = body.replace(member, &format!("\"{quoted}\":{long}"));
        }
        let push = pushed(&body);
        let head = push.head.as_ref().unwrap();
        assert!(head.message.len() <= MESSAGE_LIMIT);
        assert!(!head.author_name.is_empty() && !push.pusher.is_empty());
        let sent = to_ascii_json(&signed("push", body.as_bytes()).event.unwrap()).unwrap();
        // What SQS takes and bills as one message (`spec/aws-limits.md` 4.3).
        assert!(sent.bytes().all(|b| (0x20..0x7f).contains(&b)));
        assert!(sent.len() < 64 * 1024, "{}", sent.len());
    }
}

#[test]
fn a_token_beyond_what_the_event_keeps_still_skips() {
    let message = format!("\"{}[skip ci]\"", "a ".repeat(5_000));
    let head = pushed(&push_with(&["head_commit", "message"], Some(&message))).head.unwrap();
    assert_eq!(head.skip.as_deref(), Some("[skip ci]"));
    assert!(!head.message.contains("[skip ci]"));
}
