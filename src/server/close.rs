//! The ways a connection ends: draining, lingering, closing.

use std::io;

#[cfg(feature = "admin")]
use log::{Level, debug, log_enabled};

use super::Server;
#[cfg(feature = "admin")]
use super::accept::is_admin;
use super::connection::{Connection, Flags, State};
use super::layer::Layer;
use super::origins::Origins;
use super::stop::Phase;
use super::table::Table;
use super::transport::Transport;
use super::visit::{Visit, read};
use crate::conn_id::ConnId;
use crate::limits::{LINGER_STOPPING_MS, READ_TURN_BYTES_MAX};
use crate::protocol::{CloseReason, Departure, Handler, dispatch};
use crate::strerror::strerror;

impl<T: Transport> Visit<'_, T> {
    /// Begins to close an open connection whose input has ended and been answered.
    #[inline]
    pub(super) fn drain_if_input_ended(&mut self) {
        const ENDED: Flags = Flags::EOF.and(Flags::INPUT_STOPPED).and(Flags::LEAVING);
        let may_have_ended = self.conn.flags.has_any(ENDED);
        if may_have_ended || self.schedule.phase.is_stopping() {
            self.drain_ended_input();
        }
    }

    #[inline(never)]
    fn drain_ended_input(&mut self) {
        let Visit { conn, listener, schedule, .. } = self;
        if conn.state != State::Open {
            return;
        }
        let is_leaving = schedule.phase.is_stopping() || conn.flags.has(Flags::LEAVING);
        if is_leaving && !conn.may_read() {
            conn.flags.set(Flags::INPUT_STOPPED, true);
        }
        if conn.session.has_deferred_input() {
            return;
        }
        if conn.flags.has(Flags::EOF) {
            self.start_drain(CloseReason::PeerClosed);
        } else if conn.flags.has(Flags::INPUT_STOPPED) {
            if schedule.phase.is_closing() {
                self.start_drain(CloseReason::Shutdown);
            } else if listener.state.is_closing() {
                self.start_drain(CloseReason::ListenerRemoved);
            }
        }
    }

    /// Stops acting on input: what is unsent is sent, then the connection closes.
    #[inline(never)]
    pub(super) fn start_drain(&mut self, reason: CloseReason) {
        let Visit { conn, listener, shared, .. } = self;
        debug_assert_eq!(conn.state, State::Open);
        conn.session.drop_input();
        if reason.is_orderly() {
            dispatch!(&listener.protocol, handler => handler.write_shutdown_notice(&mut shared.out));
        } else {
            conn.session.mark_active(shared.now);
        }
        conn.state = State::Draining(reason);
        self.leave_room(reason);
    }

    /// An open connection leaves its room: no broadcast that is yet to come reaches it. The other
    /// members hear of it where the protocol says so, unless all leave because the server stops or
    /// their listener is removed.
    /// The log keeps what it lags behind as long as for any other laggard.
    fn leave_room(&mut self, reason: CloseReason) {
        let Visit { id, conn, listener, shared, schedule, .. } = self;
        #[cfg(feature = "admin")]
        if let Some(admin) = &mut shared.admin {
            admin.disconnect(*id);
        }
        #[cfg(feature = "accounts")]
        if let Some(accounts) = &mut shared.accounts {
            accounts.disconnect(*id);
        }
        #[cfg(feature = "cluster")]
        if let Some(cluster) = &mut shared.cluster {
            cluster.disconnect(*id);
        }
        let room = &mut listener.room;
        #[cfg(feature = "accounts")]
        if conn.session.must_log_in() {
            room.access.must_log_in -= 1;
        }
        room.members -= 1;
        // Without memory for its place, it is not sent the rest; it is closing anyway.
        let member = conn.session.unsubscribe(&room.log).unwrap_or_default();
        let is_quiet = schedule.phase.is_closing() || listener.state.is_closing();
        let departure = Departure { id: *id, member, reason, is_quiet };
        dispatch!(&mut listener.protocol, handler => handler.on_leave(departure, room, shared));
        listener.start_pass_if_needed(&mut shared.memory);
    }

    /// All is sent: shut our side, and wait for the peer to shut its own.
    pub(super) fn finish_drain(&mut self, reason: CloseReason) {
        let Visit { conn, shared, .. } = self;
        // Nothing is in flight to a client that has been silent since long before the stop.
        let is_silent = shared.now.since(conn.session.last_active_at()) > LINGER_STOPPING_MS;
        let skip_linger = reason == CloseReason::Shutdown && is_silent;
        if T::Layer::EXISTS && conn.flags.has(Flags::LAYERED) {
            // It has said that it will send no more, and may still do so: unread, that would reset it.
            conn.flags.set(Flags::EOF, false);
            conn.flags.set(Flags::READ_READY, true);
        }
        let is_over = conn.flags.has(Flags::EOF) || skip_linger;
        // Where shutting fails the peer is gone already; that does not change why we close.
        if is_over || conn.stream.shutdown_write().is_err() {
            return self.close(reason, None);
        }
        conn.session.mark_active(shared.now);
        self.record_disconnect(reason, None);
        self.conn.state = State::Lingering;
        if reason != CloseReason::Full {
            self.track_lingering();
        }
    }

    /// Adds the connection to the lingering list (refused ones too);
    /// [`bound_lingering`](Server::bound_lingering) evicts.
    pub(super) fn track_lingering(&mut self) {
        self.schedule.lingering.push_back(self.id);
        self.schedule.lingering_count += 1;
    }

    /// Reads and discards what a peer sends that is no longer acted on.
    #[inline(never)]
    pub(super) fn discard_input(&mut self) {
        let mut left = READ_TURN_BYTES_MAX;
        while self.conn.may_read() && left > 0 {
            match read(self.conn, &mut self.io.read_buffer) {
                Ok(Some(n)) => {
                    left = left.saturating_sub(n);
                    self.listener.room.stats.bytes_in.add(n as u64);
                    self.schedule.budget.note(n);
                }
                Ok(None) => break,
                Err(error) => return self.close(CloseReason::Io, Some(error)),
            }
        }
        if self.conn.state == State::Lingering && self.conn.flags.has(Flags::EOF) {
            self.close(CloseReason::PeerClosed, None);
        }
    }

    /// Closes the connection now, whatever is unsent. It stays in its slot until the end of the
    /// turn.
    #[inline(never)]
    pub(super) fn close(&mut self, reason: CloseReason, error: Option<io::Error>) {
        match self.conn.state {
            State::Closed => return,
            State::Lingering | State::Draining(CloseReason::Full) => {
                self.schedule.lingering_count -= 1;
            }
            State::Opening | State::Draining(_) => {}
            State::Open => self.leave_room(reason),
        }
        self.release_memory();
        if self.conn.flags.has(Flags::LAYERED)
            && let Some(store) = self.io.layers.get_mut()
        {
            store.remove(self.id.index, &mut self.shared.memory);
            // What the layer had to say goes with the connection, not to the next one.
            store.wire.clear();
            self.conn.flags.set(Flags::LAYER_HOLDS, false);
        }
        self.record_disconnect(reason, error.as_ref());
        #[cfg(feature = "admission")]
        self.io.rate_states.take(self.id.index);
        #[cfg(feature = "admission")]
        self.io.origins.forget(self.id, self.conn.flags.has(Flags::PROXIED));
        let shared = &mut *self.shared;
        match reason {
            CloseReason::SlowConsumer => {
                self.listener.room.stats.slow_consumers.add(1);
                shared.connection_log.slow_consumer(shared.now);
            }
            CloseReason::MemoryLimit => {
                shared.stats.server.memory_cuts_total += 1;
                shared.connection_log.memory_limit(shared.now, shared.memory.limit() as u64);
            }
            _ => {}
        }
        self.conn.state = State::Closed;
        self.schedule.closed.push_back(self.id);
        self.shared.out.clear();
    }

    /// Frees buffers and removes the connection from the laggard count.
    pub(super) fn release_memory(&mut self) {
        self.conn.session.release_memory(&mut self.shared.memory);
        if self.conn.flags.has(Flags::LAGGING) {
            self.conn.flags.set(Flags::LAGGING, false);
            self.listener.on_caught_up(&mut self.shared.memory);
        }
    }

    /// Decrements the client count and logs the reason.
    fn record_disconnect(&mut self, reason: CloseReason, error: Option<&io::Error>) {
        let Visit { id, conn, listener, shared, io, .. } = self;
        match conn.state {
            State::Draining(CloseReason::Full) | State::Lingering | State::Closed => return,
            State::Opening | State::Draining(_) | State::Open => {}
        }
        shared.stats.server.connections -= 1;
        listener.room.stats.connections.take_back(1);
        listener.room.stats.count_closed(reason);
        io.origins.release(id.index, shared.now);
        if T::Layer::EXISTS && reason == CloseReason::Handshake {
            // It has its line.
            return;
        }
        let line = || {
            let peer = io.origins.shown_peer(*id, conn);
            match error {
                Some(error) => {
                    format!("{id}{peer} disconnected: {reason}: {}", strerror(error))
                }
                None => format!("{id}{peer} disconnected: {reason}"),
            }
        };
        #[cfg(feature = "admin")]
        if is_admin(listener) {
            if log_enabled!(Level::Debug) {
                debug!("{}", line());
            }
            return;
        }
        shared.connection_log.line(shared.now, line);
    }
}

