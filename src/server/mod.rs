//! The server: every connection, driven by events and turns. Knows sockets only as
//! [`Transport`]s and time only as an argument, so that a simulator can be the world.
//!
//! `table` holds the connections, `timer` their deadlines, `accept` lets them in, `serve` reads
//! and answers, `close` lets them go, `fanout` carries broadcasts, `direct` what is for one alone,
//! `budget` bounds a turn in time, `pressure` the memory of all together, `stop` ends it all.

mod accept;
mod budget;
mod close;
mod connection;
mod direct;
mod fanout;
mod invariants;
mod listener;
mod plugins;
mod pressure;
mod serve;
mod stop;
mod table;
mod timer;
mod transport;

pub use budget::Clock;
pub use listener::ListenerConfig;
pub use transport::{AcceptError, Acceptor, Readiness, Transport};

use std::collections::VecDeque;

use log::info;

use crate::buffer;
use crate::clock::Millis;
use crate::conn_id::ConnId;
use crate::connection_log::ConnectionLog;
use crate::limits::{
    Limits, READ_BUFFER_BYTES, RESUME_TURN_MAX, SCRATCH_KEPT_BYTES_MAX, TIMER_STEPS_PER_DEADLINE,
    TIMER_TURN_STEPS_MAX, UNTIMED_MAX, VISIT_BYTES_CROWDED, VISIT_BYTES_MAX, VISIT_COST_BYTES,
    turn_micros,
};
use crate::memory::MemoryAccount;
use crate::protocol::{self, DirectMessages, PluginScheduler};
use crate::stats::Stats;

