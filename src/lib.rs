//! mynah: a tiny TCP server that holds an absurd number of connections.
//!
//! The crate is layered, and imports point downward only (`tests/core/layers.rs` holds that):
//!
//! | layer | modules | knows |
//! |---|---|---|
//! | L0 | [`limits`], [`clock`], [`conn_id`], [`address`], [`stats`] | plain data |
//! | L0 | [`memory`] | the account of all bytes that wait |
//! | L0 | [`connection_log`], [`line_limit`] | log lines that clients cause, limited and summed up |
//! | L0 | [`strerror`] | errors of the system in plain words |
//! | L0 | [`escape`] | untrusted text, safe for a terminal and a log |
//! | L0 | [`codec`] | bytes and frames |
//! | L0 | [`buffer`] | bytes that wait: partial input, unsent replies, the broadcast log |
//! | L1 | [`protocol`] | what messages mean, one folder a protocol |
//! | L1 | [`session`] | one conversation: bytes in, frames to a handler, bytes out; time is an argument |
//! | L2 | [`server`] | all connections, driven by events and turns, over any [`server::Transport`] |
//! | L3 | [`net`] | mio, sockets, signals, the real clock |
//! | L4 | [`cli`] | what the command lines of the three programs share |
//! | L4 | [`app`] | the server program: options, configuration file, logging, exit codes |
//! | L4 | `client` | the client, a program of its own (feature `client`) |
//! | L4 | `load` | the load tester, a program of its own (feature `load`) |
//!
//! `docs/architecture.md` tells the life of a byte through them.

pub mod address;
pub mod app;
pub mod buffer;
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod clock;
pub mod codec;
pub mod conn_id;
pub mod connection_log;
pub mod escape;
pub mod limits;
pub mod line_limit;
#[cfg(feature = "load")]
pub mod load;
pub mod memory;
pub mod net;
pub mod protocol;
pub mod server;
pub mod session;
pub mod setting;
pub mod stats;
pub mod strerror;
