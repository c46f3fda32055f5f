//! The `prefixed` codec, any bytes: decode, encode, what is missing.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::prefixed::run(data));
