//! Logins: one answer each, in order, and nobody in without the password.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::login::run(data));
