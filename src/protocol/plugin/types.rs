//! What plugins are asked, and what comes of it: the types that the scheduler and the host have
//! in common, the same in a build without plugins.

use std::net::SocketAddr;

use crate::conn_id::ConnId;

/// Who a package is from.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// Its name. Plugins see the generation: the number the log shows.
    pub id: ConnId,
    /// Its address, if that is known.
    pub addr: Option<SocketAddr>,
    /// The code of the frame the package came in, if it came in one.
    pub command: Option<u8>,
}

impl Client {
    /// A client of which nothing else is known.
    #[must_use]
    pub fn new(id: ConnId) -> Self {
        Client { id, addr: None, command: None }
    }

    /// The same client at this address.
    #[must_use]
    pub fn at(self, addr: Option<SocketAddr>) -> Self {
        Client { addr, ..self }
    }

    /// The same client with a package in a frame of this code.
    #[must_use]
    pub fn framed(self, command: u8) -> Self {
        Client { command: Some(command), ..self }
    }
}

/// What plugins are told without being asked.
#[derive(Debug, Clone, Copy)]
pub enum Notice<'a> {
    /// The listeners are open.
    Started,
    /// A client of a plugin listener has connected.
    Connected(&'a Client),
    /// It has disconnected, and why.
    Disconnected(&'a Client, &'a str),
    /// The server is about to stop.
    Stopping,
}

/// What became of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookResult<'a> {
    /// A plugin answered; its bytes are in the output.
    Answered,
    /// No plugin had an answer.
    Unhandled,
    /// A plugin failed, and nobody was asked after it. The reason is in the log.
    Failed {
        /// Which one.
        plugin: &'a str,
    },
}
