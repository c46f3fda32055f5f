//! A loop that runs, as its program sees it: the server, and listeners that come and go.

use std::io;

use mio::Registry;

use super::socket::{SocketAcceptor, SocketTransport, token};
use crate::conn_id::ConnId;
use crate::server::{ListenerConfig, Server};

/// A loop between a batch of events and its turn.
pub struct Running<'a> {
    /// The server.
    pub server: &'a mut Server<SocketTransport>,
    registry: &'a Registry,
}

impl<'a> Running<'a> {
    pub(super) fn new(server: &'a mut Server<SocketTransport>, registry: &'a Registry) -> Self {
        Running { server, registry }
    }

    /// Adds a listener that is bound already, and returns its number. It accepts from the next turn
    /// on; [`Server::remove_listener`] removes it.
    ///
    /// # Errors
    ///
    /// Its socket cannot be watched, or there are 65,536 listeners.
    pub fn add_listener(
        &mut self,
        acceptor: impl Into<SocketAcceptor>,
        config: ListenerConfig,
    ) -> io::Result<usize> {
        self.add(acceptor.into(), config)
    }

    fn add(&mut self, mut acceptor: SocketAcceptor, config: ListenerConfig) -> io::Result<usize> {
        let number = self.server.next_listener_number();
        let index = u16::try_from(number).map_err(io::Error::other)?;
        acceptor.register(self.registry, token(ConnId { index: index.into(), generation: 0 }))?;
        Ok(self.server.add_listener(acceptor, config))
    }
}
