//! What of the engine's troubles is in the log: each kind once, until things are well again.

use log::{info, warn};

use super::session::Failure;
use crate::clock::Millis;

/// Most kinds of trouble that are told apart; further ones are not logged until all is well.
const KINDS_MAX: usize = 16;

/// Trouble that comes again after so long without any is news.
const NEWS_MS: u64 = 10_000;

/// At which point a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Handshake,
    Ready,
}

/// Kinds of trouble that are in the log.
#[derive(Debug, Default)]
pub(super) struct EngineLog {
    /// Lines about connections, as logged.
    lost: Vec<String>,
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
        if self.lost.len() < KINDS_MAX && !self.lost.contains(&line) {
            warn!("cluster: {line}");
            self.lost.push(line);
            self.is_well_logged = false;
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
