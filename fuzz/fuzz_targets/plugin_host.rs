//! The example plugins, any packages in any order: no panic, bounded time, bounded memory, and the
//! answers their comments promise.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::plugin_host::run(data));
