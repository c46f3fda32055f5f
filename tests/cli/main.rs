//! The client binary against the real server, and against servers that misbehave.
//!
//! As in `tests/server/`, every wait has a deadline, so that a rule that does not hold fails and
//! nothing hangs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and then shows the server's log"
)]

mod chat;
mod lines;
mod once;
mod program;
mod room;
#[allow(dead_code, reason = "the other test programs use the rest")]
#[path = "../support/mod.rs"]
mod support;
mod terminal;
