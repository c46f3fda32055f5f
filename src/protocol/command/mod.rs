//! The `command` protocol: ECHO, REVERSE, QUIT, BROADCAST, STATUS, and the codes of plugins.
//!
//! To add a command: a code in [`codec::command`](crate::codec::command) and an arm in
//! `on_other_command`, with its own file if longer.

mod broadcast;
#[cfg(feature = "accounts")]
mod login;
#[cfg(feature = "plugins")]
mod plugin_codes;
mod reverse;
mod status;

pub use reverse::{Reversal, ReversalStep};
pub use status::write_json as write_status;

use std::fmt;

use log::{Level, debug, log_enabled};

#[cfg(feature = "accounts")]
use super::Departure;
#[cfg(feature = "cluster")]
use super::cluster::{Progress, Remote};
#[cfg(feature = "accounts")]
use super::login::{Attempt, Refusal};
use super::{
    ClientState, CloseReason, Context, Flow, Handler, InPlace, ProtocolDefaults, UrlProtocol,
};
#[cfg(any(feature = "accounts", feature = "cluster"))]
use super::{Room, Shared};
#[cfg(feature = "cluster")]
use crate::buffer::LogFullError;
use crate::codec::command::{Command, CommandDecoder, DecodeError, Frame, HEADER_LEN, Header};
use crate::escape::Excerpt;
use crate::limits::FRAME_LEN_LIMIT;
use crate::setting::{SettingError, number};

/// Cost of STATUS besides the bytes of its answer: ten numbers to be written.
const STATUS_COST_BYTES: usize = 256;
/// Cost of an ERROR besides its bytes.
const ERROR_COST_BYTES: usize = 64;

/// The 5-byte-header protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandProtocol {
    /// Longest payload accepted, in bytes.
    pub payload_len_max: u32,
}

impl Handler for CommandProtocol {
    type Decoder = CommandDecoder;

    #[inline]
    fn decoder(&self, client: ClientState) -> CommandDecoder {
        #[cfg(feature = "accounts")]
        if client.must_log_in() {
            return CommandDecoder::new(self.payload_len_max.min(login::PAYLOAD_LEN_MAX));
        }
        let _ = client;
        CommandDecoder::new(self.payload_len_max)
    }

    // Inlined into the loop that finds frames: a call would cost a fifth of an echo.
    #[inline(always)]
    fn on_message(
        &mut self,
        frame: Frame<'_>,
        client: &mut ClientState,
        ctx: &mut Context<'_>,
    ) -> Flow {
        let Frame { command, payload } = frame;
        // The commonest by far, and so little work that a call would cost as much again.
        if command == Command::Echo && may_ask(*client) {
            reply(payload, ctx);
            if log_enabled!(Level::Debug) {
                log_frame(command, payload, ctx);
            }
            return Flow::Continue;
        }
        #[cfg(not(feature = "accounts"))]
        let _ = client;
        on_other_command(
            command,
            payload,
            #[cfg(feature = "accounts")]
            client,
            ctx,
        )
    }

    #[cfg(feature = "admission")]
    fn broadcast_len(&self, frame: &Frame<'_>) -> usize {
        if frame.command == Command::Broadcast { frame.payload.len() } else { 0 }
    }

    fn on_decode_error(&mut self, error: DecodeError, ctx: &mut Context<'_>) -> Flow {
        reply_error(error, ctx);
        Flow::Close(CloseReason::Protocol)
    }

    fn in_place_len(buffered: &[u8]) -> Option<usize> {
        let header = Header::parse(buffered)?;
        let may = matches!(header.command, Command::Echo | Command::Reverse);
        may.then_some(HEADER_LEN + header.len as usize)
    }

    fn reply_in_place(
        &mut self,
        frame: &mut [u8],
        progress: &mut Option<Box<Reversal>>,
        ctx: &mut Context<'_>,
    ) -> InPlace {
        let (header, payload) = frame.split_at_mut(HEADER_LEN);
        let command = Command::from(header[0]);
        if command == Command::Reverse {
            match progress.get_or_insert_default().step(payload) {
                ReversalStep::Unfinished => return InPlace::Unfinished,
                ReversalStep::Done => header[0] = Command::Echo.code(),
                ReversalStep::Invalid { offset } => {
                    reverse::reply_not_utf8(offset, ctx);
                    return InPlace::Refused;
                }
            }
        }
        log_frame(command, payload, ctx);
        InPlace::Done
    }

    fn write_late(&self, age_secs: u64, out: &mut Vec<u8>) {
        write_error(format_args!("frame incomplete after {age_secs} s"), out);
    }

    fn write_refusal(&self, clients_max: usize, out: &mut Vec<u8>) {
        write_error(format_args!("server is full: {clients_max} clients"), out);
    }

    #[cfg(feature = "admission")]
    fn write_over_limit(&self, address: std::net::IpAddr, out: &mut Vec<u8>) {
        write_error(format_args!("too many connections from {address}"), out);
    }

    #[cfg(feature = "accounts")]
    fn on_leave(&mut self, departure: Departure, _: &mut Room, shared: &mut Shared) {
        login::on_leave(departure, shared);
    }

