//! Context of a message, and the [`Flow`] it returns.

use std::rc::Rc;

#[cfg(feature = "admin")]
use super::Admin;
use super::CloseReason;
#[cfg(feature = "accounts")]
use super::chat::MemberKey;
#[cfg(feature = "accounts")]
use super::client_state::ClientState;
#[cfg(feature = "cluster")]
use super::cluster::{Channel, Cluster};
use super::direct_messages::DirectMessages;
#[cfg(feature = "accounts")]
use super::login::{Access, Authenticator};
use super::plugin::PluginScheduler;
use crate::address::Peer;
use crate::buffer::{BroadcastLog, LogFullError};
use crate::clock::Millis;
use crate::conn_id::ConnId;
use crate::connection_log::ConnectionLog;
use crate::limits::{Limits, VISIT_BYTES_MAX};
use crate::memory::MemoryAccount;
#[cfg(feature = "admission")]
use crate::rates::{RateState, Rates};
use crate::stats::{Counters, ListenerStats};

/// The group that one listener's broadcasts reach.
#[derive(Debug)]
pub struct Room {
    /// Broadcasts, kept once for all members.
    pub log: BroadcastLog,
    /// Open connections, the sender of a broadcast included.
    pub members: usize,
    /// Whole frames received, bad ones included. Here it takes no pointer to count one; a visit
    /// ends with [`note_frames`](Self::note_frames).
    pub frames_in: u64,
    /// The other counters of the listener.
    pub stats: Rc<ListenerStats>,
    /// Logins: whether clients must, may or cannot log in.
    #[cfg(feature = "accounts")]
    pub access: Access,
    /// The channel in which the rooms of other nodes are, where there are any.
    #[cfg(feature = "cluster")]
    pub channel: Option<Channel>,
}

impl Room {
    /// An empty room whose log holds at most `log_bytes_max`.
    #[must_use]
    pub fn new(log_bytes_max: usize) -> Self {
        Room {
            log: BroadcastLog::new(log_bytes_max),
            members: 0,
            frames_in: 0,
            stats: Rc::default(),
            #[cfg(feature = "accounts")]
            access: Access::default(),
            #[cfg(feature = "cluster")]
            channel: None,
        }
    }

    /// Shows the frames counted so far to those who report.
    #[inline]
    pub fn note_frames(&self) {
        self.stats.frames_in.set(self.frames_in);
    }

    /// How many members a broadcast from elsewhere reaches.
    #[cfg(feature = "cluster")]
    pub(crate) fn subscribers(&self) -> usize {
        #[cfg(feature = "accounts")]
        return self.members.saturating_sub(self.access.must_log_in);
        #[cfg(not(feature = "accounts"))]
        self.members
    }

    /// How many members a broadcast of one of them reaches, where all hear broadcasts that may.
    #[inline]
    pub(crate) fn receivers(&self) -> usize {
        #[cfg(feature = "accounts")]
        let members = self.members.saturating_sub(self.access.must_log_in);
        #[cfg(not(feature = "accounts"))]
        let members = self.members;
        members.saturating_sub(1)
    }

    /// Subscribes a client with `key`, logged in to an account.
    #[cfg(feature = "accounts")]
    pub(crate) fn log_in(&mut self, client: &mut ClientState, key: MemberKey) {
        if client.must_log_in() {
            self.access.must_log_in -= 1;
        }
        client.log_in(key);
    }
}

/// State that all connections of a server share, whatever they speak: counters, bounds, and the
/// buffers of the visit at hand.
#[derive(Debug)]
pub struct Shared {
    /// The bounds in force.
    pub limits: Limits,
    /// The counters.
    pub stats: Counters,
    /// The time of the event or turn at hand.
    pub now: Millis,
    /// The account of all bytes that wait.
    pub memory: MemoryAccount,
    /// Memory is tight: a client that does not take its replies is not read from.
    pub is_tight: bool,
    /// Log lines about single connections.
    pub connection_log: ConnectionLog,
    /// Rates at which one connection may send.
    #[cfg(feature = "admission")]
    pub rates: Rates,
    /// How far the client of the visit at hand is ahead of them.
    #[cfg(feature = "admission")]
    pub rate_state: RateState,
    /// The plugins, where there are any.
    pub plugins: Option<Box<PluginScheduler>>,
    /// Tasks of admin clients, where there is an admin listener.
    #[cfg(feature = "admin")]
    pub admin: Option<Box<Admin>>,
    /// The accounts, where there are any.
    #[cfg(feature = "accounts")]
    pub accounts: Option<Box<Authenticator>>,
    /// The other nodes, where there may be any.
    #[cfg(feature = "cluster")]
    pub cluster: Option<Box<Cluster>>,
    /// Replies of the visit at hand, in order; empty between visits.
    pub out: Vec<u8>,
    /// Messages of the visit at hand to single other clients; empty between visits.
    pub direct: DirectMessages,
    /// Byte budget left for this visit: replies, and what handlers charge.
    pub visit_bytes: usize,
    /// Bytes of replies at which the next message is deferred. Set by the session.
    pub reply_limit: usize,
    /// Bytes the visit may still add to the broadcast log; 0 while others come first. A broadcast
    /// that begins within it may overshoot.
    pub log_share: usize,
}

