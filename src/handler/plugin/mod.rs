//! Plugins: Lua files that answer what clients send. Knows no sockets, no listeners and no clock of
//! its own; a client is a number, and what a plugin wants sent waits until it is fetched.
//!
//! Each plugin has a Lua state of its own, so none sees another, and every call into it is bounded
//! in time and memory. `docs/plugins.md` is the manual for those who write plugins.
//!
//! | file | job |
//! |---|---|
//! | `host.rs` | who is asked, in which order, and what becomes of those who fail |
//! | `load.rs` | the files of a folder, and what is wrong with them |
//! | `instance.rs` | one plugin: its hooks, one call |
//! | `meter.rs` | the time a call has left |
//! | `failure.rs`, `one_line.rs` | why a call failed, as a line of the log |
//! | `sandbox.rs`, `prelude.lua` | what of Lua a plugin sees |
//! | `pattern.rs`, `strings.rs` | Lua's patterns, interruptible |
//! | `api.rs`, `folder.rs` | `server`, `base64` and `folder` |
//! | `surroundings.rs` | what plugins share, and what calls leave behind |
//! | `bounds.rs` | every bound, in one place |

mod api;
mod bounds;
mod failure;
mod folder;
mod host;
mod instance;
mod load;
mod meter;
mod one_line;
mod pattern;
mod sandbox;
mod strings;
mod surroundings;

pub use host::PluginHost;
pub use load::{BrokenPlugin, LoadError, Loaded};

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::conn_id::ConnId;

/// Tells the time since some fixed moment, never backwards. The last layer hands in a real one,
/// tests hand in their own.
pub type Clock = Box<dyn Fn() -> Duration>;

/// What an operator may set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginOptions {
    /// The folder whose `*.lua` are loaded, and in which plugins have folders of their own.
    pub dir: PathBuf,
    /// Longest one call into a plugin may run.
    pub budget: Duration,
    /// Most memory one plugin may hold, Lua's own libraries (74 KB) included.
    pub memory_bytes_max: usize,
    /// Most bytes that may wait to be broadcast: those of one call, if the caller fetches them
    /// after each.
    pub broadcast_bytes_max: usize,
}

/// Who a package is from.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    /// Its name. Plugins see the generation: the number the log shows.
    pub id: ConnId,
    /// Its address, if that is known without asking anyone.
    pub addr: Option<SocketAddr>,
    /// The code of the frame the package came in, if it came in one.
    pub command: Option<u8>,
    /// Finds the address out. Asked only if `addr` is `None`, and only for the first of several
    /// packages of one client, so it may cost a system call.
    pub find_addr: Option<&'a dyn Fn() -> Option<SocketAddr>>,
}

impl<'a> Client<'a> {
    /// A client of which nothing else is known.
    #[must_use]
    pub fn new(id: ConnId) -> Self {
        Client { id, addr: None, command: None, find_addr: None }
    }

    /// The same client at this address.
    #[must_use]
    pub fn at(self, addr: Option<SocketAddr>) -> Self {
        Client { addr, ..self }
    }

    /// The same client, whose address is asked for only when a plugin is going to see it.
    #[must_use]
    pub fn found_by(self, find_addr: &'a dyn Fn() -> Option<SocketAddr>) -> Self {
        Client { find_addr: Some(find_addr), ..self }
    }

    /// The same client with a package in a frame of this code.
    #[must_use]
    pub fn framed(self, command: u8) -> Self {
        Client { command: Some(command), ..self }
    }

    /// The address, found out if need be.
    pub(self) fn address(&self) -> Option<SocketAddr> {
        self.addr.or_else(|| self.find_addr.and_then(|find| find()))
    }
}

impl fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.id)
            .field("addr", &self.addr)
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

/// What became of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// A plugin answered; its bytes are in the output.
    Answered,
    /// No plugin had an answer.
    Nobody,
    /// A plugin failed, and nobody was asked after it. The reason is in the log.
    Failed {
        /// Which one.
        plugin: &'a str,
    },
}
