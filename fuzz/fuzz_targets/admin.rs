//! Admin requests: alike however they are cut, and nothing for who may not ask.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::admin::run(data));
