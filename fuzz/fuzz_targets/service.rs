//! A service of an embedder's, any bytes in any cut: frames, replies, bounds.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::service::run(data));
