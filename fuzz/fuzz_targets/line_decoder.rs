//! The chat's messages, whole or in any pieces, finished or not.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::line_decoder::run(data));
