//! The client binary against the real server, and against servers that misbehave.
//!
//! As in `tests/it.rs`, every wait has a deadline, so that a rule that does not hold fails and
//! nothing hangs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and then shows the server's log"
)]

mod cli {
    mod chat;
    mod lines;
    mod once;
    mod program;
    mod room;
    #[allow(dead_code, reason = "the server's own tests use the rest")]
    #[path = "../it/support.rs"]
    mod support;
    mod terminal;
}
