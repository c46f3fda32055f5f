//! The `plugin` protocol: packages that plugins answer, and the frames of `command` listeners with the
//! codes of plugins.

#[cfg_attr(not(feature = "plugins"), path = "lua_disabled.rs")]
mod lua;
mod scheduler;
mod types;

#[cfg(feature = "plugins")]
pub use lua::{Clock, LoadError, Loaded, PluginError, PluginOptions};
pub use lua::{PluginHost, Reload, ReloadStep};
pub use scheduler::{AskResult, PluginScheduler};
pub use types::{Client, HookResult, Notice};

use log::debug;

use super::{Context, Excerpt, Flow, Peer};
use crate::codec::command::{Frame, HEADER_LEN, Header};
use crate::codec::package::Package;

/// Reply on a plugin listener if no plugin answers.
const NOBODY: &[u8] = b"None";
/// Reply on a plugin listener if a plugin fails; the text is the ancestor's.
const FAILED: &[u8] = b"Error occurred while processing data";

/// Answers one package.
pub fn on_package(package: Package<'_>, ctx: &mut Context<'_>) -> Flow {
    let Package::Whole(bytes) = package else {
        ctx.connection_log.oversized_package(ctx.now, ctx.id);
        ctx.out.extend_from_slice(FAILED);
        return Flow::Continue;
    };
    let start = ctx.out.len();
    match ask(bytes, None, ctx) {
        Err(flow) => return flow,
        Ok(AskResult::Answered) => {}
        Ok(AskResult::Failed { .. }) => {
            ctx.out.truncate(start);
            ctx.out.extend_from_slice(FAILED);
        }
        Ok(AskResult::Unhandled | AskResult::Deferred) => ctx.out.extend_from_slice(NOBODY),
    }
    debug!("{} package: {}", ctx.id, Excerpt(bytes));
    Flow::Continue
}

/// Answers a frame whose code belongs to the plugins: the answer carries the same code.
pub(super) fn on_frame(frame: Frame<'_>, ctx: &mut Context<'_>) -> Flow {
    let code = frame.command.code();
    let start = ctx.out.len();
    // Its length is known when the answer is there.
    ctx.out.extend_from_slice(&[0; HEADER_LEN]);
    let asked = match ask(frame.payload, Some(code), ctx) {
        Ok(asked) => asked,
        Err(flow) => {
            ctx.out.truncate(start);
            return flow;
        }
    };
    if asked == AskResult::Answered {
        let (header, answer) = ctx.out[start..].split_at_mut(HEADER_LEN);
        header.copy_from_slice(&Header::for_payload(frame.command, answer).encode());
        return Flow::Continue;
    }
    ctx.out.truncate(start);
    match asked {
        AskResult::Failed { plugin } => ctx.reply_error(format_args!("plugin {plugin} failed")),
        _ => ctx.reply_error(format_args!("unknown command {code}")),
    }
}

/// Asks the plugins, if there are any. An error is the flow to return because the package cannot be
/// answered yet.
fn ask(package: &[u8], command: Option<u8>, ctx: &mut Context<'_>) -> Result<AskResult, Flow> {
    let Some(scheduler) = &mut ctx.plugins else { return Ok(AskResult::Unhandled) };
    let addr = match (scheduler.addr_of(ctx.id), ctx.peer) {
        (Some(addr), _) => Some(addr),
        (None, Peer::Asked(addr)) => addr,
        (None, Peer::Unasked) => return Err(Flow::AskPeer),
    };
    let client = Client::new(ctx.id).at(addr);
    let client = command.map_or(client, |command| client.framed(command));
    match scheduler.ask(package, &client, ctx.out) {
        AskResult::Deferred => Err(Flow::Yield),
        asked => Ok(asked),
    }
}
