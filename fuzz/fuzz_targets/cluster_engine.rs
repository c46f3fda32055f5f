//! The engine's client: no panic, and it keeps to its contract, whatever an engine sends.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::cluster_engine::run(data));
