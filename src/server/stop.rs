//! An orderly stop: no more connections, answers to all that has arrived, then goodbye.

use log::{info, warn};

use super::Server;
use super::connection::{Flags, State};
use super::transport::Transport;
use crate::clock::Millis;
use crate::handler::CloseReason;

/// Connections taken from one listener's backlog when it stops: as long as Linux lets one be.
const BACKLOG_MAX: usize = 65_536;

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// What the kernel had received is being answered. Nobody leaves yet: an answer may be a
    /// broadcast.
    Answering {
        /// When the next phase begins, whoever is still talking.
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
        let drain_ms = self.limits.drain_timeout_ms;
        let deadline = now.after(drain_ms);
        self.phase = Phase::Answering {
            until: now.after(drain_ms / 2),
            deadline,
        };
        info!("stopping, connections open: {}", self.stats.connections);
        for listener in 0..self.listeners.len() {
            // Whoever is in the backlog has connected, and may have asked already.
            self.accept_some(registry, listener, BACKLOG_MAX);
            self.listeners[listener].acceptor = None;
            self.listeners[listener].accept_ready = false;
        }
        self.accept_paused_until = None;
        let ids: Vec<_> = self.table.ids().collect();
        for id in ids {
            if let Some(conn) = self.table.get_mut(id) {
                conn.flags.set(Flags::READ_READY, true);
                self.requeue(id);
            }
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
        if let Phase::Answering { until, deadline } = self.phase {
            let answering = !self.resume.is_empty()
                || self.listeners.iter().any(|listener| listener.fanout.active);
            if answering && self.now < until {
                return;
            }
            self.phase = Phase::Closing { deadline };
            let ids: Vec<_> = self.table.ids().collect();
            ids.into_iter().for_each(|id| self.requeue(id));
        }
        if let Phase::Closing { deadline } = self.phase {
            if self.now >= deadline {
                self.cut_all();
            }
            if self.table.len() == self.closed.len() {
                self.phase = Phase::Stopped;
                self.journal.flush();
                info!("stopped");
            }
        }
    }

    /// The drain time is over.
    fn cut_all(&mut self) {
        let ids: Vec<_> = self.table.ids().collect();
        let mut unsent = 0;
        for id in ids {
            let Some(conn) = self.table.get_mut(id) else {
                continue;
            };
            if matches!(conn.state, State::Open | State::Draining(_)) {
                unsent += 1;
            }
            self.close(id, CloseReason::Shutdown, None);
        }
        if unsent > 0 {
            warn!("{unsent} connections cut with replies unsent: the drain time is over");
        }
    }
}
