//! Accepting connections, or refusing them with the reason.

#[cfg(feature = "admin")]
use std::num::NonZeroU32;

#[cfg(feature = "admin")]
use log::debug;
use log::error;

use super::connection::{Connection, Flags, State};
use super::layer::Layer;
use super::origins::Admitted;
#[cfg(feature = "admission")]
use super::origins::Origins;
use super::transport::{AcceptError, Acceptor, Transport};
use super::visit::Visit;
use super::{Listener, Server};
use crate::address::Peer;
use crate::close_reason::Refusal;
use crate::conn_id::ConnId;
#[cfg(feature = "admin")]
use crate::limits::ADMIN_PLACES;
use crate::limits::{ACCEPT_PAUSE_MS, ACCEPT_TURN_MAX, UNTIMED_MAX, VISIT_COST_BYTES, turn_micros};
#[cfg(feature = "admin")]
use crate::protocol::Shared;
use crate::protocol::{CloseReason, Flow, Handler, dispatch};
use crate::session::Session;
use crate::strerror::strerror;

impl<T: Transport> Server<T> {
    /// Accepts from every listener whose backlog has not been emptied, unless accepting is paused.
    pub(super) fn accept_all(&mut self, registry: &T::Registry) {
        if let Some(until) = self.schedule.accept_paused_until {
            if self.shared.now < until {
                return;
            }
            self.schedule.accept_paused_until = None;
        }
        if !self.listeners.iter().any(|listener| listener.accept_ready) {
            return;
        }
        self.schedule.budget.end();
        // All have one budget, and each listener begins every so many turns.
        let count = self.listeners.len();
        self.schedule.first_accepting = (self.schedule.first_accepting + 1) % count.max(1);
        let mut tried = 0;
        for at in 0..count {
            let number = (self.schedule.first_accepting + at) % count;
            let listener = &self.listeners[number];
            let is_paused = self.schedule.accept_paused_until.is_some();
            if listener.accept_ready && !is_paused && self.may_accept(listener) {
                self.accept_some(registry, number, ACCEPT_TURN_MAX, &mut tried);
            }
        }
    }

    /// Accepts at most `count_max` connections. `tried` counts attempts over all listeners; from
    /// [`UNTIMED_MAX`] on the time budget applies. An edge comes once, so a listener left early
    /// stays `accept_ready`.
    pub(super) fn accept_some(
        &mut self,
        registry: &T::Registry,
        number: usize,
        count_max: usize,
        tried: &mut usize,
    ) {
        for at in 0..count_max {
            if !self.free_descriptor() || (at > 0 && self.schedule.budget.is_spent()) {
                return;
            }
            if *tried == UNTIMED_MAX {
                self.schedule.budget.begin(turn_micros::ACCEPT);
            }
            *tried += 1;
            self.schedule.budget.charge(VISIT_COST_BYTES);
            let listener = &mut self.listeners[number];
            let Some(acceptor) = &mut listener.acceptor else {
                listener.accept_ready = false;
                return;
            };
            match acceptor.accept() {
                Ok((stream, peer)) => self.admit(registry, number, stream, peer),
                Err(AcceptError::Retry) => {}
                Err(AcceptError::WouldBlock) => {
                    listener.accept_ready = false;
                    return;
                }
                Err(AcceptError::Exhausted(error)) => {
                    self.shared.connection_log.accept_paused(
                        self.shared.now,
                        &listener.name,
                        &error,
                    );
                    self.schedule.accept_paused_until =
                        Some(self.shared.now.after(ACCEPT_PAUSE_MS));
                    #[cfg(feature = "admin")]
                    {
                        self.schedule.exhausted_at = Some(self.shared.now);
                    }
                    return;
                }
                Err(AcceptError::Fatal(error)) => {
                    error!("{} stops accepting: {}", listener.name, strerror(&error));
                    listener.acceptor = None;
                }
            }
        }
    }

