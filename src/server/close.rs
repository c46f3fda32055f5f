//! The ways out: draining, lingering, closing.

use std::io;

use super::Server;
use super::connection::{Flags, State};
use super::serve::{caught_up, read};
use super::table::Table;
use super::transport::Transport;
use crate::conn_id::ConnId;
use crate::limits::{LINGER_STOPPING_MS, READ_TURN_BYTES_MAX};
use crate::protocol::CloseReason;
use crate::protocol::Protocol;
use crate::protocol::chat::{self, Message};
use crate::strerror::strerror;

impl<T: Transport> Server<T> {
    /// Begins to close an open connection whose input has ended and been answered.
    pub(super) fn drain_if_ended(&mut self, id: ConnId) {
        let closing = self.phase.is_closing();
        let Some(conn) = self.table.get_mut(id) else { return };
        if conn.state != State::Open {
            return;
        }
        if self.phase.is_stopping() && !conn.may_read() {
            conn.flags.set(Flags::READ_ENOUGH, true);
        }
        if conn.session.has_deferred_input() {
            return;
        }
        if conn.flags.has(Flags::END_OF_STREAM) {
            self.start_drain(id, CloseReason::PeerClosed);
        } else if closing && conn.flags.has(Flags::READ_ENOUGH) {
            self.start_drain(id, CloseReason::Shutdown);
        }
    }

    /// No more input is interpreted; what is owed is sent, then the connection closes.
    pub(super) fn start_drain(&mut self, id: ConnId, reason: CloseReason) {
        let now = self.now;
        let Some(conn) = self.table.get_mut(id) else { return };
        debug_assert_eq!(conn.state, State::Open);
        let listener = &self.listeners[usize::from(conn.listener)];
        if let (Protocol::Chat { lang }, CloseReason::Shutdown) =
            (&listener.config.protocol, reason)
        {
            chat::say(Message::ShutDown, *lang, &mut self.out);
        }
        conn.session.drop_input();
        if reason != CloseReason::Shutdown {
            conn.session.mark_active(now);
        }
        conn.state = State::Draining(reason);
        self.leave_room(id, reason);
    }

    /// A connection that was open leaves its room: no broadcast that is yet to come reaches it, and
    /// in a chat the others hear that it has gone, unless all go because the server stops. What it
    /// lags behind stays in the log for it as long as for any other laggard.
    fn leave_room(&mut self, id: ConnId, reason: CloseReason) {
        let (now, quietly) = (self.now, self.phase.is_closing());
        let Some(conn) = self.table.get_mut(id) else { return };
        let number = usize::from(conn.listener);
        let listener = &mut self.listeners[number];
        listener.room.members -= 1;
        if let Some(scheduler) = &mut self.plugins {
            scheduler.on_disconnected(id, reason);
        }
        // Without memory for its place, it is not sent the rest; it is closing anyway.
        let member = conn.session.unsubscribe(&listener.room.log).unwrap_or_default();
        if let (Protocol::Chat { lang }, Some(key)) = (&listener.config.protocol, member) {
            let nick = chat::on_leave(&mut listener.room, key, *lang, quietly);
            self.connection_log.line(now, || format!("{id} {nick} left"));
            self.start_pass_if_needed(number);
        }
    }

    /// All is sent: shut our side, and wait for the peer to shut its own.
    pub(super) fn finish_drain(&mut self, id: ConnId, reason: CloseReason) {
        let now = self.now;
        let Some(conn) = self.table.get_mut(id) else { return };
        // Nothing is in flight to a client that has been silent since long before the stop.
        let silent = now.since(conn.session.last_active_at()) > LINGER_STOPPING_MS;
        let skip_linger = reason == CloseReason::Shutdown && silent;
        let over = conn.flags.has(Flags::END_OF_STREAM) || skip_linger;
        // Where shutting fails the peer is gone already; that does not change why we close.
        if over || conn.stream.shutdown_write().is_err() {
            return self.close(id, reason, None);
        }
        conn.session.mark_active(now);
        self.depart(id, reason, None);
        if let Some(conn) = self.table.get_mut(id) {
            conn.state = State::Lingering;
        }
        if reason != CloseReason::Full {
            self.linger(id);
        }
    }

