//! Nodes joined over an engine, Redis or Valkey: what one node knows of the others, and its two
//! connections to the engine, sans I/O.
//!
//! [`Engine`] speaks with the engine: bytes in, bytes out, time as an argument. [`Node`] numbers
//! what this node publishes, finds gaps in what it hears, and knows which nodes are there. Whoever
//! drives them (`net/`, the simulator) owns the sockets; `server/cluster.rs` acts on what they hear.

mod byte_queue;
mod engine;
mod engine_log;
mod engine_types;
mod loss_log;
mod names;
mod node;
mod peers;
pub mod resp;
pub mod scripts;
mod session;
mod session_commands;
mod session_subscriber;
mod wire;

pub use engine::Engine;
pub use engine_types::{EngineConfig, EngineEvent, Link, Script, Want};
pub(crate) use node::TELL_BYTES_MAX;
pub use node::{ClusterStats, Input, Node, NodeConfig, Tellings};
