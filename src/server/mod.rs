//! The server: every connection, driven by events and turns. Knows sockets only as
//! [`Transport`]s and time only as an argument, so that a simulator can be the world.
//!
//! Three things make a server: `table` holds the connections, `schedule` holds the run queues (with
//! `timer_wheel` and `deadlines`, and `budget` for the time of a turn), and [`Shared`] is what all
//! of them share. A `visit` borrows from each what one connection needs. `accept` and `close` begin
//! and end connections, `fanout` carries broadcasts, `admission` lets senders add to them,
//! `direct_messages` private messages, `memory_pressure` bounds memory, `stop` stops the server,
//! `removal` (with `drain`) a listener, and `sweep` looks through all connections.

mod accept;
#[cfg(feature = "admission")]
pub mod address_table;
#[cfg(feature = "admin")]
mod admin;
mod admission;
mod admission_check;
#[cfg(all(feature = "admin", feature = "admission"))]
mod bans;
mod budget;
mod close;
#[cfg(feature = "cluster")]
mod cluster;
mod connection;
mod deadlines;
mod direct_messages;
mod drain;
mod fanout;
mod handshakes;
mod invariants;
mod layer;
mod layered;
mod layers;
mod listener;
#[cfg(feature = "accounts")]
mod logins;
mod memory_pressure;
mod opening;
#[cfg_attr(not(feature = "admission"), path = "origins_disabled.rs")]
mod origins;
mod plugins;
#[cfg(feature = "admission")]
mod proxy_header;
#[cfg(feature = "admission")]
mod rates;
mod removal;
mod schedule;
mod side_table;
mod stop;
mod sweep;
mod table;
mod timer_wheel;
mod transport;
#[cfg(feature = "admin")]
mod turn_times;
mod visit;

#[cfg(feature = "admin")]
pub use admin::{Process, ProcessSample};
pub use budget::Clock;
pub use layer::{Layer, NoLayer, Nowhere, Place, Received};
#[cfg(feature = "admin")]
pub use listener::Identity;
pub use listener::ListenerConfig;
#[cfg(feature = "admission")]
pub use origins::{AddressLimit, AddressLimits, TrustedProxies};
pub use transport::{AcceptError, Acceptor, Readiness, Transport};

#[cfg(feature = "admin")]
use std::num::NonZeroU32;

use log::info;
#[cfg(feature = "admin")]
use log::warn;

use crate::buffer;
use crate::clock::Millis;
#[cfg(feature = "cluster")]
use crate::cluster::Node;
use crate::conn_id::ConnId;
use crate::limits::{
    Limits, READ_BUFFER_BYTES, RESUME_TURN_MAX, SCRATCH_KEPT_BYTES_MAX, UNTIMED_MAX,
    VISIT_BYTES_CROWDED, VISIT_BYTES_MAX, VISIT_COST_BYTES, turn_micros,
};
use crate::memory::MemoryAccount;
use crate::protocol::{self, Shared};
#[cfg(feature = "admission")]
use crate::rates::RateState;
use crate::stats::Stats;

use connection::Flags;
use drain::ListenerState;
use layers::Layers;
use listener::Listener;
use origins::Origins;
use schedule::{Schedule, free_if_empty};
#[cfg(any(feature = "admin", feature = "admission"))]
use side_table::SideTable;
use sweep::Sweep;
use table::Table;
use timer_wheel::TimerWheel;
use visit::Visit;

/// When a server has to have its next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextTurn {
    /// At once: work remains.
    AtOnce,
    /// At this moment, if no event comes earlier.
    At(Millis),
    /// With the next event.
    OnEvent,
}