    /// Ensures a free descriptor, evicting the oldest lingering connection if needed (freed at the
    /// end of the turn). Returns whether there is one now; if none can be freed, pauses accepting.
    fn free_descriptor(&mut self) -> bool {
        if self.table.len() < self.sockets_max() {
            return true;
        }
        if self.schedule.closed.is_empty() && !self.evict_oldest_lingering() {
            self.schedule.accept_paused_until = Some(self.shared.now.after(ACCEPT_PAUSE_MS));
        }
        false
    }

    /// Whether the listener takes connections at this time: while the server drains only those of
    /// admin do.
    #[inline]
    pub(super) fn may_accept(&self, listener: &Listener<T>) -> bool {
        #[cfg(feature = "admin")]
        return !self.is_draining() || self.schedule.phase.is_stopping() || is_admin(listener);
        #[cfg(not(feature = "admin"))]
        {
            let _ = listener;
            true
        }
    }

    /// Most sockets there may be. The places of admin count for all: where they were kept from the
    /// others, those who are refused would find none, and accepting would pause for admin too.
    pub(super) fn sockets_max(&self) -> usize {
        let most = self.clients_bound + self.shared.limits.lingering_max;
        #[cfg(feature = "admin")]
        let most = most + if self.listeners.iter().any(is_admin) { ADMIN_PLACES } else { 0 };
        most
    }

    /// Takes a connection in as a client, or refuses it if there are as many as there may be. One
    /// whose address has too many costs nothing but its refusal.
    fn admit(&mut self, registry: &T::Registry, number: usize, stream: T, peer: Peer) {
        let now = self.shared.now;
        #[cfg(feature = "admission")]
        if Origins::expects_header(&self.listeners[number].proxies, peer) {
            return self.admit_headerless(registry, number, stream, peer);
        }
        match self.io.origins.admit(peer, now) {
            Ok(admitted) => self.take_in(registry, number, stream, peer, admitted),
            #[cfg(feature = "admission")]
            Err(limit) => self.refuse_over_limit(number, stream, peer, limit),
        }
    }

    fn take_in(
        &mut self,
        registry: &T::Registry,
        number: usize,
        stream: T,
        peer: Peer,
        admitted: Admitted,
    ) {
        let Some(id) = self.insert(registry, number, stream, peer) else {
            return self.io.origins.give_up(admitted, self.shared.now);
        };
        let Some(mut visit) = self.visit(id) else { return };
        let is_layered = T::Layer::EXISTS && visit.listener.layer.is_some();
        if visit.is_full() {
            visit.io.origins.give_up(admitted, visit.shared.now);
            if is_layered {
                // Without a handshake there is no way to say why, and it is not worth one.
                visit.log_refusal(peer);
                self.remove_at_once(id);
                return;
            }
            visit.refuse(peer);
        } else {
            visit.io.origins.hold(id.index, admitted);
            visit.count_client();
            visit.log_client(peer);
            if is_layered {
                visit.accept_unopened(peer);
            } else {
                visit.accept_client(peer);
            }
        }
        let timer_at = visit.flush_and_reschedule(registry);
        self.end_visit(registry, id, timer_at);
        // Beside its slot it may have got more.
        if T::Layer::EXISTS || cfg!(feature = "admission") {
            self.update_table_charge();
        }
    }

    /// Takes a connection out that no event has named yet.
    pub(super) fn remove_at_once(&mut self, id: ConnId) {
        #[cfg(feature = "admin")]
        self.io.accepted_at.take(id.index);
        self.table.remove(id);
    }

    /// Gives a connection its slot, and has its events announced. `None` where the system is out of
    /// watches.
    pub(super) fn insert(
        &mut self,
        registry: &T::Registry,
        number: usize,
        stream: T,
        peer: Peer,
    ) -> Option<ConnId> {
        let now = self.shared.now;
        let Listener { protocol, room, .. } = &self.listeners[number];
        let id = self.table.insert(number as u16, |id| {
            let session = Session::new(id.generation, protocol, now, &room.log);
            Connection::new(stream, session)
        });
        #[cfg(feature = "admin")]
        if self.shared.admin.is_some() {
            // In 136 years.
            let at = NonZeroU32::MIN.saturating_add((now.0 / 1000) as u32);
            self.io.accepted_at.insert(id.index, at);
        }
        self.update_table_charge();
        let visit = self.visit(id)?;
        if let Err(error) = visit.conn.stream.register(registry, id) {
            let name = &visit.listener.name;
            visit.shared.connection_log.unwatched(now, name, peer, &error);
            self.remove_at_once(id);
            return None;
        }
        Some(id)
    }
}

