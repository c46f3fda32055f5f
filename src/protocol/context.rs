//! What a protocol may touch while it answers one message, and what it may ask for.

use std::fmt;
use std::net::SocketAddr;

use super::chat::ChatRoom;
use super::direct::DirectMessages;
use super::plugin::PluginScheduler;
use crate::buffer::{BroadcastLog, LogFullError};
use crate::clock::Millis;
use crate::conn_id::ConnId;
use crate::connection_log::ConnectionLog;
use crate::limits::Limits;
use crate::stats::Stats;

/// What the connections of one listener share.
#[derive(Debug)]
pub struct Room {
    /// What all members are sent.
    pub log: BroadcastLog,
    /// Open connections: those a broadcast reaches, its sender included.
    pub members: usize,
    /// Who is who, where it is a chat.
    pub chat: ChatRoom,
}

impl Room {
    /// An empty room whose log holds at most `log_bytes_max`.
    #[must_use]
    pub fn new(log_bytes_max: usize) -> Self {
        Room { log: BroadcastLog::new(log_bytes_max), members: 0, chat: ChatRoom::default() }
    }
}

/// What a handler may touch while it answers one message.
#[derive(Debug)]
pub struct Context<'a> {
    /// Who asks.
    pub id: ConnId,
    /// The bounds in force.
    pub limits: &'a Limits,
    /// What the listener's connections share.
    pub room: &'a mut Room,
    /// The server's counters.
    pub stats: &'a mut Stats,
    /// Where replies are appended, in order.
    pub out: &'a mut Vec<u8>,
    /// What the visit may still put into replies or charge for, in bytes.
    pub visit_bytes: &'a mut usize,
    /// Bytes of replies at hand at which the next message is deferred. Set by the session.
    pub reply_limit: usize,
    /// Bytes the visit may still add to the broadcast log; 0 while others come first. What begins
    /// within it may overshoot.
    pub log_share: usize,
    /// Whether memory is tight: who does not take replies is not read from.
    pub is_tight: bool,
    /// Messages to single other clients.
    pub direct: &'a mut DirectMessages,
    /// Where coming and going is noted.
    pub connection_log: &'a mut ConnectionLog,
    /// The plugins, where there are any.
    pub plugins: Option<&'a mut PluginScheduler>,
    /// Where the client is, as far as anybody has asked.
    pub peer: PeerAddr,
    /// The time of the turn.
    pub now: Millis,
}

/// The address of a client: the system knows it, and is asked when somebody wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAddr {
    /// Nobody has asked: see [`Flow::NeedPeerAddr`].
    Unknown,
    /// What the system said; a connection that has failed has none any more.
    Known(Option<SocketAddr>),
}

impl Context<'_> {
    /// Counts work that costs more than the replies it makes, as if so many bytes had been replied:
    /// it brings the end of the visit closer.
    pub(crate) fn charge(&mut self, bytes: usize) {
        *self.visit_bytes = self.visit_bytes.saturating_sub(bytes);
        self.reply_limit = self.reply_limit.min(*self.visit_bytes);
    }

    /// Appends to the broadcast log, as one broadcast.
    ///
    /// # Errors
    ///
    /// [`LogFullError`], and nothing is changed: the log has no room, or others come first.
    #[inline]
    pub(crate) fn append(&mut self, parts: &[&[u8]]) -> Result<(), LogFullError> {
        if self.log_share == 0 {
            return Err(LogFullError);
        }
        let head = self.room.log.head();
        self.room.log.append(parts)?;
        // What was appended lies in memory, so it fits.
        self.log_share = self.log_share.saturating_sub((self.room.log.head() - head) as usize);
        Ok(())
    }
}

/// What becomes of the connection after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The next message, please.
    Continue,
    /// The message cannot be taken yet: show it again once the fan-out has come round.
    WaitForFanout,
    /// The message cannot be taken this turn: show it again in the next, others come first.
    Yield,
    /// Somebody wants to know where the client is: show the message again with that.
    NeedPeerAddr,
    /// Close once the replies so far are out.
    Close(CloseReason),
}

impl Flow {
    /// Whether the message has not been taken and will be shown again.
    #[must_use]
    pub fn is_again(self) -> bool {
        matches!(self, Flow::WaitForFanout | Flow::Yield | Flow::NeedPeerAddr)
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The peer shut its writing side, and has every reply.
    PeerClosed,
    /// The client sent QUIT.
    Quit,
    /// The client broke the protocol.
    Protocol,
    /// The socket failed: reset, broken pipe and the like.
    Io,
    /// The client did not take its broadcasts fast enough.
    SlowConsumer,
    /// The client sent nothing for the idle timeout.
    IdleTimeout,
    /// A frame was begun and not finished in time.
    FrameTimeout,
    /// The client did not take its last replies while the connection was closing.
    DrainTimeout,
    /// The server had no room.
    Full,
    /// The server stopped.
    Shutdown,
    /// A handler panicked.
    Internal,
    /// The server had to free memory, and the connection held much of it.
    MemoryLimit,
}

/// The words of the log.
impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseReason::PeerClosed => "closed by peer",
            CloseReason::Quit => "quit",
            CloseReason::Protocol => "protocol error",
            CloseReason::Io => "connection failed",
            CloseReason::SlowConsumer => "slow consumer",
            CloseReason::IdleTimeout => "idle timeout",
            CloseReason::FrameTimeout => "frame timeout",
            CloseReason::DrainTimeout => "took none of its last replies",
            CloseReason::Full => "server full",
            CloseReason::Shutdown => "server stopping",
            CloseReason::Internal => "internal error",
            CloseReason::MemoryLimit => "memory limit",
        })
    }
}
