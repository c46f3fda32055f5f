//! The server: every connection, driven by events and turns. Knows sockets only as
//! [`Transport`]s and time only as an argument, so that a simulator can be the world.
//!
//! `table` holds the connections, `timer` their deadlines, `accept` lets them in, `serve` reads
//! and answers, `close` lets them go, `fanout` carries broadcasts, `mail` what is for one alone, `stop`
//! ends it all.

mod accept;
mod close;
mod connection;
mod fanout;
mod invariants;
mod listener;
mod mail;
mod plugins;
mod serve;
mod stop;
mod table;
mod timer;
mod transport;

pub use listener::ListenerConfig;
pub use transport::{AcceptError, Acceptor, Readiness, Transport};

use std::collections::VecDeque;

use log::info;

use crate::clock::Millis;
use crate::conn_id::ConnId;
use crate::handler::{self, Mail, PluginScheduler};
use crate::journal::Journal;
use crate::limits::{
    Limits, READ_BUFFER_BYTES, RESUME_TURN_MAX, SCRATCH_KEPT_BYTES_MAX, TIMER_STEPS_PER_DEADLINE,
    TIMER_TURN_STEPS_MAX,
};
use crate::stats::Stats;

use connection::Flags;
use listener::Listener;
use stop::Phase;
use table::Table;
use timer::{Step, TimerWheel};

/// A server over connections of type `T`.
///
/// Whoever owns it feeds it events ([`on_ready`](Self::on_ready),
/// [`on_acceptable`](Self::on_acceptable)) and calls [`turn`](Self::turn) after each batch, then
/// waits for at most [`poll_timeout`](Self::poll_timeout).
pub struct Server<T: Transport> {
    limits: Limits,
    stats: Stats,
    /// The time of the event or turn at hand.
    now: Millis,
    listeners: Vec<Listener<T>>,
    table: Table<T>,
    wheel: TimerWheel,
    /// Connections that were left with something to do. With edge-triggered events nobody else
    /// remembers them. Each stands here once, and has [`Flags::QUEUED`].
    resume: VecDeque<ConnId>,
    /// Closed connections, to be dropped at the end of the turn.
    closed: Vec<ConnId>,
    /// Connections that are no clients, the oldest first: the lingering, and those being turned
    /// away. Some may have gone already.
    lingering: VecDeque<ConnId>,
    lingering_count: usize,
    /// Accepting is pointless before this moment.
    accept_paused_until: Option<Millis>,
    journal: Journal,
    plugins: Option<Box<PluginScheduler>>,
    phase: Phase,
    /// The one read buffer.
    read_buffer: Box<[u8]>,
    /// The replies of the connection at hand; empty between connections.
    out: Vec<u8>,
    /// What the connection at hand has for others; empty between connections.
    mail: Vec<Mail>,
}

impl<T: Transport> Server<T> {
    /// A server without listeners.
    #[must_use]
    pub fn new(limits: Limits, now: Millis) -> Self {
        Server {
            limits,
            stats: Stats { started_at: now, ..Stats::default() },
            now,
            listeners: Vec::new(),
            table: Table::new(),
            wheel: TimerWheel::new(now),
            resume: VecDeque::new(),
            closed: Vec::new(),
            lingering: VecDeque::new(),
            lingering_count: 0,
            accept_paused_until: None,
            journal: Journal::default(),
            plugins: None,
            phase: Phase::Running,
            read_buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
            out: Vec::new(),
            mail: Vec::new(),
        }
    }

    /// Adds a listener. Its number, by which [`on_acceptable`](Self::on_acceptable) knows it, is how
    /// many there were before.
    ///
    /// # Panics
    ///
    /// On the 65,537th listener.
    pub fn add_listener(&mut self, acceptor: T::Acceptor, config: ListenerConfig) {
        assert!(self.listeners.len() <= usize::from(u16::MAX), "too many listeners");
        self.listeners.push(Listener::new(acceptor, config, &self.limits));
        self.table.add_owner();
    }

    /// Listeners added so far.
    #[must_use]
    pub fn listener_count(&self) -> usize {
        self.listeners.len()
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Connections that own a socket, in whatever state.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.table.len()
    }

    /// Whether any listener still accepts.
    #[must_use]
    pub fn is_accepting(&self) -> bool {
        self.listeners.iter().any(|listener| listener.acceptor.is_some())
    }

    /// Logs the counters, as STATUS reports them.
    pub fn log_status(&self, now: Millis) {
        let mut json = String::new();
        if handler::write_status(&mut json, &self.stats, now).is_ok() {
            info!("status {json}");
        }
    }

