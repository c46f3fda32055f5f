//! One listener: what it speaks, who shares its room, and how far its fan-out has come.

use std::collections::VecDeque;

use super::transport::Transport;
use crate::conn_id::ConnId;
use crate::handler::Room;
use crate::limits::{CHAT_LOG_BYTES_MIN, Limits};
use crate::session::Protocol;

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
    pub(super) pending: VecDeque<Vec<u8>>,
}

impl<T: Transport> Listener<T> {
    pub(super) fn new(acceptor: T::Acceptor, config: ListenerConfig, limits: &Limits) -> Self {
        let log_bytes_max = match config.protocol {
            Protocol::Chat { .. } => limits.broadcast_log_bytes_max.max(CHAT_LOG_BYTES_MIN),
            _ => limits.broadcast_log_bytes_max,
        };
        Listener {
            acceptor: Some(acceptor),
            config,
            // Whoever came between bind and registration is found without an edge.
            accept_ready: true,
            room: Room::new(log_bytes_max),
            fanout: Fanout::default(),
            pending: VecDeque::new(),
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
    /// The smallest cursor seen: what lies below it is needed by nobody.
    pub(super) cursor_min: u64,
    /// Members that have been visited and could not take everything.
    pub(super) laggards: usize,
    /// Senders that wait for the pass to end before their broadcast fits into the log.
    pub(super) waiting: VecDeque<ConnId>,
}

impl Fanout {
    /// Begins a pass over `pages` pages that brings everyone up to `head`.
    pub(super) fn start(&mut self, head: u64, pages: usize) {
        self.active = true;
        self.target = head;
        self.pages_left = pages;
        self.cursor_min = head;
    }
}
