//! A chat room: anything said by anybody in any order.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::chat_room::run(data));
