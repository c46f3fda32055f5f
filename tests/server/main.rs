//! The real binary, spoken to over real sockets: the contract as its users meet it.
//!
//! Every test starts its own server on ports the system picks, and waits for what it expects with
//! a deadline, so that a rule that does not hold fails and nothing hangs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and then shows the server's log"
)]

#[cfg(feature = "accounts")]
mod accounts;
#[cfg(feature = "admin")]
mod admin;
#[cfg(feature = "admission")]
mod admission;
mod backpressure;
mod chat;
mod check;
mod command;
#[cfg(feature = "cluster")]
mod engine_link;
#[cfg(feature = "service")]
mod examples;
mod failure_modes;
mod handler_panics;
mod hostile;
mod limits;
mod logging;
mod options;
#[cfg(feature = "plugins")]
mod plugin;
mod prefixed;
mod raw;
mod reload;
#[cfg(feature = "cluster")]
mod reuse_port;
mod signals;
mod start;
#[allow(dead_code, reason = "the other test programs use the rest")]
#[path = "../support/mod.rs"]
mod support;
#[cfg(all(feature = "systemd", feature = "unix"))]
mod systemd;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "unix")]
mod unix;
