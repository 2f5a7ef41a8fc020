//! What the fuzz targets have found, replayed, and many inputs of the same kind by chance. `fuzz/run` adds to it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../fuzz/targets/checks.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets use it too")]
mod checks;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use tidegate_agent::Sieve;

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(format!("{target}.b64"));
    let lines = std::fs::read_to_string(corpus).unwrap();
    assert!(lines.lines().count() > 50, "{target}");
    for line in lines.lines() {
        check(&STANDARD.decode(line).unwrap());
    }
}

#[test]
fn sieve() {
    replay("sieve", checks::sieve);
}

#[test]
fn escape() {
    replay("escape", checks::escape);
}

fn script() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => (any::<u8>(), any::<u8>()).prop_map(|(which, length)| vec![0xf0, which, length % 40]),
        2 => any::<u8>().prop_map(|which| vec![0xff, which, 255]),
        2 => Just(vec![0xe0]),
        2 => proptest::sample::select(b"abhunter2- \n\x1b".to_vec()).prop_map(|byte| vec![byte]),
        1 => proptest::sample::select(vec![&b"\x1b[31m"[..], b"\x1b[2J", b"\x1b]0;x\x07", b"\x1b]8;;http://x\x07", b"\xc2"])
            .prop_map(<[u8]>::to_vec),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_split_of_any_output_shows_a_secret(data in script()) {
        checks::sieve(&data);
    }

    #[test]
    fn no_output_steers_a_terminal(data in proptest::collection::vec(
        prop_oneof![any::<u8>(), proptest::sample::select(b"\x1b[]8;hHttp:/m\\\x07\xc2\x9b\n".to_vec())], 0..200))
    {
        checks::escape(&data);
    }
}
