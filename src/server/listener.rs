//! One listener: what it speaks, who shares its room, and how far its fan-out has come.

use std::collections::VecDeque;

use super::invariants::Rota;
use super::transport::Transport;
use crate::codec::command::HEADER_LEN;
use crate::conn_id::ConnId;
use crate::limits::{CHAT_LOG_BYTES_MIN, Limits};
use crate::memory::MemoryAccount;
use crate::protocol::Protocol;
use crate::protocol::Room;

/// What a listener is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// What the log calls it: `command://127.0.0.1:65432`.
    pub name: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// After how many milliseconds without input a connection is closed; 0 for never.
    pub idle_ms: u64,
}

#[derive(Debug)]
pub(super) struct Listener<T: Transport> {
    /// `None` once it accepts no more.
    pub(super) acceptor: Option<T::Acceptor>,
    pub(super) config: ListenerConfig,
    /// An edge was seen and the backlog has not been emptied since.
    pub(super) accept_ready: bool,
    pub(super) room: Room,
    pub(super) fanout: Fanout,
    /// Broadcasts of plugins that wait for the fan-out to come round.
    pub(super) pending: Pending,
    /// Bytes the memory account has been charged with for the log and what waits for it.
    pub(super) charged: usize,
}

impl<T: Transport> Listener<T> {
    pub(super) fn new(acceptor: T::Acceptor, config: ListenerConfig, limits: &Limits) -> Self {
        let log_bytes_max = log_bytes_max(&config.protocol, limits);
        Listener {
            acceptor: Some(acceptor),
            config,
            // Whoever came between bind and registration is found without an edge.
            accept_ready: true,
            room: Room::new(log_bytes_max),
            fanout: Fanout::default(),
            pending: Pending::default(),
            charged: 0,
        }
    }

    /// Charges the account with what the log, and what waits for it, hold now.
    pub(super) fn update_charge(&mut self, memory: &mut MemoryAccount) {
        let held = self.room.log.allocated() + self.pending.cost();
        memory.recharge(&mut self.charged, held);
    }
}

/// Most bytes a listener's log may hold.
pub(super) fn log_bytes_max(protocol: &Protocol, limits: &Limits) -> usize {
    match protocol {
        Protocol::Chat { .. } => limits.broadcast_log_bytes_max.max(CHAT_LOG_BYTES_MIN),
        _ => limits.broadcast_log_bytes_max,
    }
}

/// Most bytes that one broadcast of a client's takes up in the log.
pub(super) fn broadcast_cost_max(protocol: &Protocol, limits: &Limits) -> usize {
    match protocol {
        // It may mention who has left besides.
        Protocol::Chat { .. } => log_bytes_max(protocol, limits),
        _ => HEADER_LEN + limits.broadcast_len_max(),
    }
}

/// Broadcasts that wait for room in the log. What one costs besides its bytes counts as well, or
/// millions of short ones would need many times their length.
#[derive(Debug, Default)]
pub(super) struct Pending {
    broadcasts: VecDeque<Vec<u8>>,
    /// What they all cost.
    bytes: usize,
}

impl Pending {
    /// What a broadcast costs besides its bytes: its place in the queue, and the allocator's share.
    const OVERHEAD_BYTES: usize = 64;

    /// What all of them cost.
    pub(super) fn cost(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.broadcasts.is_empty()
    }

    /// Lets a broadcast wait, unless all would then cost more than `bytes_max`. Returns whether it
    /// waits.
    pub(super) fn push(&mut self, broadcast: &[u8], bytes_max: usize) -> bool {
        let bytes = self.bytes + broadcast.len() + Self::OVERHEAD_BYTES;
        if bytes > bytes_max {
            return false;
        }
        self.bytes = bytes;
        self.broadcasts.push_back(broadcast.to_owned());
        true
    }

    pub(super) fn first(&self) -> Option<&[u8]> {
        self.broadcasts.front().map(Vec::as_slice)
    }

    pub(super) fn pop(&mut self) {
        if let Some(broadcast) = self.broadcasts.pop_front() {
            self.bytes -= broadcast.len() + Self::OVERHEAD_BYTES;
        }
        if self.broadcasts.is_empty() {
            self.broadcasts = VecDeque::new();
        }
    }
}

/// A pass of the fan-out over all members of a room, a slice a turn.
///
/// The pass walks the owner's pages from the last to the first. When a page is given back, the
/// last page takes its place: seen from a descending walk that is a page that has been visited
/// already, so nobody is missed, and whoever is visited twice has nothing to be sent. Pages added
/// on the way hold only connections that joined after the pass began.
#[derive(Debug, Default)]
pub(super) struct Fanout {
    /// A pass is on its way. While none is, every member has everything or is counted as lagging.
    pub(super) active: bool,
    /// The log's head when the pass began: what everyone has been offered when it ends.
    pub(super) target: u64,
    /// Pages still to be visited: those before this position.
    pub(super) pages_left: usize,
    /// A page that was left in the middle: its number in the table, and the first slot that has not
    /// been visited.
    pub(super) partial: Option<(u32, u32)>,
    /// The smallest cursor seen: what lies below it is needed by nobody.
    pub(super) cursor_min: u64,
    /// Connections that have been offered broadcasts and could not take everything.
    pub(super) laggards: usize,
    /// Senders that wait for room in the log, in the order of their turns. Whoever comes while
    /// somebody waits goes to the end.
    pub(super) waiting: VecDeque<ConnId>,
    /// The log has room, and those who wait are having their turns.
    pub(super) is_admitting: bool,
    /// That they have them in turn, where that is checked.
    pub(super) rota: Rota,
}

impl Fanout {
    /// Begins a pass over `pages` pages that brings everyone up to `head`.
    pub(super) fn start(&mut self, head: u64, pages: usize) {
        self.active = true;
        self.target = head;
        self.pages_left = pages;
        self.partial = None;
        self.cursor_min = head;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_however_short_it_is() {
        let mut pending = Pending::default();
        let mut waiting = 0;
        while pending.push(b"", 1000) {
            waiting += 1;
        }
        assert_eq!(waiting, 1000 / Pending::OVERHEAD_BYTES);
        pending.pop();
        assert!(pending.push(b"", 1000));
        assert!(!pending.push(b"", 1000));
        (0..waiting).for_each(|_| pending.pop());
        assert!(pending.is_empty());
        assert!(!pending.push(&[0; 937], 1000));
        assert!(pending.push(&[0; 936], 1000));
        assert_eq!(pending.first(), Some(&[0; 936][..]));
    }
}