#[cfg(feature = "admin")]
pub(super) fn is_admin<T: Transport>(listener: &Listener<T>) -> bool {
    fn of<H: Handler>(_: &H) -> bool {
        H::IS_ADMIN
    }
    dispatch!(&listener.protocol, handler => of(handler))
}

impl<T: Transport> Visit<'_, T> {
    fn accept_client(&mut self, peer: Peer) {
        self.listener.room.members += 1;
        #[cfg(feature = "accounts")]
        self.require_login(self.shared.now);
        self.answer(|visit| visit.greet(peer));
    }

    /// A client that has a handshake before it: the protocol does not know it yet.
    pub(super) fn accept_unopened(&mut self, peer: Peer) {
        self.begin_opening();
        let Visit { id, conn, io, .. } = self;
        conn.flags.set(Flags::LAYERED, true);
        if let Some(store) = io.layers.get_mut() {
            store.insert(id.index, peer.into());
        }
    }

    /// The session does not speak yet, and is not sent broadcasts.
    pub(super) fn begin_opening(&mut self) {
        let _ = self.conn.session.unsubscribe(&self.listener.room.log);
        self.conn.state = State::Opening;
    }

    pub(super) fn log_client(&mut self, peer: Peer) {
        let Visit { id, listener, shared, .. } = self;
        let name = &listener.name;
        #[cfg(feature = "admin")]
        if is_admin(listener) {
            // A health check connects every few seconds, for years.
            return debug!("{id} {peer} connected to {name}");
        }
        shared.connection_log.line(shared.now, || format!("{id} {peer} connected to {name}"));
    }

    pub(super) fn count_client(&mut self) {
        let Visit { conn, listener, shared, schedule, .. } = self;
        shared.stats.server.connections += 1;
        listener.room.stats.connections.add(1);
        listener.room.stats.accepted.add(1);
        // Bytes that came with the connection are announced by an edge of their own, but for a
        // server that is stopping it is the last chance.
        conn.flags.set(Flags::READ_READY, schedule.phase.is_stopping());
    }

    /// Has the protocol greet the client.
    pub(super) fn greet(&mut self, peer: Peer) -> Flow {
        let Visit { id, listener, shared, .. } = self;
        dispatch!(&mut listener.protocol, handler => handler.on_connect(*id, peer, shared))
    }

    /// Whether the server has no place for one more client of this listener.
    pub(super) fn is_full(&self) -> bool {
        #[cfg(feature = "admin")]
        if is_admin(self.listener) {
            let Shared { stats, limits, .. } = &*self.shared;
            return stats.server.connections >= (limits.clients_max + ADMIN_PLACES) as u64;
        }
        self.shared.is_full()
    }

    pub(super) fn refuse(&mut self, peer: Peer) {
        let Visit { conn, listener, shared, .. } = self;
        conn.state = State::Draining(CloseReason::Full);
        // It has seen nothing of the log, and will not.
        let _ = conn.session.unsubscribe(&listener.room.log);
        let max = shared.limits.clients_max;
        dispatch!(&listener.protocol, handler => handler.write_refusal(max, &mut shared.out));
        self.track_lingering();
        self.log_refusal(peer);
    }

    pub(super) fn log_refusal(&mut self, peer: Peer) {
        let Visit { id, listener, shared, .. } = self;
        let (max, name) = (shared.limits.clients_max, &listener.name);
        listener.room.stats.count_refused(Refusal::Full);
        shared.connection_log.line(shared.now, || {
            format!("{id} {peer} refused by {name}: server is full: {max} clients")
        });
        shared.connection_log.refused(shared.now, max);
    }
}
