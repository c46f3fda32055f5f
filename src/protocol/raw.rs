//! The `raw` service: what comes is sent back, behind a prefix. With an empty prefix this is the
//! echo service of RFC 862.

use log::debug;

use super::{Context, Excerpt};

/// Answers what one read returned.
pub fn raw(prefix: &[u8], bytes: &[u8], ctx: &mut Context<'_>) {
    debug!("{} message: {}", ctx.id, Excerpt(bytes));
    ctx.out.extend_from_slice(prefix);
    ctx.out.extend_from_slice(bytes);
}
