//! The plugin host from outside: files in a folder, packages, answers, and what the log says.

#![cfg(feature = "plugins")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "modules of one test program")]
#![allow(clippy::print_stdout, reason = "measurements are printed")]

#[path = "plugins/differential.rs"]
mod differential;
#[path = "plugins/examples.rs"]
mod examples;
#[path = "plugins/folder.rs"]
mod folder;
#[path = "plugins/host.rs"]
mod host;
#[path = "plugins/load.rs"]
mod load;
#[path = "plugins/sandbox.rs"]
mod sandbox;
#[path = "plugins/scheduler.rs"]
mod scheduler;
#[path = "plugins/speed.rs"]
mod speed;
#[path = "plugins/support.rs"]
mod support;
