//! mynah: a tiny TCP server that holds an absurd number of connections.
//!
//! The crate is layered, and imports point downward only (`tests/layers.rs` holds that):
//!
//! | layer | modules | knows |
//! |---|---|---|
//! | L0 | [`limits`], [`clock`], [`conn_id`], [`stats`] | plain data |
//! | L0 | [`journal`] | who comes and goes, as lines of the log |
//! | L0 | [`line_limit`] | how many lines of a kind the log takes a second |
//! | L0 | [`codec`] | bytes and frames |
//! | L0 | [`buffer`] | bytes that wait: partial input, unsent replies, the broadcast log |
//! | L1 | [`handler`] | what a message means |
//! | L1 | [`session`] | one conversation: bytes in, frames to a handler, bytes out; time is an argument |
//! | L2 | [`server`] | all connections, driven by events and turns, over any [`server::Transport`] |
//! | L3 | [`net`] | mio, sockets, signals, the real clock |
//! | L4 | [`cli`] | options, configuration file, logging, exit codes |
//! | L4 | `client` | the client, a program of its own (feature `client`) |
//! | L4 | `load` | the load tester, a program of its own (feature `load`) |
//!
//! `docs/architecture.md` tells the life of a byte through them.

pub mod buffer;
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod clock;
pub mod codec;
pub mod conn_id;
pub mod handler;
pub mod journal;
pub mod limits;
pub mod line_limit;
#[cfg(feature = "load")]
pub mod load;
pub mod net;
pub mod server;
pub mod session;
pub mod stats;
