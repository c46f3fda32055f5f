//! The plugin host from outside: files in a folder, packages, answers.
#![cfg(feature = "plugins")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::time::{Duration, Instant};

use mynah::conn_id::ConnId;
use mynah::handler::plugin::{Client, PluginHost, PluginOptions, Verdict};

#[test]
fn the_first_that_returns_a_string_answers() {
    let dir = std::env::temp_dir().join(format!("mynah-plugins-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("a.lua"), "return { process_client_pkg = function(d) return d end }")
        .unwrap();
    fs::write(dir.join("b.lua"), "return {\n process_client_pkg = = }").unwrap();
    let options = PluginOptions {
        dir: dir.clone(),
        budget: Duration::from_millis(50),
        memory_bytes_max: 8 << 20,
        broadcast_bytes_max: 1 << 20,
    };
    let start = Instant::now();
    let mut loaded = PluginHost::load(&options, Box::new(move || start.elapsed())).unwrap();
    assert_eq!(loaded.broken[0].to_string(), "plugin b.lua:2: unexpected symbol near '='");
    let id = ConnId { index: 0, generation: 17 };
    let mut out = Vec::new();
    assert_eq!(loaded.host.ask(b"x\0\xff", &Client::new(id), &mut out), Verdict::Answered);
    assert_eq!(out, b"x\0\xff");
    fs::remove_dir_all(dir).unwrap();
}
