//! Bytes into TLS before and behind the handshake: what is opened is what was sealed.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::tls_stream::run(data));
