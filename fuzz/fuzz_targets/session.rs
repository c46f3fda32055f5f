//! Two sessions in one room, any operations in any order, against a model of whole buffers.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::session::run(data));