    /// Puts a connection at the end of those that are no clients and hold a descriptor for a while
    /// yet: the lingering, and those that are being turned away.
    pub(super) fn linger(&mut self, id: ConnId) {
        self.lingering.push_back(id);
        self.lingering_count += 1;
        // In a stop nobody new needs the descriptors.
        if self.lingering_count > self.limits.lingering_max && !self.phase.is_stopping() {
            self.evict_oldest_lingering();
        }
        // Most of them go by themselves and leave their names behind. Swept when they outnumber
        // the living, the list costs a constant time a connection and never grows.
        if self.lingering.len() > 2 * self.lingering_count.max(self.limits.lingering_max) {
            let table = &mut self.table;
            self.lingering.retain(|&id| is_lingering(table, id));
        }
    }

    /// Throws away what a peer sends that we no longer listen to.
    pub(super) fn discard(&mut self, id: ConnId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        let mut budget = READ_TURN_BYTES_MAX;
        while conn.may_read() && budget > 0 {
            match read(conn, &mut self.read_buffer) {
                Ok(Some(n)) => {
                    budget = budget.saturating_sub(n);
                    self.stats.bytes_in_total += n as u64;
                }
                Ok(None) => break,
                Err(error) => return self.close(id, CloseReason::Io, Some(error)),
            }
        }
        if conn.state == State::Lingering && conn.flags.has(Flags::END_OF_STREAM) {
            self.close(id, CloseReason::PeerClosed, None);
        }
    }

    /// Makes room for new connections at the cost of one that only waits for its peer's last word.
    /// False if there is none.
    pub(super) fn evict_oldest_lingering(&mut self) -> bool {
        while let Some(id) = self.lingering.pop_front() {
            if is_lingering(&mut self.table, id) {
                // What has come by now shall not turn the close into a reset.
                if let Some(conn) = self.table.get_mut(id) {
                    conn.flags.set(Flags::READ_READY, true);
                }
                self.discard(id);
                self.close(id, CloseReason::PeerClosed, None);
                return true;
            }
        }
        false
    }

    /// Closes a connection now, whatever is unsent. It stays in its slot until the end of the turn.
    pub(super) fn close(&mut self, id: ConnId, reason: CloseReason, error: Option<io::Error>) {
        let Some(conn) = self.table.get_mut(id) else { return };
        match conn.state {
            State::Closed => return,
            State::Lingering | State::Draining(CloseReason::Full) => self.lingering_count -= 1,
            State::Draining(_) => {}
            State::Open => self.leave_room(id, reason),
        }
        self.release(id);
        self.depart(id, reason, error.as_ref());
        match reason {
            CloseReason::SlowConsumer => {
                self.stats.slow_consumers_total += 1;
                self.connection_log.slow_consumer(self.now);
            }
            CloseReason::MemoryLimit => {
                self.stats.memory_cuts_total += 1;
                self.connection_log.memory_limit(self.now, self.memory.limit() as u64);
            }
            _ => {}
        }
        if let Some(conn) = self.table.get_mut(id) {
            conn.state = State::Closed;
        }
        self.closed.push_back(id);
        self.out.clear();
    }

    /// Nothing more is sent: gives back what waits, and counts the connection out of the laggards.
    fn release(&mut self, id: ConnId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        conn.session.release_memory(&mut self.memory);
        if conn.flags.has(Flags::LAGGING) {
            conn.flags.set(Flags::LAGGING, false);
            caught_up(&mut self.listeners[usize::from(conn.listener)], &mut self.memory);
        }
    }

    /// A client that was let in is one no longer: counts it out and logs why.
    fn depart(&mut self, id: ConnId, reason: CloseReason, error: Option<&io::Error>) {
        let now = self.now;
        let Some(conn) = self.table.get_mut(id) else { return };
        match conn.state {
            State::Draining(CloseReason::Full) | State::Lingering | State::Closed => return,
            State::Draining(_) | State::Open => {}
        }
        self.stats.connections -= 1;
        self.connection_log.line(now, || {
            // A connection that was reset no longer knows its peer; the id still tells.
            let peer = conn.stream.peer_addr().map_or(String::new(), |peer| format!(" {peer}"));
            match error {
                Some(error) => {
                    format!("{id}{peer} disconnected: {reason}: {}", strerror(error))
                }
                None => format!("{id}{peer} disconnected: {reason}"),
            }
        });
    }
}

fn is_lingering<T>(table: &mut Table<T>, id: ConnId) -> bool {
    table.get_mut(id).is_some_and(|conn| {
        matches!(conn.state, State::Lingering | State::Draining(CloseReason::Full))
    })
}
