//! Checks of the fuzz targets, apart from the fuzzer, so that `cargo test` on a stable toolchain
//! runs the same code (`tests/core/differential.rs`, `tests/core/fuzz_bodies.rs`).

#[cfg(feature = "accounts")]
pub mod accounts_file;
#[cfg(feature = "admin")]
pub mod admin;
pub mod chat_room;
#[cfg(feature = "cluster")]
pub mod cluster_engine;
#[cfg(feature = "cluster")]
pub mod cluster_node;
pub mod command;
pub mod config;
pub mod frame_parser;
pub mod line_decoder;
pub mod listener;
#[cfg(feature = "accounts")]
pub mod login;
pub mod nicknames;
#[cfg(feature = "plugins")]
pub mod plugin_host;
pub mod prefixed;
#[cfg(feature = "admission")]
pub mod proxy_header;
pub mod reference;
#[cfg(feature = "service")]
pub mod service;
pub mod session;
#[cfg(feature = "tls")]
pub mod tls_stream;
