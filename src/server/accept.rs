//! Letting connections in, or turning them away with a word.

use std::net::SocketAddr;

use log::error;

use super::connection::{Connection, Flags, State};
use super::transport::{AcceptError, Acceptor, Transport};
use super::{Listener, Server};
use crate::conn_id::ConnId;
use crate::limits::{ACCEPT_PAUSE_MS, ACCEPT_TURN_MAX, UNTIMED_MAX, VISIT_COST_BYTES, turn_micros};
use crate::protocol::Protocol;
use crate::protocol::chat::{self, Message};
use crate::protocol::{self, CloseReason};
use crate::session::Session;
use crate::strerror::strerror;

impl<T: Transport> Server<T> {
    /// Accepts from every listener whose backlog has not been emptied, unless files are out.
    pub(super) fn accept_all(&mut self, registry: &T::Registry) {
        if let Some(until) = self.accept_paused_until {
            if self.now < until {
                return;
            }
            self.accept_paused_until = None;
        }
        if !self.listeners.iter().any(|listener| listener.accept_ready) {
            return;
        }
        self.budget.end();
        // All have one budget, and each listener begins every so many turns.
        let count = self.listeners.len();
        self.first_accepting = (self.first_accepting + 1) % count.max(1);
        let mut tried = 0;
        for at in 0..count {
            let number = (self.first_accepting + at) % count;
            if self.listeners[number].accept_ready && self.accept_paused_until.is_none() {
                self.accept_some(registry, number, ACCEPT_TURN_MAX, &mut tried);
            }
        }
    }

    /// Accepts at most `budget` connections; the time begins where so many have been `tried`. An edge
    /// comes once, so a listener that is left early stays marked, and is taken up again next turn.
    pub(super) fn accept_some(
        &mut self,
        registry: &T::Registry,
        number: usize,
        budget: usize,
        tried: &mut usize,
    ) {
        for at in 0..budget {
            if !self.has_file_to_spare() || (at > 0 && self.budget.is_spent()) {
                return;
            }
            if *tried == UNTIMED_MAX {
                self.budget.begin(turn_micros::ACCEPT);
            }
            *tried += 1;
            self.budget.charge(VISIT_COST_BYTES);
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
                    self.connection_log.accept_paused(self.now, &listener.config.name, &error);
                    self.accept_paused_until = Some(self.now.after(ACCEPT_PAUSE_MS));
                    return;
                }
                Err(AcceptError::Fatal(error)) => {
                    error!("{} stops accepting: {}", listener.config.name, strerror(&error));
                    listener.acceptor = None;
                }
            }
        }
    }

    /// Whether one more descriptor fits beside those in the table. Lingering connections make way
    /// for new ones, the oldest first, but not before the end of the turn.
    fn has_file_to_spare(&mut self) -> bool {
        if self.table.len() < self.limits.clients_max + self.limits.lingering_max {
            return true;
        }
        if self.closed.is_empty() && !self.evict_oldest_lingering() {
            self.accept_paused_until = Some(self.now.after(ACCEPT_PAUSE_MS));
        }
        false
    }

    /// Lets a connection in, or turns it away if there are as many clients as there may be.
    fn admit(&mut self, registry: &T::Registry, number: usize, stream: T, peer: SocketAddr) {
        let (now, owner) = (self.now, number as u16);
        let Listener { config, room, .. } = &self.listeners[number];
        let id = self.table.insert(owner, |id| {
            let session = Session::new(id.generation, &config.protocol, now, &room.log);
            Connection::new(stream, owner, session)
        });
        self.memory.recharge(&mut self.table_charged, self.table.allocated());
        let Some(conn) = self.table.get_mut(id) else { return };
        if let Err(error) = conn.stream.register(registry, id) {
            let name = &self.listeners[number].config.name;
            self.connection_log.unwatched(self.now, name, peer, &error);
            self.table.remove(id);
            return;
        }
        if self.stats.connections >= self.limits.clients_max as u64 {
            self.turn_away(id, number, peer);
        } else {
            self.welcome(id, number, peer);
        }
        self.flush_and_reschedule(registry, id);
    }

    fn welcome(&mut self, id: ConnId, number: usize, peer: SocketAddr) {
        let Listener { config, room, .. } = &mut self.listeners[number];
        room.members += 1;
        self.stats.connections += 1;
        self.stats.accepted_total += 1;
        self.connection_log.line(self.now, || format!("{id} {peer} connected to {}", config.name));
        if let (Protocol::Plugin { .. }, Some(scheduler)) = (&config.protocol, &mut self.plugins) {
            scheduler.on_connected(id, peer);
        }
        // What came with the connection is announced by an edge of its own, but for a server that
        // is stopping it is the last chance.
        if let Some(conn) = self.table.get_mut(id) {
            conn.flags.set(Flags::READ_READY, self.phase.is_stopping());
        }
    }

    fn turn_away(&mut self, id: ConnId, number: usize, peer: SocketAddr) {
        if let Some(conn) = self.table.get_mut(id) {
            conn.state = State::Draining(CloseReason::Full);
            // It has seen nothing of the log, and will not.
            let _ = conn.session.unsubscribe(&self.listeners[number].room.log);
        }
        self.linger(id);
        let max = self.limits.clients_max;
        let config = &self.listeners[number].config;
        self.stats.refused_total += 1;
        self.connection_log.line(self.now, || {
            format!("{id} {peer} refused by {}: server is full: {max} clients", config.name)
        });
        self.connection_log.refused(self.now, max);
        match config.protocol {
            Protocol::Command { .. } => {
                protocol::write_error(format_args!("server is full: {max} clients"), &mut self.out);
            }
            Protocol::Chat { lang } => chat::say(Message::Full(max), lang, &mut self.out),
            Protocol::Prefixed | Protocol::Raw { .. } | Protocol::Plugin { .. } => {}
        }
    }
}
