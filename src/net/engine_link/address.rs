//! Where an engine is.

use std::fmt;
use std::path::PathBuf;

/// Where an engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineAddress {
    /// A host and a port.
    Tcp {
        /// An IPv4 address, an IPv6 address without its brackets, or a name.
        host: String,
        /// The port.
        port: u16,
    },
    /// The file of a Unix socket.
    Unix(PathBuf),
}

/// Shows `localhost:6379`, `[::1]:6379` or a path.
impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineAddress::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            EngineAddress::Tcp { host, port } => write!(f, "{host}:{port}"),
            EngineAddress::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}