/// A server over connections of type `T`.
///
/// Its owner feeds it events ([`on_ready`](Self::on_ready),
/// [`on_acceptable`](Self::on_acceptable)) and calls [`turn`](Self::turn) after each batch, then
/// waits for at most [`poll_timeout`](Self::poll_timeout).
pub struct Server<T: Transport> {
    shared: Shared,
    listeners: Vec<Listener<T>>,
    table: Table<T>,
    wheel: TimerWheel,
    schedule: Schedule,
    /// When relief last closed every candidate and the account stayed above 90 % of the limit.
    relief_failed_at: Option<Millis>,
    /// Most clients there may be: those that were there when the limit was lowered stay.
    clients_bound: usize,
    /// Bytes the account has been charged with for the table.
    table_charged: usize,
    /// The same for the plugins' notices and clients.
    plugins_charged: usize,
    /// A search for connections of deleted accounts, as far as it has come.
    #[cfg(feature = "accounts")]
    account_sweep: Option<Sweep>,
    /// Deadlines that are being armed anew.
    deadline_sweep: Option<Sweep>,
    /// Tasks of admin clients.
    #[cfg(feature = "admin")]
    admin: admin::AdminWork,
    /// The server as a node of a cluster.
    #[cfg(feature = "cluster")]
    node: Option<Box<Node>>,
    /// A log has no space for what another node has published.
    #[cfg(feature = "cluster")]
    is_cluster_blocked: bool,
    /// Bytes the account has been charged with for other nodes, and what waits for them.
    #[cfg(feature = "cluster")]
    cluster_charged: usize,
    io: Io<T::Layer>,
}

/// Buffers of a visit, and what some connections have beside their slots.
struct Io<L: Layer> {
    /// The one read buffer.
    read_buffer: Box<[u8]>,
    layers: Layers<L>,
    origins: Origins,
    /// When connections were accepted, in seconds and one more, so that it takes four bytes; where
    /// there is an admin listener.
    #[cfg(feature = "admin")]
    accepted_at: SideTable<NonZeroU32>,
    /// How far connections are ahead of their rates.
    #[cfg(feature = "admission")]
    rate_states: SideTable<RateState>,
}

impl<T: Transport> Server<T> {
    /// A server without listeners.
    #[must_use]
    pub fn new(limits: Limits, now: Millis) -> Self {
        Server {
            shared: Shared::new(limits, now),
            listeners: Vec::new(),
            table: Table::new(),
            wheel: TimerWheel::new(now),
            schedule: Schedule::new(),
            relief_failed_at: None,
            clients_bound: limits.clients_max,
            table_charged: 0,
            plugins_charged: 0,
            #[cfg(feature = "accounts")]
            account_sweep: None,
            deadline_sweep: None,
            #[cfg(feature = "admin")]
            admin: admin::AdminWork::default(),
            #[cfg(feature = "cluster")]
            node: None,
            #[cfg(feature = "cluster")]
            is_cluster_blocked: false,
            #[cfg(feature = "cluster")]
            cluster_charged: 0,
            io: Io {
                read_buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
                layers: Layers::new(),
                origins: Origins::new(),
                #[cfg(feature = "admin")]
                accepted_at: SideTable::new(),
                #[cfg(feature = "admission")]
                rate_states: SideTable::new(),
            },
        }
    }

    /// Listeners added so far, less those whose numbers can be given to others.
    #[must_use]
    pub fn listener_count(&self) -> usize {
        self.listeners.iter().filter(|listener| listener.state != ListenerState::Vacant).count()
    }

    /// Enables the time budgets of a turn's parts ([`turn_micros`]). `clock` returns microseconds
    /// since the origin of [`Millis`]; it is read every `clock_check_bytes` of work
    /// ([`CLOCK_CHECK_BYTES`](crate::limits::CLOCK_CHECK_BYTES)). Without it only counts limit a
    /// turn.
    pub fn set_clock(&mut self, clock: Clock, clock_check_bytes: usize) {
        self.schedule.budget.set_clock(clock, clock_check_bytes);
    }