impl<T: Transport> Server<T> {
    /// Closes the connection `id` now, whatever is unsent.
    pub(super) fn close(&mut self, id: ConnId, reason: CloseReason) {
        if let Some(mut visit) = self.visit(id) {
            visit.close(reason, None);
        }
    }

    /// Bounds the connections that linger, and the list of them. Their number is not enforced
    /// while a stop or the removal of a listener makes many of them; there are never more than there
    /// may be descriptors.
    #[inline]
    pub(super) fn bound_lingering(&mut self) {
        let max = self.shared.limits.lingering_max;
        if self.schedule.lingering_count > max && self.schedule.phase == Phase::Running {
            self.evict_oldest_lingering();
        }
        // Closed connections stay in the list until it is twice as long as the live ones.
        if self.schedule.lingering.len() > 2 * self.schedule.lingering_count.max(max) {
            let table = &mut self.table;
            self.schedule.lingering.retain(|&id| is_lingering(table, id));
        }
    }

    /// Makes place for a new connection by closing the one that has lingered longest. False if
    /// there is none.
    #[inline(never)]
    pub(super) fn evict_oldest_lingering(&mut self) -> bool {
        while let Some(id) = self.schedule.lingering.pop_front() {
            if is_lingering(&mut self.table, id)
                && let Some(mut visit) = self.visit(id)
            {
                // What has come by now shall not turn the close into a reset.
                visit.conn.flags.set(Flags::READ_READY, true);
                visit.discard_input();
                visit.close(CloseReason::PeerClosed, None);
                return true;
            }
        }
        false
    }
}

impl Origins {
    /// Where a connection comes from, behind a blank, for the log; nothing where the socket was
    /// reset, which does not know.
    pub(super) fn shown_peer<T: Transport>(&self, id: ConnId, conn: &Connection<T>) -> String {
        self.peer_of(id, conn).map_or(String::new(), |peer| format!(" {peer}"))
    }
}

fn is_lingering<T>(table: &mut Table<T>, id: ConnId) -> bool {
    table.get_mut(id).is_some_and(|conn| {
        matches!(conn.state, State::Lingering | State::Draining(CloseReason::Full))
    })
}
