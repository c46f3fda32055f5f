//! Clusters, and what they are made of, against a real engine: redis-server, where it is installed.
//! Each test has one of its own, on a Unix socket, and skips without (`MYNAH_REQUIRE_REDIS=1` makes
//! that a failure). `scripted` needs none.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and then shows what it has seen"
)]

mod driver;
mod engine;
mod model;
#[cfg(feature = "admin")]
mod node;
#[cfg(feature = "admin")]
mod nodes;
#[cfg(feature = "admin")]
mod process;
mod scripted;
mod scripts;
#[allow(dead_code, reason = "the other test programs use the rest")]
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "admin")]
mod trouble;
