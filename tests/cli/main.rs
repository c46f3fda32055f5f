//! The client binary against the real server, and against mock servers that misbehave.
//!
//! As in `tests/server/`, every wait has a deadline, so that a rule that does not hold fails and
//! nothing hangs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and then shows the server's log"
)]

#[cfg(feature = "accounts")]
mod accounts;
#[cfg(all(feature = "admin", feature = "unix"))]
mod admin;
mod chat_pipe;
mod chat_server;
mod chat_window;
mod mock_server;
mod once;
#[cfg(feature = "accounts")]
mod passwd;
mod program;
mod prompt_pipe;
mod prompt_terminal;
#[allow(dead_code, reason = "the other test programs use the rest")]
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod terminal_safety;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
#[allow(dead_code, reason = "the other test program uses the rest")]
#[path = "../support/tls_server.rs"]
mod tls_server;
mod unix;