    /// The account of all bytes that wait.
    #[doc(hidden)]
    #[must_use]
    pub fn memory(&self) -> &MemoryAccount {
        &self.shared.memory
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats.totals()
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
        if protocol::write_status(&mut json, &self.shared.stats.totals(), now).is_ok() {
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
        self.shared.now = now;
        self.schedule.budget.begin_at(now.0.saturating_mul(1_000), turn_micros::DISPATCH.micros);
        #[cfg(feature = "admin")]
        self.schedule.budget.begin_turn();
    }

    /// The program around the loop has something to do before the turn: what takes long is its doing.
    #[cfg(feature = "admin")]
    pub fn begin_program(&mut self) {
        self.schedule.budget.mark(turn_micros::PROGRAM);
    }

    /// A connection may read or write. Events for connections that have gone are ignored. Where the
    /// batch has had its time, the connection is served next turn, in the order of events; one that
    /// has been left with something to do keeps its place.
    #[inline]
    pub fn on_ready(&mut self, registry: &T::Registry, id: ConnId, ready: Readiness, now: Millis) {
        self.shared.now = now;
        let Some(mut visit) = self.visit(id) else { return };
        let conn = &mut *visit.conn;
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
        let schedule = &mut *visit.schedule;
        if schedule.budget.is_spent() || !schedule.arrivals.is_empty() {
            conn.flags.set(Flags::QUEUED, true);
            schedule.arrivals.push_back(id);
            return;
        }
        let timer_at = visit.run(registry);
        self.end_visit(registry, id, timer_at);
    }

    /// A connection with everything its visit may touch, unless it has gone.
    #[inline]
    fn visit(&mut self, id: ConnId) -> Option<Visit<'_, T>> {
        let (conn, listener) = self.table.find(id)?;
        let listener = &mut self.listeners[listener];
        let (shared, schedule) = (&mut self.shared, &mut self.schedule);
        Some(Visit { id, conn, listener, shared, schedule, io: &mut self.io })
    }

    /// Visits a connection: reads what may be read, answers it, and writes the answers.
    fn serve(&mut self, registry: &T::Registry, id: ConnId) {
        if let Some(mut visit) = self.visit(id) {
            let timer_at = visit.run(registry);
            self.end_visit(registry, id, timer_at);
        }
    }

    /// Handles the effects of a visit on other connections: most have none.
    #[inline(always)]
    fn end_visit(&mut self, registry: &T::Registry, id: ConnId, timer_at: Millis) {
        let has_others = !self.shared.direct.is_empty() || self.shared.plugins.is_some();
        if timer_at != Millis::NEVER
            || has_others
            || self.shared.memory.is_tight()
            || !self.schedule.lingering.is_empty()
        {
            self.end_visit_at_length(registry, id, timer_at);
        }
    }

    #[inline(never)]
    fn end_visit_at_length(&mut self, registry: &T::Registry, id: ConnId, timer_at: Millis) {
        self.arm_timer(id, timer_at);
        self.deliver_direct(registry);
        if self.shared.plugins.is_some() {
            self.append_plugin_broadcasts();
        }
        self.bound_lingering();
        self.check_memory();
    }

