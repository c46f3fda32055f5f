//! Packages' clients, notices and results: the types that the scheduler and the host have in
//! common.

use crate::address::Peer;
use crate::conn_id::ConnId;

/// The client a package or notice is about.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// The connection. Plugins see its generation, the number that the log shows.
    pub id: ConnId,
    /// The address, if known.
    pub addr: Option<Peer>,
    /// The code of the frame that the package came in; `None` on a plugin listener.
    pub command: Option<u8>,
}

impl Client {
    /// A client without address and command.
    #[must_use]
    pub fn new(id: ConnId) -> Self {
        Client { id, addr: None, command: None }
    }

    /// The client with this address.
    #[must_use]
    pub fn at(self, addr: Option<Peer>) -> Self {
        Client { addr, ..self }
    }

    /// The client with a package in a frame of this code.
    #[must_use]
    pub fn framed(self, command: u8) -> Self {
        Client { command: Some(command), ..self }
    }
}

/// An event that plugins are notified of; nothing is answered.
#[derive(Debug, Clone, Copy)]
pub enum Notice<'a> {
    /// The listeners are open.
    Started,
    /// A client of a plugin listener connected.
    Connected(&'a Client),
    /// A client of a plugin listener disconnected, for this reason.
    Disconnected(&'a Client, &'a str),
    /// The server is about to stop.
    Stopping,
}

/// The result of asking the plugins about a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookResult<'a> {
    /// A plugin answered; its answer is in the output.
    Answered,
    /// No plugin had an answer.
    Unhandled,
    /// A plugin failed, and those after it were not asked. The reason is in the log.
    Failed {
        /// The plugin's name.
        plugin: &'a str,
    },
}

/// Cost of a plugin since it was loaded.
#[cfg(feature = "admin")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginMetrics {
    /// Its name.
    pub name: String,
    /// Calls of its hooks.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Time spent in them.
    pub time: std::time::Duration,
    /// Memory of its Lua state, in bytes.
    pub memory_bytes: usize,
}
