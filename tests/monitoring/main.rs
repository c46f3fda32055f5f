//! Tools to watch mynah with: the Wireshark dissectors, the Grafana dashboard, the alerting
//! rules, and the parser that holds the metrics to Prometheus' format.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a failing test shows the server's log")]

mod alerts;
mod dashboard;
mod format;
mod metrics;
#[allow(dead_code, reason = "the other test programs use the rest")]
#[path = "../support/mod.rs"]
mod support;
mod wireshark;
