//! TLS: how rustls stands between a session and its socket, in both roles. The handshakes, the
//! records and the cryptography are rustls'; what is here decides which bytes it is given and where
//! those it makes go.
//!
//! `records` is one connection; `server` and `client` say what each role accepts; `files` reads
//! certificates and keys; `verifier` and `failure` are the clients' too: which certificates they
//! accept, and why a connection failed.

pub mod client;
mod failure;
mod files;
mod provider;
mod records;
mod server;
mod short_chains;
mod verifier;

pub use files::{FileError, Problem};
pub use records::{PLAINTEXT_BYTES_MAX, Records, Role, record_len};
pub use server::{ServerFiles, ServerRecords, ServerTls, Warning};
