//! The `command` codec, any bytes under any limit: decode, encode, what is missing, errors.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::command::run(data));