    /// Runs one turn: deferred events, accept, plugins, admission, logins, resume, handshakes, fan-out,
    /// timers, stop, reap.
    ///
    /// Each part but plugins and stop has its own time budget, so that none starves another;
    /// plugins are limited by their scheduler. [`poll_timeout`](Self::poll_timeout) is zero while
    /// any work remains. Reaping comes last, so that within one batch and turn no slot is used
    /// twice.
    pub fn turn(&mut self, registry: &T::Registry, now: Millis) {
        self.shared.now = now;
        self.serve_arrivals(registry);
        self.accept_all(registry);
        self.run_plugins();
        #[cfg(feature = "cluster")]
        if self.node.is_some() {
            self.run_cluster(registry);
        }
        self.admit_senders(registry);
        #[cfg(feature = "accounts")]
        self.run_logins(registry);
        #[cfg(feature = "admin")]
        self.run_admin(registry);
        self.resume_some(registry);
        self.bound_openings();
        self.advance_handshakes(registry);
        self.fan_out(registry);
        self.expire(registry);
        // A header that was found at its last moment has begun a handshake.
        #[cfg(feature = "admission")]
        self.bound_openings();
        self.advance_stop(registry);
        #[cfg(feature = "cluster")]
        if self.node.is_some() {
            self.flush_cluster();
        }
        if !self.schedule.closed.is_empty() {
            self.reap();
        }
        buffer::free_retired();
        if let Some(scheduler) = &mut self.shared.plugins {
            scheduler.end_turn();
            self.update_plugin_charge();
        }
        #[cfg(feature = "admin")]
        self.update_admin_charge();
        self.check_memory();
        self.end_tight_memory();
        self.schedule.budget.end();
        self.shared.connection_log.write_due(now);
        #[cfg(feature = "admin")]
        if let Some(slow) = self.schedule.budget.end_turn() {
            warn!("{slow}");
        }
    }

    /// How long the next poll may wait, in milliseconds: zero while work remains, `None` for as
    /// long as it takes.
    #[must_use]
    pub fn poll_timeout(&self, now: Millis) -> Option<u64> {
        match self.next_turn() {
            NextTurn::AtOnce => Some(0),
            NextTurn::At(at) => Some(at.since(now)),
            NextTurn::OnEvent => None,
        }
    }

    /// When the next turn is due if nothing happens. Plugin log deadlines are relative to the last
    /// turn.
    #[must_use]
    pub fn next_turn(&self) -> NextTurn {
        #[cfg(feature = "cluster")]
        if self.node.is_some() {
            if self.has_cluster_work() {
                return NextTurn::AtOnce;
            }
            return match (self.next_turn_alone(), self.cluster_due_at()) {
                (NextTurn::At(at), Some(due_at)) => NextTurn::At(at.min(due_at)),
                (NextTurn::OnEvent, Some(due_at)) => NextTurn::At(due_at),
                (next, _) => next,
            };
        }
        self.next_turn_alone()
    }

    /// The same without what a node has to do.
    pub(crate) fn next_turn_alone(&self) -> NextTurn {
        let Schedule { arrivals, resume, closed, accept_paused_until, .. } = &self.schedule;
        let has_queued = !resume.is_empty() || !arrivals.is_empty() || !closed.is_empty();
        let has_handshakes = T::Layer::EXISTS && !self.schedule.handshakes.is_empty();
        let has_plugin_work = self.shared.plugins.as_ref().is_some_and(|p| p.has_work());
        let is_listener_busy = |listener: &Listener<T>| {
            let may_accept =
                listener.accept_ready && accept_paused_until.is_none() && self.may_accept(listener);
            may_accept || listener.fanout.active || listener.fanout.is_admitting
        };
        #[cfg(feature = "accounts")]
        let has_queued = has_queued || self.has_login_work();
        #[cfg(feature = "admin")]
        let has_queued = has_queued || self.has_admin_work();
        if has_queued || has_handshakes || has_plugin_work || buffer::has_retired() {
            return NextTurn::AtOnce;
        }
        if self.listeners.iter().any(is_listener_busy) {
            return NextTurn::AtOnce;
        }
        let plugin_log_due_at = self.plugin_log_due_in_ms().map(|ms| self.shared.now.after(ms));
        let deadlines = [
            self.wheel.next_due(),
            *accept_paused_until,
            self.shared.connection_log.due_at(),
            self.stop_due_at(),
            plugin_log_due_at,
        ];
        Millis::earliest(deadlines).map_or(NextTurn::OnEvent, NextTurn::At)
    }

    /// Gives back scratch memory that a large reply made grow; for when there is nothing to do.
    pub fn on_idle(&mut self) {
        self.shared.out.shrink_to(SCRATCH_KEPT_BYTES_MAX);
        if let Some(store) = self.io.layers.get_mut() {
            store.wire.shrink_to(SCRATCH_KEPT_BYTES_MAX);
            store.plain.shrink_to(SCRATCH_KEPT_BYTES_MAX);
        }
    }

