//! The sockets of the connections to the engine: resolved, connected, read from and written to beside
//! those of clients, on the same loop. What the bytes mean is [`Engine`]'s matter.
//!
//! | module | job |
//! |---|---|
//! | `address` | where an engine is |
//! | `resolver` | its addresses, looked up on a thread |
//! | `stream` | a socket, TCP or Unix |
//! | `tls` | the records of a connection |
//! | `connection` | one connection, from its address to its end |

mod address;
mod connection;
mod resolver;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;

use std::sync::Arc;

use mio::Registry;
use mio::event::Event;

pub use address::EngineAddress;
use connection::{Connection, Target};
use resolver::{Lookup, Resolver, Wake};

use super::handle::{ENGINE_COMMANDS, ENGINE_SUBSCRIBER, Handle};
use super::readiness::readiness;
use crate::clock::Millis;
use crate::cluster::{Engine, Link};
use crate::conn_id::ConnId;
#[cfg(feature = "tls")]
use crate::tls::client::ClientTls;

/// Most bytes of a connection that are read in one turn.
const TURN_BYTES: usize = 256 << 10;

/// The sockets of both connections to an engine.
pub struct EngineLink {
    target: Target,
    resolver: Resolver,
    /// In the order of [`Link::ALL`].
    connections: [Connection; 2],
    /// The buffer of a read.
    buffer: Vec<u8>,
}

impl EngineLink {
    /// Connects to the engine at `address`, for the loop of `handle`.
    #[must_use]
    pub fn new(address: EngineAddress, handle: Handle) -> Self {
        let wake = Arc::new(move || handle.wake());
        EngineLink::with_lookup(address, Resolver::system_lookup(), wake)
    }

    fn with_lookup(address: EngineAddress, lookup: Arc<Lookup>, wake: Arc<Wake>) -> Self {
        EngineLink {
            target: Target {
                address,
                #[cfg(feature = "tls")]
                tls: None,
            },
            resolver: Resolver::new(lookup, wake),
            connections: Link::ALL.map(|link| Connection::new(link, id_of(link))),
            buffer: vec![0; TURN_BYTES],
        }
    }

    /// Has the connections begin with a TLS handshake.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: ClientTls) -> Self {
        self.target.tls = Some(tls);
        self
    }

    /// Takes an event of a connection.
    pub(super) fn on_event(&mut self, link: Link, event: &Event) {
        let has_end = event.is_read_closed() || event.is_error();
        self.connection(link).on_ready(readiness(event), has_end);
    }

    fn connection(&mut self, link: Link) -> &mut Connection {
        let [commands, subscriber] = &mut self.connections;
        match link {
            Link::Commands => commands,
            Link::Subscriber => subscriber,
        }
    }

    /// Goes on with both connections: what came is given to `engine`, up to a budget each, and what it
    /// has to say is sent.
    pub(super) fn advance(&mut self, engine: &mut Engine, registry: &Registry, now: Millis) {
        for connection in &mut self.connections {
            connection.advance(
                &self.target,
                &mut self.resolver,
                &mut self.buffer,
                (engine, registry),
                now,
            );
        }
        // Of a lookup that has ended, or was not needed.
        if let Some(answer) = self.resolver.take() {
            for connection in &mut self.connections {
                connection.on_resolved(&answer, engine, registry, now);
            }
        }
    }

    /// Sends what `engine` has to say since [`advance`](Self::advance).
    pub(super) fn flush(&mut self, engine: &mut Engine, now: Millis) {
        for connection in &mut self.connections {
            connection.flush(engine, now);
        }
    }

    /// Whether a connection can go on without an event.
    pub(super) fn has_work(&self, engine: &Engine) -> bool {
        self.connections.iter().any(|connection| connection.has_work(engine))
    }

    /// When [`advance`](Self::advance) is due if nothing happens.
    pub(super) fn due_at(&self, engine: &Engine) -> Option<Millis> {
        let [commands, subscriber] = &self.connections;
        Millis::earliest([engine.next_due(), commands.due_at(), subscriber.due_at()])
    }
}

/// The id in the token of a connection's events.
fn id_of(link: Link) -> ConnId {
    match link {
        Link::Commands => ENGINE_COMMANDS,
        Link::Subscriber => ENGINE_SUBSCRIBER,
    }
}

/// The connection whose events carry `id`.
pub(super) fn link_of(id: ConnId) -> Option<Link> {
    Link::ALL.into_iter().find(|link| id_of(*link) == id)
}
