//! Answers as they are printed, held by text, and what people see of them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidegate_engine::api::{BuildAnswer, Builds};

use crate::client::{Artifacts, Instances};
use crate::show;

const BUILD: &str = include_str!("../testdata/build.json");
const BUILDS: &str = include_str!("../testdata/builds.json");
const BROKEN: &str = include_str!("../testdata/build.broken.json");
const INSTANCES: &str = include_str!("../testdata/instances.json");
const ARTIFACTS: &str = include_str!("../testdata/artifacts.json");

fn read<T: DeserializeOwned>(golden: &str) -> T {
    serde_json::from_str(golden).unwrap()
}

/// What was read is written again with the same members in the same order.
fn holds<T: Serialize + DeserializeOwned>(golden: &str) {
    let written = serde_json::to_string_pretty(&read::<T>(golden)).unwrap();
    let golden: Value = serde_json::from_str(golden).unwrap();
    assert_eq!(written, serde_json::to_string_pretty(&golden).unwrap());
}

#[test]
fn the_shapes_of_answers_are_kept() {
    holds::<BuildAnswer>(BUILD);
    holds::<BuildAnswer>(BROKEN);
    holds::<Builds>(BUILDS);
    holds::<Instances>(INSTANCES);
    holds::<Artifacts>(ARTIFACTS);
}

fn now() -> Timestamp {
    "2026-11-23T02:00:30Z".parse().unwrap()
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn a_build_for_people() {
    insta::assert_snapshot!(plain(&show::build(&read(BUILD), now(), Some(100))));
}

#[test]
fn a_build_without_a_plan_for_people() {
    insta::assert_snapshot!(plain(&show::build(&read(BROKEN), now(), Some(100))));
}

#[test]
fn lists_for_people() {
    insta::assert_snapshot!("builds", plain(&show::builds(&read(BUILDS), now(), Some(80))));
    let Instances { instances } = read(INSTANCES);
    insta::assert_snapshot!("instances", plain(&show::instances(&instances, now())));
    let Artifacts { artifacts } = read(ARTIFACTS);
    insta::assert_snapshot!("artifacts", plain(&show::artifacts(&artifacts, None)));
    assert_eq!(show::builds(&Builds::default(), now(), None), "no builds yet\n");
}

#[test]
fn states_are_told_apart_without_colours() {
    let signs: Vec<String> =
        ["passed", "failed", "running", "canceled", "waiting", "soft_failed"].map(|s| plain(&show::symbol(s))).into();
    let mut distinct = signs.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), signs.len(), "{signs:?}");
}
