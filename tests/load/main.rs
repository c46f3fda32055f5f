//! The load tester's binary against the real server, and against targets that misbehave.
//!
//! Each test has its own target on a port the system picks, and waits for what it expects with a
//! deadline.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and then shows the server's log"
)]

mod files;
mod modes;
mod options;
mod screen;
#[allow(dead_code, reason = "the other test programs use the rest")]
#[path = "../support/mod.rs"]
mod support;
mod targets;
mod tester;
