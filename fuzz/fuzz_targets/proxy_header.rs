//! PROXY headers: no panic, the same answer however the bytes are cut, and the crate proxy-header's.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::proxy_header::run(data));
