//! Files, listener URLs and options: no panic, ranges kept, one meaning however written, one line
//! when refused.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::config::run(data));
