//! Accounts files: no panic, bounds kept, unfinished lines skipped, one line when refused.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::accounts_file::run(data));