impl Shared {
    /// The state of a server that starts at `now`.
    #[must_use]
    pub fn new(limits: Limits, now: Millis) -> Self {
        Shared {
            limits,
            stats: Counters::new(now),
            now,
            memory: MemoryAccount::new(limits.memory_bytes_max),
            is_tight: false,
            connection_log: ConnectionLog::default(),
            #[cfg(feature = "admission")]
            rates: Rates::default(),
            #[cfg(feature = "admission")]
            rate_state: RateState::default(),
            plugins: None,
            #[cfg(feature = "admin")]
            admin: None,
            #[cfg(feature = "accounts")]
            accounts: None,
            #[cfg(feature = "cluster")]
            cluster: None,
            out: Vec::new(),
            direct: DirectMessages::default(),
            visit_bytes: VISIT_BYTES_MAX,
            reply_limit: 0,
            log_share: usize::MAX,
        }
    }

    /// Whether there are as many clients as there may be.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.stats.server.connections >= self.limits.clients_max as u64
    }

    /// Counts work that costs more than the replies it makes, as if so many bytes had been replied:
    /// it brings the end of the visit closer.
    pub(crate) fn charge(&mut self, bytes: usize) {
        self.visit_bytes = self.visit_bytes.saturating_sub(bytes);
        self.reply_limit = self.reply_limit.min(self.visit_bytes);
    }
}

/// Context of a message: its client, the room of its listener, the server.
#[derive(Debug)]
pub struct Context<'a> {
    /// The client.
    pub id: ConnId,
    /// Its address.
    pub peer: PeerAddr,
    /// The room of its listener.
    pub room: &'a mut Room,
    /// The server.
    pub shared: &'a mut Shared,
}

/// The address of a client. Connections do not keep it; the system is asked when it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAddr {
    /// Not asked for yet: see [`Flow::NeedPeerAddr`].
    Unknown,
    /// The system's answer; `None` where the connection has failed.
    Known(Option<Peer>),
}

impl Context<'_> {
    /// Appends `parts` to the broadcast log, as one broadcast.
    ///
    /// # Errors
    ///
    /// [`LogFullError`], and nothing is changed: the log is full, or other senders come first.
    #[inline]
    pub(crate) fn append(&mut self, parts: &[&[u8]]) -> Result<(), LogFullError> {
        self.append_with(|log| log.append(parts))
    }

    /// Has `append` put one broadcast into the log, within the visit's share of it.
    pub(crate) fn append_with(
        &mut self,
        append: impl FnOnce(&mut BroadcastLog) -> Result<(), LogFullError>,
    ) -> Result<(), LogFullError> {
        if self.shared.log_share == 0 {
            return Err(LogFullError);
        }
        let head = self.room.log.head();
        append(&mut self.room.log)?;
        // Appended bytes lie in memory, so their number fits.
        let added = (self.room.log.head() - head) as usize;
        self.shared.log_share = self.shared.log_share.saturating_sub(added);
        Ok(())
    }
}

/// The next step of a connection after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Take the next message.
    Continue,
    /// The log is full: retry the message once the fan-out has made space.
    WaitForFanout,
    /// The client is over its rates: retry the message when its turn comes.
    #[cfg(feature = "admission")]
    WaitForRate,
    /// The server has to do something first: retry the message with the answer.
    #[cfg(feature = "admin")]
    WaitForAdmin,
    /// A password is being hashed: retry the message with the outcome.
    #[cfg(feature = "accounts")]
    WaitForLogin,
    /// A name is being claimed in the cluster: retry the message with the outcome.
    #[cfg(feature = "cluster")]
    WaitForClaim,
    /// Time is up: retry the message next turn, after others.
    Yield,
    /// The address of the client is needed: retry the message with it.
    NeedPeerAddr,
    /// Close once the replies so far are sent.
    Close(CloseReason),
}

impl Flow {
    /// Whether the message was not taken and will be retried.
    #[must_use]
    pub fn is_deferred(self) -> bool {
        !matches!(self, Flow::Continue | Flow::Close(_))
    }
}
