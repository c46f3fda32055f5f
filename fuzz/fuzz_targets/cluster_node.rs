//! A node hears other nodes: no panic, no forged line, no stolen name, every loss counted, whatever they
//! publish.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::cluster_node::run(data));
