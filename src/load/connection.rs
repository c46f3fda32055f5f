//! What is known of one connection. There may be a million that are idle, so what only a active one
//! needs stands behind a pointer.

use mio::net::TcpStream;

use super::in_flight::InFlight;
use crate::buffer::RecvBuffer;

/// One connection of the run.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Option<TcpStream>,
    pub(super) state: State,
    /// It is out of budget, and on the list of those that are.
    pub(super) is_resuming: bool,
    /// When it was connecting.
    pub(super) connect_started_at: u64,
    pub(super) active: Option<Box<ActiveState>>,
}

// In a debug build mio remembers for each stream where it was registered.
#[cfg(not(debug_assertions))]
const _: () = assert!(size_of::<Connection>() == 24);

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// connect(2) has been called.
    Connecting,
    /// It has said hello and waits for the answer.
    Joining,
    /// It can be used.
    Open,
    /// It failed, or was lost.
    Gone,
}

impl State {
    /// Whether the ramp waits for it.
    pub(super) fn is_pending(self) -> bool {
        matches!(self, State::Connecting | State::Joining)
    }
}

/// What a connection needs that has sent or received something.
#[derive(Debug, Default)]
pub(super) struct ActiveState {
    pub(super) in_flight: InFlight,
    /// Bytes of requests that have been sent, and that are still to be sent.
    pub(super) sent: u64,
    pub(super) unsent: u64,
    /// The beginning of an answer.
    pub(super) partial_reply: RecvBuffer,
    /// `raw`: bytes of an answer that is not complete.
    pub(super) partial_bytes: usize,
    /// Messages of the publisher that have arrived.
    pub(super) received: u64,
}

impl Connection {
    /// A connection that was begun at `now`, or could not be.
    pub(super) fn new(stream: Option<TcpStream>, now: u64) -> Self {
        let state = if stream.is_some() { State::Connecting } else { State::Gone };
        Connection { stream, state, is_resuming: false, connect_started_at: now, active: None }
    }

    pub(super) fn active_state(&mut self) -> &mut ActiveState {
        self.active.get_or_insert_default()
    }
}
