//! The interface between a protocol and the server: framing, messages, joins and leaves, texts.
//!
//! Each method is called with what it may touch as arguments. A protocol keeps the state of its
//! listener in `self`; the state of a client is four bytes, [`ClientState`].

use super::chat::MemberKey;
#[cfg(feature = "cluster")]
use super::chat::Roster;
#[cfg(feature = "cluster")]
use super::cluster::{NodeNumber, Progress, Remote, Tell};
use super::command::Reversal;
use super::{ClientState, CloseReason, Context, Flow, Room, Shared};
use crate::address::Peer;
use crate::buffer::FrameClock;
#[cfg(feature = "cluster")]
use crate::buffer::LogFullError;
use crate::clock::Millis;
use crate::codec::Decoder;
use crate::codec::command::HEADER_LEN;
use crate::conn_id::ConnId;
use crate::defaults;
use crate::limits::Limits;
use crate::setting::SettingError;

/// The frame type of a protocol's decoder.
pub type FrameOf<'a, H> = <<H as Handler>::Decoder as Decoder>::Frame<'a>;
/// The error type of a protocol's decoder.
pub type ErrorOf<H> = <<H as Handler>::Decoder as Decoder>::Error;

/// A protocol, as the session and the server see it.
///
/// Only framing and messages must be given; the rest has defaults that suit a request-response
/// protocol. Calls are resolved at compile time: `dispatch!` picks the protocol
/// once per read.
pub trait Handler {
    /// Cuts the stream into frames.
    type Decoder: Decoder;

    /// Whether each frame counts in STATUS' `frames_in_total`.
    const COUNTS_FRAMES: bool = true;

    /// Whether an unterminated message is delivered at EOF or at
    /// [`unfinished_due_at`](Self::unfinished_due_at). Otherwise it is dropped at EOF, and an error
    /// at the deadline.
    const ALLOWS_UNTERMINATED: bool = false;

    /// Whether it is for those who run the server: it has places of its own when the server is full,
    /// and is accepted while the server drains.
    #[cfg(feature = "admin")]
    const IS_ADMIN: bool = false;

    /// A decoder that goes on where the client's last one stopped.
    fn decoder(&self, client: ClientState) -> Self::Decoder;

    /// Notes where a decoder stopped.
    fn save_decoder(&self, decoder: &Self::Decoder, client: &mut ClientState) {
        let _ = (decoder, client);
    }

