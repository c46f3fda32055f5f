//! The load tester's program against the real server, and against targets that misbehave.
//!
//! Each test has its own target, on a port that the system picks, and waits for its condition with a
//! deadline.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and then shows the server's log"
)]

mod compare;
mod files;
mod foreign;
mod foreign_server;
mod jobs;
#[cfg(target_os = "linux")]
mod linux;
mod merge;
mod modes;
mod options;
mod progress;
mod several_targets;
mod storm;
#[allow(dead_code, reason = "the other test programs use the rest")]
#[path = "../support/mod.rs"]
mod support;
mod targets;
mod tester;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
#[allow(dead_code, reason = "the other test program uses the rest")]
#[path = "../support/tls_server.rs"]
mod tls_server;
#[cfg(feature = "unix")]
mod unix;
#[cfg(target_os = "linux")]
mod usage;
mod wake;