    #[cfg(feature = "accounts")]
    fn write_login_required(&self, out: &mut Vec<u8>) {
        write_error(Refusal::LoginRequired, out);
    }

    #[cfg(feature = "accounts")]
    fn account<'a>(&'a self, client: ClientState, shared: &'a Shared) -> Option<&'a str> {
        login::account(client, shared)
    }

    #[cfg(all(feature = "accounts", feature = "admin"))]
    fn client_name<'a>(&'a self, client: ClientState, shared: &'a Shared) -> Option<&'a str> {
        login::account(client, shared)
    }

    #[cfg(feature = "cluster")]
    fn on_remote(
        &mut self,
        remote: Remote<'_>,
        room: &mut Room,
        _: &mut Shared,
    ) -> Result<Progress, LogFullError> {
        broadcast::on_remote(remote, self.payload_len_max, room)
    }

    fn frame_len_max(&self, _: usize) -> usize {
        HEADER_LEN + self.payload_len_max as usize
    }
}

impl UrlProtocol for CommandProtocol {
    const NAME: &'static str = "command";
    const DEFAULT_PORT: u16 = 65432;
    const IS_DEFAULT: bool = true;
    const SUMMARY: &'static str = "frames: echo, reverse, broadcast, status";
    const KEYS: &'static [&'static str] = &["max_frame"];

    fn with_defaults(defaults: &ProtocolDefaults) -> Self {
        CommandProtocol { payload_len_max: defaults.payload_len_max }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), SettingError> {
        match key {
            "max_frame" => self.payload_len_max = number(value, 0..=FRAME_LEN_LIMIT)?,
            _ => return Err(SettingError::Unknown),
        }
        Ok(())
    }
}

/// Whether a client may ask for anything: it need not log in first.
#[inline(always)]
fn may_ask(client: ClientState) -> bool {
    !cfg!(feature = "accounts") || client.is_subscribed()
}

// Inlined, it would take the registers an echo works in.
#[inline(never)]
fn on_other_command(
    command: Command,
    payload: &[u8],
    #[cfg(feature = "accounts")] client: &mut ClientState,
    ctx: &mut Context<'_>,
) -> Flow {
    let flow = match command {
        #[cfg(feature = "accounts")]
        Command::Login if login::is_known(*client, ctx) => {
            login::answer(Attempt::Login, payload, client, ctx)
        }
        #[cfg(feature = "accounts")]
        Command::Register if login::is_known(*client, ctx) => {
            login::answer(Attempt::Register, payload, client, ctx)
        }
        #[cfg(feature = "accounts")]
        command if command != Command::Quit && !may_ask(*client) => {
            ctx.shared.charge(ERROR_COST_BYTES);
            reply_error(Refusal::LoginRequired, ctx)
        }
        Command::Echo => reply(payload, ctx),
        Command::Reverse => reverse::text(payload, ctx),
        Command::Quit => Flow::Close(CloseReason::Quit),
        Command::Broadcast => broadcast::send(payload, ctx),
        Command::Status => {
            ctx.shared.charge(STATUS_COST_BYTES);
            status::report(ctx)
        }
        #[cfg(feature = "plugins")]
        Command::Unknown(128..=254) if ctx.shared.plugins.is_some() => {
            plugin_codes::answer(Frame { command, payload }, ctx)
        }
        #[cfg(feature = "accounts")]
        Command::Login | Command::Register => {
            ctx.shared.charge(ERROR_COST_BYTES);
            reply_error(format_args!("unknown command {}", command.code()), ctx)
        }
        Command::Error | Command::Unknown(_) => {
            ctx.shared.charge(ERROR_COST_BYTES);
            reply_error(format_args!("unknown command {}", command.code()), ctx)
        }
    };
    if !flow.is_deferred() {
        log_frame(command, payload, ctx);
    }
    flow
}

/// Logs a frame that has been acted on.
#[cold]
fn log_frame(command: Command, payload: &[u8], ctx: &Context<'_>) {
    #[cfg(feature = "accounts")]
    if matches!(command, Command::Login | Command::Register) {
        // Passwords are in no log.
        debug!("{} {command}", ctx.id);
        return;
    }
    debug!("{} {command}: {}", ctx.id, Excerpt(payload));
}

/// Appends a reply frame.
// All there is to an echo; see `on_message`.
#[inline(always)]
fn reply(payload: &[u8], ctx: &mut Context<'_>) -> Flow {
    Frame { command: Command::Echo, payload }.encode(&mut ctx.shared.out);
    Flow::Continue
}

/// Appends an ERROR frame that says why the request failed.
pub(super) fn reply_error(reason: impl fmt::Display, ctx: &mut Context<'_>) -> Flow {
    write_error(reason, &mut ctx.shared.out);
    Flow::Continue
}

fn write_error(reason: impl fmt::Display, out: &mut Vec<u8>) {
    let payload = reason.to_string();
    Frame { command: Command::Error, payload: payload.as_bytes() }.encode(out);
}