    /// Serves connections whose events there was no time for.
    fn serve_arrivals(&mut self, registry: &T::Registry) {
        if self.schedule.arrivals.is_empty() {
            return;
        }
        self.schedule.budget.begin(turn_micros::ARRIVALS);
        self.set_visit_bytes(VISIT_BYTES_CROWDED);
        // Each once: a connection with more to do goes to the resume list.
        while let Some(id) = self.schedule.arrivals.pop_front() {
            self.take_up(registry, id);
            if self.schedule.budget.is_spent() {
                break;
            }
        }
        self.set_visit_bytes(VISIT_BYTES_MAX);
        free_if_empty(&mut self.schedule.arrivals);
    }

    fn set_visit_bytes(&mut self, bytes: usize) {
        self.schedule.visit_bytes_max = bytes;
        self.shared.visit_bytes = bytes;
    }

    /// Takes up connections that were left with something to do, each at most once a turn.
    fn resume_some(&mut self, registry: &T::Registry) {
        if self.schedule.resume.is_empty() {
            return;
        }
        self.schedule.budget.begin(turn_micros::RESUME);
        for _ in 0..self.schedule.resume.len().min(RESUME_TURN_MAX) {
            let Some(id) = self.schedule.resume.pop_front() else { break };
            self.schedule.phase.on_resumed();
            self.take_up(registry, id);
            if self.schedule.budget.is_spent() {
                break;
            }
        }
        free_if_empty(&mut self.schedule.resume);
    }

    /// Serves a connection that was taken from a list.
    fn take_up(&mut self, registry: &T::Registry, id: ConnId) {
        if let Some(conn) = self.table.get_mut(id) {
            conn.flags.set(Flags::QUEUED, false);
            self.serve(registry, id);
        }
    }

    /// Drops closed connections, and with them their descriptors; those there is no time for keep
    /// their slots until the next turn.
    #[inline(never)]
    fn reap(&mut self) {
        // Few connections are reaped without reading the clock, and after a stop there is no next
        // turn.
        if self.schedule.closed.len() <= UNTIMED_MAX || self.is_stopped() {
            self.schedule.budget.end();
        } else {
            self.schedule.budget.begin(turn_micros::REAP);
        }
        // Descriptors are free again: resume accepting.
        self.schedule.accept_paused_until = None;
        while let Some(id) = self.schedule.closed.pop_front() {
            if let Some(before) = self.schedule.closed_before.checked_sub(1)
                && let Some(conn) = self.table.get_mut(id)
            {
                self.schedule.closed_before = before;
                // What came while it waited shall not turn the close into a reset.
                conn.flags.set(Flags::READ_READY, true);
                let _ = visit::read(conn, &mut self.io.read_buffer);
            }
            self.wheel.disarm(&mut self.table, id.index);
            #[cfg(feature = "admin")]
            self.io.accepted_at.take(id.index);
            self.table.remove(id);
            self.schedule.budget.charge(VISIT_COST_BYTES);
            if self.schedule.budget.is_spent() {
                break;
            }
        }
        self.schedule.closed_before = self.schedule.closed.len();
        free_if_empty(&mut self.schedule.closed);
        self.update_table_charge();
    }

    /// Charges the account with the table, and with what some connections have beside it.
    fn update_table_charge(&mut self) {
        let Io { layers, origins, .. } = &self.io;
        let held = self.table.allocated() + layers.allocated() + origins.allocated();
        #[cfg(feature = "admission")]
        let held = held + self.io.rate_states.allocated();
        #[cfg(feature = "admin")]
        let held = held + self.io.accepted_at.allocated();
        self.shared.memory.recharge(&mut self.table_charged, held);
    }
}