    /// A listener has connections waiting.
    ///
    /// # Panics
    ///
    /// If there is no such listener.
    pub fn on_acceptable(&mut self, listener: usize) {
        self.listeners[listener].accept_ready = true;
    }

    /// A connection may read or write. Events for connections that have gone are ignored.
    pub fn on_ready(&mut self, registry: &T::Registry, id: ConnId, ready: Readiness, now: Millis) {
        self.now = now;
        let Some(conn) = self.table.get_mut(id) else { return };
        if ready.readable || ready.read_closed {
            conn.flags.set(Flags::READ_READY, true);
        }
        if ready.read_closed {
            conn.flags.set(Flags::PEER_SHUT, true);
        }
        if ready.writable {
            conn.flags.set(Flags::WRITE_BLOCKED, false);
        }
        self.serve(registry, id);
    }

    /// Does what is left after a batch of events: accepts, resumes, fans out, expires, reaps.
    ///
    /// Each part has a budget; [`poll_timeout`](Self::poll_timeout) is zero while any work
    /// remains. Reaping comes last, so that within one batch and turn no slot is used twice.
    pub fn turn(&mut self, registry: &T::Registry, now: Millis) {
        self.now = now;
        self.accept_all(registry);
        self.tell_plugins();
        self.resume_some(registry);
        self.fan_out(registry);
        self.expire(registry);
        self.advance_stop();
        self.reap();
        self.journal.roll(now);
        if let Some(scheduler) = &mut self.plugins {
            scheduler.end_turn();
        }
    }

    /// How long the next poll may wait: zero while work remains, `None` for as long as it takes.
    #[must_use]
    pub fn poll_timeout(&self, now: Millis) -> Option<u64> {
        let accepting = self.accept_paused_until.is_none()
            && self.listeners.iter().any(|listener| listener.accept_ready);
        let fanning_out = self.listeners.iter().any(|listener| listener.fanout.active);
        let telling = self.plugins.as_ref().is_some_and(|scheduler| scheduler.has_work());
        let resuming = !self.resume.is_empty() || !self.closed.is_empty();
        if accepting || fanning_out || telling || resuming {
            return Some(0);
        }
        let deadlines = [
            self.wheel.next_due(),
            self.accept_paused_until,
            self.journal.due_at(),
            self.stop_due_at(),
        ];
        let due_in = deadlines.into_iter().flatten().map(|at| at.since(now));
        due_in.chain(self.plugin_log_due_in_ms()).min()
    }

    /// Gives back scratch memory that a large reply made grow; for when there is nothing to do.
    pub fn on_idle(&mut self) {
        self.out.shrink_to(SCRATCH_KEPT_BYTES_MAX);
    }

    /// Puts a connection on the resume list, once.
    fn requeue(&mut self, id: ConnId) {
        if let Some(conn) = self.table.get_mut(id)
            && !conn.flags.has(Flags::QUEUED)
        {
            conn.flags.set(Flags::QUEUED, true);
            self.resume.push_back(id);
        }
    }

    /// Takes up connections that were left with something to do, each at most once a turn.
    fn resume_some(&mut self, registry: &T::Registry) {
        for _ in 0..self.resume.len().min(RESUME_TURN_MAX) {
            let Some(id) = self.resume.pop_front() else { break };
            self.phase.on_resumed();
            if let Some(conn) = self.table.get_mut(id) {
                conn.flags.set(Flags::QUEUED, false);
                self.serve(registry, id);
            }
        }
    }

    /// Acts on deadlines that have passed, as far as the budget goes: a million connections may have
    /// come in the same second.
    fn expire(&mut self, registry: &T::Registry) {
        let mut budget = TIMER_TURN_STEPS_MAX;
        while budget > 0 {
            budget = match self.wheel.step(&mut self.table, self.now) {
                Step::Due(index) => {
                    self.on_deadline(registry, self.table.id_at(index));
                    budget.saturating_sub(TIMER_STEPS_PER_DEADLINE)
                }
                Step::Moved => budget - 1,
                Step::Done => return,
            };
        }
    }

    /// Drops closed connections, and with them their descriptors.
    fn reap(&mut self) {
        if self.closed.is_empty() {
            return;
        }
        // There are files again: whoever waited for one may be let in.
        self.accept_paused_until = None;
        while let Some(id) = self.closed.pop() {
            self.wheel.disarm(&mut self.table, id.index);
            self.table.remove(id);
        }
    }
}
