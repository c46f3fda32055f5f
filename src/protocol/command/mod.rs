//! The `command` protocol: ECHO, REVERSE, QUIT, BROADCAST, STATUS, and the codes of plugins.

mod broadcast;
mod reverse;
mod status;

pub(crate) use reverse::reply_not_utf8;
pub use reverse::{Reversal, ReversalStep};
pub use status::write_json as write_status;

use std::fmt;

use log::{Level, debug, log_enabled};

use super::{CloseReason, Context, Excerpt, Flow, plugin};
use crate::codec::command::{Command, DecodeError, Frame};

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

/// Logs a frame that has been acted on.
#[cold]
pub(crate) fn debug_command(frame: Frame<'_>, ctx: &Context<'_>) {
    debug!("{} {}: {}", ctx.id, frame.command, Excerpt(frame.payload));
}

/// What STATUS costs besides the bytes of its answer: ten numbers to be written.
const STATUS_COST_BYTES: usize = 256;
/// What an ERROR costs besides its bytes.
const ERROR_COST_BYTES: usize = 64;

// Inlined, it would take the registers an echo works in.
#[inline(never)]
fn on_other_command(frame: Frame<'_>, ctx: &mut Context<'_>) -> Flow {
    match frame.command {
        Command::Echo => ctx.reply(frame.payload),
        Command::Reverse => reverse::text(frame.payload, ctx),
        Command::Quit => Flow::Close(CloseReason::Quit),
        Command::Broadcast => broadcast::send(frame.payload, ctx),
        Command::Status => {
            ctx.charge(STATUS_COST_BYTES);
            status::reply(ctx)
        }
        Command::Unknown(128..=254) if ctx.plugins.is_some() => plugin::on_frame(frame, ctx),
        Command::Error | Command::Unknown(_) => {
            ctx.charge(ERROR_COST_BYTES);
            ctx.reply_error(format_args!("unknown command {}", frame.command.code()))
        }
    }
}

/// Says why a `command` stream cannot go on.
pub fn on_command_error(error: DecodeError, ctx: &mut Context<'_>) -> Flow {
    ctx.reply_error(error);
    Flow::Close(CloseReason::Protocol)
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
