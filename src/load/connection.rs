//! What is known of one connection. There may be a million that are idle, so what only a busy one
//! needs stands behind a pointer.

use mio::net::TcpStream;

use super::lane::Lane;
use crate::buffer::RecvBuffer;

/// One connection of the run.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Option<TcpStream>,
    pub(super) state: State,
    /// It is out of budget, and on the list of those that are.
    pub(super) resumes: bool,
    /// When it was begun.
    pub(super) begun_at: u64,
    pub(super) busy: Option<Box<Busy>>,
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
    pub(super) fn is_settling(self) -> bool {
        matches!(self, State::Connecting | State::Joining)
    }
}

/// What a connection needs that has sent or received something.
#[derive(Debug, Default)]
pub(super) struct Busy {
    pub(super) lane: Lane,
    /// Bytes of requests that have been sent, and that are still to be sent.
    pub(super) done: u64,
    pub(super) unsent: u64,
    /// The beginning of an answer.
    pub(super) tail: RecvBuffer,
    /// `raw`: bytes of an answer that is not complete.
    pub(super) carry: usize,
    /// Messages of the publisher that have arrived.
    pub(super) received: u64,
}

impl Connection {
    /// A connection that was begun at `now`, or could not be.
    pub(super) fn new(stream: Option<TcpStream>, now: u64) -> Self {
        let state = if stream.is_some() { State::Connecting } else { State::Gone };
        Connection { stream, state, resumes: false, begun_at: now, busy: None }
    }

    pub(super) fn busy(&mut self) -> &mut Busy {
        self.busy.get_or_insert_default()
    }
}
