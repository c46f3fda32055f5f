//! BROADCAST: one payload to everyone else, through the listener's shared log.

use super::{Context, Flow};
use crate::codec::command::{Command, Header};

/// What a broadcast costs its sender's visit besides its bytes: an append and a number.
const BROADCAST_COST_BYTES: usize = 64;

/// Takes a broadcast into the log and tells the sender how many it will reach.
///
/// The sender's own copy is skipped by whoever owns its cursor. A broadcast that reaches nobody is
/// counted, but takes up no room in the log.
pub(super) fn send(payload: &[u8], ctx: &mut Context<'_>) -> Flow {
    let max = ctx.limits.broadcast_len_max();
    if payload.len() > max {
        let len = payload.len();
        return ctx
            .reply_error(format_args!("broadcast of {len} bytes exceeds the limit of {max}"));
    }
    let receivers = ctx.room.members.saturating_sub(1);
    if receivers > 0 {
        let header = Header::for_payload(Command::Broadcast, payload).encode();
        if ctx.append(&[&header, payload]).is_err() {
            return Flow::Wait;
        }
    }
    ctx.charge(BROADCAST_COST_BYTES + payload.len());
    ctx.stats.broadcasts_total += 1;
    ctx.reply(receivers.to_string().as_bytes())
}
