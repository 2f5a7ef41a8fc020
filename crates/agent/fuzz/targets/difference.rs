#![no_main]
#![allow(dead_code, unreachable_pub, reason = "the modules are parts of a larger crate")]

#[path = "difference_checks.rs"]
mod checks;
#[path = "../../src/job/difference.rs"]
mod module;
#[path = "../../src/job/variables.rs"]
mod variables;

use module::{Changes, difference};
use variables::{JobEnv, is_agent_only};

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::difference_of(data));
