//! Both frame parsers, any bytes in any chunking, against a whole-buffer reference.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::frame_parser::run(data));
