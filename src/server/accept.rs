//! Accepting connections, or refusing them with the reason.

use log::error;

use super::connection::{Connection, Flags, State};
use super::layer::Layer;
use super::transport::{AcceptError, Acceptor, Transport};
use super::visit::Visit;
use super::{Listener, Server};
use crate::address::Peer;
use crate::limits::{ACCEPT_PAUSE_MS, ACCEPT_TURN_MAX, UNTIMED_MAX, VISIT_COST_BYTES, turn_micros};
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
            if self.listeners[number].accept_ready && self.schedule.accept_paused_until.is_none() {
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
        if self.table.len() < self.shared.limits.clients_max + self.shared.limits.lingering_max {
            return true;
        }
        if self.schedule.closed.is_empty() && !self.evict_oldest_lingering() {
            self.schedule.accept_paused_until = Some(self.shared.now.after(ACCEPT_PAUSE_MS));
        }
        false
    }

    /// Takes a connection in as a client, or refuses it if there are as many as there may be.
    fn admit(&mut self, registry: &T::Registry, number: usize, stream: T, peer: Peer) {
        let (now, listener) = (self.shared.now, number as u16);
        let Listener { protocol, room, .. } = &self.listeners[number];
        let id = self.table.insert(listener, |id| {
            let session = Session::new(id.generation, protocol, now, &room.log);
            Connection::new(stream, session)
        });
        self.update_table_charge();
        let Some(mut visit) = self.visit(id) else { return };
        if let Err(error) = visit.conn.stream.register(registry, id) {
            let name = &visit.listener.name;
            visit.shared.connection_log.unwatched(now, name, peer, &error);
            self.table.remove(id);
            return;
        }
        let is_full = visit.shared.stats.connections >= visit.shared.limits.clients_max as u64;
        let is_layered = T::Layer::EXISTS && visit.listener.layer.is_some();
        if is_full && is_layered {
            // Without a handshake there is no way to say why, and it is not worth one.
            visit.log_refusal(peer);
            self.table.remove(id);
            return;
        } else if is_full {
            visit.refuse(peer);
        } else if is_layered {
            visit.accept_unopened(peer);
        } else {
            visit.accept_client(peer);
        }
        let timer_at = visit.flush_and_reschedule(registry);
        self.end_visit(registry, id, timer_at);
        if is_layered {
            self.bound_handshakes();
            self.update_table_charge();
        }
    }
}

impl<T: Transport> Visit<'_, T> {
    fn accept_client(&mut self, peer: Peer) {
        self.listener.room.members += 1;
        #[cfg(feature = "accounts")]
        self.require_login(self.shared.now);
        self.count_client(peer);
        self.answer(|visit| visit.greet(peer));
    }

    /// A client that has a handshake before it: the protocol does not know it yet.
    fn accept_unopened(&mut self, peer: Peer) {
        let Visit { id, conn, listener, io, .. } = self;
        let _ = conn.session.unsubscribe(&listener.room.log);
        conn.state = State::Opening;
        conn.flags.set(Flags::LAYERED, true);
        if let Some(store) = io.layers.get_mut() {
            store.insert(id.index, peer.into());
        }
        self.count_client(peer);
    }

    fn count_client(&mut self, peer: Peer) {
        let Visit { id, conn, listener, shared, schedule, .. } = self;
        shared.stats.connections += 1;
        shared.stats.accepted_total += 1;
        let name = &listener.name;
        shared.connection_log.line(shared.now, || format!("{id} {peer} connected to {name}"));
        // Bytes that came with the connection are announced by an edge of their own, but for a
        // server that is stopping it is the last chance.
        conn.flags.set(Flags::READ_READY, schedule.phase.is_stopping());
    }

    /// Has the protocol greet the client.
    fn greet(&mut self, peer: Peer) -> Flow {
        let Visit { id, listener, shared, .. } = self;
        dispatch!(&mut listener.protocol, handler => handler.on_connect(*id, peer, shared))
    }

    fn refuse(&mut self, peer: Peer) {
        let Visit { conn, listener, shared, .. } = self;
        conn.state = State::Draining(CloseReason::Full);
        // It has seen nothing of the log, and will not.
        let _ = conn.session.unsubscribe(&listener.room.log);
        let max = shared.limits.clients_max;
        dispatch!(&listener.protocol, handler => handler.write_refusal(max, &mut shared.out));
        self.track_lingering();
        self.log_refusal(peer);
    }

    fn log_refusal(&mut self, peer: Peer) {
        let Visit { id, listener, shared, .. } = self;
        let (max, name) = (shared.limits.clients_max, &listener.name);
        shared.stats.refused_total += 1;
        shared.connection_log.line(shared.now, || {
            format!("{id} {peer} refused by {name}: server is full: {max} clients")
        });
        shared.connection_log.refused(shared.now, max);
    }
}
