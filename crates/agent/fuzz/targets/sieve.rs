#![no_main]
#![allow(dead_code, unreachable_pub, reason = "the modules are parts of a larger crate")]

#[path = "checks.rs"]
mod checks;
#[path = "../../src/output/escape.rs"]
mod escape;
#[path = "../../src/output/redact.rs"]
mod redact;
#[path = "../../src/output/sieve.rs"]
mod sieve_module;

use sieve_module::Sieve;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::sieve(data));
