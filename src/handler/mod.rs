//! What a message means. Handlers see whole messages and [`ConnId`]s; sockets, the connection
//! table and the clock are out of their sight.

mod broadcast;
pub mod chat;
mod echo;
mod excerpt;
mod package;
#[cfg_attr(not(feature = "plugins"), path = "plugin_disabled.rs")]
pub mod plugin;
mod plugin_scheduler;
mod plugin_types;
mod reverse;
mod status;
mod tag;

pub use echo::raw as on_raw;
pub use excerpt::{Excerpt, Shown};
pub use package::on_package;
pub use plugin_scheduler::{Asked, PluginScheduler};
pub use status::write_json as write_status;
pub use tag::Tag;

use std::fmt;
use std::net::SocketAddr;

use log::{Level, debug, log_enabled};

use crate::buffer::BroadcastLog;
use crate::clock::Millis;
use crate::codec::command::{Command, DecodeError, Frame};
use crate::codec::prefixed;
use crate::conn_id::ConnId;
use crate::journal::Journal;
use crate::limits::Limits;
use crate::stats::Stats;
use chat::ChatRoom;

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
    /// What is for others than who asks and than everyone.
    pub mail: &'a mut Vec<Mail>,
    /// Where coming and going is noted.
    pub journal: &'a mut Journal,
    /// The plugins, where there are any.
    pub plugins: Option<&'a mut PluginScheduler>,
    /// Where the client is, as far as anybody has asked.
    pub peer: Peer,
    /// The time of the turn.
    pub now: Millis,
}

/// The address of a client: the system knows it, and is asked when somebody wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Nobody has asked: see [`Flow::AskPeer`].
    Unasked,
    /// What the system said; a connection that has failed has none any more.
    Asked(Option<SocketAddr>),
}

/// Bytes for one other connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Whom they are for.
    pub to: ConnId,
    /// The head of the broadcast log when they were written: what lies below it comes first.
    pub at: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Context<'_> {
    /// Appends a reply frame.
    // All there is to an echo; see `on_command`.
    #[inline(always)]
    fn reply(&mut self, payload: &[u8]) -> Flow {
        Frame { command: Command::Echo, payload }.encode(self.out);
        Flow::Continue
    }

    /// Appends an ERROR frame that says why the request failed.
    pub(crate) fn reply_error(&mut self, why: impl fmt::Display) -> Flow {
        write_error(why, self.out);
        Flow::Continue
    }
}

/// Appends an ERROR frame to `out` that says why a request failed.
pub fn write_error(why: impl fmt::Display, out: &mut Vec<u8>) {
    let payload = why.to_string();
    Frame { command: Command::Error, payload: payload.as_bytes() }.encode(out);
}

/// What becomes of the connection after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The next message, please.
    Continue,
    /// The message cannot be taken yet: show it again once the fan-out has come round.
    Wait,
    /// The message cannot be taken this turn: show it again in the next, others come first.
    Yield,
    /// Somebody wants to know where the client is: show the message again with that.
    AskPeer,
    /// Close once the replies so far are out.
    Close(CloseReason),
}

impl Flow {
    /// Whether the message has not been taken and will be shown again.
    #[must_use]
    pub fn is_again(self) -> bool {
        matches!(self, Flow::Wait | Flow::Yield | Flow::AskPeer)
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
        })
    }
}

/// Answers one frame of the `command` protocol.
#[inline]
pub fn on_command(frame: Frame<'_>, ctx: &mut Context<'_>) -> Flow {
    // The commonest by far, and so little work that a call would cost as much again.
    let flow = if frame.command == Command::Echo {
        ctx.reply(frame.payload)
    } else {
        on_other_command(frame, ctx)
    };
    if log_enabled!(Level::Debug) && !flow.is_again() {
        debug_command(frame, ctx);
    }
    flow
}

#[cold]
fn debug_command(frame: Frame<'_>, ctx: &Context<'_>) {
    debug!("{} {}: {}", ctx.id, frame.command, Excerpt(frame.payload));
}

// Inlined, it would take the registers an echo works in.
#[inline(never)]
fn on_other_command(frame: Frame<'_>, ctx: &mut Context<'_>) -> Flow {
    match frame.command {
        Command::Echo => ctx.reply(frame.payload),
        Command::Reverse => reverse::text(frame.payload, ctx),
        Command::Quit => Flow::Close(CloseReason::Quit),
        Command::Broadcast => broadcast::send(frame.payload, ctx),
        Command::Status => status::reply(ctx),
        Command::Unknown(128..=254) if ctx.plugins.is_some() => package::on_frame(frame, ctx),
        Command::Error | Command::Unknown(_) => {
            ctx.reply_error(format_args!("unknown command {}", frame.command.code()))
        }
    }
}

/// Says why a `command` stream cannot go on.
pub fn on_command_error(error: DecodeError, ctx: &mut Context<'_>) -> Flow {
    ctx.reply_error(error);
    Flow::Close(CloseReason::Protocol)
}

/// Answers one message of the `prefixed` protocol: the same length, the bytes reversed.
pub fn on_prefixed(payload: &[u8], ctx: &mut Context<'_>) -> Flow {
    debug!("{} message: {}", ctx.id, Excerpt(payload));
    let start = ctx.out.len();
    prefixed::encode(payload, ctx.out);
    ctx.out[start + 1..].reverse();
    Flow::Continue
}
