//! STATUS: the server's counters as one JSON object.

use std::fmt::{self, Write};

use super::reply;
use crate::clock::Millis;
use crate::protocol::{Context, Flow};
use crate::stats::Stats;

/// Answers STATUS.
pub(super) fn report(ctx: &mut Context<'_>) -> Flow {
    ctx.room.note_frames();
    let mut json = String::new();
    write_json(&mut json, &ctx.shared.stats.totals(), ctx.shared.now)
        .expect("a String takes all that is written");
    reply(json.as_bytes(), ctx)
}

/// Writes the counters as RFC 8259 JSON on one line. Every value is a number but `version`, which
/// has no character that needs escaping.
///
/// # Errors
///
/// Those of `out`.
#[inline(never)]
pub fn write_json(out: &mut dyn Write, stats: &Stats, now: Millis) -> fmt::Result {
    // Taken apart, so that a new counter cannot be forgotten here.
    let Stats {
        connections,
        accepted_total,
        refused_total,
        frames_in_total,
        bytes_in_total,
        bytes_out_total,
        broadcasts_total,
        slow_consumers_total,
        started_at,
        handshakes_total: _,
        resumptions_total: _,
        handshake_failures_total: _,
        memory_cuts_total: _,
        #[cfg(feature = "admission")]
            refused_by_address_total: _,
        #[cfg(feature = "admission")]
            proxy_header_failures_total: _,
        #[cfg(feature = "accounts")]
            logins_total: _,
        #[cfg(feature = "accounts")]
            login_failures_total: _,
        #[cfg(feature = "accounts")]
            logins_refused_total: _,
    } = stats;
    let uptime_secs = now.since(*started_at) / 1000;
    write!(
        out,
        concat!(
            r#"{{"version":"{version}","uptime_secs":{uptime_secs},"connections":{connections},"#,
            r#""accepted_total":{accepted_total},"refused_total":{refused_total},"#,
            r#""frames_in_total":{frames_in_total},"bytes_in_total":{bytes_in_total},"#,
            r#""bytes_out_total":{bytes_out_total},"broadcasts_total":{broadcasts_total},"#,
            r#""slow_consumers_total":{slow_consumers_total}}}"#,
        ),
        version = env!("CARGO_PKG_VERSION"),
        uptime_secs = uptime_secs,
        connections = connections,
        accepted_total = accepted_total,
        refused_total = refused_total,
        frames_in_total = frames_in_total,
        bytes_in_total = bytes_in_total,
        bytes_out_total = bytes_out_total,
        broadcasts_total = broadcasts_total,
        slow_consumers_total = slow_consumers_total,
    )
}