    /// Looks for a whole frame at the start of `input`, as [`Decoder::decode`] does.
    ///
    /// # Errors
    ///
    /// The stream can no longer be cut into frames.
    #[inline(always)]
    fn decode<'a>(
        &self,
        decoder: &mut Self::Decoder,
        input: &'a [u8],
    ) -> Result<Option<(FrameOf<'a, Self>, usize)>, ErrorOf<Self>> {
        decoder.decode(input)
    }

    /// Bytes that the frame begun in `input` needs, as [`Decoder::bytes_needed`] says.
    #[inline(always)]
    fn bytes_needed(&self, decoder: &Self::Decoder, input: &[u8]) -> usize {
        decoder.bytes_needed(input)
    }

    /// Answers one message.
    fn on_message(
        &mut self,
        message: FrameOf<'_, Self>,
        client: &mut ClientState,
        ctx: &mut Context<'_>,
    ) -> Flow;

    /// Bytes that count against a client's rate of broadcasts, if the message is answered.
    #[cfg(feature = "admission")]
    fn broadcast_len(&self, message: &FrameOf<'_, Self>) -> usize {
        let _ = message;
        0
    }

    /// Answers a stream that can no longer be cut into frames.
    fn on_decode_error(&mut self, error: ErrorOf<Self>, ctx: &mut Context<'_>) -> Flow {
        let _ = (error, ctx);
        Flow::Close(CloseReason::Protocol)
    }

    /// Length of the frame at the start of `buffered` if its own buffer may become the reply; see
    /// [`reply_in_place`](Self::reply_in_place).
    fn in_place_len(buffered: &[u8]) -> Option<usize> {
        let _ = buffered;
        None
    }

    /// Rewrites a large buffered frame into its reply, a slice per visit.
    fn reply_in_place(
        &mut self,
        frame: &mut [u8],
        progress: &mut Option<Box<Reversal>>,
        ctx: &mut Context<'_>,
    ) -> InPlace {
        let _ = (frame, progress, ctx);
        InPlace::Refused
    }

    /// Whether the client is over its rates, so that no message is taken.
    #[cfg(feature = "admission")]
    fn is_over_rate(&self, shared: &Shared) -> bool {
        let _ = shared;
        false
    }

    /// Whether a message ends where nothing more can be read without waiting.
    fn ends_on_would_block(&self) -> bool {
        false
    }

    /// When an unfinished message is late, or with
    /// [`ALLOWS_UNTERMINATED`](Self::ALLOWS_UNTERMINATED) complete.
    fn unfinished_due_at(
        &self,
        clock: FrameClock,
        client: ClientState,
        limits: &Limits,
    ) -> Option<Millis> {
        let _ = client;
        clock.late_at(limits.frame_timeout_ms)
    }

    /// Writes the error for a late frame. Default: nothing.
    fn write_late(&self, age_secs: u64, out: &mut Vec<u8>) {
        let _ = (age_secs, out);
    }

    /// The state of a client that has just connected.
    fn new_client(&self) -> ClientState {
        ClientState::SUBSCRIBER
    }

    /// A client was accepted. A greeting goes to `shared.out`.
    fn on_connect(&mut self, id: ConnId, peer: Peer, shared: &mut Shared) -> Flow {
        let _ = (id, peer, shared);
        Flow::Continue
    }

    /// A client has left the room, or is about to be disconnected.
    fn on_leave(&mut self, departure: Departure, room: &mut Room, shared: &mut Shared) {
        let _ = (departure, room, shared);
    }

    /// Writes the refusal of a full server. Default: nothing.
    fn write_refusal(&self, clients_max: usize, out: &mut Vec<u8>) {
        let _ = (clients_max, out);
    }

    /// Writes the refusal of a client whose address has too many connections. Default: nothing.
    #[cfg(feature = "admission")]
    fn write_over_limit(&self, address: std::net::IpAddr, out: &mut Vec<u8>) {
        let _ = (address, out);
    }

    /// Writes the error for a client that has not logged in in time. Default: nothing.
    #[cfg(feature = "accounts")]
    fn write_login_required(&self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// The account that a client [is logged in to](ClientState::is_logged_in).
    #[cfg(feature = "accounts")]
    fn account<'a>(&'a self, client: ClientState, shared: &'a Shared) -> Option<&'a str> {
        let _ = (client, shared);
        None
    }

    /// The name by which operators know a client: its nickname, or its account.
    #[cfg(feature = "admin")]
    fn client_name<'a>(&'a self, client: ClientState, shared: &'a Shared) -> Option<&'a str> {
        let _ = (client, shared);
        None
    }

    /// Whether its rooms have members that other nodes are told of.
    #[cfg(feature = "cluster")]
    const HAS_MEMBERS: bool = false;

    /// Acts on what has happened in the room on another node.
    ///
    /// # Errors
    ///
    /// [`LogFullError`], and nothing is changed: it is to be told again once the fan-out has made
    /// space.
    #[cfg(feature = "cluster")]
    fn on_remote(
        &mut self,
        remote: Remote<'_>,
        room: &mut Room,
        shared: &mut Shared,
    ) -> Result<Progress, LogFullError> {
        let _ = (remote, room, shared);
        Ok(Progress::Done)
    }

    /// Tells of some members whose keys are `from` or more. Returns the key behind them, `None`
    /// behind the last.
    #[cfg(feature = "cluster")]
    fn tell_members(
        &self,
        from: MemberKey,
        tell: Tell,
        room: &Room,
        shared: &mut Shared,
    ) -> Option<MemberKey> {
        let _ = (from, tell, room, shared);
        None
    }

    /// The connection of the member with a nickname.
    #[cfg(feature = "cluster")]
    fn member(&self, nick: &str) -> Option<ConnId> {
        let _ = nick;
        None
    }

    /// Writes why a member has lost its nickname, and with it its connection where that closes.
    /// Default: nothing.
    #[cfg(feature = "cluster")]
    fn write_name_lost(&self, nick: &str, closes: bool, out: &mut Vec<u8>) {
        let _ = (nick, closes, out);
    }

    /// The engine has granted a name that no connection waits for.
    #[cfg(feature = "cluster")]
    fn on_name_kept(&self, nick: &str, room: &Room, shared: &mut Shared) {
        let _ = (nick, room, shared);
    }

    /// How many members the room has on this node.
    #[cfg(feature = "cluster")]
    fn members_len(&self) -> usize {
        0
    }

    /// The members on other nodes.
    #[cfg(feature = "cluster")]
    fn roster(&self) -> Option<&Roster> {
        None
    }

    /// The room has left its channel: nobody on other nodes is a member any more. Returns the nodes of
    /// whose members the room is to be told that they [have gone](Remote::NodeGone), should it be in
    /// another channel.
    #[cfg(feature = "cluster")]
    fn leave_channel(&mut self) -> Vec<NodeNumber> {
        Vec::new()
    }

    /// Writes the notice of a stop. Default: nothing.
    fn write_shutdown_notice(&self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// A pass ended: the log may have space.
    fn on_fanout_end(&mut self, room: &mut Room) {
        let _ = room;
    }

    /// Whether broadcasts of plugins reach the room.
    fn receives_plugin_broadcasts(&self) -> bool {
        false
    }

    /// Most bytes the listener's log may hold.
    fn log_bytes_max(&self, limits: &Limits) -> usize {
        limits.broadcast_log_bytes_max
    }

    /// Most bytes that one broadcast of a client takes up in the log.
    fn broadcast_cost_max(&self, limits: &Limits) -> usize {
        HEADER_LEN + limits.broadcast_len_max()
    }

    /// Upper bound of a frame, its header included, and of a reply but STATUS, with `members` in
    /// the room: for the invariants.
    fn frame_len_max(&self, members: usize) -> usize;

    /// Checks the listener's state against its open connections; `is_passing` while a pass runs.
    ///
    /// # Panics
    ///
    /// If they disagree.
    fn assert_invariants(&self, clients: &[(ConnId, ClientState)], is_passing: bool) {
        let _ = (clients, is_passing);
    }
}

/// A protocol that listeners' URLs and sections name.
pub trait UrlProtocol: Handler + Sized {
    /// Its name: `command` in `command://127.0.0.1:65432`.
    const NAME: &'static str;

    /// The port of a listener that has none of its own.
    const DEFAULT_PORT: u16;

    /// Seconds of silence after which a client is disconnected unless a setting says otherwise; 0
    /// for never.
    const IDLE_SECS: u64 = defaults::IDLE_TIMEOUT_SECS;

    /// Whether a server without listeners of its own opens one.
    const IS_DEFAULT: bool = false;

    /// Job of a listener, in a few words for `--help`.
    const SUMMARY: &'static str = "";

    /// The keys that [`set`](Self::set) knows.
    const KEYS: &'static [&'static str] = &[];

    /// The protocol with no key set.
    fn with_defaults(defaults: &ProtocolDefaults) -> Self;

    /// Sets a key of its own.
    ///
    /// # Errors
    ///
    /// [`SettingError::Unknown`] where it has no such key; else the value is invalid.
    fn set(&mut self, key: &str, value: &str) -> Result<(), SettingError> {
        let _ = (key, value);
        Err(SettingError::Unknown)
    }
}

/// Server-wide settings that a listener's own keys replace.
#[derive(Debug, Clone, Copy)]
pub struct ProtocolDefaults {
    /// Longest payload or package, in bytes.
    pub payload_len_max: u32,
    /// The time as HTTP writes it (RFC 9110, 5.6.7); `None` for a server that has no clock.
    #[cfg(feature = "admin")]
    pub http_date: Option<fn() -> String>,
}

impl Default for ProtocolDefaults {
    fn default() -> Self {
        ProtocolDefaults {
            payload_len_max: defaults::MAX_FRAME_BYTES,
            #[cfg(feature = "admin")]
            http_date: None,
        }
    }
}

/// Outcome of [`Handler::reply_in_place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InPlace {
    /// The frame is the reply now.
    Done,
    /// A slice was worked on, and more are left.
    Unfinished,
    /// The frame was answered in another way.
    Refused,
}

/// A client that leaves its room.
#[derive(Debug, Clone, Copy)]
pub struct Departure {
    /// The client.
    pub id: ConnId,
    /// Its member key while it was subscribed; meaningful in a chat only.
    pub member: Option<MemberKey>,
    /// Why it leaves.
    pub reason: CloseReason,
    /// All leave because the server stops: the others are not told.
    pub is_quiet: bool,
}