use budget::Budget;
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
    /// The time that the part of the turn at hand has.
    budget: Budget,
    /// All bytes that wait, and how many may.
    memory: MemoryAccount,
    /// Memory is tight: who does not take replies is not read from.
    is_tight: bool,
    /// When the account was over its limit and there was nobody to cut.
    relief_failed_at: Option<Millis>,
    /// Bytes the account has been charged with for the table.
    table_charged: usize,
    /// The same for what plugins make wait.
    plugins_charged: usize,
    /// Connections with events for which there was no time, served before all others. Each stands
    /// here or in `resume`, once, and has [`Flags::QUEUED`].
    arrivals: VecDeque<ConnId>,
    /// Connections that were left with something to do. With edge-triggered events nobody else
    /// remembers them. Behind `arrivals`, so one that asks for little does not wait for all that ask
    /// for much.
    resume: VecDeque<ConnId>,
    /// The listener that accepted first in the last turn.
    first_accepting: usize,
    /// The listener whose fan-out had its slice first in the last turn.
    first_fanout: usize,
    /// What the connection at hand may add to the broadcast log, if it has waited for its turn.
    log_share: Option<usize>,
    /// Closed connections, to be dropped at the end of the turn, the first first.
    closed: VecDeque<ConnId>,
    /// How many of them, the first, have waited since an earlier turn.
    closed_before: usize,
    /// Connections that are no clients, the oldest first: the lingering, and those being turned
    /// away. Some may have gone already.
    lingering: VecDeque<ConnId>,
    lingering_count: usize,
    /// Accepting is pointless before this moment.
    accept_paused_until: Option<Millis>,
    connection_log: ConnectionLog,
    plugins: Option<Box<PluginScheduler>>,
    phase: Phase,
    /// The one read buffer.
    read_buffer: Box<[u8]>,
    /// The replies of the connection at hand; empty between connections.
    out: Vec<u8>,
    /// What the connection at hand has for single others; empty between connections.
    direct: DirectMessages,
    /// What is left for the connection at hand to put into replies, in bytes.
    visit_bytes: usize,
    /// What every visit begins with.
    visit_bytes_max: usize,
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
            budget: Budget::new(),
            memory: MemoryAccount::new(limits.memory_bytes_max),
            is_tight: false,
            relief_failed_at: None,
            table_charged: 0,
            plugins_charged: 0,
            arrivals: VecDeque::new(),
            resume: VecDeque::new(),
            first_accepting: 0,
            first_fanout: 0,
            log_share: None,
            closed: VecDeque::new(),
            closed_before: 0,
            lingering: VecDeque::new(),
            lingering_count: 0,
            accept_paused_until: None,
            connection_log: ConnectionLog::default(),
            plugins: None,
            phase: Phase::Running,
            read_buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
            out: Vec::new(),
            direct: DirectMessages::default(),
            visit_bytes: VISIT_BYTES_MAX,
            visit_bytes_max: VISIT_BYTES_MAX,
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

    /// Has each part of a turn look at `clock`, so that none takes longer than
    /// [`turn_micros`] says; it is looked at after each `look_bytes` of
    /// work ([`LOOK_BYTES`](crate::limits::LOOK_BYTES)). It counts microseconds from the moment from
    /// which [`Millis`] are counted. Without one, only counts bound a turn.
    pub fn set_clock(&mut self, clock: Clock, look_bytes: usize) {
        self.budget.set_clock(clock, look_bytes);
    }

    /// The account of all bytes that wait.
    #[must_use]
    pub fn memory(&self) -> &MemoryAccount {
        &self.memory
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
        if protocol::write_status(&mut json, &self.stats, now).is_ok() {
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

    /// A batch of events begins.
    pub fn begin_batch(&mut self, now: Millis) {
        self.now = now;
        self.budget.begin_at(now.0.saturating_mul(1_000), turn_micros::DISPATCH);
    }

    /// A connection may read or write. Events for connections that have gone are ignored. Where the
    /// batch has had its time, the connection is served next turn, in the order of events; one that
    /// has been left with something to do keeps its place.
    pub fn on_ready(&mut self, registry: &T::Registry, id: ConnId, ready: Readiness, now: Millis) {
        self.now = now;
        let Some(conn) = self.table.get_mut(id) else { return };
        if ready.readable || ready.read_closed {
            conn.flags.set(Flags::READ_READY, true);
        }
        if ready.read_closed {
            conn.flags.set(Flags::READ_CLOSED, true);
        }
        if ready.writable {
            conn.flags.set(Flags::WRITE_BLOCKED, false);
        }
        if conn.flags.has(Flags::QUEUED) {
            return;
        }
        if self.budget.is_spent() || !self.arrivals.is_empty() {
            conn.flags.set(Flags::QUEUED, true);
            self.arrivals.push_back(id);
            return;
        }
        self.serve(registry, id);
    }

    /// Does what is left after a batch of events: accepts, resumes, fans out, expires, reaps.
    ///
    /// Each part has a budget of its own in time, so that none starves another;
    /// [`poll_timeout`](Self::poll_timeout) is zero while any work remains. Reaping comes last, so that within one batch and turn no slot is used twice.
    pub fn turn(&mut self, registry: &T::Registry, now: Millis) {
        self.now = now;
        self.serve_arrivals(registry);
        self.accept_all(registry);
        self.run_plugins();
        self.admit_senders(registry);
        self.resume_some(registry);
        self.fan_out(registry);
        self.expire(registry);
        self.advance_stop();
        self.reap();
        buffer::free_retired();
        if let Some(scheduler) = &mut self.plugins {
            scheduler.end_turn();
            self.update_plugin_charge();
        }
        self.check_memory();
        self.end_tight_memory();
        self.budget.end();
        self.connection_log.write_due(now);
    }

    /// How long the next poll may wait: zero while work remains, `None` for as long as it takes.
    #[must_use]
    pub fn poll_timeout(&self, now: Millis) -> Option<u64> {
        let accepting = self.accept_paused_until.is_none()
            && self.listeners.iter().any(|listener| listener.accept_ready);
        let fanning_out = self.listeners.iter().any(|l| l.fanout.active || l.fanout.is_admitting);
        let telling = self.plugins.as_ref().is_some_and(|scheduler| scheduler.has_work());
        let resuming =
            !self.resume.is_empty() || !self.arrivals.is_empty() || !self.closed.is_empty();
        if accepting || fanning_out || telling || resuming || buffer::has_retired() {
            return Some(0);
        }
        let deadlines = [
            self.wheel.next_due(),
            self.accept_paused_until,
            self.connection_log.due_at(),
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

    /// Serves connections whose events there was no time for.
    fn serve_arrivals(&mut self, registry: &T::Registry) {
        if self.arrivals.is_empty() {
            return;
        }
        self.budget.begin(turn_micros::ARRIVALS);
        self.set_visit_bytes(VISIT_BYTES_CROWDED);
        // Each once: whoever is served and has more to do goes to the resume list.
        while let Some(id) = self.arrivals.pop_front() {
            self.take_up(registry, id);
            if self.budget.is_spent() {
                break;
            }
        }
        self.set_visit_bytes(VISIT_BYTES_MAX);
    }

    fn set_visit_bytes(&mut self, bytes: usize) {
        self.visit_bytes_max = bytes;
        self.visit_bytes = bytes;
    }

    /// Takes up connections that were left with something to do, each at most once a turn.
    fn resume_some(&mut self, registry: &T::Registry) {
        if self.resume.is_empty() {
            return;
        }
        self.budget.begin(turn_micros::RESUME);
        for _ in 0..self.resume.len().min(RESUME_TURN_MAX) {
            let Some(id) = self.resume.pop_front() else { break };
            self.phase.on_resumed();
            self.take_up(registry, id);
            if self.budget.is_spent() {
                break;
            }
        }
    }

    /// Serves a connection that was taken from a list.
    fn take_up(&mut self, registry: &T::Registry, id: ConnId) {
        if let Some(conn) = self.table.get_mut(id) {
            conn.flags.set(Flags::QUEUED, false);
            self.serve(registry, id);
        }
    }

    /// Acts on deadlines that have passed, as far as the budget goes: a million connections may have
    /// come in the same second.
    fn expire(&mut self, registry: &T::Registry) {
        let mut next = self.wheel.step(&mut self.table, self.now);
        if next == Step::Done {
            return;
        }
        self.budget.begin(turn_micros::TIMERS);
        let mut steps = TIMER_TURN_STEPS_MAX;
        loop {
            steps = match next {
                Step::Due(index) => {
                    self.on_deadline(registry, self.table.id_at(index));
                    steps.saturating_sub(TIMER_STEPS_PER_DEADLINE)
                }
                Step::Moved => steps.saturating_sub(1),
                Step::Done => return,
            };
            if steps == 0 || self.budget.is_spent() {
                return;
            }
            next = self.wheel.step(&mut self.table, self.now);
        }
    }

    /// Drops closed connections, and with them their descriptors; those there is no time for keep
    /// their slots until the next turn.
    fn reap(&mut self) {
        if self.closed.is_empty() {
            return;
        }
        // A few are not worth a look at the clock, and after a stop there is no next turn.
        if self.closed.len() <= UNTIMED_MAX || self.is_stopped() {
            self.budget.end();
        } else {
            self.budget.begin(turn_micros::REAP);
        }
        // There are files again: whoever waited for one may be let in.
        self.accept_paused_until = None;
        while let Some(id) = self.closed.pop_front() {
            if let Some(before) = self.closed_before.checked_sub(1)
                && let Some(conn) = self.table.get_mut(id)
            {
                self.closed_before = before;
                // What came while it waited shall not turn the close into a reset.
                conn.flags.set(Flags::READ_READY, true);
                let _ = serve::read(conn, &mut self.read_buffer);
            }
            self.wheel.disarm(&mut self.table, id.index);
            self.table.remove(id);
            self.budget.charge(VISIT_COST_BYTES);
            if self.budget.is_spent() {
                break;
            }
        }
        self.closed_before = self.closed.len();
        self.memory.recharge(&mut self.table_charged, self.table.allocated());
    }
}
