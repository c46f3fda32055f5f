//! The load tester's binary against the real server, and against targets that misbehave.
//!
//! Each test has its own target on a port the system picks, and waits for what it expects with a
//! deadline.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and then shows the server's log"
)]

mod load {
    mod files;
    mod modes;
    mod options;
    mod screen;
    mod targets;
    mod tester;
}

#[path = "it/support.rs"]
#[allow(dead_code, reason = "what the server's tests need and these do not")]
mod support;
