//! Graceful stop: close listeners, answer received input, drain, close.

use log::{info, warn};

use super::Server;
use super::connection::{Flags, State};
use super::layer::Layer;
use super::transport::{Acceptor, Transport};
use crate::clock::Millis;
use crate::protocol::CloseReason;

/// Connections taken from one listener's backlog when it stops: as long as Linux lets one be.
const BACKLOG_MAX: usize = 65_536;

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Running, and connections are looked through a few pages a turn: those of removed listeners
    /// are drained, or deadlines are armed anew.
    Changing {
        /// When there is more to be done.
        due_at: Millis,
    },
    /// Input that the kernel had received is being answered. No client leaves yet: an answer may be
    /// a broadcast.
    Answering {
        /// Connections still to be served once since the stop began.
        first_round: usize,
        /// Closing begins at this time even if input still arrives.
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
        !matches!(self, Phase::Running | Phase::Changing { .. })
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
    /// Begins an orderly stop. Keep feeding events and turns until
    /// [`is_stopped`](Self::is_stopped).
    pub fn stop(&mut self, registry: &T::Registry, now: Millis) {
        if self.schedule.phase.is_stopping() {
            return;
        }
        self.shared.now = now;
        info!("stopping, connections open: {}", self.shared.stats.server.connections);
        let drain_ms = self.shared.limits.drain_timeout_ms;
        let (until, deadline) = (now.after(drain_ms / 2), now.after(drain_ms));
        self.schedule.phase = Phase::Answering { first_round: 0, until, deadline };
        for listener in 0..self.listeners.len() {
            if !self.listeners[listener].acceptor.as_ref().is_some_and(Acceptor::is_shared) {
                self.empty_backlog(registry, listener);
            }
            if let Some(acceptor) = self.listeners[listener].acceptor.take() {
                T::close_acceptor(registry, acceptor);
            }
            self.listeners[listener].accept_ready = false;
        }
        self.schedule.accept_paused_until = None;
        #[cfg(feature = "admin")]
        self.begin_reload();
        #[cfg(feature = "admin")]
        self.finish_reload(&Err(vec!["the server is stopping".to_owned()]));
        #[cfg(feature = "admission")]
        self.end_rates();
        let schedule = &mut self.schedule;
        schedule.resume.append(&mut schedule.arrivals);
        for id in self.table.ids() {
            if let Some(mut visit) = self.visit(id) {
                visit.conn.flags.set(Flags::READ_READY, true);
                visit.requeue();
            }
        }
        self.schedule.phase =
            Phase::Answering { first_round: self.schedule.resume.len(), until, deadline };
        // Those of the backlog take memory too.
        self.check_memory();
    }

    /// Accepts the whole backlog: clients in it may have sent requests. No event of the batch is
    /// pending, so evicted connections may be reaped at once.
    fn empty_backlog(&mut self, registry: &T::Registry, number: usize) {
        self.listeners[number].accept_ready = true;
        self.schedule.accept_paused_until = None;
        self.schedule.budget.end();
        for _ in 0..BACKLOG_MAX {
            self.accept_some(registry, number, BACKLOG_MAX, &mut 0);
            let more =
                self.listeners[number].accept_ready && self.schedule.accept_paused_until.is_none();
            if !more {
                break;
            }
            self.reap();
            self.schedule.budget.end();
        }
    }

    /// Whether a stop has come to its end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.schedule.phase == Phase::Stopped
    }

    /// Next deadline of the stop.
    pub(super) fn stop_due_at(&self) -> Option<Millis> {
        match self.schedule.phase {
            Phase::Running | Phase::Stopped => None,
            Phase::Changing { due_at } => Some(due_at).filter(|at| *at != Millis::NEVER),
            Phase::Answering { until, .. } => Some(until),
            Phase::Closing { deadline } => Some(deadline),
        }
    }

    /// Takes a stop as far as it can go this turn.
    pub(super) fn advance_stop(&mut self, registry: &T::Registry) {
        if let Phase::Changing { .. } = self.schedule.phase {
            self.advance_change(registry);
        }
        if let Phase::Answering { first_round, until, deadline } = self.schedule.phase {
            let answering = !self.schedule.resume.is_empty()
                || !self.schedule.arrivals.is_empty()
                || (T::Layer::EXISTS && !self.schedule.handshakes.is_empty())
                || self.listeners.iter().any(|l| l.fanout.active || l.fanout.is_admitting);
            #[cfg(feature = "accounts")]
            let answering = answering || self.has_pending_logins();
            #[cfg(feature = "admin")]
            let answering = answering || self.has_pending_tasks();
            #[cfg(feature = "cluster")]
            let answering = answering || self.has_pending_claims();
            if answering && (first_round > 0 || self.shared.now < until) {
                return;
            }
            self.stop_plugins();
            #[cfg(feature = "cluster")]
            self.stop_cluster();
            self.schedule.phase = Phase::Closing { deadline };
            self.begin_closing();
        }
        if let Phase::Closing { deadline } = self.schedule.phase {
            let is_over = self.shared.now >= deadline;
            if is_over {
                self.cut_all();
            }
            if is_over || self.may_end_stop() {
                #[cfg(feature = "cluster")]
                self.warn_of_unpublished();
                self.schedule.phase = Phase::Stopped;
                self.shared.connection_log.flush();
                self.flush_plugin_log();
                info!("stopped");
            }
        }
    }

    /// Whether a stop waits for nothing more: no connection is left, and other nodes have been sent what
    /// there is for them.
    pub(super) fn may_end_stop(&self) -> bool {
        let is_closing = matches!(self.schedule.phase, Phase::Closing { .. });
        let are_closed = is_closing && self.table.len() == self.schedule.closed.len();
        #[cfg(feature = "cluster")]
        let are_closed = are_closed && self.unpublished_bytes() == 0;
        are_closed
    }

    #[cfg(feature = "cluster")]
    fn warn_of_unpublished(&self) {
        let bytes = self.unpublished_bytes();
        if bytes > 0 {
            warn!("the drain time is over; bytes that were not sent to the engine: {bytes}");
        }
    }

    /// Starts closing: stops input everywhere but on write-blocked clients, which may have deferred
    /// requests.
    fn begin_closing(&mut self) {
        for id in self.table.ids() {
            let Some(mut visit) = self.visit(id) else { continue };
            let may_be_opening = T::Layer::EXISTS || cfg!(feature = "admission");
            if may_be_opening && visit.conn.state == State::Opening {
                visit.close(CloseReason::Shutdown, None);
                continue;
            }
            if !visit.conn.flags.has(Flags::WRITE_BLOCKED) {
                visit.conn.flags.set(Flags::INPUT_STOPPED, true);
            }
            visit.requeue();
        }
    }

    /// Drain timeout: closes every remaining connection.
    fn cut_all(&mut self) {
        let mut unsent = 0;
        for id in self.table.ids() {
            let Some(mut visit) = self.visit(id) else { continue };
            let is_client = matches!(visit.conn.state, State::Open | State::Draining(_));
            if is_client && visit.conn.flags.has(Flags::WRITE_BLOCKED) {
                unsent += 1;
            }
            visit.close(CloseReason::Shutdown, None);
        }
        if unsent > 0 {
            warn!("the drain time is over; connections cut with replies unsent: {unsent}");
        }
    }
}
