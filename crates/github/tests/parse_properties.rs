//! Whatever comes, parsing neither panics nor refuses JSON.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use proptest::prelude::*;
use tidegate_core::ids::DeliveryId;
use tidegate_core::time::Timestamp;
use tidegate_core::wire::envelope::to_ascii_json;
use tidegate_github::webhook::{NotJson, parse};

const PUSH: &str = include_str!("../../../events/push.json");

const OTHERS: [(&str, &str); 9] = [
    ("pull_request", include_str!("../../../events/pull_request.edited.base.json")),
    ("pull_request", include_str!("../../../events/pull_request.opened.fork.json")),
    ("merge_group", include_str!("../../../events/merge_group.checks_requested.json")),
    ("check_run", include_str!("../../../events/check_run.requested_action.json")),
    ("check_suite", include_str!("../../../events/check_suite.rerequested.json")),
    ("issue_comment", include_str!("../../../events/issue_comment.approve.json")),
    ("delete", include_str!("../../../events/delete.branch.json")),
    ("installation_repositories", include_str!("../../../events/installation_repositories.added.json")),
    ("repository", include_str!("../../../events/repository.renamed.json")),
];

fn read(event: &str, body: &[u8]) -> Result<tidegate_core::event::Event, NotJson> {
    parse(event, DeliveryId::new("d").unwrap(), body, Timestamp(1))
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
        "refs/(heads|tags)/.{0,20}".prop_map(Into::into),
        "[0-9a-f]{38,66}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            proptest::collection::vec((member_name(), inner), 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

fn member_name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("id".to_owned()),
        Just("full_name".to_owned()),
        Just("message".to_owned()),
        Just("author".to_owned()),
        Just("name".to_owned()),
        any::<String>(),
    ]
}

/// Replaces the `index`-th value of a tree, counted depth first.
fn replace(tree: &mut serde_json::Value, index: &mut usize, value: &serde_json::Value) -> bool {
    if *index == 0 {
        *tree = value.clone();
        return true;
    }
    *index -= 1;
    match tree {
        serde_json::Value::Array(items) => items.iter_mut().any(|item| replace(item, index, value)),
        serde_json::Value::Object(members) => members.values_mut().any(|item| replace(item, index, value)),
        _ => false,
    }
}

proptest! {
    #[test]
    fn bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300), event in "push|ping|other|pull_request|merge_group|check_run|check_suite|issue_comment|delete|installation|repository") {
        let understood = read(&event, &body).is_ok();
        prop_assert_eq!(understood, serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok() && std::str::from_utf8(&body).is_ok());
    }

    #[test]
    fn any_json_is_an_event(value in json_value(), event in "push|ping|delete|.{0,80}") {
        let event = read(&event, value.to_string().as_bytes()).unwrap();
        prop_assert!(to_ascii_json(&event).unwrap().len() < 64 * 1024);
    }

    #[test]
    fn a_push_with_any_value_replaced_is_an_event(value in json_value(), at in any::<prop::sample::Index>()) {
        let mut payload: serde_json::Value = serde_json::from_str(PUSH).unwrap();
        let mut index = at.index(260);
        replace(&mut payload, &mut index, &value);
        let event = read("push", payload.to_string().as_bytes()).unwrap();
        let sent = to_ascii_json(&event).unwrap();
        prop_assert!(sent.is_ascii() && sent.len() < 64 * 1024);
        prop_assert_eq!(serde_json::from_str::<tidegate_core::event::Event>(&sent).unwrap(), event);
    }

    #[test]
    fn an_event_with_any_value_replaced_is_an_event(
        which in any::<prop::sample::Index>(),
        value in json_value(),
        at in any::<prop::sample::Index>(),
    ) {
        let (name, text) = OTHERS[which.index(OTHERS.len())];
        let mut payload: serde_json::Value = serde_json::from_str(text).unwrap();
        let mut index = at.index(600);
        replace(&mut payload, &mut index, &value);
        let event = read(name, payload.to_string().as_bytes()).unwrap();
        let sent = to_ascii_json(&event).unwrap();
        prop_assert!(sent.is_ascii() && sent.len() < 64 * 1024);
        prop_assert_eq!(serde_json::from_str::<tidegate_core::event::Event>(&sent).unwrap(), event);
    }

    #[test]
    fn a_damaged_push_never_panics(
        at in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        junk in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        let mut body = PUSH.as_bytes().to_vec();
        let from = at.index(body.len());
        let to = (from + cut.index(40)).min(body.len());
        body.splice(from..to, junk);
        let _ = read("push", &body);
    }

    #[test]
    fn no_proper_prefix_of_a_push_is_json(at in any::<prop::sample::Index>()) {
        let body = PUSH.trim_end().as_bytes();
        prop_assert!(read("push", &body[..at.index(body.len())]).is_err());
    }
}
