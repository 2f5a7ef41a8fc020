#![no_main]
#![allow(dead_code, unreachable_pub, reason = "the modules are parts of a larger crate")]

#[path = "../../src/beneath.rs"]
mod beneath;
#[path = "extract_checks.rs"]
mod checks;

use beneath::Beneath;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::extract(data));
