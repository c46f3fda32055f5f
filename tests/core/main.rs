//! The library in this process: the server core in small scenarios and in simulated worlds, parsers
//! against references, the bodies of the fuzz targets, allocations, plugins, nicknames, layers, and
//! the paths in the documents.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "measurements are printed")]
#![allow(clippy::print_stderr, reason = "a failing test shows its input")]
#![allow(unreachable_pub, reason = "modules of one test program, and bodies of the fuzz targets")]

mod allocations;
// tests/fuzz_bodies and tests/fuzz_corpus are links into fuzz/, which is a package of its own: a packed
// crate has none of that, and what the links lead to in their place.
#[path = "../fuzz_bodies/mod.rs"]
mod bodies;
mod differential;
mod documents;
mod extending;
mod fuzz_bodies;
mod layers;
mod nicknames;
#[cfg(feature = "plugins")]
mod plugins;
mod scenarios;
mod simulation;
#[allow(dead_code, reason = "the tests of the programs use the rest")]
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "tls")]
mod tls_records;
