//! Signals that end a run: which, and what they set.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mio::{Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::sysinfo;
use crate::net::SignalPipe;

/// Watches the signals that end a run. Returns the pipe that wakes the poll with `token`, and the
/// flag that they set.
///
/// A job (`is_job`) leaves those of the terminal to its parent, which reads what the machine has before
/// the first connection is closed.
///
/// # Errors
///
/// The system has no descriptor left.
pub(super) fn watch(
    registry: &Registry,
    token: Token,
    is_job: bool,
) -> io::Result<(SignalPipe, Arc<AtomicBool>)> {
    let is_signalled = Arc::default();
    let signals = SignalPipe::new(registry, token)?;
    signals.watch(SIGTERM, &is_signalled)?;
    if is_job {
        for signal in [SIGINT, SIGHUP] {
            // A flag that nobody reads, instead of the default action.
            flag::register(signal, Arc::default())?;
        }
        return Ok((signals, is_signalled));
    }
    signals.watch(SIGINT, &is_signalled)?;
    // A closed terminal must not take the measurements of an hour with it. Under nohup(1) the
    // signal stays ignored, and where that is unknown it keeps its disposition.
    if sysinfo::is_hangup_ignored() == Some(false) {
        signals.watch(SIGHUP, &is_signalled)?;
    }
    Ok((signals, is_signalled))
}
