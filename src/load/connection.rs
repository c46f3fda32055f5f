//! State of one connection. A million may be idle, so the state of those with traffic stands behind
//! a pointer.

use super::in_flight::InFlight;
use super::socket::Stream;
use crate::buffer::RecvBuffer;

/// One connection of the run.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Option<Stream>,
    pub(super) state: State,
    /// The resume list has it.
    pub(super) is_resuming: bool,
    /// Time of its connect.
    pub(super) connect_started_at: u64,
    /// `None` until it sends or receives.
    pub(super) active: Option<Box<ActiveState>>,
}

const _: () = assert!(size_of::<Connection>() == 24);

/// Stage of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// connect(2) has been called.
    Connecting,
    /// It is connected, and the TLS handshake is not over.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "no other handshake"))]
    Handshaking,
    /// It can carry data, and the greeting of its server has not come to its end.
    Greeting,
    /// Its hello is sent and not yet answered.
    Joining,
    /// Ready for requests.
    Open,
    /// Failed or dropped.
    Closed,
}

impl State {
    /// Whether the ramp waits for it.
    pub(super) fn is_pending(self) -> bool {
        !matches!(self, State::Open | State::Closed)
    }

    /// Whether it has been opened, and counts as a connection of the run.
    pub(super) fn is_opened(self) -> bool {
        matches!(self, State::Joining | State::Open)
    }
}

/// State of a connection that has sent or received something.
#[derive(Debug, Default)]
pub(super) struct ActiveState {
    pub(super) in_flight: InFlight,
    /// Bytes of requests that have been sent.
    pub(super) sent: u64,
    /// Bytes of requests that are to be sent.
    pub(super) unsent: u64,
    /// Beginning of a reply; the rest has not arrived.
    pub(super) partial_reply: RecvBuffer,
    /// `raw`, and a given exchange: bytes of an answer that is not complete.
    pub(super) partial_bytes: usize,
    /// Messages of the publisher that have arrived, or were given up.
    pub(super) received: u64,
    /// Those of them that were given up.
    pub(super) lost: u64,
}

impl Connection {
    /// A connection whose connect was started at `now`, or failed at once (`None`).
    pub(super) fn new(stream: Option<Stream>, now: u64) -> Self {
        let state = if stream.is_some() { State::Connecting } else { State::Closed };
        Connection { stream, state, is_resuming: false, connect_started_at: now, active: None }
    }

    /// Frees the state of its traffic, unless a reply has begun or a request is not answered.
    pub(super) fn free_if_idle(&mut self) {
        let is_idle = |active: &ActiveState| {
            active.partial_reply.is_empty()
                && active.partial_bytes == 0
                && active.unsent == 0
                && active.in_flight.unanswered() == 0
        };
        if self.active.as_deref().is_some_and(is_idle) {
            self.active = None;
        }
    }

    /// The state of its traffic, created at the first use.
    pub(super) fn active_state(&mut self) -> &mut ActiveState {
        self.active.get_or_insert_default()
    }
}
