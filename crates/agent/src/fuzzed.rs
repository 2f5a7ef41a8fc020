//! What the fuzz targets of modules that are not public have found, replayed, and many inputs of the same kind by chance.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../fuzz/targets/difference_checks.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets use it too")]
mod difference_checks;
#[path = "../fuzz/targets/extract_checks.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets use it too")]
mod extract_checks;

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use crate::beneath::Beneath;
use crate::job::difference::{Changes, difference};
use crate::job::variables::{JobEnv, is_agent_only};

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(format!("{target}.b64"));
    let lines = std::fs::read_to_string(corpus).unwrap();
    assert!(lines.lines().count() > 50, "{target}");
    for line in lines.lines() {
        check(&STANDARD.decode(line).unwrap());
    }
}

#[test]
fn difference_corpus() {
    replay("difference", difference_checks::difference_of);
}

#[test]
fn extract_corpus() {
    replay("extract", extract_checks::extract);
}

/// A file that takes the place of a link to the directory that it is in.
#[test]
fn a_link_to_its_own_directory_is_replaced() {
    extract_checks::extract(b",\xff](),\xff)]())),\xff/,\xff/)))))))))\xff\xff\xff\xff\xff\xff\xd5");
}

fn variables() -> impl Strategy<Value = BTreeMap<String, String>> {
    let name = prop_oneof![
        6 => "[A-Z_a-z][A-Z_a-z0-9]{0,3}",
        1 => Just("TIDEGATE_INSTANCE".to_owned()),
        1 => Just("BUILDKITE_SHELL".to_owned()),
        1 => Just("PWD".to_owned()),
        1 => "[^=\0]{1,4}",
    ];
    proptest::collection::btree_map(name, "[^\0]{0,12}", 0..8)
}

proptest! {
    /// More cases: `PROPTEST_CASES=1000000 cargo test -p tidegate-agent --lib what_a_hook_leaves`.
    #[test]
    fn what_a_hook_leaves_is_what_comes_after(given in variables(), left in variables(), cut in any::<prop::sample::Index>()) {
        let entries = |variables: &BTreeMap<String, String>| {
            variables.iter().map(|(name, value)| format!("{name}={value}\0")).collect::<String>()
        };
        let data = format!("{}\u{1}/there\0{}", entries(&given), entries(&left)).into_bytes();
        difference_checks::difference_of(&data);
        // Cut off anywhere it is read without harm, too.
        difference_checks::difference_of(&data[..cut.index(data.len() + 1)]);
    }

    #[test]
    fn any_answer_is_read_without_harm(answer in proptest::collection::vec(any::<u8>(), 0..500)) {
        difference_checks::difference_of(&[b"TIDEGATE_INSTANCE=i-1\0\x01".to_vec(), answer].concat());
    }

    /// More cases: `PROPTEST_CASES=100000 cargo test -p tidegate-agent --lib no_path_and_no_link`.
    #[test]
    fn no_path_and_no_link_leads_out(script in proptest::collection::vec(any::<u8>(), 0..80)) {
        extract_checks::extract(&script);
    }
}
