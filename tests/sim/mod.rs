//! A simulated world around the real server core: network, clock, clients, and the rules by which
//! what they see is judged.

pub mod chat;
pub mod clients;
pub mod network;
pub mod panics;
pub mod plugged;
pub mod rng;
pub mod world;
