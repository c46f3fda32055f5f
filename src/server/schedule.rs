//! Run queues and the turn's time budget.

use std::collections::VecDeque;
use std::io;

use super::budget::Budget;
use super::handshakes::HandshakeQueue;
use super::stop::Phase;
use crate::clock::Millis;
use crate::conn_id::ConnId;
use crate::limits::VISIT_BYTES_MAX;

/// The order of visits.
///
/// With edge-triggered events nothing else remembers a connection that was left with something to
/// do. Each stands in `arrivals`, in `resume` or in `handshakes`, once, and has
/// [`Flags::QUEUED`](super::connection::Flags::QUEUED).
#[derive(Debug)]
pub(super) struct Schedule {
    /// Connections with events for which there was no time, served before all others.
    pub(super) arrivals: VecDeque<ConnId>,
    /// Connections that were left with something to do. Behind `arrivals`, so one that asks for
    /// little does not wait for all that ask for much.
    pub(super) resume: VecDeque<ConnId>,
    /// Connections whose handshake can go on.
    pub(super) handshakes: HandshakeQueue,
    /// Closed connections, to be dropped at the end of the turn, the first first.
    pub(super) closed: VecDeque<ConnId>,
    /// How many of them, the first, have waited since an earlier turn.
    pub(super) closed_before: usize,
    /// Connections that hold a descriptor and are not clients, the oldest first: the lingering, and
    /// the refused. Some may have gone already.
    pub(super) lingering: VecDeque<ConnId>,
    pub(super) lingering_count: usize,
    /// Accepting is paused until then (out of descriptors or memory).
    pub(super) accept_paused_until: Option<Millis>,
    /// When accepting failed last for want of files or memory.
    #[cfg(feature = "admin")]
    pub(super) exhausted_at: Option<Millis>,
    /// The listener that accepted first in the last turn.
    pub(super) first_accepting: usize,
    /// The listener whose fan-out had its slice first in the last turn.
    pub(super) first_fanout: usize,
    /// Bytes the connection at hand may add to the broadcast log, if it has waited for its turn.
    pub(super) admitted_share: Option<usize>,
    /// Bytes of replies with which every visit begins.
    pub(super) visit_bytes_max: usize,
    /// The error of the connection at hand, if its stream has failed.
    pub(super) io_error: Option<io::Error>,
    /// Time budget of the current part.
    pub(super) budget: Budget,
    pub(super) phase: Phase,
}

impl Schedule {
    pub(super) fn new() -> Self {
        Schedule {
            arrivals: VecDeque::new(),
            resume: VecDeque::new(),
            handshakes: HandshakeQueue::default(),
            closed: VecDeque::new(),
            closed_before: 0,
            lingering: VecDeque::new(),
            lingering_count: 0,
            accept_paused_until: None,
            #[cfg(feature = "admin")]
            exhausted_at: None,
            first_accepting: 0,
            first_fanout: 0,
            admitted_share: None,
            visit_bytes_max: VISIT_BYTES_MAX,
            io_error: None,
            budget: Budget::new(),
            phase: Phase::Running,
        }
    }
}

#[cfg(feature = "admin")]
impl Schedule {
    /// Whether connections could not be accepted a moment ago, for want of files or memory. Accepting
    /// is tried again every [`ACCEPT_PAUSE_MS`](crate::limits::ACCEPT_PAUSE_MS).
    pub(super) fn is_exhausted(&self, now: Millis) -> bool {
        const RECENT_MS: u64 = 1_000;
        self.exhausted_at.is_some_and(|at| now.since(at) < RECENT_MS)
    }
}

/// Frees the memory of a list that a crowd made long, once it is empty.
pub(super) fn free_if_empty(list: &mut VecDeque<ConnId>) {
    const KEPT_MAX: usize = 1024;
    if list.is_empty() && list.capacity() > KEPT_MAX {
        *list = VecDeque::new();
    }
}
