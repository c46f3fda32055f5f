//! One listener: its protocol, its room, and how far its fan-out has come.

use std::collections::VecDeque;

use super::drain::ListenerState;
use super::fanout::Fanout;
use super::layer::Layer;
#[cfg(feature = "admission")]
use super::origins::Proxies;
use super::transport::Transport;
use crate::limits::Limits;
use crate::memory::MemoryAccount;
use crate::protocol::{Handler, Protocol, Room, dispatch};

/// The configuration of a listener.
#[derive(Debug)]
pub struct ListenerConfig {
    /// Its name in the log: `command://127.0.0.1:65432`.
    pub name: String,
    /// Its protocol, with the state of its clients.
    pub protocol: Protocol,
    /// After how many milliseconds without input a connection is closed; 0 for never.
    pub idle_ms: u64,
}

/// The names by which operators know a listener.
#[cfg(feature = "admin")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its name in metrics and filters, which no other has: `command`.
    pub name: String,
    /// Its URL: `command://127.0.0.1:65432`.
    pub url: String,
}

pub(super) struct Listener<T: Transport> {
    pub(super) state: ListenerState,
    /// `None` once it accepts no more.
    pub(super) acceptor: Option<T::Acceptor>,
    /// Its name in the log.
    pub(super) name: String,
    /// Its name in metrics and filters, and its URL.
    #[cfg(feature = "admin")]
    pub(super) identity: Identity,
    pub(super) protocol: Protocol,
    /// Configuration of its connections' layers, where they have any.
    pub(super) layer: Option<<T::Layer as Layer>::Config>,
    /// Peers that begin with a PROXY header.
    #[cfg(feature = "admission")]
    pub(super) proxies: Proxies,
    /// After how many milliseconds without input a connection is closed; 0 for never.
    pub(super) idle_ms: u64,
    /// An edge was seen and the backlog has not been emptied since.
    pub(super) accept_ready: bool,
    pub(super) room: Room,
    pub(super) fanout: Fanout,
    /// Broadcasts of plugins that wait for the fan-out to come round.
    pub(super) pending: PendingBroadcasts,
    /// Bytes the memory account has been charged with for the log and what waits for it.
    pub(super) charged: usize,
}

impl<T: Transport> Listener<T> {
    pub(super) fn new(
        acceptor: Option<T::Acceptor>,
        config: ListenerConfig,
        limits: &Limits,
    ) -> Self {
        let ListenerConfig { name, protocol, idle_ms } = config;
        let log_bytes_max = dispatch!(&protocol, handler => handler.log_bytes_max(limits));
        Listener {
            state: ListenerState::InService,
            acceptor,
            #[cfg(feature = "admin")]
            identity: Identity { name: name.clone(), url: name.clone() },
            name,
            protocol,
            layer: None,
            #[cfg(feature = "admission")]
            proxies: None,
            idle_ms,
            // Connections that came between bind and registration are found without an edge.
            accept_ready: true,
            room: Room::new(log_bytes_max),
            fanout: Fanout::default(),
            pending: PendingBroadcasts::default(),
            charged: 0,
        }
    }

    /// Whether it has not been removed.
    #[cfg(feature = "admin")]
    pub(super) fn is_in_service(&self) -> bool {
        self.state == ListenerState::InService
    }

    /// Whether it should accept, and its socket has failed.
    #[cfg(feature = "admin")]
    pub(super) fn has_failed(&self) -> bool {
        self.is_in_service() && self.acceptor.is_none()
    }

    /// Charges the account with what the log, and what waits for it, hold now.
    pub(super) fn update_charge(&mut self, memory: &mut MemoryAccount) {
        let held = self.room.log.allocated() + self.pending.cost();
        memory.recharge(&mut self.charged, held);
    }

    /// Begins a pass if there is something not everyone has been offered.
    #[inline]
    pub(super) fn start_pass_if_needed(&mut self, memory: &mut MemoryAccount) {
        let head = self.room.log.head();
        if head > self.room.log.offered() {
            self.update_charge(memory);
            if !self.fanout.active {
                self.fanout.start(head);
            }
        }
    }

    /// Decrements the laggard count; at 0 with no active pass, empties the log.
    pub(super) fn on_caught_up(&mut self, memory: &mut MemoryAccount) {
        self.fanout.laggards -= 1;
        if self.fanout.laggards == 0 && !self.fanout.active {
            let head = self.room.log.head();
            debug_assert_eq!(self.room.log.offered(), head, "a pass was due");
            self.room.log.release_below(head);
            self.update_charge(memory);
        }
    }
}

/// Plugin broadcasts waiting for log space; each costs its bytes plus 64, or millions of short ones
/// would need many times their length.
#[derive(Debug, Default)]
pub(super) struct PendingBroadcasts {
    broadcasts: VecDeque<Vec<u8>>,
    /// Cost of all of them.
    bytes: usize,
}

impl PendingBroadcasts {
    /// Cost of a broadcast besides its bytes: its place in the queue, and the allocator's share.
    const OVERHEAD_BYTES: usize = 64;

    /// Cost of all of them, in bytes.
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

    /// Drops those that are longer than `len_max`.
    #[cfg(feature = "plugins")]
    pub(super) fn drop_longer_than(&mut self, len_max: usize) {
        self.broadcasts.retain(|broadcast| broadcast.len() <= len_max);
        self.bytes = self.broadcasts.iter().map(|b| b.len() + Self::OVERHEAD_BYTES).sum();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_broadcasts_are_bounded_when_empty() {
        let mut pending = PendingBroadcasts::default();
        let mut waiting = 0;
        while pending.push(b"", 1000) {
            waiting += 1;
        }
        assert_eq!(waiting, 1000 / PendingBroadcasts::OVERHEAD_BYTES);
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
