//! The codes 128 to 254: frames that plugins answer.

use super::reply_error;
use crate::codec::command::{Frame, HEADER_LEN, Header};
use crate::protocol::plugin::{self, AskResult};
use crate::protocol::{Context, Flow};

/// Answers a `command` frame whose code belongs to the plugins: the answer carries the same code.
pub(super) fn answer(frame: Frame<'_>, ctx: &mut Context<'_>) -> Flow {
    let code = frame.command.code();
    let start = ctx.shared.out.len();
    // The header is filled in when the length of the answer is known.
    ctx.shared.out.extend_from_slice(&[0; HEADER_LEN]);
    let asked = match plugin::ask(frame.payload, Some(code), ctx) {
        Ok(asked) => asked,
        Err(flow) => {
            ctx.shared.out.truncate(start);
            return flow;
        }
    };
    if asked == AskResult::Answered {
        let (header, answer) = ctx.shared.out[start..].split_at_mut(HEADER_LEN);
        header.copy_from_slice(&Header::for_payload(frame.command, answer).encode());
        return Flow::Continue;
    }
    ctx.shared.out.truncate(start);
    match asked {
        AskResult::Failed { plugin } => reply_error(format_args!("plugin {plugin} failed"), ctx),
        _ => reply_error(format_args!("unknown command {code}"), ctx),
    }
}
