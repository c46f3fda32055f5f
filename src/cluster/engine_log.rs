//! The engine's troubles in the log: a line when it goes and one when it is back, with what keeps it
//! away meanwhile no more often than a minute; each refusal and each failing command once.

use log::{debug, info, warn};

use super::session::Failure;
use crate::clock::Millis;

/// Most kinds of trouble that are told apart; further ones are not logged until all is well.
const KINDS_MAX: usize = 16;

/// Shortest pause between lines about an engine that stays away.
const PAUSE_MS: u64 = 60_000;

/// Trouble that comes again after so long without any is news.
const NEWS_MS: u64 = 10_000;

/// At which point a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Handshake,
    Ready,
}

/// Lines that were written of late, so that none is repeated.
#[derive(Debug, Default)]
pub(super) struct EngineLog {
    /// Lines about connections, since the engine was there for long enough.
    lost: Vec<String>,
    /// When the last of them was written.
    lost_at: Millis,
    /// Lines about commands, and when each was last true.
    failed: Vec<(String, Millis)>,
    /// Both connections can be used, since then.
    well_since: Option<Millis>,
    /// The last line about connections says that they are there.
    is_well_logged: bool,
}

impl EngineLog {
    /// A connection has ended, or could not be made.
    pub(super) fn lost(&mut self, url: &str, phase: Phase, failure: &Failure, now: Millis) {
        if let Some(since) = self.well_since.take()
            && now.since(since) >= NEWS_MS
        {
            self.lost.clear();
        }
        let line = match (failure, phase) {
            (Failure::Refused(words), _) => format!("{url} answers {words}; trying again"),
            (Failure::Replica, _) => format!("{url} is a replica; trying again"),
            (Failure::Malformed(error), _) => format!("{url} sent {error}; connecting again"),
            (Failure::Unexpected(what), _) => format!("{url} sent {what}; connecting again"),
            (Failure::Deaf, _) => {
                format!("{url} does not pass on what is published; connecting again")
            }
            (Failure::TimedOut, _) => format!("cannot reach {url}: no answer; trying again"),
            (Failure::Socket(reason), Phase::Ready | Phase::Handshake) => {
                format!("connection to {url} lost: {reason}; trying again")
            }
            (Failure::Socket(reason), Phase::Connecting) => {
                format!("cannot reach {url}: {reason}; trying again")
            }
        };
        self.write_lost(line, !passes(failure), now);
    }

    fn write_lost(&mut self, line: String, is_refusal: bool, now: Millis) {
        let is_first = self.lost.is_empty();
        let is_new = !self.lost.contains(&line) && self.lost.len() < KINDS_MAX;
        let has_paused = now.since(self.lost_at) >= PAUSE_MS;
        let is_due = has_paused && (is_new || self.is_well_logged);
        if !(is_first || is_due || is_new && is_refusal) {
            debug!("cluster: {line}");
            return;
        }
        let still = if is_first || is_refusal || self.is_well_logged { "" } else { "still: " };
        warn!("cluster: {still}{line}");
        (self.lost_at, self.is_well_logged) = (now, false);
        if is_new {
            self.lost.push(line);
        }
    }

    /// Both connections can be used.
    pub(super) fn well(&mut self, now: Millis) {
        self.well_since.get_or_insert(now);
        if !self.is_well_logged {
            info!("cluster: connected to the engine");
            self.is_well_logged = true;
        }
    }

    /// A command has failed.
    pub(super) fn command_failed(&mut self, command: &str, words: &str, now: Millis) {
        let line = format!("the engine fails {command}: {words}");
        if let Some((_, last)) = self.failed.iter_mut().find(|(failed, _)| *failed == line) {
            *last = now;
        } else if self.failed.len() < KINDS_MAX {
            warn!("cluster: {line}");
            self.failed.push((line, now));
        }
    }

    /// A command was answered: what failed long ago is news if it fails again.
    pub(super) fn command_succeeded(&mut self, now: Millis) {
        if !self.failed.is_empty() {
            self.failed.retain(|(_, last)| now.since(*last) < NEWS_MS);
        }
    }
}

/// Whether a trouble passes by itself, as those of a restart and a failover do. Others somebody has to
/// end.
fn passes(failure: &Failure) -> bool {
    const CODES: [&str; 4] = ["LOADING", "MASTERDOWN", "READONLY", "BUSY"];
    match failure {
        Failure::Socket(_) | Failure::TimedOut | Failure::Deaf | Failure::Replica => true,
        Failure::Refused(words) => words.split(' ').any(|word| CODES.contains(&word)),
        Failure::Malformed(_) | Failure::Unexpected(_) => false,
    }
}
