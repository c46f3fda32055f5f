//! The three places bytes wait in: a connection's unfinished input, its unsent replies, and a
//! listener's broadcasts. Plain data structures; the layers above fill and empty them.
//!
//! An idle connection has none of them.

mod broadcast_log;
mod recv;
mod retired;
mod send;
mod wire;

pub use broadcast_log::{BroadcastLog, LogFullError};
pub use recv::{FrameClock, RecvBuffer};
pub use retired::{free_retired, has_retired, retired_bytes};
pub use send::{LagError, Pieces, SendQueue};
pub use wire::WireBuffer;
