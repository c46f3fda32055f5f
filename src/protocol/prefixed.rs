//! The `prefixed` protocol: a length byte and a message, answered reversed.

use log::debug;

use super::{Context, Excerpt, Flow};
use crate::codec::prefixed;

/// What a `prefixed` message costs besides its bytes: it may have none.
const PREFIXED_COST_BYTES: usize = 16;

/// Answers one message of the `prefixed` protocol: the same length, the bytes reversed.
pub fn on_prefixed(payload: &[u8], ctx: &mut Context<'_>) -> Flow {
    debug!("{} message: {}", ctx.id, Excerpt(payload));
    ctx.charge(PREFIXED_COST_BYTES);
    let start = ctx.out.len();
    prefixed::encode(payload, ctx.out);
    ctx.out[start + 1..].reverse();
    Flow::Continue
}
