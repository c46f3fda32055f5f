//! An orderly stop: no more connections, answers to all that has arrived, then goodbye.

use log::{info, warn};

use super::Server;
use super::connection::{Flags, State};
use super::transport::Transport;
use crate::clock::Millis;
use crate::protocol::CloseReason;

/// Connections taken from one listener's backlog when it stops: as long as Linux lets one be.
const BACKLOG_MAX: usize = 65_536;

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// What the kernel had received is being answered. Nobody leaves yet: an answer may be a
    /// broadcast.
    Answering {
        /// Places in the resume list before everyone has had a turn.
        first_round: usize,
        /// When the next phase begins after that, whoever is still talking.
        until: Millis,
        deadline: Millis,
    },
    /// Connections drain and close.
    Closing {
        deadline: Millis,
    },
    Stopped,
}

impl Phase {
    pub(super) fn is_stopping(self) -> bool {
        self != Phase::Running
    }

    /// One connection was taken from the front of the resume list.
    pub(super) fn on_resumed(&mut self) {
        if let Phase::Answering { first_round, .. } = self {
            *first_round = first_round.saturating_sub(1);
        }
    }

    pub(super) fn is_closing(self) -> bool {
        matches!(self, Phase::Closing { .. } | Phase::Stopped)
    }
}

impl<T: Transport> Server<T> {
    /// Begins an orderly stop. Keep feeding events and turns until [`is_stopped`](Self::is_stopped).
    pub fn stop(&mut self, registry: &T::Registry, now: Millis) {
        if self.phase.is_stopping() {
            return;
        }
        self.now = now;
        info!("stopping, connections open: {}", self.stats.connections);
        let drain_ms = self.limits.drain_timeout_ms;
        let (until, deadline) = (now.after(drain_ms / 2), now.after(drain_ms));
        self.phase = Phase::Answering { first_round: 0, until, deadline };
        for listener in 0..self.listeners.len() {
            self.empty_backlog(registry, listener);
            self.listeners[listener].acceptor = None;
            self.listeners[listener].accept_ready = false;
        }
        self.accept_paused_until = None;
        self.resume.append(&mut self.arrivals);
        for id in self.table.ids() {
            if let Some(conn) = self.table.get_mut(id) {
                conn.flags.set(Flags::READ_READY, true);
                self.requeue(id);
            }
        }
        self.phase = Phase::Answering { first_round: self.resume.len(), until, deadline };
    }

    /// Whoever is in the backlog has connected, and may have asked already. Signals are handled
    /// between batches, so connections that had to make way may be reaped at once.
    fn empty_backlog(&mut self, registry: &T::Registry, number: usize) {
        self.listeners[number].accept_ready = true;
        self.accept_paused_until = None;
        self.budget.end();
        for _ in 0..BACKLOG_MAX {
            self.accept_some(registry, number, BACKLOG_MAX, &mut 0);
            let more = self.listeners[number].accept_ready && self.accept_paused_until.is_none();
            if !more {
                break;
            }
            self.reap();
            self.budget.end();
        }
    }

    /// Whether a stop has come to its end: no connection is left.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// When time alone takes the stop further.
    pub(super) fn stop_due_at(&self) -> Option<Millis> {
        match self.phase {
            Phase::Running | Phase::Stopped => None,
            Phase::Answering { until, .. } => Some(until),
            Phase::Closing { deadline } => Some(deadline),
        }
    }

    /// Takes a stop as far as it can go this turn.
    pub(super) fn advance_stop(&mut self) {
        if let Phase::Answering { first_round, until, deadline } = self.phase {
            let answering = !self.resume.is_empty()
                || !self.arrivals.is_empty()
                || self.listeners.iter().any(|l| l.fanout.active || l.fanout.is_admitting);
            if answering && (first_round > 0 || self.now < until) {
                return;
            }
            self.stop_plugins();
            self.phase = Phase::Closing { deadline };
            self.begin_closing();
        }
        if let Phase::Closing { deadline } = self.phase {
            if self.now >= deadline {
                self.cut_all();
            }
            if self.table.len() == self.closed.len() {
                self.phase = Phase::Stopped;
                self.connection_log.flush();
                self.flush_plugin_log();
                info!("stopped");
            }
        }
    }

    /// Everyone has been answered, or has talked for long enough. Only those whose replies wait
    /// for them to read may still have something to say.
    fn begin_closing(&mut self) {
        for id in self.table.ids() {
            let Some(conn) = self.table.get_mut(id) else { continue };
            if !conn.flags.has(Flags::WRITE_BLOCKED) {
                conn.flags.set(Flags::INPUT_STOPPED, true);
            }
            self.requeue(id);
        }
    }

    /// The drain time is over.
    fn cut_all(&mut self) {
        let mut unsent = 0;
        for id in self.table.ids() {
            let Some(conn) = self.table.get_mut(id) else { continue };
            let talking = matches!(conn.state, State::Open | State::Draining(_));
            if talking && conn.flags.has(Flags::WRITE_BLOCKED) {
                unsent += 1;
            }
            self.close(id, CloseReason::Shutdown, None);
        }
        if unsent > 0 {
            warn!("the drain time is over; connections cut with replies unsent: {unsent}");
        }
    }
}
