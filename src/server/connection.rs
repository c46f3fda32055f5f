//! One connection: its stream, its session, and the readiness that has been seen and not used up.

use std::ops::BitOr;

use super::timer_wheel::TimerLinks;
use crate::protocol::CloseReason;
use crate::session::Session;

/// Lifecycle state of a connection.
///
/// ```text
/// Opening --> Open --> Draining --> Lingering --> Closed
///    |         |          |                        ^
///    +---------+----------+------------------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its PROXY header has not come, or the handshake of its layer is not over: nothing has
    /// reached the session.
    Opening,
    /// Messages are read and answered.
    Open,
    /// No more is interpreted; the last replies are on their way out.
    Draining(CloseReason),
    /// All is sent and our side is shut. What still comes is discarded until the peer shuts its
    /// side too, because closing with unread input would reset the connection and destroy what we
    /// sent last (RFC 1122, 4.2.2.13).
    Lingering,
    /// To be dropped at the end of the turn, not earlier: other events of the same batch may still
    /// name its slot.
    Closed,
}

/// Readiness and queue membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags(u16);

impl Flags {
    /// A readable edge was seen and the stream has not been drained since.
    pub(super) const READ_READY: Flags = Flags(1);
    /// The peer has shut its side: an end of stream stands behind any short read.
    pub(super) const READ_CLOSED: Flags = Flags(1 << 1);
    /// The end of the stream has been read.
    pub(super) const EOF: Flags = Flags(1 << 2);
    /// During a stop: no more input is read.
    pub(super) const INPUT_STOPPED: Flags = Flags(1 << 3);
    /// The last write found the stream full; nothing is written until a writable edge.
    pub(super) const WRITE_BLOCKED: Flags = Flags(1 << 4);
    /// Writable events have been asked for.
    pub(super) const WRITE_ARMED: Flags = Flags(1 << 5);
    /// Stands among the arrivals or in the resume list.
    pub(super) const QUEUED: Flags = Flags(1 << 6);
    /// Counted among its room's laggards.
    pub(super) const LAGGING: Flags = Flags(1 << 7);
    /// Its bytes go through a layer.
    pub(super) const LAYERED: Flags = Flags(1 << 8);
    /// Bytes wait with its layer: the beginning of a record, or sealed ones the stream has not
    /// taken.
    pub(super) const LAYER_HOLDS: Flags = Flags(1 << 9);
    /// Its listener has been removed: what has arrived is answered, and then it closes.
    pub(super) const LEAVING: Flags = Flags(1 << 12);
    /// Begins with a PROXY header, which has not come.
    #[cfg(feature = "admission")]
    pub(super) const AWAITS_HEADER: Flags = Flags(1 << 10);
    /// A PROXY header gave the address of its client.
    #[cfg(feature = "admission")]
    pub(super) const PROXIED: Flags = Flags(1 << 11);

    pub(super) fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 != 0
    }

    pub(super) fn has_any(self, flags: Flags) -> bool {
        self.0 & flags.0 != 0
    }

    /// These and those: [`BitOr`] for constants.
    pub(super) const fn and(self, flags: Flags) -> Flags {
        Flags(self.0 | flags.0)
    }

    pub(super) fn set(&mut self, flag: Flags, on: bool) {
        if on {
            self.0 |= flag.0;
        } else {
            self.0 &= !flag.0;
        }
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// One slot of the table. 56 bytes: with the table's own overhead an idle connection costs less
/// than a cache line. Its listener is known by its page.
#[derive(Debug)]
pub(super) struct Connection<T> {
    pub(super) session: Session,
    pub(super) timer: TimerLinks,
    pub(super) stream: T,
    pub(super) state: State,
    pub(super) flags: Flags,
}

/// A stand-in for a stream that is a descriptor and nothing else.
const _: () = assert!(size_of::<Connection<u32>>() == 56);

impl<T> Connection<T> {
    pub(super) fn new(stream: T, session: Session) -> Self {
        Connection {
            session,
            timer: TimerLinks::UNARMED,
            stream,
            state: State::Open,
            flags: Flags(0),
        }
    }

    /// Whether a read may return something, or the end of the stream.
    pub(super) fn may_read(&self) -> bool {
        self.flags.has(Flags::READ_READY) && !self.flags.has(Flags::EOF)
    }

    /// Whether an open connection waits for nothing but its next input: nothing is buffered, unsent
    /// or left to read, so only the idle timeout may end it.
    #[inline]
    pub(super) fn is_quiescent(&self) -> bool {
        const BUSY: Flags = Flags(
            Flags::READ_READY.0
                | Flags::EOF.0
                | Flags::INPUT_STOPPED.0
                | Flags::WRITE_BLOCKED.0
                | Flags::LAGGING.0
                | Flags::LAYER_HOLDS.0,
        );
        self.state == State::Open && !self.flags.has_any(BUSY) && !self.session.owns_memory()
    }

    /// Whether its PROXY header has not come.
    #[inline]
    pub(super) fn awaits_header(&self) -> bool {
        #[cfg(feature = "admission")]
        return self.state == State::Opening && self.flags.has(Flags::AWAITS_HEADER);
        #[cfg(not(feature = "admission"))]
        false
    }

    /// Whether it is told that its address has too many, for invariants.
    pub(super) fn is_over_address_limit(&self) -> bool {
        #[cfg(feature = "admission")]
        return self.state == State::Draining(CloseReason::AddressLimit);
        #[cfg(not(feature = "admission"))]
        false
    }

    /// Whether no further input will be interpreted, beyond what the session holds.
    pub(super) fn input_has_ended(&self) -> bool {
        self.flags.has(Flags::EOF) || self.flags.has(Flags::INPUT_STOPPED)
    }
}
