//! The log's lines of who comes and goes, and the rule that a storm of them is summed up.

use std::{fmt, io};

use log::{Level, info, log_enabled, warn};

use crate::clock::Millis;
use crate::limits::CONNECTION_LOG_LINES_PER_SEC;

const WINDOW_MS: u64 = 1000;

/// Writes connects, disconnects, refusals, joins and leaves at info, at most
/// [`CONNECTION_LOG_LINES_PER_SEC`]; the rest of each second are counted into one line.
#[derive(Debug, Default)]
pub struct ConnectionLog {
    window_began_at: Millis,
    lines: u32,
    suppressed: u64,
    exhausted_at: Option<Millis>,
}

impl ConnectionLog {
    /// Logs `line`, or counts it. What it takes to build the line is spent only if it is written.
    pub fn line<D: fmt::Display>(&mut self, now: Millis, line: impl FnOnce() -> D) {
        if !log_enabled!(Level::Info) {
            return;
        }
        self.roll(now);
        if self.lines < CONNECTION_LOG_LINES_PER_SEC {
            self.lines += 1;
            info!("{}", line());
        } else {
            self.suppressed += 1;
        }
    }

    /// Logs that files or memory are out, at most once a second.
    pub fn exhausted(&mut self, now: Millis, listener: &str, error: &io::Error) {
        if self.exhausted_at.is_none_or(|at| now.since(at) >= WINDOW_MS) {
            self.exhausted_at = Some(now);
            warn!("{listener} cannot accept for now: {error}");
        }
    }

    /// When a summary is due, if one is.
    pub fn due_at(&self) -> Option<Millis> {
        (self.suppressed > 0).then(|| self.window_began_at.after(WINDOW_MS))
    }

    /// Ends the second if it is over, and sums up what it suppressed.
    pub fn roll(&mut self, now: Millis) {
        if now.since(self.window_began_at) < WINDOW_MS {
            return;
        }
        self.window_began_at = now;
        self.lines = 0;
        self.flush();
    }

    /// Sums up what has been suppressed so far.
    pub fn flush(&mut self) {
        let suppressed = std::mem::take(&mut self.suppressed);
        if suppressed > 0 {
            info!("{suppressed} more connection events, not logged one by one");
        }
    }
}
